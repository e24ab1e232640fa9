//! The later rounds of a bootstrap: founding, joining, and an untrusted disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::call::{Call, CallAnswer, Found, Introduction, Join};
use super::decision::{Bootstrap, Phase};
use super::fresh::silent;
use super::greeter::Greeter;
use super::next::{Done, Next, Start, must_found};
use super::untrusted::{UntrustedNode, Verdict};
use crate::identity::Identity;
use crate::{GroupId, NodeId};

impl Bootstrap {
    /// Sends the founding to everyone who has not stored it.
    pub(super) fn decide_founding(&mut self, identity: &Identity) -> Next {
        let founders = identity.founders.clone().unwrap_or_default();
        let others = self.others();
        let mut unstored = BTreeSet::new();
        let mut trouble = None;
        for info in founders.values() {
            let address = &info.address;
            if *address == self.info.address {
                continue;
            }
            match others.get(address) {
                None => trouble = Some(format!("waiting for {address}")),
                Some(Err(error)) => trouble = Some(format!("waiting for {address} ({error})")),
                Some(Ok(other)) => match &other.member {
                    None => {
                        unstored.insert(address.clone());
                    }
                    Some(member) if member.cluster != identity.cluster => {
                        trouble = Some(format!(
                            "{address} belongs to the cluster {}, and this node is founding {}",
                            member.cluster, identity.cluster
                        ));
                    }
                    Some(member) if member.has_entries => {
                        // The directory runs; this node did not know any more.
                        return self.over(Done::Start(identity.clone()));
                    }
                    Some(_) => {}
                },
            }
        }
        if unstored.is_empty() {
            return match trouble {
                Some(text) => Next::Wait(text),
                None => self.over(Done::Initialize(identity.clone())),
            };
        }
        let found = Call::Found(Found {
            process: self.process,
            founder: self.info.address.clone(),
            cluster: identity.cluster,
            founders,
        });
        self.answers.clear();
        self.phase = Phase::Founding(trouble);
        let calls = unstored.into_iter().map(|address| (address, found.clone()));
        Next::Call(calls.collect())
    }

    /// Every founder has stored the founding, or there is another round.
    pub(super) fn finish_founding(&mut self, mut trouble: Option<String>) -> Next {
        for (address, answer) in &self.answers {
            match answer {
                Ok(CallAnswer::Stored) => {}
                Ok(CallAnswer::Later(why) | CallAnswer::Refused(why)) | Err(why) => {
                    trouble = Some(format!("{address} does not take part in founding: {why}"));
                }
                Ok(_) => trouble = Some(format!("{address}: its answer does not fit the question")),
            }
        }
        match (trouble, self.start.clone()) {
            (None, Start::Founding(identity)) => self.over(Done::Initialize(identity)),
            (trouble, _) => Next::Wait(trouble.unwrap_or_default()),
        }
    }

    /// Asks the directory's leader for a number.
    pub(super) fn join(
        &mut self,
        greeter: &mut Greeter,
        others: &BTreeMap<String, Result<Introduction, String>>,
        was: Option<&Identity>,
    ) -> Next {
        let members = others.values().flatten();
        let members = members.filter_map(|node| node.member.as_ref());
        let leaders = members
            .filter(|member| was.is_none_or(|was| was.cluster == member.cluster))
            .filter_map(|member| member.leader.as_ref());
        // A member may name a former leader. So each named node gets its turn, first those that have answered this node.
        let leader = leaders.min_by_key(|leader| {
            let failures = self.failed_via.get(*leader).copied();
            let is_heard = matches!(others.get(*leader), Some(Ok(_)));
            (failures.unwrap_or(0), !is_heard)
        });
        let Some(leader) = leader.cloned() else {
            let text = "waiting to join: the members of the cluster hear no leader of its directory at the moment";
            return Next::Wait(match silent(others) {
                Some(silent) => format!("{text}; {silent}"),
                None => text.to_owned(),
            });
        };
        greeter.close();
        let join = Join {
            process: self.process,
            info: self.info.clone(),
            was: was.map(|was| (was.cluster, was.node)),
        };
        self.answers.clear();
        self.phase = Phase::Joining(leader.clone());
        Next::Call(vec![(leader, Call::Join(join))])
    }

    pub(super) fn finish_joining(&mut self, greeter: &mut Greeter, via: &str) -> Next {
        let why = match self.answers.remove(via) {
            Some(Ok(CallAnswer::Joined { cluster, node })) => {
                let identity = match &self.start {
                    // It keeps what it holds, as far as that is of use under the new number.
                    Start::Untrusted(before) => Identity {
                        node,
                        founders: None,
                        ..before.identity.clone()
                    },
                    _ => Identity::new(cluster, node),
                };
                return self.store(identity);
            }
            Some(Err(error)) => {
                // It may have been heard. The same process asking again gets the same number.
                self.may_have_joined = true;
                error
            }
            None => {
                self.may_have_joined = true;
                "no answer".to_owned()
            }
            Some(Ok(CallAnswer::NotLeader { .. })) => {
                "it does not lead the directory now".to_owned()
            }
            Some(Ok(CallAnswer::Later(why) | CallAnswer::Refused(why))) => why,
            Some(Ok(_)) => "its answer does not fit the question".to_owned(),
        };
        if !self.may_have_joined {
            greeter.open();
        }
        *self.failed_via.entry(via.to_owned()).or_default() += 1;
        Next::Wait(format!("cannot join by way of {via}: {why}"))
    }

    pub(super) fn decide_untrusted(
        &mut self,
        greeter: &mut Greeter,
        node: &UntrustedNode,
        elapsed: Duration,
    ) -> Next {
        let others = self.others();
        let identity = &node.identity;
        if must_found(identity, false) && no_one_runs(identity, &self.info.address, &others) {
            // Nothing was ever committed, so nothing can be missing.
            greeter.is_trusted = true;
            self.start = Start::Founding(identity.clone());
            return self.decide_founding(identity);
        }
        let verdict = node.decide(&others, elapsed >= self.patience);
        let members = others.values().flatten();
        let mut members = members.filter_map(|other| other.member.as_ref());
        let is_led = members.any(|member| member.leader.is_some());
        match verdict {
            Verdict::Wait(nodes) => {
                self.needed_since = None;
                Next::Wait(waiting_for(node, &nodes))
            }
            Verdict::Stay(groups) => {
                self.needed_since = None;
                let groups: Vec<_> = groups
                    .iter()
                    .map(|group| GroupId(*group).to_string())
                    .collect();
                Next::Wait(format!(
                    "this node must not vote with its damaged disk ({}), and {} would have no majority without it: it removes \
                     nothing, and waits for the other replicas",
                    node.why,
                    groups.join(", ")
                ))
            }
            // Others in the same state may have begun to trust their disks a moment ago, and without a leader there is no
            // number to get from them: this node goes with them.
            Verdict::Rejoin if is_led || self.needed_since.is_none() => {
                self.needed_since = None;
                self.join(greeter, &others, Some(identity))
            }
            Verdict::Trust | Verdict::Rejoin => {
                let since = *self.needed_since.get_or_insert(elapsed);
                if !others.is_empty() && elapsed < since + SETTLE {
                    let text = format!(
                        "this node cannot trust its disk ({}), and too few of the others can; it will go on with what there is \
                         unless a leader turns up",
                        node.why
                    );
                    return Next::Wait(text);
                }
                greeter.is_trusted = true;
                self.over(Done::Trust(identity.clone()))
            }
        }
    }
}

fn waiting_for(node: &UntrustedNode, nodes: &BTreeSet<NodeId>) -> String {
    let name = |member: &NodeId| match node.addresses.get(member) {
        Some(address) => format!("node {member} ({address})"),
        None => format!("node {member}"),
    };
    let nodes: Vec<_> = nodes.iter().map(name).collect();
    format!(
        "this node cannot trust its disk ({}), and too few of the others can; waiting to hear from {}",
        node.why,
        nodes.join(", ")
    )
}

/// Whether every other founder has answered, and none has an entry of the directory.
fn no_one_runs(
    identity: &Identity,
    me: &str,
    others: &BTreeMap<String, Result<Introduction, String>>,
) -> bool {
    let founders = identity
        .founders
        .iter()
        .flat_map(|founders| founders.values());
    let mut others_of = founders.filter(|info| info.address != me);
    others_of.all(|info| match others.get(&info.address) {
        Some(Ok(other)) => {
            let member = other.member.as_ref();
            member.is_none_or(|member| member.cluster == identity.cluster && !member.has_entries)
        }
        _ => false,
    })
}

/// How long no leader may have been seen before an untrusted disk is trusted. What the node knows of the voters may be old; if
/// a majority of the present ones is there, it has elected a leader by then.
const SETTLE: Duration = Duration::from_secs(5);
