//! A node of a cluster, without the cluster: its server is real, and its calls to other nodes go to the test.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nsq_cluster::codec::Request;
use nsq_cluster::directory::Directory;
use nsq_cluster::group::Group;
use nsq_cluster::network::{Calling, Network};
use nsq_cluster::{Member, NodeId};
use nsq_core::broker::{Change, Host as BrokerHost};
use nsq_core::{
    Broker, ChannelCell, ClientId, Now, Pending, SafeOnce, Settings as BrokerSettings, Tick,
    TicketWaiter,
};
use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::LogOptions;
use nsq_server::fetch::Fetcher;
use nsq_server::{Client, Host, Next, RouteError, Router, Server, Session};
use tokio::sync::{Mutex, mpsc, watch};

use crate::clock;
use crate::cluster::aside::SetAside;
use crate::cluster::consume::CONSUMERS;
use crate::cluster::local_shard::LocalShard;
use crate::cluster::this_node::{HeldShard, ThisNode};
use crate::settings::Settings;

/// The shard that it leads once a test wants that.
const SHARD: u64 = 1;

pub(crate) struct TestNode {
    pub(crate) server: Arc<Server>,
    calls: Mutex<mpsc::UnboundedReceiver<Bytes>>,
    network: Arc<Unanswered>,
    folder: tempfile::TempDir,
}

impl TestNode {
    /// One that leads nothing, and whose consumers get messages by `fetcher`.
    pub(crate) fn new(fetcher: Option<&Arc<Fetcher>>) -> TestNode {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::load([]).unwrap();
        let local = Arc::new(open(folder.path().join("local")));
        let router = Arc::new(Nothing);
        let mut server = Server::clustered(settings.server(), local, router, Arc::new(Nothing));
        if let Some(fetcher) = fetcher {
            server.fetch_with(Arc::clone(fetcher));
        }
        let (sender, calls) = mpsc::unbounded_channel();
        TestNode {
            server: Arc::new(server),
            calls: Mutex::new(calls),
            network: Arc::new(Unanswered(sender)),
            folder,
        }
    }

    pub(crate) fn this_node(&self) -> Arc<dyn ThisNode> {
        Arc::new(Alone {
            directory: watch::Sender::default(),
            network: Arc::clone(&self.network),
        })
    }

    /// What its next call about consumers says.
    pub(crate) async fn next_call(&self) -> Bytes {
        let mut calls = self.calls.lock().await;
        calls.recv().await.expect("the node is there")
    }

    /// A consumer of channel `c` of topic `t`.
    pub(crate) fn consumer(&self, id: u32) -> Session {
        let now = clock::now();
        let client = Client::new(ClientId(id), "client".to_owned(), String::new(), now);
        let mut session = Session::new(Arc::clone(&self.server), Arc::new(client), now);
        let next = session.handle_input(b"  V2SUB t c\nRDY 1\n", now);
        assert!(matches!(next, Next::CreateTopic { .. }), "{next:?}");
        assert_eq!(session.handle_topic(Ok(()), now), Next::Wait);
        session
    }

    /// Leads a shard, where channel `c` of topic `t` has one message.
    pub(crate) fn lead_with_a_message(&self) -> Arc<ChannelCell> {
        let broker = open(self.folder.path().join("shard"));
        let now = clock::now();
        let name = TopicName::parse("t").unwrap();
        let (topic, _) = broker.get_or_create_topic(&name, false, now).unwrap();
        let name = ChannelName::parse("c").unwrap();
        let channel = topic.get_or_create_channel(&name, now).unwrap();
        topic.publish(std::iter::once(&b"body"[..]), now).unwrap();
        self.server.shards().add(SHARD, Arc::new(broker));
        channel
    }
}

fn open(data_path: std::path::PathBuf) -> Broker {
    std::fs::create_dir(&data_path).unwrap();
    let settings = BrokerSettings {
        data_path,
        node_id: 1,
        mem_queue_size: 0,
        max_msg_timeout: Duration::from_mins(1),
        max_req_timeout: Duration::from_hours(1),
        max_msg_size: 1 << 20,
        safe_once: SafeOnce::Appended,
        sync_every: 2500,
        max_free_segment_bytes: 256 << 20,
        log_options: LogOptions::default(),
        percentiles: None,
        is_replicated: false,
    };
    Broker::open(settings, Arc::new(Nothing), clock::now()).unwrap()
}

/// Does nothing of what brokers and servers ask for.
struct Nothing;

impl BrokerHost for Nothing {
    fn arm(&self, _: &Arc<ChannelCell>, _: Tick) {}

    fn registry_changed(&self, _: Change) {}
}

impl Host for Nothing {
    fn sync_begins(&self) {}

    fn sync_gathered(&self) {}

    fn client_was_silent(&self, _: &str, _: &str) {}
}

impl Router for Nothing {
    fn publish(
        &self,
        _: &TopicName,
        _: &mut dyn ExactSizeIterator<Item = &[u8]>,
        _: Option<i64>,
        _: Now,
        _: Arc<dyn TicketWaiter>,
    ) -> Result<Arc<Pending>, RouteError> {
        Err(RouteError::NoTopic)
    }

    fn nodes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Node 1, which knows no other.
struct Alone {
    directory: watch::Sender<Arc<Directory>>,
    network: Arc<Unanswered>,
}

impl ThisNode for Alone {
    fn node(&self) -> Option<NodeId> {
        Some(NodeId(1))
    }

    fn address(&self) -> &'static str {
        "n1:4152"
    }

    fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.directory.subscribe()
    }

    fn directory_group(&self) -> Option<Group> {
        None
    }

    fn shards(&self) -> Vec<HeldShard> {
        Vec::new()
    }

    fn shard(&self, _: u64) -> Option<Arc<dyn LocalShard>> {
        None
    }

    fn set_aside(&self) -> Vec<SetAside> {
        Vec::new()
    }

    fn network(&self) -> Arc<dyn Network> {
        Arc::clone(&self.network) as Arc<dyn Network>
    }

    fn set_stepping_down(&self, _: bool) {}

    fn is_stepping_down(&self) -> bool {
        false
    }
}

/// Hands calls about consumers to the test, and answers none.
struct Unanswered(mpsc::UnboundedSender<Bytes>);

impl fmt::Debug for Unanswered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Unanswered")
    }
}

impl Network for Unanswered {
    fn call(&self, _: NodeId, _: &Member, request: Request, _: Option<Duration>) -> Calling {
        let Request::Call { group, body } = request else {
            panic!("{request:?}");
        };
        assert_eq!(group, CONSUMERS);
        // The test may be over.
        let _ = self.0.send(body);
        Box::pin(std::future::pending())
    }
}
