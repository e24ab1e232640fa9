use std::sync::mpsc;

use nsq_core::{SafeOnce, Settings};
use nsq_protocol::TopicName;
use nsq_queue::LogOptions;

use super::*;
use crate::settings::Settings as NsqdSettings;

/// Longer than any test takes.
const NEVER: Duration = Duration::from_hours(1);

/// A broker in a folder of its own, and what looks after it.
struct Shard {
    upkeep: Upkeep,
    runner: Arc<SyncRunner>,
    hooks: Arc<BrokerHooks>,
    broker: Arc<Broker>,
    folder: tempfile::TempDir,
}

impl Shard {
    fn new(sync_timeout: Duration) -> Shard {
        let folder = tempfile::tempdir().unwrap();
        let admission = Admission::new(&NsqdSettings::load([]).unwrap());
        let admission = Arc::new(admission);
        let runner = Arc::new(SyncRunner::default());
        let upkeep = Upkeep::new(admission, Arc::default(), Arc::clone(&runner), sync_timeout);
        let hooks = upkeep.hooks();
        let settings = Settings {
            data_path: folder.path().to_path_buf(),
            node_id: 1,
            mem_queue_size: 0,
            max_msg_timeout: Duration::from_mins(1),
            max_req_timeout: Duration::from_hours(1),
            max_msg_size: 1 << 20,
            safe_once: SafeOnce::Appended,
            sync_every: 2500,
            max_free_segment_bytes: 0,
            log_options: LogOptions::default(),
            percentiles: None,
            is_replicated: false,
        };
        let host = Arc::clone(&hooks) as Arc<dyn nsq_core::broker::Host>;
        let broker = Arc::new(Broker::open(settings, host, clock::now()).unwrap());
        Shard {
            upkeep,
            runner,
            hooks,
            broker,
            folder,
        }
    }

    fn start(&self) -> BrokerTasks {
        let syncing = Syncing::Own(Arc::clone(&self.runner));
        let kept = self.upkeep.kept(&self.broker);
        self.upkeep.begin(kept, Some(&self.hooks), syncing)
    }

    fn publish(&self) {
        let name = TopicName::parse("t").unwrap();
        let made = self.broker.get_or_create_topic(&name, false, clock::now());
        let bodies = std::iter::once(&b"body"[..]);
        made.unwrap().0.publish(bodies, clock::now()).unwrap();
    }
}

async fn until(is_true: impl Fn() -> bool) {
    while !is_true() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn every_shard_has_its_topics_written_down_and_synced() {
    // Both have a topic of the same name.
    let shards = [(); 2].map(|()| Shard::new(Duration::from_millis(5)));
    let tasks: Vec<_> = shards.iter().map(Shard::start).collect();
    for shard in &shards {
        shard.publish();
        let path = shard.folder.path().join("nsqd.dat");
        let is_written = || std::fs::read_to_string(&path).is_ok_and(|it| it.contains("\"t\""));
        until(is_written).await;
        until(|| shard.runner.durations().count() > 0).await;
    }
    tokio::task::spawn_blocking(|| tasks.into_iter().for_each(BrokerTasks::end))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_tasks_waits_for_work_that_has_begun_and_none_begins_after_it() {
    let shard = Shard::new(NEVER);
    let tasks = shard.start();
    let kept = Kept {
        blocking: Arc::new(BlockingThreads),
        broker: Arc::clone(&shard.broker),
        work: Arc::clone(&tasks.kept.work),
    };
    let (begun, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let working = tokio::spawn({
        let kept = kept.clone();
        async move {
            kept.work(move |_| {
                begun.send(()).unwrap();
                may_go_on.recv().unwrap();
            })
            .await
        }
    });
    tokio::task::spawn_blocking(move || has_begun.recv().unwrap())
        .await
        .unwrap();
    let mut ending = tokio::task::spawn_blocking(|| tasks.end());
    let early = tokio::time::timeout(Duration::from_millis(50), &mut ending).await;
    assert!(early.is_err(), "the end has not waited");
    go_on.send(()).unwrap();
    ending.await.unwrap();
    assert_eq!(working.await.unwrap(), Some(()));
    assert_eq!(kept.work(|_| ()).await, None);
}
