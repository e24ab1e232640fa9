//! The inner loop of a delivery: one client's share, message by message.

use nsq_protocol::MessageId;

use super::consumer::Consumer;
use super::delivery::Delivery;
use super::logs::{ChannelLogs, Lookup};
use super::requeued::AT_ONCE;
use super::source::{Source, Step};
use super::tracked::Tracked;
use super::tracked_message::{Delivered, State, TrackedMessage};
use crate::client::ClientId;
use crate::time::{Now, Tick};

/// The parts of a channel that a delivery to one client needs, and what it has given so far.
pub(super) struct Handout<'a, D> {
    pub(super) logs: &'a mut ChannelLogs,
    pub(super) tracked: &'a mut Tracked,
    pub(super) consumer: &'a mut Consumer,
    pub(super) client: ClientId,
    pub(super) now: Now,
    /// When the messages given time out.
    pub(super) deadline: Tick,
    pub(super) deliver: &'a mut D,
    pub(super) count: usize,
    /// Bytes of bodies given.
    pub(super) bytes: usize,
}

/// How a step of a handout went on.
enum Progress {
    /// It gave a message, or passed one over.
    Next,
    /// The same, and the log has nothing more.
    Drained,
    /// The queued logs have nothing more, whatever their count says.
    End,
    /// A log cannot be read now.
    Stalled,
}

impl Progress {
    /// After a step over a log.
    #[inline]
    fn after(source: &Source, end: u64) -> Progress {
        if source.behind(end) > 0 {
            Progress::Next
        } else {
            Progress::Drained
        }
    }
}

impl<D: FnMut(Delivery<'_>)> Handout<'_, D> {
    /// Gives up to `limit` messages, and stops after the one that brings the bytes to `max_bytes`. Returns whether a
    /// log stalled.
    ///
    /// A requeued message goes first once its turn has come, or when no message waits in a queued log.
    pub(super) fn run(&mut self, limit: usize, max_bytes: usize) -> bool {
        let mut waiting = self.logs.first_waiting();
        while self.count < limit && self.bytes < max_bytes {
            let progress = if let Some(message) = self.requeued_next(waiting.is_some()) {
                self.give_requeued(message)
            } else if let Some((place, end)) = waiting {
                self.give_waiting(place, end)
            } else {
                break;
            };
            match progress {
                Progress::Next => {}
                Progress::Drained => waiting = self.logs.first_waiting(),
                Progress::End => waiting = None,
                Progress::Stalled => return true,
            }
        }
        false
    }

    /// The requeued message that goes next, if one does.
    #[inline]
    fn requeued_next(&mut self, others_wait: bool) -> Option<TrackedMessage> {
        if self.tracked.requeued_count() == 0 {
            return None;
        }
        let passed = if others_wait {
            self.logs.passed_count()
        } else {
            u64::MAX
        };
        self.tracked.first_requeued(passed)
    }

    fn give_requeued(&mut self, message: TrackedMessage) -> Progress {
        if self.consumer.samples_out() {
            self.tracked.remove(message.id);
            self.logs.finish(message.log, message.sequence);
            return Progress::Next;
        }
        match self.logs.read(&message) {
            Lookup::Found(record) => {
                let delivered = self.tracked.deliver_requeued(
                    message.id,
                    self.client,
                    self.now.tick,
                    self.deadline,
                );
                if let Some(message) = delivered {
                    (self.deliver)(Delivery {
                        timestamp: record.timestamp,
                        attempts: message.attempts,
                        id: MessageId::from_u64(record.id),
                        body: record.body,
                    });
                    self.bytes += record.body.len();
                    self.count += 1;
                }
                Progress::Next
            }
            Lookup::Lost => {
                self.tracked.remove(message.id);
                Progress::Next
            }
            Lookup::Stalled => Progress::Stalled,
        }
    }

    #[inline]
    fn give_waiting(&mut self, place: usize, end: u64) -> Progress {
        let log = self.logs.at(place);
        let kind = log.kind();
        let known_ahead = log.source.ahead_count;
        let record = match log.source.next(end) {
            Step::Record(record) => record,
            Step::Skipped => return Progress::after(&log.source, end),
            Step::End => return Progress::End,
            Step::Stalled => return Progress::Stalled,
        };
        let sequence = record.sequence;
        let is_tracked = |known: &TrackedMessage| known.log == kind && known.sequence == sequence;
        // Only after a restart are records tracked that the cursor has still before it.
        if known_ahead > 0 && self.tracked.find(record.id).is_some_and(is_tracked) {
            log.source.ahead_count -= 1;
            return Progress::after(&log.source, end);
        }
        if self.consumer.samples_out() {
            log.finish(sequence);
            return Progress::after(&log.source, end);
        }
        let attempts = record.attempts.wrapping_add(1);
        let message = TrackedMessage {
            id: record.id,
            sequence,
            position: record.position,
            published: record.timestamp,
            delivered: Delivered::at(self.now.tick),
            until: self.deadline,
            client: self.client,
            attempts,
            log: kind,
            state: State::InFlight,
        };
        match self.tracked.insert(message, AT_ONCE) {
            Ok(()) => {
                (self.deliver)(Delivery {
                    timestamp: record.timestamp,
                    attempts,
                    id: MessageId::from_u64(record.id),
                    body: record.body,
                });
                self.bytes += record.body.len();
                self.count += 1;
            }
            // This very record, whatever the count said: finishing it here would lose it.
            Err(known) if is_tracked(&known) => {}
            // A copy of the record has been tracked since before a restart.
            Err(_) => log.finish(sequence),
        }
        Progress::after(&log.source, end)
    }
}
