//! Handing messages to a client.

use nsq_protocol::MessageId;
use nsq_queue::ReadError;
use std::time::Duration;

use super::out_message::{Delivered, LogKind, OutMessage, State};
use super::source::Step;
use super::{Channel, Life, OwnLog};
use crate::client::{ClientId, Wakes};
use crate::time::{Now, Tick};

/// How long a channel leaves a log alone that could not be read.
pub(super) const STALL: Duration = Duration::from_secs(1);

/// A message on its way to a client; the body lies in the log's map and is to be copied out at once.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// When it was published, in unix nanoseconds.
    pub timestamp: i64,
    /// How often it has been delivered, this time included.
    pub attempts: u16,
    /// Its id.
    pub id: MessageId,
    /// Its body.
    pub body: &'a [u8],
}

/// The most that one call may hand over.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Messages.
    pub messages: usize,
    /// Bytes of bodies; the message that passes it is still given.
    pub bytes: usize,
}

/// What came of a [`Channel::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Messages handed over.
    pub count: usize,
    /// Whether the budget ended it: there may be more for this client, who is not waiting.
    pub more: bool,
    /// Whether the client is now in line, and will be woken.
    pub waiting: bool,
    /// When [`Channel::handle_timeout`] has to be called at the latest, for what was handed over.
    pub deadline: Option<Tick>,
}

impl Channel {
    /// Hands messages to `client`, up to its ready count, its share and `budget`. A client that has room left and
    /// finds nothing more is put in line and woken when there is something.
    ///
    /// Its share: with n others waiting for messages who have not had theirs, it gets no more than one part in n + 1
    /// of what is there, so that one fast reader does not starve the rest. Those of its own locality are meant: what
    /// the nearer ones who wait have room for is not there for it.
    pub fn take(
        &mut self,
        client: ClientId,
        budget: Budget,
        now: Now,
        wakes: &mut Wakes,
        mut deliver: impl FnMut(Delivery<'_>),
    ) -> Taken {
        let mut taken = Taken {
            count: 0,
            more: false,
            waiting: false,
            deadline: None,
        };
        let was_rung = self.consumers.stop_waiting(client);
        if self.life != Life::Open || was_rung.is_none() {
            return taken;
        }
        if self.max_depth.is_some() {
            self.trim_to_max_depth();
        }
        let mut bytes = 0;
        while let Some(consumer) = self.consumers.get(client) {
            let (room, locality) = (consumer.room() as usize, consumer.locality);
            if room == 0 {
                break;
            }
            if self.paused || self.stalled_until.is_some() {
                // In line, so that it is rung when deliveries go on.
                self.consumers.wait(client);
                taken.waiting = true;
                break;
            }
            let depth = usize::try_from(self.depth()).unwrap_or(usize::MAX);
            if depth == 0 {
                self.consumers.end_round();
                self.consumers.wait(client);
                self.note_idle();
                taken.waiting = true;
                // A publisher may have looked for idle clients just before: look again.
                if self.depth() == 0 {
                    break;
                }
                self.consumers.stop_waiting(client);
                taken.waiting = false;
                continue;
            }
            let free = depth.saturating_sub(self.consumers.nearer_room(locality));
            if free == 0 {
                // All there is goes to those nearer by, who are rung below if nobody has rung them yet.
                self.consumers.wait(client);
                self.note_idle();
                taken.waiting = true;
                break;
            }
            let share = free.div_ceil(self.consumers.rival_count(locality) + 1);
            let left = budget.messages - taken.count;
            if left == 0 || bytes >= budget.bytes {
                taken.more = true;
                break;
            }
            let limit = room.min(share).min(left);
            let count = self.give(
                client,
                limit,
                budget.bytes,
                &mut bytes,
                now,
                &mut taken,
                &mut deliver,
            );
            taken.count += count;
            if count == 0 && self.depth() >= depth as u64 && self.stalled_until.is_none() {
                tracing::error!(
                    "channel {}: {depth} messages are counted but cannot be found",
                    self.name
                );
                self.stalled_until = Some(now.tick.after(STALL));
            }
            if share <= count && self.consumers.rival_count(locality) > 0 {
                // It has had its share. The others are rung first, and each rings on, so that it is served behind them.
                self.ring_for_depth(wakes);
                if room > count {
                    self.consumers.wait_served(client);
                    taken.waiting = true;
                }
                self.note_idle();
                return self.with_stall(taken);
            }
        }
        self.ring_for_depth(wakes);
        self.note_idle();
        self.with_stall(taken)
    }

    /// A stall has to be looked at like a deadline.
    fn with_stall(&self, mut taken: Taken) -> Taken {
        if let Some(stalled) = self.stalled_until {
            taken.deadline = Some(taken.deadline.map_or(stalled, |first| first.min(stalled)));
        }
        taken
    }

    /// A client that was woken cannot take anything now: somebody else is woken in its place.
    pub fn decline(&mut self, client: ClientId, wakes: &mut Wakes) {
        if self.consumers.stop_waiting(client) == Some(true) {
            self.ring_for_depth(wakes);
        }
        self.note_idle();
    }

    /// Gives up to `limit` messages, and stops behind the one that brings `bytes` to `max_bytes`.
    #[expect(
        clippy::too_many_arguments,
        reason = "the inner loop of take, apart from it for its length"
    )]
    fn give(
        &mut self,
        client: ClientId,
        limit: usize,
        max_bytes: usize,
        bytes: &mut usize,
        now: Now,
        taken: &mut Taken,
        deliver: &mut impl FnMut(Delivery<'_>),
    ) -> usize {
        let end = self.offered.end(LogKind::Main);
        let Channel {
            main,
            deferred,
            private,
            backlog,
            out,
            consumers,
            requeued_first,
            stalled_until,
            delivered_counts,
            ..
        } = self;
        let Some(consumer) = consumers.get_mut(client) else {
            return 0;
        };
        let deadline = now.tick.after(consumer.msg_timeout);
        let mut count = 0;
        while count < limit && *bytes < max_bytes {
            let left_behind = backlog.as_ref().map_or(0, OwnLog::behind);
            let fresh = left_behind + main.behind(end);
            if out.requeued_count() > 0 && (*requeued_first || fresh == 0) {
                *requeued_first = false;
                let Some(message) = out.first_requeued() else {
                    break;
                };
                let source = match message.log {
                    LogKind::Main => Some(&mut *main),
                    LogKind::Deferred => deferred.as_mut(),
                    LogKind::Private => private.as_mut().map(|private| &mut private.source),
                    LogKind::Backlog => backlog.as_mut().map(|backlog| &mut backlog.source),
                };
                let Some(source) = source else {
                    out.remove(message.id);
                    continue;
                };
                if consumer.samples_out() {
                    out.remove(message.id);
                    let _ = source.marks.mark(message.sequence);
                    continue;
                }
                match source.reader.read(message.sequence, message.position) {
                    Ok(record) => {
                        let Some(message) =
                            out.deliver_requeued(message.id, client, now.tick, deadline)
                        else {
                            continue;
                        };
                        deliver(Delivery {
                            timestamp: record.timestamp,
                            attempts: message.attempts,
                            id: MessageId::from_u64(record.id),
                            body: record.body,
                        });
                        *bytes += record.body.len();
                        count += 1;
                    }
                    Err(ReadError::Damaged { .. }) => {
                        tracing::error!(
                            "message {} is damaged and is skipped",
                            MessageId::from_u64(message.id)
                        );
                        out.remove(message.id);
                        source.damaged_count += 1;
                        let _ = source.marks.mark(message.sequence);
                    }
                    Err(error @ ReadError::Io { .. }) => {
                        tracing::error!("cannot read, trying again in {STALL:?}: {error}");
                        *stalled_until = Some(now.tick.after(STALL));
                        break;
                    }
                }
                continue;
            }
            // What upstream's nsqd had queued for this channel is older than what the topic has.
            let (log, source, end) = match backlog.as_mut().filter(|_| left_behind > 0) {
                Some(backlog) => (
                    LogKind::Backlog,
                    &mut backlog.source,
                    backlog.writer.end().sequence,
                ),
                None => (LogKind::Main, &mut *main, end),
            };
            let known_ahead = source.ahead_count;
            match source.next(end) {
                Step::Record(record) => {
                    let sequence = record.sequence;
                    let is_out =
                        |known: &OutMessage| known.log == log && known.sequence == sequence;
                    // Only after a restart is anything behind the cursor out.
                    if known_ahead > 0 && out.find(record.id).is_some_and(is_out) {
                        source.ahead_count -= 1;
                        continue;
                    }
                    *requeued_first = true;
                    if consumer.samples_out() {
                        let _ = source.marks.mark(sequence);
                        continue;
                    }
                    let attempts = record.attempts.wrapping_add(1);
                    let message = OutMessage {
                        id: record.id,
                        sequence,
                        position: record.position,
                        published: record.timestamp,
                        delivered: Delivered::at(now.tick),
                        until: deadline,
                        client,
                        attempts,
                        log,
                        state: State::InFlight,
                    };
                    match out.insert(message) {
                        Ok(()) => {
                            deliver(Delivery {
                                timestamp: record.timestamp,
                                attempts,
                                id: MessageId::from_u64(record.id),
                                body: record.body,
                            });
                            *bytes += record.body.len();
                            count += 1;
                        }
                        // This very record, whatever the count said: finishing it here would lose it.
                        Err(known) if is_out(&known) => {}
                        // Known from before a restart: a copy of it is out already.
                        Err(_) => {
                            let _ = source.marks.mark(sequence);
                        }
                    }
                }
                Step::Skipped => {}
                Step::End => {
                    if out.requeued_count() == 0 {
                        break;
                    }
                    *requeued_first = true;
                }
                Step::Stalled(error) => {
                    tracing::error!("cannot read, trying again in {STALL:?}: {error}");
                    *stalled_until = Some(now.tick.after(STALL));
                    break;
                }
            }
        }
        consumer.in_flight += u32::try_from(count).unwrap_or(u32::MAX);
        consumer.message_count += count as u64;
        delivered_counts[consumer.locality.index()] += count as u64;
        if count > 0 {
            taken.deadline = Some(deadline);
        }
        count
    }
}
