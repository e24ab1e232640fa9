//! Syncs shared, and taken in turns.

use std::future::Future;

use nsq_core::Settings;
use nsq_queue::LogOptions;
use tokio::task::JoinSet;

use super::*;
use crate::admission::Admission;
use crate::clock;
use crate::nsqd::Notes;
use crate::settings::NsqdOptions;

/// A broker in a folder of its own, whose syncer runs when told to.
struct House {
    notes: Arc<Notes>,
    broker: Arc<Broker>,
    _folder: tempfile::TempDir,
}

impl House {
    fn new() -> House {
        House::with(Syncer::default())
    }

    fn with(syncer: Syncer) -> House {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            data_path: folder.path().to_path_buf(),
            node_id: 1,
            mem_queue_size: 0,
            max_msg_timeout: Duration::from_mins(1),
            max_msg_size: 1 << 20,
            sync_every: 2500,
            log_options: LogOptions::default(),
            percentiles: None,
        };
        let notes = Arc::new(Notes {
            syncer,
            ..Notes::new(Admission::new(&NsqdOptions::default()))
        });
        let broker = Broker::open(settings, Arc::clone(&notes) as _, clock::now()).unwrap();
        House {
            notes,
            broker: Arc::new(broker),
            _folder: folder,
        }
    }

    fn topic(&self, name: &str) -> Arc<Topic> {
        let name = TopicName::parse(name).unwrap();
        let made = self.broker.get_or_create_topic(&name, false, clock::now());
        made.unwrap().0
    }

    /// Publishes a message and waits until it is safe.
    fn publish(&self, topic: &str) -> impl Future<Output = ()> + use<> {
        let (notes, topic) = (Arc::clone(&self.notes), self.topic(topic));
        async move {
            let bodies = std::iter::once(&b"body"[..]);
            let published = topic.publish(bodies, clock::now()).unwrap();
            notes.syncer.sync(&topic).await.unwrap();
            assert!(topic.is_synced(published));
        }
    }

    fn run(&self) {
        let (notes, broker) = (Arc::clone(&self.notes), Arc::clone(&self.broker));
        tokio::spawn(async move { notes.syncer.run(&broker).await });
    }
}

#[tokio::test]
async fn publishers_that_wait_together_share_a_sync() {
    let house = House::new();
    let mut waiting: JoinSet<()> = (0..16).map(|_| house.publish("t")).collect();
    let is_waiting = |count| {
        let wanted = house.notes.syncer.shared.lock();
        wanted
            .pending
            .values()
            .any(|pending| pending.waiting == count)
    };
    while !is_waiting(16) {
        tokio::task::yield_now().await;
    }
    house.run();
    while let Some(outcome) = waiting.join_next().await {
        outcome.unwrap();
    }
    assert_eq!(house.notes.syncer.durations().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_beyond_those_synced_at_once_have_their_turns() {
    let house = Arc::new(House::new());
    house.run();
    let mut publishers = JoinSet::new();
    for topic in 0..CONCURRENT_SYNCS * 2 {
        let house = Arc::clone(&house);
        publishers.spawn(async move {
            for _ in 0..10 {
                house.publish(&format!("t{topic}")).await;
            }
        });
    }
    while let Some(outcome) = publishers.join_next().await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn who_asks_without_waiting_is_served_too() {
    let house = House::new();
    let topic = house.topic("t");
    let bodies = std::iter::once(&b"body"[..]);
    let published = topic.publish(bodies, clock::now()).unwrap();
    house.notes.syncer.ask(&topic);
    house.run();
    while !topic.is_synced(published) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn every_so_many_messages_are_synced_without_what_channels_noted() {
    static EXTENTS: Mutex<Vec<Extent>> = Mutex::new(Vec::new());
    let house = House::with(Syncer::with(|topic, extent| {
        EXTENTS.lock().unwrap().push(extent);
        topic.sync_published()
    }));
    let topic = house.topic("t");
    let syncer = &house.notes.syncer;
    syncer.ask_for_published(&topic);
    house.run();
    let has_made = |count| async move {
        while EXTENTS.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    has_made(1).await;
    syncer.ask_for_published(&topic);
    has_made(2).await;
    syncer.ask(&topic);
    syncer.ask_for_published(&topic);
    has_made(3).await;
    let extents = EXTENTS.lock().unwrap()[..3].to_vec();
    assert_eq!(extents, [Extent::Published, Extent::Published, Extent::All]);
}

#[tokio::test]
async fn those_who_come_after_a_sync_that_broke_off_are_answered() {
    static HAS_BROKEN_OFF: std::sync::atomic::AtomicBool =
        std::sync::atomic::AtomicBool::new(false);
    let house = House::with(Syncer::with(|topic, _| {
        assert!(HAS_BROKEN_OFF.swap(true, Ordering::SeqCst), "on purpose");
        topic.sync_published()
    }));
    house.run();
    let topic = house.topic("t");
    let first = house.notes.syncer.sync(&topic).await;
    assert_eq!(first, Err("the sync broke off".to_owned()));
    house.publish("t").await;
    assert_eq!(house.notes.syncer.failure_count(), 1);
}
