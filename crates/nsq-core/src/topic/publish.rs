//! Publishing: an append, and waking those who wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nsq_queue::{NewRecord, Writer};

use super::{ChannelCell, State, Topic, memory_options};
use crate::channel::{Life, LogKind, Moving};
use crate::client::Wakes;
use crate::error::PublishError;
use crate::time::Now;

/// Ephemeral channels may run over their bound by this much before a publisher trims them.
const TRIM_SLACK: u64 = 1024;

/// An accepted publish: on the log, and safe against a kill of nsqd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The log's end behind the last message, for [`Topic::is_synced`].
    end: u64,
    is_deferred: bool,
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
        let mut waiting: Vec<Arc<ChannelCell>> = Vec::new();
        let mut state = self.lock();
        self.accepts(&state)?;
        let offered = bodies.len();
        let accepted = self.accepted_count(&state, offered);
        let state_ref = &mut *state;
        let State { main, ids, .. } = state_ref;
        let mut bytes = 0;
        let records = Counted {
            records: bodies,
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
        let appended = main.append(records);
        self.context.note_append(appended.as_ref().err());
        let range = appended?;
        let sync_due = self.count(state_ref, accepted as u64, bytes);
        self.note_dropped(state_ref, (offered - accepted) as u64);
        if state_ref.is_flowing() {
            self.offered.set_main(range.end);
            for cell in state_ref.channels.values() {
                if cell.shared.has_idle_clients() {
                    waiting.push(Arc::clone(cell));
                }
            }
            if self.folder.is_none() {
                self.trim(state_ref, range.end, now);
            }
        }
        // Only a segment begun moves it; whoever frees segments notes it too.
        let segment = state_ref.main.end().position.segment;
        if segment != state_ref.last_segment {
            state_ref.last_segment = segment;
            self.note_release_point(state_ref);
        }
        drop(state);
        if !waiting.is_empty() {
            let mut wakes = Wakes::default();
            for cell in waiting {
                cell.lock().wake_for_offer(&mut wakes);
            }
            wakes.ring();
        }
        Ok(Published {
            end: range.end,
            is_deferred: false,
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
        self.accepts(&state)?;
        let message = Moving {
            timestamp: now.unix_nanos,
            attempts: 0,
            due,
            body,
        };
        let appended = self.append_deferred(&mut state, &message, now);
        self.context.note_append(appended.as_ref().err());
        let end = appended?;
        let sync_due = self.count(&mut state, 1, body.len() as u64);
        if state.is_flowing() {
            self.offered.set_deferred(end);
            let wakes = self.catch_up(&state, now);
            drop(state);
            wakes.ring();
        }
        Ok(Published {
            end,
            is_deferred: true,
            sync_due,
        })
    }

    /// Whether messages may be published.
    fn accepts(&self, state: &State) -> Result<(), PublishError> {
        if state.life != Life::Open {
            return Err(PublishError::Exiting);
        }
        // Looked at with the topic locked: once a drain has locked the topic, nothing more comes.
        if self.context.is_draining() {
            return Err(PublishError::Draining);
        }
        Ok(())
    }

    pub(super) fn append_deferred(
        &self,
        state: &mut State,
        message: &Moving<'_>,
        now: Now,
    ) -> Result<u64, nsq_queue::LogError> {
        if let Some(deferred) = &state.deferred {
            let end = deferred.end().sequence;
            if self.room(state, LogKind::Deferred, end) == Some(0) {
                self.note_dropped(state, 1);
                return Ok(end);
            }
        }
        let id = state.ids.next(now.unix_nanos).as_u64();
        if state.deferred.is_none() {
            let writer = match &self.folder {
                Some(folder) => {
                    let pool = Arc::clone(&self.context.pool);
                    Writer::open(folder, "deferred", pool, self.context.settings.log_options)?.0
                }
                None => Writer::in_memory(memory_options()),
            };
            self.offered.set_deferred(writer.log().first_sequence());
            state.deferred = Some(writer);
        }
        let Some(writer) = &mut state.deferred else {
            return Ok(0);
        };
        let record = NewRecord {
            id,
            timestamp: message.timestamp,
            due: message.due,
            attempts: message.attempts,
            body: message.body,
        };
        Ok(writer.append([record].into_iter())?.end)
    }

    /// Whether a publish is safe against a machine crash too.
    pub fn is_synced(&self, published: Published) -> bool {
        let state = self.lock();
        let writer = if published.is_deferred {
            state.deferred.as_ref()
        } else {
            Some(&state.main)
        };
        writer.is_none_or(|writer| writer.log().synced_sequence() >= published.end)
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

    /// Counts what a topic in memory had no room for, and tells of it: at first, and whenever it has doubled.
    fn note_dropped(&self, state: &mut State, messages: u64) {
        if messages == 0 {
            return;
        }
        let told = state.dropped_count.checked_ilog2();
        state.dropped_count += messages;
        if state.dropped_count.checked_ilog2() != told {
            tracing::warn!(
                "TOPIC({}): {} messages dropped so far: no channel takes them, and no more than --mem-queue-size may wait \
                 in a topic without a disk",
                self.name,
                state.dropped_count
            );
        }
    }

    /// Keeps a topic in memory within its bound while nobody reads it.
    fn trim(&self, state: &mut State, end: u64, now: Now) {
        let bound = self
            .context
            .settings
            .mem_queue_size
            .saturating_mul(2)
            .saturating_add(TRIM_SLACK);
        let is_over =
            |cell: &Arc<ChannelCell>| end.saturating_sub(cell.shared.main_floor()) > bound;
        for cell in state.channels.values().filter(|cell| is_over(cell)) {
            cell.lock().maintain(now);
        }
        let floor = state
            .channels
            .values()
            .map(|cell| cell.shared.main_floor())
            .min()
            .unwrap_or(end);
        state
            .main
            .release_before(floor.min(self.offered.end(LogKind::Main)));
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
