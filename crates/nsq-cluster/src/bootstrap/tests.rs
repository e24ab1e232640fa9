//! What a node does in each situation of its bootstrap.

mod admission;
mod codec;
mod rules;
mod untrusted;

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::directory::MemberInfo;
use crate::identity::{Founders, Identity};
use crate::{ClusterId, NodeId};

fn info(address: &str) -> MemberInfo {
    MemberInfo {
        address: address.to_owned(),
        broadcast_address: "host".to_owned(),
        tcp_port: 4150,
        http_port: 4151,
        version: "1.3.0".to_owned(),
        entry_format: 1,
        joined: 5,
    }
}

fn set(addresses: &[&str]) -> BTreeSet<String> {
    addresses
        .iter()
        .map(|&address| address.to_owned())
        .collect()
}

fn founders(addresses: &[&str]) -> Founders {
    let numbers = (1..).map(NodeId);
    numbers
        .zip(addresses)
        .map(|(number, address)| (number, info(address)))
        .collect()
}

fn options(address: &str, peers: &[&str], start: Start) -> BootstrapOptions {
    BootstrapOptions {
        info: info(address),
        peers: peers.iter().map(|&peer| peer.to_owned()).collect(),
        process: process_of(address),
        new_cluster: ClusterId(0xc1),
        patience: Duration::from_mins(5),
        start,
    }
}

fn process_of(address: &str) -> u128 {
    address
        .bytes()
        .fold(1, |hash, byte| hash * 257 + u128::from(byte))
}

/// A node without identity, as others hear of it.
fn fresh(address: &str, peers: &[&str]) -> Introduction {
    Introduction {
        process: process_of(address),
        info: info(address),
        peers: set(peers),
        member: None,
    }
}

/// A member of a running cluster.
fn member(address: &str, cluster: u128, node: u64, leader: Option<&str>) -> Introduction {
    let member = Membered {
        cluster: ClusterId(cluster),
        node: NodeId(node),
        founders: None,
        has_entries: true,
        is_trusted: true,
        leader: leader.map(str::to_owned),
        leads: BTreeSet::new(),
    };
    Introduction {
        member: Some(member),
        ..fresh(address, &[])
    }
}

/// A node that has stored a founding, and nothing else has happened.
fn stored(address: &str, cluster: u128, addresses: &[&str]) -> Introduction {
    let mut node = member(address, cluster, 0, None);
    if let Some(member) = &mut node.member {
        member.founders = Some(founders(addresses));
        member.has_entries = false;
        member.node = number(addresses, address);
    }
    node
}

fn number(addresses: &[&str], address: &str) -> NodeId {
    let at = addresses
        .iter()
        .position(|other| *other == address)
        .unwrap();
    NodeId(at as u64 + 1)
}

/// A node under test.
struct Node {
    bootstrap: Bootstrap,
    greeter: Greeter,
    now: Duration,
}

impl Node {
    fn new(options: BootstrapOptions) -> Self {
        let (bootstrap, greeter) = Bootstrap::new(options).unwrap();
        Self {
            bootstrap,
            greeter,
            now: Duration::ZERO,
        }
    }

    fn fresh(address: &str, peers: &[&str]) -> Self {
        Self::new(options(address, peers, Start::Fresh))
    }

    fn next(&mut self) -> Next {
        self.bootstrap.next(&mut self.greeter, self.now)
    }

    /// One round in which the nodes of `answers` answer to hello and all others do not.
    fn round(&mut self, answers: &[Introduction]) -> Next {
        let Next::Call(calls) = self.next() else {
            panic!("no round begins");
        };
        let me = self.greeter.info.address.clone();
        assert!(calls.iter().any(|(address, _)| *address == me));
        for (address, call) in calls {
            assert_eq!(call, Call::Hello(self.greeter.introduction()));
            let answer = if address == me && !answers.iter().any(|node| node.address() == me) {
                Some(self.greeter.introduction())
            } else {
                answers
                    .iter()
                    .find(|node| node.address() == address)
                    .cloned()
            };
            self.answer(&address, answer.ok_or("connection refused"));
        }
        self.next()
    }

    fn answer(&mut self, address: &str, answer: Result<Introduction, &str>) {
        let answer = answer.map(CallAnswer::Hello).map_err(str::to_owned);
        self.bootstrap.answered(address, answer);
    }

    fn store(&mut self, next: &Next) -> Identity {
        let Next::Store(identity) = next else {
            panic!("nothing to store: {next:?}");
        };
        self.bootstrap.stored(&mut self.greeter);
        assert_eq!(self.greeter.identity.as_ref(), Some(&**identity));
        Identity::clone(identity)
    }
}

/// The text has all of `parts`.
fn check_text(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

fn check_wait(next: &Next, parts: &[&str]) {
    match next {
        Next::Wait(text) => check_text(text, parts),
        other => panic!("it does not wait: {other:?}"),
    }
}
