//! The end of a node that other nodes call, about who it is and whether it stores a founding.

use std::collections::{BTreeMap, BTreeSet};

use super::call::{Call, CallAnswer, Found, Introduction, Membered};
use crate::directory::MemberInfo;
use crate::identity::{Founders, Identity};

/// Answers [`Call::Hello`] and [`Call::Found`]. Its holder keeps the public fields true.
#[derive(Clone, Debug)]
pub struct Greeter {
    /// A random number of this process.
    pub process: u128,
    /// What the node says of itself.
    pub info: MemberInfo,
    /// Its `--cluster-peer` flags.
    pub peers: BTreeSet<String>,
    /// Its identity, once it is stored.
    pub identity: Option<Identity>,
    /// Whether its disk holds all that it has acknowledged.
    pub is_trusted: bool,
    /// Whether its log of the directory has entries.
    pub has_entries: bool,
    /// The address of the directory's leader, if the node hears one.
    pub leader: Option<String>,
    /// The groups that it leads.
    pub leads: BTreeSet<u64>,
    /// The newest process of each peer that has said hello.
    heard: BTreeMap<String, u128>,
    /// Whether it may still store a founding: not once it has asked to join, nor while it stores an identity.
    is_open: bool,
}

/// The result of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handled {
    /// Send the answer.
    Answer(CallAnswer),
    /// Store the identity, call [`Greeter::stored`], and then send the answer.
    Store(Box<Identity>, CallAnswer),
    /// The call is for the directory's leader: see [`admit`](super::admit).
    ForLeader,
}

impl Greeter {
    /// A node without identity.
    pub fn new(info: MemberInfo, peers: BTreeSet<String>, process: u128) -> Self {
        Self {
            process,
            info,
            peers,
            identity: None,
            is_trusted: true,
            has_entries: false,
            leader: None,
            leads: BTreeSet::new(),
            heard: BTreeMap::new(),
            is_open: true,
        }
    }

    /// Who the node is.
    pub fn introduction(&self) -> Introduction {
        let member = self.identity.as_ref().map(|identity| Membered {
            cluster: identity.cluster,
            node: identity.node,
            founders: identity.founders.clone(),
            has_entries: self.has_entries,
            is_trusted: self.is_trusted,
            leader: self.leader.clone(),
            leads: self.leads.clone(),
        });
        Introduction {
            process: self.process,
            info: self.info.clone(),
            peers: self.peers.clone(),
            member,
        }
    }

    /// Answers a call.
    pub fn handle(&mut self, call: &Call) -> Handled {
        match call {
            Call::Hello(caller) => {
                // Only peers can found, so no one else can make this grow.
                if self.peers.contains(caller.address()) {
                    let address = caller.address().to_owned();
                    self.heard.insert(address, caller.process);
                }
                Handled::Answer(CallAnswer::Hello(self.introduction()))
            }
            Call::Found(found) => self.handle_found(found),
            Call::Join(_) if self.identity.is_none() => {
                let text = format!("{} is no member of a cluster yet", self.info.address);
                Handled::Answer(CallAnswer::Later(text))
            }
            Call::Join(_) => Handled::ForLeader,
        }
    }

    /// The identity of [`Handled::Store`] is stored.
    pub fn stored(&mut self, identity: Identity) {
        self.identity = Some(identity);
    }

    /// From now on no founding is stored.
    pub(super) fn close(&mut self) {
        self.is_open = false;
    }

    /// The node has not joined: a founding may be stored again.
    pub(super) fn open(&mut self) {
        self.is_open = true;
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    fn handle_found(&mut self, found: &Found) -> Handled {
        let me = &self.info.address;
        let refuse = |text: String| Handled::Answer(CallAnswer::Refused(text));
        let later = |text: String| Handled::Answer(CallAnswer::Later(text));
        let node = number_of(&found.founders, me);
        if let Some(identity) = &self.identity {
            if identity.cluster == found.cluster && Some(identity.node) == node {
                return Handled::Answer(CallAnswer::Stored);
            }
            return refuse(format!(
                "{me} belongs to the cluster {} already; {} is founding the cluster {}",
                identity.cluster, found.founder, found.cluster
            ));
        }
        if self.heard.get(&found.founder) != Some(&found.process) {
            return later(format!(
                "{me} does not know this process of {}",
                found.founder
            ));
        }
        if !self.is_open {
            return later(format!("{me} is joining a cluster"));
        }
        let addresses = addresses(&found.founders);
        let Some(node) = node.filter(|_| addresses == self.peers) else {
            return refuse(format!(
                "the lists of --cluster-peer differ: {} has {}, and {me} has {}",
                found.founder,
                listed(&addresses),
                listed(&self.peers)
            ));
        };
        self.is_open = false;
        let identity = Identity {
            founders: Some(found.founders.clone()),
            ..Identity::new(found.cluster, node)
        };
        Handled::Store(Box::new(identity), CallAnswer::Stored)
    }
}

/// The number that the founder with this address has.
pub(super) fn number_of(founders: &Founders, address: &str) -> Option<crate::NodeId> {
    let mut founders = founders.iter();
    founders
        .find(|(_, info)| info.address == address)
        .map(|(node, _)| *node)
}

pub(super) fn addresses(founders: &Founders) -> BTreeSet<String> {
    founders.values().map(|info| info.address.clone()).collect()
}

/// A list of peers, for a message.
pub(super) fn listed(peers: &BTreeSet<String>) -> String {
    if peers.is_empty() {
        return "none".to_owned();
    }
    peers.iter().cloned().collect::<Vec<_>>().join(", ")
}
