//! A shard: what one nsqd has accepted, kept by several nodes that agree through Raft.
//!
//! ```text
//! publish ─▶ Accumulator ─▶ pump ─▶ Group::propose ─▶ committed ─▶ ShardMachine::apply ─┬─ leading ──▶ Broker::execute
//!                                                                                      └─ following ─▶ Replica::execute
//! ```
//! Nothing enters a topic's log before it is committed. The leader numbers messages and collects them; what has collected
//! is proposed together; every replica executes the same commands in the same order. What consumers finish and give back
//! is executed by the leader at once, and proposed a little later as progress.
//!
//! A [`Shard`] is what nsqd holds of one replica, and a [`ShardMachine`] is the same replica as the Raft group sees it.

mod accumulator;
mod ahead;
mod behind;
#[cfg(test)]
mod bench;
mod changes;
mod codec;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../../../tests/fuzz/bodies/shard.rs"]
pub mod fuzz;
mod gathering;
mod leading;
mod look;
mod machine;
mod meta;
mod progress;
mod pump;
mod repeating;
#[cfg(test)]
mod replicas;
mod shard;
#[cfg(test)]
mod simulation;
mod transfer;

pub use codec::{CommandError, Item, ProposalReader};
pub use leading::Refusal;
pub use look::{PendingError, ShardLook};
pub use machine::ShardMachine;
pub use shard::{Shard, ShardError, ShardFigures, ShardOptions};
