//! Syncs made by threads.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nsq_core::{Broker, SafeOnce, Settings};
use nsq_protocol::TopicName;
use nsq_queue::LogOptions;
use nsq_server::syncs::{CONCURRENT_SYNCS, Extent};
use tokio::task::JoinSet;

use super::*;
use crate::admission::Admission;
use crate::hooks::ServerHooks;
use crate::registration::Registration;
use crate::settings::Settings as NsqdSettings;
use crate::upkeep::Upkeep;

/// A server on a folder of its own, whose syncs are run when told to.
struct TestServer {
    server: Arc<Server>,
    runner: Arc<SyncRunner>,
    _folder: tempfile::TempDir,
}

impl TestServer {
    fn with(runner: SyncRunner) -> TestServer {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            data_path: folder.path().to_path_buf(),
            node_id: 1,
            mem_queue_size: 0,
            max_msg_timeout: Duration::from_mins(1),
            max_req_timeout: Duration::from_hours(1),
            max_msg_size: 1 << 20,
            safe_once: SafeOnce::Synced,
            sync_every: 2500,
            max_free_segment_bytes: 256 << 20,
            log_options: LogOptions::default(),
            percentiles: None,
            is_replicated: false,
        };
        let nsqd_settings = NsqdSettings::load([]).unwrap();
        let admission = Arc::new(Admission::new(&nsqd_settings));
        let registration = Arc::new(Registration::default());
        let runner = Arc::new(runner);
        let upkeep = Upkeep::new(
            Arc::clone(&admission),
            registration,
            Arc::clone(&runner),
            Duration::from_secs(2),
        );
        let hooks = upkeep.hooks();
        let broker = Broker::open(settings, hooks, clock::now()).unwrap();
        let hooks = ServerHooks {
            admission,
            sync_runner: Arc::clone(&runner),
        };
        let server = Server::new(nsqd_settings.server(), Arc::new(broker), Arc::new(hooks));
        TestServer {
            server: Arc::new(server),
            runner,
            _folder: folder,
        }
    }

    fn topic(&self, name: &str) -> Arc<Topic> {
        let name = TopicName::parse(name).unwrap();
        let broker = self.server.broker();
        let made = broker.get_or_create_topic(&name, false, clock::now());
        made.unwrap().0
    }

    /// Publishes a message and waits until it is safe, or has failed.
    fn publish(&self, topic: &str) -> impl Future<Output = TicketState> + use<> {
        let (server, topic) = (Arc::clone(&self.server), self.topic(topic));
        async move {
            let bodies = std::iter::once(&b"body"[..]);
            let published = topic.publish(bodies, clock::now()).unwrap();
            server.sync_for(&topic, &published, server.syncs().request());
            settled(&topic, published.ticket).await
        }
    }

    fn run(&self) {
        tokio::spawn(Arc::clone(&self.runner).run(Arc::clone(&self.server)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_beyond_those_synced_at_once_have_their_turns() {
    let test = Arc::new(TestServer::with(SyncRunner::default()));
    test.run();
    let mut publishers = JoinSet::new();
    for topic in 0..CONCURRENT_SYNCS * 2 {
        let test = Arc::clone(&test);
        publishers.spawn(async move {
            for _ in 0..10 {
                assert_eq!(test.publish(&format!("t{topic}")).await, TicketState::Safe);
            }
        });
    }
    while let Some(outcome) = publishers.join_next().await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn what_is_asked_for_without_waiting_is_synced_too() {
    let test = TestServer::with(SyncRunner::default());
    let topic = test.topic("t");
    let bodies = std::iter::once(&b"body"[..]);
    let published = topic.publish(bodies, clock::now()).unwrap();
    test.server.syncs().ask(&topic, Extent::All);
    test.run();
    assert_eq!(settled(&topic, published.ticket).await, TicketState::Safe);
}

#[tokio::test]
async fn publishers_after_a_sync_that_panicked_are_answered() {
    static HAS_BROKEN_OFF: AtomicBool = AtomicBool::new(false);
    let test = TestServer::with(SyncRunner::with(|round| {
        assert!(HAS_BROKEN_OFF.swap(true, Ordering::SeqCst), "on purpose");
        round.run(clock::now())
    }));
    test.run();
    let why = "the sync broke off".to_owned();
    assert_eq!(test.publish("t").await, TicketState::Failed(why));
    assert_eq!(test.publish("t").await, TicketState::Safe);
    assert_eq!(test.server.syncs().failure_count(), 1);
    // A sync answers its publishers before it is measured.
    while test.runner.durations().count() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
