//! A model of the directory's group. Which change of its members comes next is decided by the real function.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::world::World;
use super::*;
use crate::codec::Membership;
use crate::directory::{Change, Directory, Outcome};
use crate::placement::{GroupState, MembershipStep, PlanOptions, directory_voters, next_step};
use crate::{ClusterId, Member, NodeId};

/// The directory's group of a cluster, as far as it is modelled.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) directory: Directory,
    pub(super) members: Membership,
}

impl World {
    /// Nodes that run a replica of the cluster's directory, by their numbers.
    pub(super) fn replicas(&self, cluster: ClusterId) -> BTreeMap<NodeId, usize> {
        let nodes = self.nodes.iter().enumerate();
        let replicas = nodes.filter_map(|(number, node)| {
            node.process.as_ref()?.done.as_ref()?;
            let identity = node.identity.as_ref()?;
            (identity.cluster == cluster).then_some((identity.node, number))
        });
        replicas.collect()
    }

    /// The node that leads the cluster's directory: there is a majority of the voters, one of which has entries.
    pub(super) fn leader(&self, cluster: ClusterId) -> Option<usize> {
        let replicas = self.replicas(cluster);
        let members = &self.clusters[&cluster].members;
        let voters = members.voters.first()?;
        let up: Vec<_> = voters
            .iter()
            .filter_map(|node| replicas.get(node))
            .collect();
        let able = up.iter().find(|node| self.nodes[***node].has_entries);
        able.filter(|_| up.len() > voters.len() / 2)
            .map(|node| **node)
    }

    pub(super) fn tick(&mut self) {
        for cluster in self.clusters.keys().copied().collect::<Vec<_>>() {
            let leader = self.leader(cluster);
            let replicas = self.replicas(cluster);
            if let Some(leader) = leader {
                self.lead(cluster, leader, &replicas);
            }
            let address = leader.map(|leader| self.nodes[leader].address.clone());
            for node in replicas.into_values() {
                // News travel slowly.
                if self.random.below(3) == 0 {
                    continue;
                }
                if leader.is_some() {
                    self.nodes[node].has_entries = true;
                    if let Some(identity) = &mut self.nodes[node].identity {
                        identity.founders = None;
                        let identity = identity.clone();
                        self.greet(node, |greeter| greeter.identity = Some(identity));
                    }
                }
                let has_entries = self.nodes[node].has_entries;
                let address = address.clone();
                self.greet(node, |greeter| {
                    greeter.has_entries = has_entries;
                    greeter.leader = address;
                });
            }
        }
    }

    /// What the leader of a directory does: it lists the founders, and brings the group to what the directory wants.
    pub(super) fn lead(
        &mut self,
        id: ClusterId,
        leader: usize,
        replicas: &BTreeMap<NodeId, usize>,
    ) {
        let identity = self.nodes[leader]
            .identity
            .clone()
            .expect("a replica has one");
        let cluster = self.clusters.get_mut(&id).expect("it is known");
        if !cluster.directory.is_founded() {
            let members = identity
                .founders
                .expect("it has not seen the members listed");
            let outcome = cluster.directory.apply(&Change::Found {
                cluster: id,
                members,
            });
            assert_eq!(outcome, Outcome::Done(1));
        }
        let voters = cluster.members.voters[0].clone();
        let options = PlanOptions {
            replicas: 3,
            replace_after: Duration::from_mins(5),
        };
        let present: BTreeSet<_> = replicas.keys().copied().collect();
        let wanted = directory_voters(&cluster.directory, &voters, &BTreeMap::new(), options);
        let group = GroupState {
            leader: identity.node,
            members: &cluster.members,
            present: &present,
            caught_up: &present,
            recorded: None,
        };
        let step = next_step(&wanted, &group);
        let members = &mut cluster.members;
        match step {
            None => {}
            Some(MembershipStep::AddLearner(node)) => {
                members.nodes.insert(node, Member::default());
            }
            Some(MembershipStep::SetVoters(voters)) => members.voters = vec![voters],
            Some(MembershipStep::Remove(nodes)) => {
                members.nodes.retain(|node, _| !nodes.contains(node));
            }
            Some(step @ MembershipStep::Record(_)) => panic!("{step:?} in the directory's group"),
        }
        // What is committed is on a majority.
        for node in &cluster.members.voters[0] {
            if let Some(number) = replicas.get(node) {
                self.nodes[*number].has_entries = true;
            }
        }
    }

    pub(super) fn admit(&mut self, node: usize, join: &Join) -> CallAnswer {
        let cluster = self.nodes[node]
            .identity
            .as_ref()
            .expect("it is a member")
            .cluster;
        let leads = self.clusters.contains_key(&cluster) && self.leader(cluster) == Some(node);
        if !leads {
            return CallAnswer::NotLeader { leader: None };
        }
        let mut asked = Asked::new();
        loop {
            let directory = &self.clusters[&cluster].directory;
            match admit(directory, join, &asked) {
                Admission::Ask(addresses) => {
                    for address in addresses {
                        let answer = self.probe(&address);
                        asked.insert(address, answer);
                    }
                }
                Admission::Propose(change) => {
                    let known = self.clusters.get_mut(&cluster).expect("it was there");
                    return match known.directory.apply(&change) {
                        Outcome::Member(node) => CallAnswer::Joined { cluster, node },
                        other => panic!("{other:?}"),
                    };
                }
                Admission::Accept(node) => return CallAnswer::Joined { cluster, node },
                Admission::Later(text) => return CallAnswer::Later(text),
                Admission::Refuse(text) => return CallAnswer::Refused(text),
            }
        }
    }
}
