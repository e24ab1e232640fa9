//! The answers of nsqlookupds and nsqds, asked all at once and put together.
//!
//! Every request goes to several daemons side by side, each with its own time limit: one that is dead or slow costs
//! its own part of the answer, and a line in [`Found::warnings`]. It is an error only if no daemon answers. The
//! structs are upstream nsqadmin's, key by key, since they are the JSON API as they stand.
//!
//! Source: nsq 1.3.0, internal/clusterinfo.

mod actions;
mod channel;
mod client;
mod failure;
mod fan_out;
mod fetch;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../../../tests/fuzz/bodies/nsqadmin.rs"]
pub mod fuzz;
mod latency;
mod list;
mod lookups;
mod node;
mod overview;
mod peek;
mod producer;
mod publish;
mod queries;
mod replication;
mod topic;
mod unresponsive;

pub use self::actions::{QueueAction, Target};
pub use self::channel::Channel;
pub use self::client::{Client, PubCount};
pub use self::failure::{ClusterError, DaemonKind, Failure, Found, Warnings};
pub use self::fetch::ClientSetupError;
pub use self::latency::{Latency, Percentile};
pub use self::list::List;
pub use self::node::{Memory, Node, NodeStats};
pub use self::overview::{LookupdReport, NodeReport, Overview};
pub use self::peek::{Peek, PeekedClient, PeekedMessage};
pub use self::producer::{Producer, ProducerTopic};
pub use self::replication::{ClusterReport, Member, MemberAction, Replica, Shard};
pub use self::topic::Topic;

use nsq_daemon::options::LiveList;

use self::fetch::Fetcher;
use self::overview::SharedOverview;
use crate::settings::Settings;

/// The daemons given by flags, and all nsqds that the nsqlookupds know.
#[derive(Debug)]
pub struct Cluster {
    fetcher: Fetcher,
    lookupds: LiveList,
    /// Asked only when there is no nsqlookupd.
    nsqds: Vec<String>,
    overview: SharedOverview,
}

impl Cluster {
    /// The cluster that the settings describe.
    ///
    /// # Errors
    /// What is wrong with the TLS files.
    pub fn new(settings: &Settings) -> Result<Self, ClientSetupError> {
        Ok(Self {
            fetcher: Fetcher::new(settings)?,
            lookupds: settings.nsqlookupd_http_addresses.clone(),
            nsqds: settings.nsqd_http_addresses.to_vec(),
            overview: SharedOverview::default(),
        })
    }

    /// The HTTP client, with its timeouts and TLS, for servers that are no daemons of NSQ.
    pub fn client(&self) -> &nsq_daemon::http::client::Client {
        self.fetcher.client()
    }

    /// Whether there are nsqlookupds to ask; else the nsqds are those of `--nsqd-http-address`.
    pub fn has_lookupds(&self) -> bool {
        !self.lookupds.current().is_empty()
    }

    /// The addresses of the nsqlookupds, as given.
    pub fn lookupds(&self) -> Vec<String> {
        self.lookupds.current().to_vec()
    }
}
