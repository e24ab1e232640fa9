//! An nsqd, as nsqlookupd or it itself introduces it.

use std::sync::Arc;

use semver::Version;
use serde::{Deserialize, Serialize};

use super::List;

/// An nsqd.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the keys are nsqlookupd's own")]
pub struct Producer {
    /// `<nsqlookupd>/<address it was seen at>`, once for each report of it; absent without nsqlookupd.
    pub remote_addresses: List<String>,
    pub remote_address: String,
    pub hostname: Arc<str>,
    pub broadcast_address: String,
    pub tcp_port: u16,
    pub http_port: u16,
    pub version: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub topology_zone: Arc<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub topology_region: Arc<str>,
    /// By name.
    pub topics: List<ProducerTopic>,
    /// Whether another nsqd has a higher version.
    pub out_of_date: bool,
}

/// A topic that an nsqd has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProducerTopic {
    /// Its name.
    pub topic: String,
    /// Whether nsqlookupd hides this nsqd from the topic's consumers.
    pub tombstoned: bool,
}

/// What stands in nsqlookupd's `/nodes` and `/lookup`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Introduction {
    remote_address: String,
    hostname: Arc<str>,
    broadcast_address: String,
    tcp_port: u16,
    http_port: u16,
    version: String,
    topics: Option<Vec<String>>,
    tombstones: Option<Vec<bool>>,
    topology_zone: Arc<str>,
    topology_region: Arc<str>,
}

impl Producer {
    /// `host:port` of its HTTP interface, by which nsqadmin knows it.
    pub fn http_address(&self) -> String {
        join(&self.broadcast_address, self.http_port)
    }

    /// `host:port` of its TCP interface.
    pub fn tcp_address(&self) -> String {
        join(&self.broadcast_address, self.tcp_port)
    }

    /// Whether something else than one connection to each of `lookupd_count` nsqlookupds was reported: it misses
    /// one, or two nsqds share an address.
    pub fn is_inconsistent(&self, lookupd_count: usize) -> bool {
        self.remote_addresses.len() != lookupd_count
    }

    /// Marks those that are older than the newest.
    pub(super) fn mark_out_of_date(producers: &mut [Producer]) {
        let newest = producers.iter().map(Self::comparable_version).max();
        for producer in producers {
            producer.out_of_date = Some(producer.comparable_version()) < newest;
        }
    }

    /// Notes that `lookupd` has reported it, seen at `remote_address`.
    pub(super) fn add_report(&mut self, lookupd: &str, remote_address: &str) {
        let seen_at = match remote_address {
            "" => "N/A",
            address => address,
        };
        self.remote_addresses.push(format!("{lookupd}/{seen_at}"));
    }

    fn comparable_version(&self) -> Version {
        Version::parse(&self.version).unwrap_or(Version::new(0, 0, 0))
    }
}

impl From<Introduction> for Producer {
    fn from(introduction: Introduction) -> Self {
        let Introduction {
            remote_address,
            hostname,
            broadcast_address,
            tcp_port,
            http_port,
            version,
            topics,
            tombstones,
            topology_zone,
            topology_region,
        } = introduction;
        // Upstream reads beyond the end of a short list.
        let tombstones = tombstones.unwrap_or_default();
        let mut list = List::default();
        for (position, topic) in topics.unwrap_or_default().into_iter().enumerate() {
            let tombstoned = tombstones.get(position).copied().unwrap_or_default();
            list.push(ProducerTopic { topic, tombstoned });
        }
        list.as_mut_slice().sort_by(|a, b| a.topic.cmp(&b.topic));
        Self {
            remote_addresses: List::default(),
            remote_address,
            hostname,
            broadcast_address,
            tcp_port,
            http_port,
            version,
            topology_zone,
            topology_region,
            topics: list,
            out_of_date: false,
        }
    }
}

/// `host:port`, an IPv6 host in brackets.
fn join(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
