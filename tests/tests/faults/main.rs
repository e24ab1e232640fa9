//! Real processes under faults: killed, stopped, starved, cut off. What each fault may cost stands in docs/RELIABILITY.md.

mod after_a_kill;
mod dice;
mod kills;
mod ledger;
mod load;
mod soak;
