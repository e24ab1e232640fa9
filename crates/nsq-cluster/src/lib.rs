//! Replication: Raft groups, the log they write ahead, the protocol between nodes, and the directory of the cluster.
//!
//! openraft runs inside of this crate and shows nowhere: no public item, no byte on the wire and none on the disk has one of
//! its types (`docs/ARCHITECTURE.md` says why it was chosen and how to upgrade it).

pub mod blocking;
pub mod bootstrap;
pub mod codec;
pub mod directory;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../../../tests/fuzz/bodies/cluster/mod.rs"]
pub mod fuzz;
pub mod group;
pub mod identity;
pub mod in_step;
pub mod lane;
pub mod network;
mod node;
pub mod placement;
mod raft;
pub mod state_machine;
#[cfg(test)]
mod testing;
pub mod transport;
pub mod wal;

pub use identity::ClusterId;
pub use node::{GroupId, Member, NodeId};
