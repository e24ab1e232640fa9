//! One nsqd: what its HTTP endpoints and its statistics are about.

use std::sync::Arc;
use std::time::Instant;

use nsq_core::Broker;
use nsq_server::Server;

use crate::admission::Admission;
use crate::client_table::ClientTable;
use crate::cluster_ops::{Catalogue, ClusterOps};
use crate::drain::Drain;
use crate::registration::Registration;
use crate::scrapes::Scrapes;
use crate::settings::Settings;
use crate::sync_runner::SyncRunner;
use crate::topics::TopicMaker;
use crate::upkeep::Upkeep;
use crate::view::View;

/// One nsqd. Each part is complete without this; only what is about several of them takes it.
pub(crate) struct Nsqd {
    pub(crate) settings: Arc<Settings>,
    pub(crate) broker: Arc<Broker>,
    pub(crate) server: Arc<Server>,
    pub(crate) topics: TopicMaker,
    pub(crate) clients: Arc<ClientTable>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) sync_runner: Arc<SyncRunner>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) upkeep: Arc<Upkeep>,
    /// `None` in a single node.
    pub(crate) cluster: Option<Cluster>,
    pub(crate) scrapes: Scrapes,
    pub(crate) ports: Ports,
    pub(crate) started: Started,
}

impl Nsqd {
    /// The topics and channels of all brokers that are served now.
    pub(crate) fn view(&self) -> View {
        View::of(&self.server)
    }
}

/// The cluster as a node of it needs it.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) ops: Arc<dyn ClusterOps>,
    pub(crate) catalogue: Arc<dyn Catalogue>,
}

/// The ports of the bound sockets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// `None` for a unix socket.
    pub(crate) tcp: Option<u16>,
    /// `None` for a unix socket, 0 when HTTP is off.
    pub(crate) http: Option<u16>,
    /// 0 when HTTPS is off.
    pub(crate) https: u16,
}

/// When nsqd started, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started {
    /// Unix seconds.
    pub(crate) unix_seconds: i64,
    pub(crate) instant: Instant,
}
