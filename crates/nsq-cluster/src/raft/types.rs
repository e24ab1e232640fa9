//! The types openraft works with here, and what they are in the crate's own.

use std::fmt;

use bytes::Bytes;
use openraft::RaftTypeConfig;
use openraft::impls::leader_id_std::LeaderId as StdLeaderId;
use openraft::vote::RaftLeaderId;

use super::runtime::InStep;
use crate::codec::Batch;
use crate::state_machine::{Checkpoint, Staging};
use crate::{Member, NodeId};

/// One leader per term: of two candidates in one term, each replica can vote for one only.
pub(crate) type LeaderId = StdLeaderId<u64, NodeId>;
pub(crate) type Committed = <LeaderId as RaftLeaderId>::Committed;
pub(crate) type LogId = openraft::LogId<Committed>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Payload = openraft::EntryPayload<Proposal, NodeId, Member>;
pub(crate) type Entry = openraft::Entry<Committed, Payload>;
pub(crate) type Membership = openraft::Membership<NodeId, Member>;
pub(crate) type StoredMembership = openraft::StoredMembership<Committed, NodeId, Member>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<Committed, NodeId, Member>;

/// openraft's configuration, whatever runtime it is for.
pub(crate) trait Types:
    RaftTypeConfig<
        D = Proposal,
        R = Outcomes,
        NodeId = NodeId,
        Node = Member,
        Term = u64,
        LeaderId = LeaderId,
        Vote = Vote,
        Payload = Payload,
        Entry = Entry,
    >
{
}

impl<C> Types for C where
    C: RaftTypeConfig<
            D = Proposal,
            R = Outcomes,
            NodeId = NodeId,
            Node = Member,
            Term = u64,
            LeaderId = LeaderId,
            Vote = Vote,
            Payload = Payload,
            Entry = Entry,
        >
{
}

openraft::declare_raft_types!(
    /// For nsqd: runs on tokio.
    pub(crate) Tokio:
        D = Proposal,
        R = Outcomes,
        NodeId = NodeId,
        Node = Member,
        LeaderId = LeaderId,
        AsyncRuntime = InStep,
);

/// What one entry holds, with a number by which the proposer recognises its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Proposal {
    pub(crate) batch: Batch,
    /// 0 for entries that were not proposed here. Neither stored nor sent.
    pub(crate) ticket: u64,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.batch.fmt(f)
    }
}

/// What became of an entry's proposals, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes(pub(crate) Vec<Bytes>);

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} outcomes", self.0.len())
    }
}

/// A checkpoint on its way.
pub(crate) enum Snapshot {
    /// Of this replica, to be read by others.
    Outgoing(Checkpoint),
    /// Of another replica, received.
    Incoming(Box<dyn Staging>),
}

/// Between openraft's types and the crate's own.
pub(crate) mod convert {
    use openraft::vote::RaftVote as _;

    use super::{Committed, Entry, LeaderId, LogId, Membership, Payload, Proposal, Vote};
    use crate::codec::{self, EntryBody};

    pub(crate) fn log_id(id: &LogId) -> codec::LogId {
        codec::LogId {
            term: id.committed_leader_id().term,
            index: id.index(),
        }
    }

    pub(crate) fn to_log_id(id: codec::LogId) -> LogId {
        LogId::new(Committed::new(id.term), id.index)
    }

    pub(crate) fn vote(vote: &Vote) -> codec::Vote {
        codec::Vote {
            term: vote.leader_id.term,
            node: vote.leader_id.voted_for,
            is_committed: vote.committed,
        }
    }

    pub(crate) fn to_vote(vote: codec::Vote) -> Vote {
        let leader = LeaderId {
            term: vote.term,
            voted_for: vote.node,
        };
        Vote::from_leader_id(leader, vote.is_committed)
    }

    pub(crate) fn membership(membership: &Membership) -> codec::Membership {
        codec::Membership {
            voters: membership.get_joint_config().clone(),
            nodes: membership
                .nodes()
                .map(|(node, member)| (*node, member.clone()))
                .collect(),
        }
    }

    /// Every voter has an address: the codec refuses a membership where one has none.
    pub(crate) fn to_membership(membership: codec::Membership) -> Membership {
        if membership.voters.is_empty() {
            return Membership::new_with_defaults(Vec::new(), membership.nodes.into_keys());
        }
        Membership::new(membership.voters, membership.nodes.clone()).unwrap_or_else(|_| {
            Membership::new_with_defaults(Vec::new(), membership.nodes.into_keys())
        })
    }

    pub(crate) fn entry(entry: Entry) -> codec::Entry {
        let body = match entry.payload {
            Payload::Blank => EntryBody::Blank,
            Payload::Normal(proposal) => EntryBody::Proposals(proposal.batch),
            Payload::Membership(members) => EntryBody::Membership(membership(&members)),
        };
        codec::Entry {
            id: log_id(&entry.log_id),
            body,
        }
    }

    pub(crate) fn to_entry(entry: codec::Entry) -> Entry {
        let payload = match entry.body {
            EntryBody::Blank => Payload::Blank,
            EntryBody::Proposals(batch) => Payload::Normal(Proposal { batch, ticket: 0 }),
            EntryBody::Membership(members) => Payload::Membership(to_membership(members)),
        };
        Entry {
            log_id: to_log_id(entry.id),
            payload,
        }
    }
}
