//! Real processes under faults: killed, stopped, starved, cut off. What each fault may cost stands in docs/RELIABILITY.md.

mod after_a_kill;
mod client_libraries;
mod dice;
mod handles;
mod kills;
mod ledger;
mod load;
mod memory_limit;
mod network;
mod slow_disk;
mod soak;
mod stopped;
