//! A node of a cluster without sockets, signals and threads of its own, for a program that brings clients' streams and a
//! [`Platform`]: the simulation of a whole cluster.
//!
//! Everything between a client's bytes and the disk is what [`run`](crate::run) serves with.

use std::future::Future;
use std::io;
use std::sync::Arc;

use nsq_protocol::{ChannelName, TopicName};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::accept::serve;
use crate::background::Background;
use crate::cluster::ClusterNode;
use crate::cluster_ops::ClusterOps;
use crate::connection::Services;
use crate::data_path;
use crate::nsqd::{Nsqd, Ports};
use crate::run::{StartError, close, leave, open};
use crate::settings::Settings;
use crate::upkeep::BrokerTasks;

pub use crate::cluster::platform::{NodeRuntime, Platform, Port};
pub use crate::settings::ClusterSettings;

/// A running node.
pub struct Embedded {
    nsqd: Arc<Nsqd>,
    broker_tasks: BrokerTasks,
    node: ClusterNode,
    background: Background,
    services: Arc<Services>,
}

/// What a node knows of one of its replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// Its group: 0 is the directory, others are shards.
    pub group: u64,
    /// The newest term it knows.
    pub term: u64,
    /// Whether it leads.
    pub leads: bool,
}

impl Embedded {
    /// Opens what an earlier run left, and begins to be a node. Must be called in the tokio runtime that is to run everything.
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Panics
    /// When the settings are not those of a node of a cluster.
    pub async fn start(
        settings: Settings,
        platform: Arc<dyn Platform>,
    ) -> Result<Embedded, StartError> {
        let data_path = data_path::of(&settings);
        let ports = Ports {
            tcp: None,
            http: None,
            https: 0,
        };
        let (nsqd, broker_tasks, node) = open(settings, data_path, ports, platform).await?;
        let node = node.expect("the settings are those of a node of a cluster");
        let background = Background::start(nsqd.upkeep.timers(), &nsqd.sync_runner, &nsqd.server);
        let services = Arc::new(Services {
            server: Arc::clone(&nsqd.server),
            topics: nsqd.topics.clone(),
            acceptor: None,
            authorizer: None,
        });
        Ok(Embedded {
            nsqd,
            broker_tasks,
            node,
            background,
            services,
        })
    }

    /// Serves a client until it leaves.
    pub fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        address: String,
    ) -> impl Future<Output = ()> + Send + use<S> {
        let clients = Arc::clone(&self.nsqd.clients);
        let services = Arc::clone(&self.services);
        async move { serve(stream, &clients, services, address, String::new()).await }
    }

    /// Ends cleanly, as at SIGTERM.
    ///
    /// # Errors
    /// When the blocking work of closing has failed.
    pub async fn stop(self) -> io::Result<()> {
        leave(&self.nsqd, Some(&self.node), Vec::new()).await;
        close(&self.nsqd, self.broker_tasks, &self.background, None).await?;
        self.node.stop().await;
        Ok(())
    }

    /// The replicas of this node.
    pub fn replicas(&self) -> Vec<Replica> {
        self.node.replicas()
    }

    /// The answer of `GET /cluster`.
    pub fn report(&self) -> serde_json::Value {
        serde_json::to_value(self.ops().report()).unwrap_or_default()
    }

    /// Whether this node's copy of the directory lists the topic, or that channel of it.
    pub fn knows(&self, topic: &TopicName, channel: Option<&ChannelName>) -> bool {
        let cluster = self.nsqd.cluster.as_ref();
        cluster.is_some_and(|cluster| cluster.catalogue.has(topic, channel))
    }

    /// Removes a member for good; `node` is its number or its address.
    ///
    /// # Errors
    /// Why it was not removed, or why that is not known.
    pub fn remove_member(
        &self,
        node: String,
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let ops = self.ops();
        async move {
            let removed = ops.remove_member(&node).await;
            removed.map(drop).map_err(|error| error.to_string())
        }
    }

    /// Deletes a channel in the whole cluster.
    ///
    /// # Errors
    /// Why it was not deleted, or why that is not known.
    pub fn delete_channel(
        &self,
        topic: TopicName,
        channel: ChannelName,
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let ops = self.ops();
        async move {
            let deleted = ops.delete_channel(&topic, &channel).await;
            deleted.map_err(|error| error.to_string())
        }
    }

    /// Deletes a topic in the whole cluster.
    ///
    /// # Errors
    /// Why it was not deleted, or why that is not known.
    pub fn delete_topic(
        &self,
        topic: TopicName,
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let ops = self.ops();
        async move {
            let deleted = ops.delete_topic(&topic).await;
            deleted.map_err(|error| error.to_string())
        }
    }

    fn ops(&self) -> Arc<dyn ClusterOps> {
        let cluster = self.nsqd.cluster.as_ref();
        Arc::clone(&cluster.expect("it is a node of a cluster").ops)
    }
}
