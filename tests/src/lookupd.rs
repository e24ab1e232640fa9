//! A running nsqlookupd, and its answers about topics.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use serde_json::Value;

use crate::daemon::Daemon;
use crate::start::Start;
use crate::wait::{PATIENCE, wait_until};

/// A daemon on free loopback ports that stay the same over restarts.
#[derive(Debug)]
pub struct Lookupd {
    daemon: Daemon,
    start: Start,
}

impl Lookupd {
    pub(crate) fn stopped(start: Start) -> Self {
        Self {
            daemon: Daemon::stopped(),
            start,
        }
    }

    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Lookupd::start`], with these flags.
    #[track_caller]
    pub fn start_with(flags: &[&str]) -> Self {
        // nsqds ask this address for channels over HTTP.
        let flags = [&["--broadcast-address=127.0.0.1"], flags].concat();
        Start::with(&flags).lookupd()
    }

    /// Starts it again, without any registrations, after a kill or a termination.
    #[track_caller]
    pub fn start_again(&mut self) {
        let command = self.start.lookupd_command();
        self.daemon.start(command);
    }

    /// All topics, by name.
    #[track_caller]
    pub fn topics(&self) -> Vec<String> {
        names(&self.get("/topics").json()["topics"])
    }

    /// A topic's channels, by name.
    #[track_caller]
    pub fn channels(&self, topic: &str) -> Vec<String> {
        names(
            &self
                .get(&format!("/channels?topic={}", escaped(topic)))
                .json()["channels"],
        )
    }

    /// The broadcast addresses of a topic's producers; none for an unknown topic.
    #[track_caller]
    pub fn producers(&self, topic: &str) -> Vec<SocketAddr> {
        let reply = self.get(&format!("/lookup?topic={}", escaped(topic)));
        let reply = reply.json();
        let producers = reply["producers"].as_array().map(Vec::as_slice);
        let mut addresses: Vec<_> = producers
            .unwrap_or_default()
            .iter()
            .map(tcp_address)
            .collect();
        addresses.sort();
        addresses
    }

    /// The nodes as `/nodes` lists them.
    #[track_caller]
    pub fn nodes(&self) -> Vec<Value> {
        let reply = self.get("/nodes").json();
        let nodes = reply["producers"].as_array();
        nodes.expect("there is a list").clone()
    }

    /// Returns whether `/debug` has a producer for the topic, or for that channel of it.
    #[track_caller]
    pub fn is_registered(&self, topic: &str, channel: Option<&str>) -> bool {
        let key = match channel {
            None => format!("topic:{topic}:"),
            Some(channel) => format!("channel:{topic}:{channel}"),
        };
        self.get("/debug").json().get(key).is_some()
    }

    /// Waits until exactly these are the topic's producers.
    #[track_caller]
    pub fn wait_for_producers(&self, topic: &str, wanted: &[SocketAddr]) {
        let mut wanted = wanted.to_vec();
        wanted.sort();
        let what = format!("/lookup of {topic} finds {wanted:?}");
        wait_until(&what, PATIENCE, || self.producers(topic) == wanted);
    }

    /// Waits until exactly these, by name, are the topic's channels.
    #[track_caller]
    pub fn wait_for_channels(&self, topic: &str, wanted: &[&str]) {
        let what = format!("/channels of {topic} is {wanted:?}");
        wait_until(&what, PATIENCE, || self.channels(topic) == wanted);
    }
}

impl Deref for Lookupd {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Lookupd {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

/// The broadcast address of a producer in an answer.
fn tcp_address(producer: &Value) -> SocketAddr {
    let host = producer["broadcast_address"].as_str().unwrap_or_default();
    let address = format!("{host}:{}", producer["tcp_port"]);
    address
        .parse()
        .unwrap_or_else(|_| panic!("no address in {producer}"))
}

fn names(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("there is a list");
    let names = list.iter().map(|name| name.as_str().expect("a name"));
    let mut names: Vec<_> = names.map(String::from).collect();
    names.sort();
    names
}

/// A name escaped for a query: `#` is the only character of a name that needs it.
fn escaped(name: &str) -> String {
    name.replace('#', "%23")
}
