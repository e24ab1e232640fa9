//! Sessions of a node of a cluster.

mod changes;
mod deliveries;
mod ephemeral;
mod publishes;
mod random;
