//! When which nsqlookupd is asked.
//!
//! One question goes to the next of them in turn, and to at most two more if it fails. What one does not know
//! another may, so what is found adds up over the questions; nothing found is ever taken away.

use reqwest::Url;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::event::ConsumerEvent;
use super::shared::Shared;
use crate::error::SetupError;
use crate::lookup::{Lookup, LookupError};
use crate::random::Random;

/// Leaves out of what was found what the consumer must not connect to.
pub(crate) type Filter = Box<dyn Fn(Vec<String>) -> Vec<String> + Send + Sync>;

pub(super) struct Discovery {
    lookups: Vec<Lookup>,
    next: usize,
    /// `None` before there is anybody to ask.
    due: Option<Instant>,
    /// Until when the first interval's jitter, or the distance between two questions, holds questions back.
    not_before: Option<Instant>,
    /// Since the last nsqd was lost, or one that was found could not be reached, and until one is connected: how long to wait
    /// after the next question. It doubles with each.
    pause: Option<Duration>,
    /// The question being asked, and of whom.
    question: Option<Question>,
    is_first: bool,
    /// Who waits for the first question's answer.
    waiting: Vec<oneshot::Sender<()>>,
    filter: Option<Filter>,
}

struct Question {
    url: Url,
    failures: usize,
    answer: JoinHandle<Result<Vec<String>, LookupError>>,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

impl Discovery {
    pub(super) fn new(filter: Option<Filter>) -> Self {
        Self {
            lookups: Vec::new(),
            next: 0,
            due: None,
            not_before: None,
            pause: None,
            question: None,
            is_first: true,
            waiting: Vec::new(),
            filter,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lookups.is_empty()
    }

    pub(super) fn add(&mut self, lookup: Lookup, reply: oneshot::Sender<()>) {
        if self.lookups.iter().all(|known| known.url() != lookup.url()) {
            self.lookups.push(lookup);
        }
        if self.due.is_none() {
            self.due = Some(Instant::now());
        }
        if self.is_first {
            self.waiting.push(reply);
        } else {
            // Who asked may have gone.
            let _ = reply.send(());
        }
    }

    pub(super) fn remove(&mut self, url: &Url) -> Result<(), SetupError> {
        let mut known = self.lookups.iter();
        let Some(index) = known.position(|lookup| lookup.url() == url) else {
            return Err(SetupError::NotConnected);
        };
        if self.lookups.len() == 1 {
            return Err(SetupError::LookupAddress {
                address: url.to_string(),
                reason: "it is the only one left".into(),
            });
        }
        self.lookups.remove(index);
        Ok(())
    }

    /// Asks before the interval is over.
    pub(super) fn ask_soon(&mut self) {
        let now = Instant::now();
        let soon = self.not_before.map_or(now, |at| at.max(now));
        self.due = self.due.map(|due| due.min(soon));
    }

    /// No nsqd is connected, although one was or nsqlookupd named some. Until one is, the time between questions is short and
    /// grows.
    pub(super) fn hurry(&mut self, shared: &Shared) {
        if let Some(due) = self.due {
            let pause = *self.pause.get_or_insert(LEAST_DISTANCE);
            self.due = Some(due.min(Instant::now() + with_jitter(pause, shared)));
        }
    }

    /// An nsqd is connected: nothing is urgent.
    pub(super) fn calm_down(&mut self) {
        self.pause = None;
    }

    /// Waits for the next answer: addresses to connect to. May be given up at any time.
    pub(super) async fn next(&mut self, shared: &Shared) -> Vec<String> {
        loop {
            if self.question.is_none() {
                match self.due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
                self.ask(shared, 0);
            }
            let Some(question) = &mut self.question else {
                continue;
            };
            let answer = (&mut question.answer).await;
            let failures = question.failures;
            let url = question.url.clone();
            self.question = None;
            let error = match answer {
                Ok(Ok(found)) => {
                    self.plan(shared);
                    return match &self.filter {
                        Some(filter) => filter(found),
                        None => found,
                    };
                }
                Ok(Err(error)) => error,
                // Our own task does not panic; if it does, the next question may fare better.
                Err(_) => {
                    self.plan(shared);
                    continue;
                }
            };
            let label = &shared.label;
            tracing::error!("{label} error querying nsqlookupd ({url}) - {error}");
            let event = ConsumerEvent::LookupFailed {
                url: url.as_str(),
                error: &error,
            };
            shared.tell(&event);
            if failures + 1 < MOST_ATTEMPTS {
                tracing::info!("{label} retrying with next nsqlookupd");
                self.ask(shared, failures + 1);
            } else {
                self.plan(shared);
            }
        }
    }

    fn ask(&mut self, shared: &Shared, failures: usize) {
        self.next %= self.lookups.len().max(1);
        let Some(lookup) = self.lookups.get(self.next).cloned() else {
            self.due = None;
            return;
        };
        self.next += 1;
        let url = lookup.url().clone();
        tracing::info!("{} querying nsqlookupd {url}", shared.label);
        self.question = Some(Question {
            url,
            failures,
            answer: tokio::spawn(async move { lookup.ask().await }),
        });
    }

    /// When to ask again.
    fn plan(&mut self, shared: &Shared) {
        let config = &shared.dialer.config;
        let interval = config.lookupd_poll_interval;
        let now = Instant::now();
        let mut distance = LEAST_DISTANCE.min(interval);
        if self.is_first {
            // Consumers that started together must not continue asking together.
            let part = Random::new().fraction() * config.lookupd_poll_jitter;
            distance = distance.max(interval.mul_f64(part));
            self.is_first = false;
            for reply in self.waiting.drain(..) {
                let _ = reply.send(());
            }
            self.due = Some(now + interval + interval.mul_f64(part));
        } else {
            self.due = Some(now + interval);
        }
        if let Some(pause) = self.pause.filter(|pause| *pause < interval) {
            self.pause = Some(pause * 2);
            self.due = Some(now + with_jitter(pause, shared).min(interval));
        }
        self.not_before = Some(now + distance);
    }
}

/// A little more than this: consumers that lost their nsqds together must not ask together.
fn with_jitter(time: Duration, shared: &Shared) -> Duration {
    let jitter = shared.dialer.config.lookupd_poll_jitter;
    time + time.mul_f64(Random::new().fraction() * jitter)
}

/// How many are asked for one answer.
const MOST_ATTEMPTS: usize = 3;

/// An nsqd that takes connections only to close them must not have us ask without pause, nor must one that has gone.
const LEAST_DISTANCE: Duration = Duration::from_secs(1);
