//! What a node does whose disk may lack what it has acknowledged.
//!
//! Under its old number it must not vote as long as the others can do without it: an entry that it acknowledged and lost could
//! be outvoted. So it joins under a new number and receives everything again. But where a majority of a group's voters is in
//! this state, no leader could ever be elected again. Then they trust what they have, which is all there is.

use std::collections::{BTreeMap, BTreeSet};

use super::call::Introduction;
use crate::identity::Identity;
use crate::{ClusterId, GroupId, NodeId};

/// A node that does not trust its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntrustedNode {
    /// Who it was.
    pub identity: Identity,
    /// The voters of each group of which it has a replica, as far as it knows.
    pub voters: BTreeMap<u64, BTreeSet<NodeId>>,
    /// Where the members are reached, as far as it knows.
    pub addresses: BTreeMap<NodeId, String>,
    /// Whether it could continue with what it has: not when files are damaged.
    pub can_trust: bool,
    /// What is wrong with its disk, for the log.
    pub why: String,
}

/// What the node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Join under another number.
    Rejoin,
    /// Continue under its number with what it has.
    Trust,
    /// Leave everything as it is and ask again: its files are damaged, and these groups have no majority without it.
    Stay(BTreeSet<u64>),
    /// Ask again: these members have not answered, and it depends on them.
    Wait(BTreeSet<NodeId>),
}

/// What a member is for the voting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voter {
    Trusted,
    /// It cannot vote under its number, or should not.
    Lost,
    Silent,
}

impl UntrustedNode {
    /// Decides after a round of questions. `answers` has the address of each member that was asked. `missing_are_lost` is set
    /// once members have been silent for so long that they count as lost.
    ///
    /// A group that has a leader does without this node. So does one whose trusted voters are a majority. A group for which
    /// that can still become true waits for its silent voters. If only one group cannot do without the node, it trusts its
    /// disk for all of them: it has one number. A node that cannot trust its disk stays then, until members count as lost.
    pub fn decide(
        &self,
        answers: &BTreeMap<String, Result<Introduction, String>>,
        missing_are_lost: bool,
    ) -> Verdict {
        let mut silent = BTreeSet::new();
        let mut needed_by = BTreeSet::new();
        let mut voters = self.voters.clone();
        if let Some(founders) = &self.identity.founders {
            // Before it has an entry of the directory, the node knows its voters by the founding.
            let founders = founders.keys().copied().collect();
            voters.entry(GroupId::DIRECTORY.0).or_insert(founders);
        }
        for (group, voters) in &voters {
            if !voters.contains(&self.identity.node) || self.is_led(*group, answers) {
                continue;
            }
            let standing = |node: &NodeId| match self.voter(*node, answers) {
                Voter::Silent if missing_are_lost => Voter::Lost,
                voter => voter,
            };
            let count = |wanted| {
                let matching = voters.iter().filter(|node| standing(node) == wanted);
                matching.count()
            };
            let majority = voters.len() / 2 + 1;
            if count(Voter::Trusted) >= majority {
                continue;
            }
            let missing = voters.iter().filter(|node| standing(node) == Voter::Silent);
            let missing: BTreeSet<_> = missing.copied().collect();
            if missing.is_empty() {
                needed_by.insert(*group);
            }
            silent.extend(missing);
        }
        if !silent.is_empty() {
            return Verdict::Wait(silent);
        }
        if needed_by.is_empty() {
            Verdict::Rejoin
        } else if self.can_trust {
            Verdict::Trust
        } else if missing_are_lost {
            // What it has is set aside, and a node that waits forever helps no one.
            Verdict::Rejoin
        } else {
            Verdict::Stay(needed_by)
        }
    }

    fn is_led(&self, group: u64, answers: &BTreeMap<String, Result<Introduction, String>>) -> bool {
        let members = answers.values().flatten();
        let mut members = members.filter_map(|answer| answer.member.as_ref());
        members.any(|member| {
            member.cluster == self.cluster() && member.is_trusted && member.leads.contains(&group)
        })
    }

    fn voter(
        &self,
        node: NodeId,
        answers: &BTreeMap<String, Result<Introduction, String>>,
    ) -> Voter {
        if node == self.identity.node {
            return Voter::Lost;
        }
        let members = answers.values().flatten();
        let mut members = members.filter_map(|answer| answer.member.as_ref());
        let same = members.find(|member| member.cluster == self.cluster() && member.node == node);
        if let Some(member) = same {
            return if member.is_trusted {
                Voter::Trusted
            } else {
                Voter::Lost
            };
        }
        // Another node where this one was: it will not come back under this number.
        let there = self.addresses.get(&node);
        let there = there.and_then(|address| answers.get(address));
        match there {
            Some(Ok(_)) => Voter::Lost,
            Some(Err(_)) | None => Voter::Silent,
        }
    }

    fn cluster(&self) -> ClusterId {
        self.identity.cluster
    }
}
