//! Makes logs safe against a machine crash: every `--sync-timeout`, every `--sync-every` messages of a topic, and, with
//! `--sync-publish`, before a publish is answered. Publishers that wait at the same time share one sync.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nsq_core::{Broker, Topic};
use nsq_daemon::metrics::Durations;
use nsq_protocol::TopicName;
use tokio::sync::{Notify, watch};

/// Topics that are synced at the same time.
const CONCURRENT_SYNCS: usize = 4;

/// How the last sync of a topic went.
#[derive(Debug, Clone, Default)]
struct Round {
    number: u64,
    error: Option<String>,
}

struct Pending {
    topic: Arc<Topic>,
    done: watch::Sender<Round>,
}

/// Asks for syncs, and waits for them.
#[derive(Default)]
pub(crate) struct Syncer {
    wanted: Mutex<HashMap<TopicName, Pending>>,
    asked: Notify,
    /// How long each sync of a topic took.
    pub(crate) durations: Arc<Durations>,
    failures: Arc<AtomicU64>,
}

impl Syncer {
    /// Asks for a sync of `topic`, soon.
    pub(crate) fn ask(&self, topic: &Arc<Topic>) {
        self.want(topic);
    }

    /// Syncs what `topic` has by now, together with everyone who asks before it begins.
    ///
    /// # Errors
    /// What the disk said.
    pub(crate) async fn sync(&self, topic: &Arc<Topic>) -> Result<(), String> {
        let mut done = self.want(topic);
        match done.wait_for(|round| round.number > 0).await {
            Ok(round) => round.error.clone().map_or(Ok(()), Err),
            Err(_) => Err("exiting".to_owned()),
        }
    }

    /// How many syncs failed.
    pub(crate) fn failure_count(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn want(&self, topic: &Arc<Topic>) -> watch::Receiver<Round> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = wanted
            .entry(topic.name().clone())
            .or_insert_with(|| Pending {
                topic: Arc::clone(topic),
                done: watch::Sender::new(Round::default()),
            });
        let done = pending.done.subscribe();
        drop(wanted);
        self.asked.notify_one();
        done
    }

    fn take(&self) -> Vec<Pending> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.drain().map(|(_, pending)| pending).collect()
    }

    /// Runs for ever. What is asked for while a round runs waits for the next one.
    pub(crate) async fn run(&self, broker: &Arc<Broker>) {
        loop {
            self.asked.notified().await;
            let mut round = self.take().into_iter();
            let mut running = tokio::task::JoinSet::new();
            loop {
                while running.len() < CONCURRENT_SYNCS {
                    let Some(pending) = round.next() else { break };
                    let broker = Arc::clone(broker);
                    let durations = Arc::clone(&self.durations);
                    let failures = Arc::clone(&self.failures);
                    running.spawn_blocking(move || {
                        let began = Instant::now();
                        let outcome = pending.topic.sync();
                        durations.record(began.elapsed());
                        if let Err(error) = &outcome {
                            failures.fetch_add(1, Ordering::Relaxed);
                            tracing::error!(
                                "TOPIC({}): cannot be synced: {error}",
                                pending.topic.name()
                            );
                        }
                        broker.note_sync(outcome.as_ref().err());
                        let error = outcome.err().map(|error| error.to_string());
                        pending.done.send_replace(Round { number: 1, error });
                    });
                }
                if running.join_next().await.is_none() {
                    break;
                }
            }
        }
    }
}
