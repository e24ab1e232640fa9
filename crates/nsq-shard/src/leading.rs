//! A shard while this node leads it: what accepts publishes and commands.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nsq_core::command::Command;
use nsq_core::{Broker, Now, Pending, PublishError};
use nsq_protocol::{ChannelName, TopicName};
use tokio::sync::Notify;

use crate::accumulator::{Accumulator, Proposal};
use crate::behind::Behind;
use crate::changes::{Change, Changes, Counted, Deleted};
use crate::gathering::Enough;
use crate::progress::Progress;

/// Why a shard took nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This node does not lead it.
    #[error("this node no longer leads the shard")]
    NotLeading,
    /// It does not have the topic, or not yet.
    #[error("the shard does not have the topic")]
    NoTopic,
    /// It cannot take this, or not now; the text says why.
    #[error("{0}")]
    Full(String),
    /// It stops with nsqd.
    #[error("exiting")]
    Exiting,
}

/// One leadership: from the moment the broker is open until another node leads.
pub(crate) struct Leading {
    pub(crate) term: u64,
    pub(crate) broker: Arc<Broker>,
    pub(crate) progress: Arc<Progress>,
    /// What of the progress the others may lack.
    pub(crate) behind: Behind,
    accepting: Mutex<Accepting>,
    /// There is something to propose, or leadership is over.
    changed: Notify,
}

struct Accepting {
    accumulator: Accumulator,
    /// What the pump waits for.
    awaited: Enough,
    changes: Changes,
    is_over: bool,
}

impl Accepting {
    /// Puts a change in line, and those after it that were held back.
    fn put(&mut self, mut next: Option<Change>) {
        while let Some(change) = next {
            let count = |counted: &mut Counted| change.count(counted);
            self.accumulator
                .append_change(&change.command, Some(&change.pending), count);
            next = self.changes.next();
        }
    }

    /// Whether the pump is to be woken: once for what it waits for.
    fn is_awaited(&mut self) -> bool {
        let is_awaited = self.is_met(self.awaited);
        if is_awaited {
            self.awaited = Enough::NEVER;
        }
        is_awaited
    }

    fn is_met(&self, enough: Enough) -> bool {
        enough.is_met(self.accumulator.bytes(), self.accumulator.publishes())
    }

    fn put_fence(&mut self) {
        let count = |counted: &mut Counted| counted.has_fence = true;
        self.accumulator.append_change(&[], None, count);
    }
}

impl Leading {
    pub(crate) fn new(
        term: u64,
        broker: Arc<Broker>,
        progress: Arc<Progress>,
        behind: Behind,
        accumulator: Accumulator,
    ) -> Leading {
        let mut accepting = Accepting {
            accumulator,
            awaited: Enough::ANYTHING,
            changes: Changes::fenced(),
            is_over: false,
        };
        accepting.put_fence();
        Leading {
            term,
            broker,
            progress,
            behind,
            accepting: Mutex::new(accepting),
            changed: Notify::new(),
        }
    }

    fn accepting(&self) -> MutexGuard<'_, Accepting> {
        self.accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish(
        &self,
        topic: &TopicName,
        bodies: &mut dyn ExactSizeIterator<Item = &[u8]>,
        due: Option<i64>,
        now: Now,
        pending: &Arc<Pending>,
    ) -> Result<(), Refusal> {
        let Some(found) = self.broker.topic(topic.as_str()) else {
            return Err(Refusal::NoTopic);
        };
        // The ids are given and the messages put in line under the topic's lock, so that the ids of a log ascend.
        let numbered = found.number(|ids| {
            let mut accepting = self.accept_bytes()?;
            let published = accepting
                .accumulator
                .publish(topic, bodies, due, now, ids, pending);
            published.map_err(|size| {
                Refusal::Full(format!(
                    "{size} bytes of messages at once are more than one entry of the shard's log takes"
                ))
            })?;
            Ok(accepting.is_awaited())
        });
        match numbered {
            Ok(Ok(is_awaited)) => {
                if is_awaited {
                    self.changed.notify_one();
                }
                Ok(())
            }
            Ok(Err(refusal)) => Err(refusal),
            // It was deleted, or the broker has resigned.
            Err(PublishError::Exiting) if self.accepting().is_over => Err(Refusal::NotLeading),
            Err(PublishError::Exiting) => Err(Refusal::NoTopic),
            Err(error) => Err(Refusal::Full(error.to_string())),
        }
    }

    pub(crate) fn submit(&self, change: Change) -> Result<(), Refusal> {
        let mut accepting = self.accept()?;
        let next = accepting.changes.accept(change);
        accepting.put(next);
        drop(accepting);
        self.changed.notify_one();
        Ok(())
    }

    /// Puts the progress so far in line.
    pub(crate) fn flush_progress(&self, pending: Option<&Arc<Pending>>) -> Result<(), Refusal> {
        // Progress that was recorded first stays first: it is taken with the line locked.
        let mut accepting = self.accept()?;
        for piece in self.progress.take() {
            self.behind.note_piece();
            accepting.accumulator.append_progress(&piece);
        }
        if pending.is_some() {
            accepting.accumulator.append(&[], pending);
        }
        drop(accepting);
        self.changed.notify_one();
        Ok(())
    }

    fn accept_bytes(&self) -> Result<MutexGuard<'_, Accepting>, Refusal> {
        let accepting = self.accept()?;
        if accepting.accumulator.has_room() {
            return Ok(accepting);
        }
        Err(Refusal::Full(format!(
            "{} bytes of messages wait to be stored by a majority of the shard's replicas",
            accepting.accumulator.bytes()
        )))
    }

    fn accept(&self) -> Result<MutexGuard<'_, Accepting>, Refusal> {
        let accepting = self.accepting();
        if accepting.is_over {
            return Err(Refusal::NotLeading);
        }
        Ok(accepting)
    }

    // ---- for the pump ----

    /// The next proposal, if there is `enough` for it. If not, it is [`changed`](Self::changed) once there is.
    pub(crate) fn take(&self, enough: Enough) -> Option<Proposal> {
        let mut accepting = self.accepting();
        if accepting.is_met(enough)
            && let Some(proposal) = accepting.accumulator.take()
        {
            return Some(proposal);
        }
        accepting.awaited = enough;
        None
    }

    pub(crate) fn waiting_publishes(&self) -> usize {
        self.accepting().accumulator.publishes()
    }

    pub(crate) fn oldest(&self) -> Option<tokio::time::Instant> {
        self.accepting().accumulator.oldest()
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.accepting().accumulator.bytes()
    }

    /// The highest id that was given up to the end of this leadership.
    pub(crate) fn highest_id(&self) -> u64 {
        self.accepting().accumulator.highest_id()
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.accepting().is_over
    }

    /// A proposal with changes was executed here, or failed. What waited for these continues, or fails too.
    pub(crate) fn note_changes(&self, changes: &Counted, outcome: &Result<(), String>) {
        if *changes == Counted::default() {
            return;
        }
        let refused = {
            let mut accepting = self.accepting();
            accepting.changes.note_outcome(changes, outcome.is_ok());
            if outcome.is_ok() {
                let next = accepting.changes.next();
                accepting.put(next);
                VecDeque::default()
            } else {
                if changes.has_fence && !accepting.is_over {
                    accepting.put_fence();
                }
                accepting.changes.take_held()
            }
        };
        self.changed.notify_one();
        for change in refused {
            change.pending.settle(outcome.clone());
        }
    }

    /// A proposal with pieces of progress was executed here, or failed.
    pub(crate) fn note_progress(&self, pieces: usize, is_executed: bool) {
        self.behind.note_outcome(pieces, is_executed);
    }

    /// Whether the others know everything that was recorded here.
    pub(crate) fn is_all_known(&self) -> bool {
        self.progress.is_empty() && self.behind.is_all_known()
    }

    /// A topic or channel was deleted: forgets what is noted of it. No change that follows the deletion is in line yet.
    pub(crate) fn forget(&self, topic: &TopicName, channel: Option<&ChannelName>) {
        let _in_line = self.accepting();
        self.progress.forget(&Deleted {
            topic: topic.clone(),
            channel: channel.cloned(),
        });
    }

    /// Accepts nothing more. What was accepted and not proposed is refused: it was surely not stored.
    pub(crate) fn end(&self, number: u64) {
        let mut refused = Vec::new();
        {
            let mut accepting = self.accepting();
            accepting.is_over = true;
            while let Some(proposal) = accepting.accumulator.take() {
                refused.extend(proposal.waiting);
            }
            let held = accepting.changes.take_held();
            refused.extend(held.into_iter().map(|change| change.pending));
        }
        self.changed.notify_one();
        self.behind.end();
        for pending in refused {
            pending.settle(Err(format!(
                "this node no longer leads shard {number}; the message was not stored"
            )));
        }
    }
}

impl std::fmt::Debug for Leading {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Leading")
            .field("term", &self.term)
            .finish_non_exhaustive()
    }
}

/// A change of topics and channels.
pub(crate) fn change_of(command: &Command<'_>, pending: &Arc<Pending>) -> Result<Change, Refusal> {
    match command {
        Command::CreateTopic(_)
        | Command::DeleteTopic(_)
        | Command::CreateChannel(..)
        | Command::DeleteChannel(..)
        | Command::PauseTopic(..)
        | Command::PauseChannel(..)
        | Command::EmptyTopic(_) => Ok(Change::new(command, pending)),
        Command::Publish { .. }
        | Command::FannedOut { .. }
        | Command::Finished { .. }
        | Command::Journaled { .. } => Err(Refusal::Full(
            "this is no change of topics or channels".to_owned(),
        )),
    }
}
