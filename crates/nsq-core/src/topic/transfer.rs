//! Messages that move to another nsqd, as far as they are the topic's own: adopted into it or into one of its channels;
//! and, at the nsqd that gives, those that were offered to no channel yet.

use std::sync::Arc;

use nsq_protocol::ChannelName;
use nsq_queue::{Cursor, Log, NewRecord, ReadError, Reader, sync_folder};

use super::{SettledWaiters, Topic, TopicLog};
use crate::channel::{Budget, Lifecycle, LogKind, TransferMessage};
use crate::error::StoreError;
use crate::time::Now;

/// What a topic and its channels still have for someone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Remaining {
    /// Messages that no channel was offered: there is none, or the topic is paused.
    pub unoffered: u64,
    /// Messages a client could have now.
    pub queued: u64,
    /// Messages that clients hold.
    pub in_flight: u64,
    /// Messages that are held back until they are due.
    pub deferred: u64,
}

impl Remaining {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.unoffered + self.queued + self.in_flight + self.deferred
    }

    /// Adds what another topic has.
    pub fn add(&mut self, other: Remaining) {
        self.unoffered += other.unoffered;
        self.queued += other.queued;
        self.in_flight += other.in_flight;
        self.deferred += other.deferred;
    }
}

/// A walk over the messages that were offered to no channel when it began.
pub struct Unoffered {
    parts: Vec<Part>,
    /// Where the offers stood, and where the logs ended: main, deferred.
    bounds: Bounds,
}

type Bounds = [(u64, u64); 2];

struct Part {
    reader: Reader,
    cursor: Cursor,
    end: u64,
}

impl Topic {
    // ---- the nsqd that takes ----

    /// Takes in messages that another nsqd had for `channel` alone, which is made if it is new, or, without one, for all
    /// channels that there will be. They are safe against a kill and a machine crash when this returns; it waits for the
    /// disk.
    ///
    /// # Errors
    /// [`StoreError`], also for a topic or channel that is kept in memory only. Some of them may have been taken then.
    pub fn adopt(
        &self,
        channel: Option<&ChannelName>,
        messages: &[TransferMessage<'_>],
        now: Now,
    ) -> Result<(), StoreError> {
        if let Some(channel) = channel {
            for log in self.adopt_into_channel(channel, messages, now)? {
                log.sync()?;
            }
        } else {
            self.adopt_into_topic(messages, now)?;
            self.sync_published(now)?;
        }
        // The channel's folder may have been made just now.
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        sync_folder(folder)?;
        if let Some(topics) = folder.parent() {
            sync_folder(topics)?;
        }
        Ok(())
    }

    fn adopt_into_channel(
        &self,
        name: &ChannelName,
        messages: &[TransferMessage<'_>],
        now: Now,
    ) -> Result<Vec<Arc<Log>>, StoreError> {
        let cell = self.get_or_create_channel(name, now)?;
        let mut effects;
        let adopted = {
            let mut state = self.lock();
            self.admit(&state)?;
            let ids: Vec<u64> = messages
                .iter()
                .map(|_| state.ids.next(now.unix_nanos).as_u64())
                .collect();
            // With the topic locked, so that ids ascend in the channel's log: the last one is known after a restart.
            let mut channel = cell.lock_inner();
            if channel.is_exiting() {
                return Err(StoreError::Exiting);
            }
            let adopted = channel.adopt(messages, &ids, now);
            effects = channel.end_batch();
            adopted
        };
        effects.plan_timeout(&cell);
        self.carry_out(effects);
        adopted
    }

    fn adopt_into_topic<'a>(
        &self,
        messages: &[TransferMessage<'a>],
        now: Now,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        self.admit(&state)?;
        if messages.is_empty() {
            return Ok(());
        }
        let (deferred, at_once): (Vec<&TransferMessage<'a>>, Vec<_>) = messages
            .iter()
            .partition(|message| message.due > now.unix_nanos);
        let state_ref = &mut *state;
        if !deferred.is_empty() {
            self.open_deferred(state_ref)?;
        }
        let ids = &mut state_ref.ids;
        let mut record = |message: &TransferMessage<'a>, due: i64| NewRecord {
            id: ids.next(now.unix_nanos).as_u64(),
            timestamp: message.timestamp,
            due,
            attempts: message.attempts,
            body: message.body,
        };
        let data_path = &self.context.data_path;
        let at_once = at_once.iter().map(|message| record(message, 0));
        state_ref.main.append(data_path, at_once)?;
        if let Some(log) = &mut state_ref.deferred {
            let deferred = deferred.iter().map(|message| record(message, message.due));
            log.append(data_path, deferred)?;
        }
        let bytes = messages.iter().map(|message| message.body.len() as u64);
        self.count(state_ref, messages.len() as u64, bytes.sum());
        let effects = self.resume_flow(state_ref, now);
        drop(state);
        self.carry_out(effects);
        Ok(())
    }

    // ---- the nsqd that gives ----

    /// What is left here for someone. What is kept in memory only counts while a client is there to take it.
    pub fn remaining(&self) -> Remaining {
        let mut remaining = Remaining::default();
        let cells: Vec<_> = {
            let state = self.lock();
            if self.folder.is_some() {
                remaining.unoffered = self.waiting_count(&state);
            }
            state.channels.values().cloned().collect()
        };
        for cell in cells {
            let channel = cell.lock_inner();
            if channel.is_in_memory() && channel.client_count() == 0 {
                continue;
            }
            remaining.queued += channel.depth();
            remaining.in_flight += channel.in_flight_count() as u64;
            remaining.deferred += channel.deferred_count() as u64;
        }
        remaining
    }

    /// A walk over what no channel was offered; `None` when there is nothing, or when it only waits to be safe. For a
    /// topic that takes no publishes: later messages are not in it.
    pub fn unoffered(&self) -> Option<Unoffered> {
        let state = self.lock();
        self.folder.as_ref()?;
        if self.waiting_count(&state) == 0 || state.is_flowing() {
            return None;
        }
        let bounds = self.bounds(&state);
        let logs = [Some(&state.main), state.deferred.as_ref()];
        let parts = logs.into_iter().zip(bounds);
        let parts = parts.filter_map(|(log, (start, end))| {
            let log = Arc::clone(log?.log());
            let cursor = log.seek(start);
            let reader = Reader::new(log);
            (start < end).then_some(Part {
                reader,
                cursor,
                end,
            })
        });
        Some(Unoffered {
            parts: parts.collect(),
            bounds,
        })
    }

    /// Forgets what a walk went over, if all of it still waits and nothing came after it. Whether it did.
    ///
    /// # Errors
    /// [`StoreError`] when the log's files refuse.
    pub fn drop_unoffered(&self, walked: &Unoffered) -> Result<bool, StoreError> {
        let mut state = self.lock();
        if !self.is_as_walked(&state, walked) {
            return Ok(false);
        }
        self.drop_waiting(&mut state)?;
        let settled = self.settle_tickets(&state);
        drop(state);
        settled.into_iter().for_each(SettledWaiters::wake_all);
        Ok(true)
    }

    /// Whether what a walk goes over still waits, and nothing came after it.
    pub fn still_waits(&self, walked: &Unoffered) -> bool {
        self.is_as_walked(&self.lock(), walked)
    }

    fn is_as_walked(&self, state: &super::State, walked: &Unoffered) -> bool {
        state.life == Lifecycle::Open && self.bounds(state) == walked.bounds
    }

    fn bounds(&self, state: &super::State) -> Bounds {
        let end = |log: &TopicLog| log.end().sequence;
        let main = (self.offered.end(LogKind::Main), end(&state.main));
        let deferred = state.deferred.as_ref().map_or((0, 0), |log| {
            (self.offered.end(LogKind::Deferred), end(log))
        });
        [main, deferred]
    }
}

impl Unoffered {
    /// Shows the next messages to `show`, up to `budget`. Damaged ones are passed over. Returns how many it showed: none
    /// at the end of the walk.
    ///
    /// # Errors
    /// [`ReadError`] when the disk does not answer; what was shown before stays shown.
    pub fn next(
        &mut self,
        budget: Budget,
        mut show: impl FnMut(TransferMessage<'_>),
    ) -> Result<usize, ReadError> {
        let (mut count, mut bytes) = (0, 0);
        for part in &mut self.parts {
            while part.cursor.sequence < part.end {
                if count >= budget.messages || bytes >= budget.bytes {
                    return Ok(count);
                }
                match part.reader.next(&mut part.cursor) {
                    Ok(Some(record)) => {
                        show(TransferMessage {
                            timestamp: record.timestamp,
                            attempts: record.attempts,
                            due: record.due,
                            body: record.body,
                        });
                        count += 1;
                        bytes += record.body.len();
                    }
                    Ok(None) => break,
                    Err(ReadError::Damaged { .. }) => {}
                    Err(error @ ReadError::Io { .. }) => return Err(error),
                }
            }
        }
        Ok(count)
    }
}
