//! A view of a channel for a peek: where its messages lie is noted under its lock, and read after it.

use std::collections::BinaryHeap;
use std::sync::Arc;

use nsq_queue::{Cursor, Log};

use super::logs::ChannelLog;
use super::tracked_message::{LogKind, State, TrackedMessage};
use super::{Channel, Lifecycle};
use crate::peek::{DeferredMessage, InFlightMessage, Peek, PeekLimits, PeekReader, PeekedMessage};
use crate::time::{Now, Tick};

/// Unfinished records ahead of the cursor, beyond those to show, among which untracked ones are searched. After a
/// restart some of them are tracked already.
const TRACKED_AHEAD: usize = 4096;

/// Where the messages lie that are to be shown.
pub(crate) struct View {
    limits: PeekLimits,
    now: Now,
    totals: [u64; 3],
    logs: Vec<(LogKind, Arc<Log>)>,
    /// The messages that wait in the queued logs, in the order of the logs.
    waiting: Vec<Waiting>,
    /// How many of them have gone by, and the requeued messages in their order, each with its turn.
    passed_count: u64,
    requeued: Vec<(TrackedMessage, u64)>,
    /// Soonest first, as are the deferred.
    in_flight: Vec<TrackedMessage>,
    deferred: Vec<TrackedMessage>,
}

/// The next unfinished records of one queued log.
struct Waiting {
    log: LogKind,
    cursor: Cursor,
    /// Each with whether it is tracked already, as some are after a restart.
    sequences: Vec<(u64, bool)>,
}

impl Channel {
    /// Notes what a peek may show; `None` when the channel was deleted. Takes as long as a walk over the tracked messages.
    pub(crate) fn view(&self, limits: PeekLimits, now: Now) -> Option<View> {
        if self.life == Lifecycle::Discarded {
            return None;
        }
        let mut waiting: Vec<_> = self
            .logs
            .queued()
            .map(|log| Waiting::of(log, log.end(self.logs.offered()), limits.messages))
            .collect();
        let may_be_tracked = self.logs.queued().any(|log| log.source.ahead_count > 0);
        let mut soonest = [const { BinaryHeap::new() }; 2];
        for message in self.tracked.iter() {
            match message.state {
                State::InFlight => keep_soonest(&mut soonest[0], message, limits.messages),
                State::Deferred => keep_soonest(&mut soonest[1], message, limits.messages),
                State::Requeued => {}
            }
            if may_be_tracked {
                let of_log = waiting
                    .iter_mut()
                    .filter(|waiting| waiting.log == message.log);
                of_log.for_each(|waiting| waiting.note_tracked(message.sequence));
            }
        }
        let [in_flight, deferred] = soonest.map(|heap| {
            let ids = heap.into_sorted_vec().into_iter().map(|(_, id)| id);
            ids.filter_map(|id| self.tracked.find(id).copied())
                .collect()
        });
        Some(View {
            limits,
            now,
            totals: [
                self.depth(),
                self.tracked.in_flight_count() as u64,
                self.tracked.deferred_count() as u64,
            ],
            logs: self
                .logs
                .iter()
                .map(|log| (log.kind(), Arc::clone(log.source.log())))
                .collect(),
            waiting,
            passed_count: self.logs.passed_count(),
            requeued: self
                .tracked
                .requeued()
                .take(limits.messages)
                .map(|(message, turn)| (*message, turn))
                .collect(),
            in_flight,
            deferred,
        })
    }
}

impl Waiting {
    /// The next unfinished records at the cursor: not known to be tracked.
    fn of(log: &ChannelLog, end: u64, count: usize) -> Waiting {
        let source = &log.source;
        let start = source.cursor.sequence;
        let finished = &source.finished;
        let sequences = if source.ahead_count == 0 {
            (start..end).map(|at| (at, false)).take(count).collect()
        } else {
            let first = Some(finished.next_unfinished(start));
            let unfinished =
                std::iter::successors(first, |&at| Some(finished.next_unfinished(at + 1)));
            let unfinished = unfinished.take_while(|&at| at < end);
            let most = count.saturating_add(TRACKED_AHEAD);
            unfinished.map(|at| (at, false)).take(most).collect()
        };
        Waiting {
            log: log.kind(),
            cursor: source.cursor,
            sequences,
        }
    }

    fn note_tracked(&mut self, sequence: u64) {
        if let Ok(at) = self
            .sequences
            .binary_search_by_key(&sequence, |known| known.0)
        {
            self.sequences[at].1 = true;
        }
    }

    /// Those that are not tracked, at most `count`.
    fn to_show(&self, count: usize) -> impl Iterator<Item = u64> {
        let untracked = self.sequences.iter().filter(|(_, is_tracked)| !is_tracked);
        untracked.map(|&(sequence, _)| sequence).take(count)
    }
}

/// Keeps the `count` messages that fall due first, the latest of them on top.
fn keep_soonest(heap: &mut BinaryHeap<(Tick, u64)>, message: &TrackedMessage, count: usize) {
    let entry = (message.until, message.id);
    if heap.len() < count {
        heap.push(entry);
    } else if let Some(mut latest) = heap.peek_mut()
        && entry < *latest
    {
        *latest = entry;
    }
}

impl View {
    /// Reads the messages. With no lock held: it may wait for the disk.
    pub(crate) fn read(self) -> Peek {
        let now = self.now;
        let [queued_total, in_flight_total, deferred_total] = self.totals;
        let in_flight = self.read_tracked(&self.in_flight, |message| message);
        let deferred = self.read_tracked(&self.deferred, |message| message);
        Peek {
            queued_total,
            in_flight_total,
            deferred_total,
            queued: self.read_queued(),
            in_flight: in_flight
                .into_iter()
                .map(|(tracked, message)| InFlightMessage {
                    message,
                    client: tracked.client,
                    delivered_at: now.unix_at(tracked.delivered_at()),
                    due_at: now.unix_at(tracked.until),
                })
                .collect(),
            deferred: deferred
                .into_iter()
                .map(|(tracked, message)| DeferredMessage {
                    message,
                    due_at: now.unix_at(tracked.until),
                })
                .collect(),
        }
    }

    /// The messages in the order in which clients will get them: a requeued one once its turn has come, or when nothing
    /// else waits.
    fn read_queued(&self) -> Vec<PeekedMessage> {
        let mut waiting = Vec::new();
        for part in &self.waiting {
            let left = self.limits.messages.saturating_sub(waiting.len());
            if let Some((_, log)) = self.logs.iter().find(|(kind, _)| *kind == part.log) {
                let mut reader = PeekReader::new(log, self.limits);
                waiting.extend(reader.read_on(part.cursor, part.to_show(left)));
            }
        }
        let mut waiting = waiting.into_iter().map(|(message, _)| message).peekable();
        let requeued = self.read_tracked(&self.requeued, |(message, _)| message);
        let mut requeued = requeued.into_iter().peekable();
        let mut passed = self.passed_count;
        let in_order = std::iter::from_fn(|| {
            let is_turn = |((_, turn), _): &(&(TrackedMessage, u64), _)| *turn <= passed;
            if waiting.peek().is_none() || requeued.peek().is_some_and(is_turn) {
                requeued.next().map(|(_, message)| message)
            } else {
                passed += 1;
                waiting.next()
            }
        });
        in_order.take(self.limits.messages).collect()
    }

    /// Reads the messages of `items`, and leaves out those that cannot be read.
    fn read_tracked<'a, T>(
        &self,
        items: &'a [T],
        message_of: impl Fn(&T) -> &TrackedMessage,
    ) -> Vec<(&'a T, PeekedMessage)> {
        let logs = self.logs.iter();
        let mut readers: Vec<_> = logs
            .map(|(kind, log)| (*kind, PeekReader::new(log, self.limits)))
            .collect();
        let read = items.iter().filter_map(|item| {
            let tracked = message_of(item);
            let (_, reader) = readers.iter_mut().find(|(kind, _)| *kind == tracked.log)?;
            let message = reader.read(tracked.sequence, tracked.position, tracked.attempts)?;
            Some((item, message))
        });
        read.collect()
    }
}
