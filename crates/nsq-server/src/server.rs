//! What all connections of one nsqd share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nsq_core::topic::Published;
use nsq_core::{Broker, Topic};
use nsq_protocol::Limits;
use nsq_protocol::identify::{IdentifyLimits, ServerFeatures};

use crate::fetch::Fetcher;
use crate::router::Router;
use crate::shards::Shards;
use crate::spare_inboxes::SpareInboxes;
use crate::syncs::{Extent, PublisherId, Syncs};
use crate::topology::Topology;

/// The end of the name of what is kept in memory only.
const EPHEMERAL: &str = "#ephemeral";

/// What the sessions have to know of nsqd's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What holds for every command.
    pub limits: Limits,
    /// What a client may ask for in IDENTIFY, and what it gets without asking.
    pub identify_limits: IdentifyLimits,
    /// What this nsqd offers. With `auth_required`, clients may do only what an authorization server grants them.
    pub features: ServerFeatures,
    /// Whether a client must negotiate TLS before anything but IDENTIFY.
    pub tls_required: bool,
    /// Most consumers of one channel; 0 for no limit.
    pub max_channel_consumers: usize,
    /// How long a new connection may take until its first command; zero for no limit.
    pub first_command_timeout: Duration,
    /// Where this nsqd runs.
    pub topology: Topology,
}

/// What the server asks of the program around it. The calls only leave a note.
pub trait Host: Send + Sync {
    /// [`Syncs::begin`] has something to give.
    fn sync_begins(&self);
    /// [`SyncWorker::turn`](crate::syncs::SyncWorker::turn) may have another answer than before.
    fn sync_gathered(&self);
    /// A connection is closed because the client sent no command in time; `cause` is what the client is told.
    fn client_was_silent(&self, remote_address: &str, cause: &str);
}

/// One nsqd, as its connections and its HTTP publishers see it.
pub struct Server {
    settings: Settings,
    broker: Arc<Broker>,
    shards: Shards,
    /// In a cluster only.
    router: Option<Arc<dyn Router>>,
    /// In a cluster only.
    fetcher: Option<Arc<Fetcher>>,
    host: Arc<dyn Host>,
    syncs: Syncs,
    spare_inboxes: SpareInboxes,
    is_exiting: AtomicBool,
}

impl Server {
    /// Serves `broker`.
    pub fn new(settings: Settings, broker: Arc<Broker>, host: Arc<dyn Host>) -> Server {
        Server::with(settings, broker, None, host)
    }

    /// Serves the shards that this node leads, none at first; see [`shards`](Self::shards). What is published to durable topics
    /// goes through `router`; topics in memory live in `local`, and nothing else does.
    pub fn clustered(
        settings: Settings,
        local: Arc<Broker>,
        router: Arc<dyn Router>,
        host: Arc<dyn Host>,
    ) -> Server {
        Server::with(settings, local, Some(router), host)
    }

    fn with(
        settings: Settings,
        broker: Arc<Broker>,
        router: Option<Arc<dyn Router>>,
        host: Arc<dyn Host>,
    ) -> Server {
        Server {
            settings,
            broker,
            shards: Shards::default(),
            router,
            fetcher: None,
            syncs: Syncs::new(Arc::clone(&host)),
            host,
            spare_inboxes: SpareInboxes::default(),
            is_exiting: AtomicBool::new(false),
        }
    }

    /// What holds for every connection.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The topics; in a cluster, those in memory only.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// The shards that this node leads; none without a cluster.
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// [`broker`](Self::broker), and in a cluster those of the shards that this node leads.
    pub fn brokers(&self) -> Vec<Arc<Broker>> {
        let shards = self.shards.snapshot();
        let of_shards = shards.iter().map(|shard| Arc::clone(&shard.broker));
        std::iter::once(Arc::clone(&self.broker))
            .chain(of_shards)
            .collect()
    }

    /// Where publishes to this topic go, if not to [`broker`](Self::broker): to the cluster's router, for a topic that is not
    /// in memory only.
    pub fn route(&self, topic: &str) -> Option<&Arc<dyn Router>> {
        let router = self.router.as_ref()?;
        (!topic.ends_with(EPHEMERAL)).then_some(router)
    }

    /// Where clients reach the nodes of the cluster, as `host:port` each; none without a cluster.
    pub fn nodes(&self) -> Vec<String> {
        self.router
            .as_ref()
            .map(|router| router.nodes())
            .unwrap_or_default()
    }

    /// From now on consumers of durable topics get messages of shards that other nodes lead, too.
    pub fn fetch_with(&mut self, fetcher: Arc<Fetcher>) {
        self.fetcher = Some(fetcher);
    }

    pub(crate) fn fetcher(&self) -> Option<&Arc<Fetcher>> {
        self.fetcher.as_ref()
    }

    /// Which topics are to be synced, and who waits for which sync.
    pub fn syncs(&self) -> &Syncs {
        &self.syncs
    }

    pub(crate) fn spare_inboxes(&self) -> &SpareInboxes {
        &self.spare_inboxes
    }

    pub(crate) fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// Asks for the sync that a publish needs which was just accepted: to become safe, or because it was one of
    /// `--sync-every` messages.
    pub fn sync_for(&self, topic: &Arc<Topic>, published: &Published, publisher: PublisherId) {
        if !published.is_safe {
            self.syncs.join(topic, publisher);
        } else if published.sync_due {
            self.syncs.ask(topic, Extent::Published);
        }
    }

    /// From now on no topic is made for a publish whose topic is gone: nsqd is going down.
    pub fn exit(&self) {
        self.is_exiting.store(true, Ordering::Release);
    }

    /// Whether nsqd is going down.
    pub fn is_exiting(&self) -> bool {
        self.is_exiting.load(Ordering::Acquire)
    }
}
