//! What a look at the channel notes under its lock, and how it is read after it.

use std::collections::BinaryHeap;
use std::sync::Arc;

use nsq_queue::{Cursor, Log};

use super::out_message::{LogKind, OutMessage, State};
use super::source::Source;
use super::{Channel, Life};
use crate::peek::{DeferredMessage, Glance, InFlightMessage, Peek, PeekLimits, PeekedMessage};
use crate::time::{Now, Tick};

/// Unfinished records ahead of the cursor that may be out already, as after a restart, and are looked through for
/// those that are not.
const OUT_AHEAD: usize = 4096;

/// Where the messages lie that are to be shown.
pub(crate) struct View {
    limits: PeekLimits,
    now: Now,
    totals: [u64; 3],
    logs: [Option<Arc<Log>>; LogKind::ALL.len()],
    /// Records that nobody has had since start, in order: those of the backlog come first.
    fresh: [Fresh; 2],
    /// In the order in which they will be given.
    requeued: Vec<OutMessage>,
    /// Whether a requeued message comes first, when there are both.
    requeued_first: bool,
    /// Soonest first, as are the deferred.
    in_flight: Vec<OutMessage>,
    deferred: Vec<OutMessage>,
}

/// The next unfinished records of one log.
struct Fresh {
    log: LogKind,
    cursor: Cursor,
    /// Each with whether it is out already, which only a restart leaves so.
    sequences: Vec<(u64, bool)>,
}

impl Channel {
    /// Notes what a look may show; `None` when the channel was deleted. Takes as long as a walk over what is out.
    pub(crate) fn view(&self, limits: PeekLimits, now: Now) -> Option<View> {
        if self.life == Life::Discarded {
            return None;
        }
        let mut fresh = self.fresh(limits.messages);
        let sources = [
            self.backlog.as_ref().map(|own| &own.source),
            Some(&self.main),
        ];
        let is_maybe_out = sources
            .into_iter()
            .flatten()
            .any(|source| source.ahead_count > 0);
        let mut soonest = [const { BinaryHeap::new() }; 2];
        for message in self.out.iter() {
            match message.state {
                State::InFlight => keep_soonest(&mut soonest[0], message, limits.messages),
                State::Deferred => keep_soonest(&mut soonest[1], message, limits.messages),
                State::Requeued => {}
            }
            if is_maybe_out {
                for fresh in fresh.iter_mut().filter(|fresh| fresh.log == message.log) {
                    fresh.note_out(message.sequence);
                }
            }
        }
        let [in_flight, deferred] = soonest.map(|heap| {
            let ids = heap.into_sorted_vec().into_iter().map(|(_, id)| id);
            ids.filter_map(|id| self.out.find(id).copied()).collect()
        });
        Some(View {
            limits,
            now,
            totals: [
                self.depth(),
                self.out.in_flight_count() as u64,
                self.out.deferred_count() as u64,
            ],
            logs: [
                Some(Arc::clone(self.main.log())),
                self.deferred
                    .as_ref()
                    .map(|source| Arc::clone(source.log())),
                self.private
                    .as_ref()
                    .map(|private| Arc::clone(private.source.log())),
                self.backlog
                    .as_ref()
                    .map(|backlog| Arc::clone(backlog.source.log())),
            ],
            fresh,
            requeued: self.out.requeued().take(limits.messages).copied().collect(),
            requeued_first: self.requeued_first,
            in_flight,
            deferred,
        })
    }

    fn fresh(&self, count: usize) -> [Fresh; 2] {
        let backlog = self.backlog.as_ref().map_or_else(
            || Fresh {
                log: LogKind::Backlog,
                cursor: Cursor::default(),
                sequences: Vec::new(),
            },
            |own| {
                let end = own.writer.end().sequence;
                Fresh::of(LogKind::Backlog, &own.source, end, count)
            },
        );
        let end = self.offered.end(LogKind::Main);
        [backlog, Fresh::of(LogKind::Main, &self.main, end, count)]
    }
}

impl Fresh {
    /// The next unfinished records at the cursor: not known to be out.
    fn of(log: LogKind, source: &Source, end: u64, count: usize) -> Fresh {
        let start = source.cursor.sequence;
        let marks = &source.marks;
        let sequences = if source.ahead_count == 0 {
            (start..end).map(|at| (at, false)).take(count).collect()
        } else {
            let first = Some(marks.next_unmarked(start));
            let unmarked = std::iter::successors(first, |&at| Some(marks.next_unmarked(at + 1)));
            let unmarked = unmarked.take_while(|&at| at < end);
            let most = count.saturating_add(OUT_AHEAD);
            unmarked.map(|at| (at, false)).take(most).collect()
        };
        Fresh {
            log,
            cursor: source.cursor,
            sequences,
        }
    }

    fn note_out(&mut self, sequence: u64) {
        if let Ok(at) = self
            .sequences
            .binary_search_by_key(&sequence, |known| known.0)
        {
            self.sequences[at].1 = true;
        }
    }

    /// Those that are not out, at most `count`.
    fn to_show(&self, count: usize) -> impl Iterator<Item = u64> {
        let waiting = self.sequences.iter().filter(|(_, is_out)| !is_out);
        waiting.map(|&(sequence, _)| sequence).take(count)
    }
}

/// Keeps the `count` messages that fall due first, the latest of them on top.
fn keep_soonest(heap: &mut BinaryHeap<(Tick, u64)>, message: &OutMessage, count: usize) {
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
        let in_flight = self.read_out(&self.in_flight).into_iter();
        let deferred = self.read_out(&self.deferred).into_iter();
        Peek {
            queued_total,
            in_flight_total,
            deferred_total,
            queued: self.read_queued(),
            in_flight: in_flight
                .map(|(out, message)| InFlightMessage {
                    message,
                    client: out.client,
                    delivered_at: now.unix_at(out.delivered_at()),
                    due_at: now.unix_at(out.until),
                })
                .collect(),
            deferred: deferred
                .map(|(out, message)| DeferredMessage {
                    message,
                    due_at: now.unix_at(out.until),
                })
                .collect(),
        }
    }

    /// Requeued messages and fresh ones take turns, as they do when clients take them.
    fn read_queued(&self) -> Vec<PeekedMessage> {
        let mut fresh = Vec::new();
        for part in &self.fresh {
            let left = self.limits.messages.saturating_sub(fresh.len());
            if let Some(log) = &self.logs[part.log.index()] {
                let mut glance = Glance::new(log, self.limits);
                fresh.extend(glance.read_on(part.cursor, part.to_show(left)));
            }
        }
        let mut fresh = fresh.into_iter().map(|(message, _)| message);
        let requeued = self.read_out(&self.requeued).into_iter();
        let mut requeued = requeued.map(|(_, message)| message);
        let mut is_requeued_next = self.requeued_first;
        let in_turn = std::iter::from_fn(|| {
            let next = if is_requeued_next {
                requeued.next().or_else(|| fresh.next())
            } else {
                fresh.next().or_else(|| requeued.next())
            };
            is_requeued_next = !is_requeued_next;
            next
        });
        in_turn.take(self.limits.messages).collect()
    }

    fn read_out<'a>(&self, messages: &'a [OutMessage]) -> Vec<(&'a OutMessage, PeekedMessage)> {
        let mut glances = self.logs.each_ref().map(|log| {
            let log = log.as_ref()?;
            Some(Glance::new(log, self.limits))
        });
        let read = messages.iter().filter_map(|out| {
            let glance = glances[out.log.index()].as_mut()?;
            let message = glance.read(out.sequence, out.position, out.attempts)?;
            Some((out, message))
        });
        read.collect()
    }
}
