//! The decisions of a node without an identity: found, join or wait.

use std::collections::{BTreeMap, BTreeSet};

use super::call::Introduction;
use super::decision::Bootstrap;
use super::greeter::{Greeter, listed};
use super::next::{Next, founder_of};
use crate::identity::{Founders, Identity};
use crate::{ClusterId, NodeId};

impl Bootstrap {
    pub(super) fn decide_fresh(&mut self, greeter: &mut Greeter) -> Next {
        let others = self.others();
        let members: Vec<_> = others
            .values()
            .flatten()
            .filter_map(|node| Some((node.address(), node.member.as_ref()?)))
            .collect();
        let Some((first, member)) = members.first() else {
            return self.decide_founder(greeter, &others);
        };
        let foreign = members
            .iter()
            .find(|(_, other)| other.cluster != member.cluster);
        if let Some((second, other)) = foreign {
            return Next::Wait(format!(
                "the nodes given by --cluster-peer belong to different clusters: {first} to {}, {second} to {}",
                member.cluster, other.cluster
            ));
        }
        if members.iter().any(|(_, member)| member.is_running()) {
            return self.join(greeter, &others, None);
        }
        match &member.founders {
            Some(founders) => {
                let (cluster, founders) = (member.cluster, founders.clone());
                self.decide_refounding(greeter, cluster, &founders, &others)
            }
            None => self.join(greeter, &others, None),
        }
    }

    /// No one has a cluster.
    fn decide_founder(
        &mut self,
        greeter: &mut Greeter,
        others: &BTreeMap<String, Result<Introduction, String>>,
    ) -> Next {
        let me = &self.info.address;
        if !self.peers.contains(me) {
            return Next::Wait(format!(
                "none of the nodes given by --cluster-peer={} belongs to a cluster that this node could join, and its own \
                 --cluster-broadcast-address={me} is not among them, so that it is none of the first members",
                listed(&self.peers)
            ));
        }
        for (address, other) in others {
            let Ok(other) = other else { continue };
            if other.address() != address {
                return Next::Wait(format!(
                    "the node given by --cluster-peer={address} calls itself {}: its --cluster-broadcast-address must be \
                     the address by which the others know it",
                    other.address()
                ));
            }
            if other.peers != self.peers {
                return Next::Wait(format!(
                    "the lists of --cluster-peer differ: this node has {}, and {address} has {}",
                    listed(&self.peers),
                    listed(&other.peers)
                ));
            }
        }
        if let Some(text) = silent(others) {
            return Next::Wait(text);
        }
        let founder = self.peers.first();
        if founder != Some(me) {
            let founder = founder.map_or("", String::as_str);
            return Next::Wait(format!("waiting for {founder} to found the cluster"));
        }
        let mut founders = Founders::new();
        let numbers = (1..).map(NodeId);
        for (number, address) in numbers.zip(&self.peers) {
            let info = match others.get(address) {
                Some(Ok(other)) => other.info.clone(),
                _ => self.info.clone(),
            };
            founders.insert(number, info);
        }
        self.found(greeter, self.new_cluster, founders)
    }

    /// Some nodes have stored the founding of a cluster, and it is not complete.
    fn decide_refounding(
        &mut self,
        greeter: &mut Greeter,
        cluster: ClusterId,
        founders: &Founders,
        others: &BTreeMap<String, Result<Introduction, String>>,
    ) -> Next {
        let me = &self.info.address;
        let founder = founders.first_key_value().map(|(_, info)| &info.address);
        if founder != Some(me) {
            let founder = founder.map_or("", String::as_str);
            return Next::Wait(format!("waiting for {founder} to found the cluster"));
        }
        // This node was the founder and has lost its disk. None of the others has an entry, so nothing was committed, and no
        // one counts on a vote of this node.
        let wanted = founders.values().map(|info| &info.address);
        let wanted = wanted.filter(|address| *address != me);
        let unasked: BTreeSet<_> = wanted
            .filter(|address| !others.contains_key(*address))
            .cloned()
            .collect();
        if !unasked.is_empty() {
            let text = format!(
                "asking {}, which are founders of the cluster",
                listed(&unasked)
            );
            self.more.extend(unasked);
            return Next::Wait(text);
        }
        if let Some(text) = silent(others) {
            return Next::Wait(text);
        }
        self.found(greeter, cluster, founders.clone())
    }

    fn found(&mut self, greeter: &mut Greeter, cluster: ClusterId, founders: Founders) -> Next {
        let identity = founder_of(&founders).map(|node| Identity {
            founders: Some(founders),
            ..Identity::new(cluster, node)
        });
        let Some(identity) = identity else {
            return Next::Wait("there are no founders".to_owned());
        };
        greeter.close();
        self.store(identity)
    }
}

/// Which nodes have not answered, and why, if there are any.
pub(super) fn silent(others: &BTreeMap<String, Result<Introduction, String>>) -> Option<String> {
    let silent = others.iter().filter_map(|(address, answer)| {
        let error = answer.as_ref().err()?;
        Some(format!("--cluster-peer={address} ({error})"))
    });
    let silent: Vec<_> = silent.collect();
    (!silent.is_empty()).then(|| format!("waiting for {}", silent.join(", ")))
}
