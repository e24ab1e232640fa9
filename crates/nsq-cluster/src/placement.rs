//! Where replicas are to be, and the next step from where they are.
//!
//! [`plan`] looks at the whole directory: its leader proposes what it returns. [`next_step`] looks at one Raft group: the
//! group's leader does what it returns, one change at a time.

mod membership;
mod shards;
#[cfg(test)]
mod tests;

pub use self::membership::{GroupState, MembershipStep, Wanted, directory_voters, next_step};
pub use self::shards::{Liveness, PlanOptions, plan};
