//! Handing messages to a client: who gets how many, and who waits.

use nsq_protocol::MessageId;

use super::handout::Handout;
use super::logs::STALL;
use super::{Channel, Lifecycle};
use crate::client::ClientId;
use crate::time::Now;

/// A message on its way to a client. The body lies in the log's map and has to be copied out at once.
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
    /// Bytes of bodies; the message that goes beyond it is still given.
    pub bytes: usize,
}

/// The outcome of a [`Channel::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Messages handed over.
    pub count: usize,
    /// Whether the budget ended it: there may be more for this client, which is not waiting.
    pub more: bool,
    /// Whether the client is now in the wait queue, and will be woken.
    pub waiting: bool,
}

impl Channel {
    /// Hands messages to `client`, up to its ready count, its share and `budget`. A client that has room left and
    /// finds nothing more joins the wait queue and is woken when there is something.
    ///
    /// The share keeps a fast reader from starving the others. While n other clients of its locality wait and have not had
    /// their share, the client gets at most one part in n + 1 of the available messages. Messages for which nearer waiting
    /// clients have room are not available to it.
    pub fn take(
        &mut self,
        client: ClientId,
        budget: Budget,
        now: Now,
        mut deliver: impl FnMut(Delivery<'_>),
    ) -> Taken {
        let mut taken = Taken {
            count: 0,
            more: false,
            waiting: false,
        };
        let was_woken = self.consumers.stop_waiting(client);
        if self.life != Lifecycle::Open || was_woken.is_none() {
            return taken;
        }
        self.trim_to_max_depth();
        let mut bytes = 0;
        while let Some(consumer) = self.consumers.get(client) {
            let (room, locality) = (consumer.room() as usize, consumer.locality);
            if room == 0 {
                break;
            }
            if self.paused || self.stalled_until.is_some() {
                // It waits, so that it is woken when deliveries continue.
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
                // All messages go to nearer clients, which are woken below unless they are already.
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
            let count = self.give(client, limit, budget.bytes, &mut bytes, now, &mut deliver);
            taken.count += count;
            if count == 0 && self.depth() >= depth as u64 && self.stalled_until.is_none() {
                tracing::error!(
                    "channel {}: {depth} messages are counted but cannot be found",
                    self.name
                );
                self.stall(now);
            }
            if share <= count && self.consumers.rival_count(locality) > 0 {
                // It has had its share. The others are woken first, and each wakes more, so that it is served after them.
                self.wake_for_depth();
                if room > count {
                    self.consumers.wait_served(client);
                    taken.waiting = true;
                }
                self.note_idle();
                return taken;
            }
        }
        self.wake_for_depth();
        self.note_idle();
        taken
    }

    /// Leaves the logs alone for a while, since one of them cannot be read.
    pub(super) fn stall(&mut self, now: Now) {
        let until = now.tick.after(STALL);
        self.stalled_until = Some(until);
        self.effects.arm(until);
    }

    /// A client that was woken cannot take anything now: another one is woken in its place.
    pub fn decline(&mut self, client: ClientId) {
        if self.consumers.stop_waiting(client) == Some(true) {
            self.wake_for_depth();
        }
        self.note_idle();
    }

    /// Gives up to `limit` messages, and stops after the one that brings `bytes` to `max_bytes`. Returns how many.
    fn give(
        &mut self,
        client: ClientId,
        limit: usize,
        max_bytes: usize,
        bytes: &mut usize,
        now: Now,
        deliver: &mut impl FnMut(Delivery<'_>),
    ) -> usize {
        let Some(consumer) = self.consumers.get_mut(client) else {
            return 0;
        };
        let deadline = now.tick.after(consumer.msg_timeout);
        let mut handout = Handout {
            logs: &mut self.logs,
            tracked: &mut self.tracked,
            consumer,
            client,
            now,
            deadline,
            deliver,
            count: 0,
            bytes: *bytes,
        };
        let has_stalled = handout.run(limit, max_bytes);
        let Handout {
            consumer, count, ..
        } = handout;
        *bytes = handout.bytes;
        consumer.in_flight += u32::try_from(count).unwrap_or(u32::MAX);
        consumer.message_count += count as u64;
        self.counters.delivered[consumer.locality.index()] += count as u64;
        if count > 0 {
            self.effects.arm(deadline);
        }
        if has_stalled {
            self.stall(now);
        }
        count
    }
}
