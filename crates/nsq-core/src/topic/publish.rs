//! Publishing: an append, and waking those who wait for messages.
//!
//! What is published, adopted and imported takes the same steps: [`Topic::admit`], [`TopicLog::append`], and
//! [`Topic::fan_out`] as far as it is safe.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nsq_queue::{LogError, NewRecord, Writer};

use super::tickets::{Ticket, TicketState, TicketWaiter};
use super::topic_log::TopicLog;
use super::{ChannelCell, State, Topic, memory_options, safe_once};
use crate::channel::{Lifecycle, LogKind};
use crate::effects::Effects;
use crate::error::PublishError;
use crate::ids::IdGenerator;
use crate::time::Now;

/// Ephemeral channels may run over their bound by this much before a publisher trims them.
const TRIM_SLACK: u64 = 1024;

/// An accepted publish: on the log, and safe against a kill of nsqd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Names it to [`Topic::await_ticket`].
    pub ticket: Ticket,
    /// Whether it is as safe as it has to be before it is answered. If not, a sync has to be asked for.
    pub is_safe: bool,
    /// Whether `--sync-every` messages have come since the last sync.
    pub sync_due: bool,
}

impl Topic {
    /// Takes messages in, all or none.
    ///
    /// # Errors
    /// [`PublishError`]; no message of the batch was taken then.
    pub fn publish<'a>(
        &self,
        bodies: impl ExactSizeIterator<Item = &'a [u8]>,
        now: Now,
    ) -> Result<Published, PublishError> {
        let mut bodies = bodies;
        // Channels whose clients wait, or that overflow.
        let mut concerned: Vec<Arc<ChannelCell>> = Vec::new();
        let mut effects = Effects::default();
        let mut state = self.lock();
        self.admit(&state)?;
        let count = bodies.len();
        let accepted = self.accepted_count(&state, count);
        let state_ref = &mut *state;
        let State { main, ids, .. } = state_ref;
        let mut bytes = 0;
        let records = Counted {
            records: &mut bodies,
            left: accepted,
        }
        .map(|body| {
            bytes += body.len() as u64;
            NewRecord {
                id: ids.next(now.unix_nanos).as_u64(),
                timestamp: now.unix_nanos,
                due: 0,
                attempts: 0,
                body,
            }
        });
        let range = main.append(&self.context.data_path, records)?;
        // Compat: what finds no room counts as published too (Topic.PutMessages, nsqd/topic.go).
        bytes += bodies.map(|body| body.len() as u64).sum::<u64>();
        let ticket = state_ref.main.ticket();
        let is_safe = state_ref.main.safe() >= range.end;
        let sync_due = self.count(state_ref, count as u64, bytes);
        self.note_dropped(state_ref, (count - accepted) as u64);
        if is_safe && state_ref.is_flowing() {
            self.offer_main(state_ref, range.end, &mut concerned);
            if self.folder.is_none() {
                effects = self.trim(state_ref, range.end, now);
            }
        }
        self.note_last_segment(state_ref);
        drop(state);
        self.carry_out(effects);
        for cell in concerned {
            cell.lock().note_offer();
        }
        Ok(Published {
            ticket,
            is_safe,
            sync_due,
        })
    }

    /// Takes a message in that may not be had before `due`, in unix nanoseconds.
    ///
    /// # Errors
    /// [`PublishError`]; the message was not taken then.
    pub fn publish_deferred(
        &self,
        body: &[u8],
        due: i64,
        now: Now,
    ) -> Result<Published, PublishError> {
        let mut state = self.lock();
        self.admit(&state)?;
        let state_ref = &mut *state;
        self.open_deferred(state_ref)?;
        let end = state_ref
            .deferred
            .as_ref()
            .map_or(0, |log| log.end().sequence);
        if self.room(state_ref, LogKind::Deferred, end) == Some(0) {
            self.note_dropped(state_ref, 1);
        } else {
            let State { deferred, ids, .. } = state_ref;
            let deferred = deferred.as_mut().expect("opened just now");
            let record = NewRecord {
                id: ids.next(now.unix_nanos).as_u64(),
                timestamp: now.unix_nanos,
                due,
                attempts: 0,
                body,
            };
            deferred.append(&self.context.data_path, [record].into_iter())?;
        }
        let sync_due = self.count(state_ref, 1, body.len() as u64);
        let deferred = state_ref.deferred.as_ref().expect("opened above");
        let published = Published {
            ticket: deferred.ticket(),
            is_safe: deferred.safe() >= deferred.end().sequence,
            sync_due,
        };
        if published.is_safe && state_ref.is_flowing() {
            let effects = self.fan_out(state_ref, now);
            drop(state);
            self.carry_out(effects);
        }
        Ok(published)
    }

    /// Numbers messages that are to be proposed for this topic, with the topic locked: the ids ascend in the order of the
    /// calls, so that `propose` puts the messages in line before it returns. It may not call back.
    ///
    /// # Errors
    /// [`PublishError`] when the topic takes no messages; `propose` was not called then.
    pub fn number<T>(
        &self,
        propose: impl FnOnce(&mut IdGenerator) -> T,
    ) -> Result<T, PublishError> {
        let mut state = self.lock();
        self.admit_proposal(&state)?;
        Ok(propose(&mut state.ids))
    }

    /// How far a publish is; cheap, and without the topic's lock.
    pub fn ticket_state(&self, ticket: Ticket) -> TicketState {
        self.tickets.state(ticket)
    }

    /// How far a publish is. While it is pending, `waiter` is called once it no longer is.
    pub fn await_ticket(&self, ticket: Ticket, waiter: &Arc<dyn TicketWaiter>) -> TicketState {
        self.tickets.wait(ticket, waiter)
    }

    /// The sync that was to make pending publishes safe broke off: they have failed, for this reason.
    pub fn fail_pending_tickets(&self, fault: &str) {
        self.tickets.fail_pending(&fault).wake_all();
    }

    /// Notes the release point again, if a segment was begun: only that moves it here, and a release notes it too.
    #[inline]
    pub(super) fn note_last_segment(&self, state: &mut State) {
        let segment = state.main.end().position.segment;
        if segment != state.last_segment {
            state.last_segment = segment;
            self.note_release_point(state);
        }
    }

    /// Whether messages may be appended, whichever way they come, but as committed ones.
    #[inline]
    pub(super) fn admit(&self, state: &State) -> Result<(), PublishError> {
        if state.committed.is_some() {
            return Err(PublishError::Replicated);
        }
        self.admit_proposal(state)
    }

    /// Whether messages may be proposed.
    #[inline]
    fn admit_proposal(&self, state: &State) -> Result<(), PublishError> {
        if state.life != Lifecycle::Open {
            return Err(PublishError::Exiting);
        }
        // Looked at with the topic locked: once a drain has locked the topic, nothing more comes.
        if self.context.is_draining() {
            return Err(PublishError::Draining);
        }
        Ok(())
    }

    /// Makes the deferred log, unless it is there. A failure counts as one of the append that needs it.
    pub(super) fn open_deferred(&self, state: &mut State) -> Result<(), LogError> {
        if state.deferred.is_some() {
            return Ok(());
        }
        let writer = match &self.folder {
            Some(folder) => {
                let pool = Arc::clone(&self.context.pool);
                let opened =
                    Writer::open(folder, "deferred", pool, self.context.settings.log_options);
                opened
                    .inspect_err(|error| self.context.data_path.note_failed_append(error))?
                    .0
            }
            None => Writer::in_memory(memory_options()),
        };
        self.offered.set_deferred(writer.log().first_sequence());
        let safe_once = safe_once(&self.name, &self.context);
        let recorder = self.recorder.clone().filter(|_| state.committed.is_none());
        let log = TopicLog::new(LogKind::Deferred, writer, safe_once, recorder);
        state.deferred = Some(log);
        Ok(())
    }

    /// How many of `count` messages there is room for: only what lives in memory has a bound.
    fn accepted_count(&self, state: &State, count: usize) -> usize {
        let room = self.room(state, LogKind::Main, state.main.end().sequence);
        let room = room.and_then(|room| usize::try_from(room).ok());
        count.min(room.unwrap_or(usize::MAX))
    }

    /// How many more messages may wait in a log that ends there, until a channel can have them; `None` for any number.
    fn room(&self, state: &State, log: LogKind, end: u64) -> Option<u64> {
        if self.folder.is_some() || state.is_flowing() {
            return None;
        }
        let waiting = end.saturating_sub(self.offered.end(log));
        Some(self.context.settings.mem_queue_size.saturating_sub(waiting))
    }

    pub(super) fn count(&self, state: &mut State, messages: u64, bytes: u64) -> bool {
        self.active.store(true, Ordering::Relaxed);
        state.message_count += messages;
        state.message_bytes += bytes;
        if self.folder.is_none() {
            return false;
        }
        state.unsynced_count += messages;
        let sync_due = state.unsynced_count >= self.context.settings.sync_every;
        if sync_due {
            state.unsynced_count = 0;
        }
        sync_due
    }

    /// Counts what a topic in memory had no room for, and logs it: at first, and whenever it has doubled.
    fn note_dropped(&self, state: &mut State, messages: u64) {
        if messages == 0 {
            return;
        }
        let logged = state.dropped_count.checked_ilog2();
        state.dropped_count += messages;
        if state.dropped_count.checked_ilog2() != logged {
            tracing::warn!(
                "TOPIC({}): {} messages dropped so far: no channel takes them, and no more than --mem-queue-size may wait \
                 in a topic without a disk",
                self.name,
                state.dropped_count
            );
        }
    }

    /// Keeps a topic in memory within its bound while no one reads it.
    fn trim(&self, state: &mut State, end: u64, now: Now) -> Effects {
        let mut effects = Effects::default();
        let bound = self
            .context
            .settings
            .mem_queue_size
            .saturating_mul(2)
            .saturating_add(TRIM_SLACK);
        let is_over =
            |cell: &Arc<ChannelCell>| end.saturating_sub(cell.shared.main_floor()) > bound;
        for cell in state.channels.values().filter(|cell| is_over(cell)) {
            let mut channel = cell.lock_inner();
            channel.maintain(now);
            let mut of_channel = channel.end_batch();
            drop(channel);
            of_channel.plan_timeout(cell);
            effects.merge(of_channel);
        }
        let floor = state
            .channels
            .values()
            .map(|cell| cell.shared.main_floor())
            .min()
            .unwrap_or(end);
        state
            .main
            .writer
            .release_before(floor.min(self.offered.end(LogKind::Main)));
        effects
    }
}

/// An iterator cut to its first `left` items, that still knows its length.
struct Counted<I> {
    records: I,
    left: usize,
}

impl<I: Iterator> Iterator for Counted<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.left = self.left.checked_sub(1)?;
        self.records.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<I: Iterator> ExactSizeIterator for Counted<I> {}
