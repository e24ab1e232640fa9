//! Who belongs to a Raft group.

use std::collections::{BTreeMap, BTreeSet};

use super::{DecodeError, Decoder, Wire, put_bytes, put_count};
use crate::{Member, NodeId};

/// The members of a group: voters decide, learners only receive.
///
/// While a change of voters is under way there are two sets of voters, and a decision takes a majority of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// One set of voters, or two during a change.
    pub voters: Vec<BTreeSet<NodeId>>,
    /// Every member, learners included.
    pub nodes: BTreeMap<NodeId, Member>,
}

impl Membership {
    /// A group of one.
    pub(crate) fn alone(node: NodeId, member: Member) -> Self {
        Self {
            voters: vec![BTreeSet::from([node])],
            nodes: BTreeMap::from([(node, member)]),
        }
    }

    /// Members that receive entries and have no vote.
    pub fn learners(&self) -> impl Iterator<Item = NodeId> {
        let is_voter = |node: &NodeId| self.voters.iter().any(|voters| voters.contains(node));
        self.nodes
            .keys()
            .copied()
            .filter(move |node| !is_voter(node))
    }
}

impl Wire for Membership {
    fn encode(&self, to: &mut Vec<u8>) {
        put_count(to, self.voters.len());
        for voters in &self.voters {
            put_count(to, voters.len());
            for voter in voters {
                to.extend_from_slice(&voter.0.to_le_bytes());
            }
        }
        put_count(to, self.nodes.len());
        for (node, member) in &self.nodes {
            to.extend_from_slice(&node.0.to_le_bytes());
            put_bytes(to, member.address.as_bytes());
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let mut membership = Self::default();
        for _ in 0..from.count(4, "the sets of voters")? {
            let mut voters = BTreeSet::new();
            for _ in 0..from.count(8, "a set of voters")? {
                voters.insert(NodeId(from.u64("a voter")?));
            }
            membership.voters.push(voters);
        }
        for _ in 0..from.count(12, "the members")? {
            let node = NodeId(from.u64("a member's id")?);
            let address = from.text(MAX_ADDRESS_BYTES, "a member's address")?;
            membership.nodes.insert(node, Member { address });
        }
        // A voter without an address could never be asked for its vote.
        let is_known = |node: &NodeId| membership.nodes.contains_key(node);
        let has_strangers = membership
            .voters
            .iter()
            .flatten()
            .any(|node| !is_known(node));
        if has_strangers || membership.voters.len() > 2 {
            return Err(DecodeError::Invalid {
                what: "a membership",
            });
        }
        Ok(membership)
    }
}

/// A host name has at most 253 bytes.
pub(super) const MAX_ADDRESS_BYTES: usize = 300;
