//! Sessions driven by hand.

mod answers;
mod batches;
mod cluster;
mod deadlines;
mod large_input;
