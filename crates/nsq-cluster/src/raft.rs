//! openraft, and everything that knows it: the rest of the crate talks in its own types.

mod commits;
mod log_store;
mod machine;
mod network;
mod pipeline;
mod runtime;
#[cfg(test)]
mod tests;
mod types;

pub(crate) use log_store::LogStore;
#[cfg(any(test, fuzzing))]
pub(crate) use machine::{FormerMembers, Members};
pub(crate) use machine::{Machine, store_members, stored_members};
pub(crate) use network::Links;
#[cfg(test)]
pub(crate) use pipeline::MAX_CALLS;
#[cfg(test)]
pub(crate) use types::{LeaderId, Outcomes};
pub(crate) use types::{
    LogId, Proposal, Snapshot, SnapshotMeta, StoredMembership, Tokio, Types, convert,
};
