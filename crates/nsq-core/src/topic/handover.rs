//! Messages that move to another nsqd, as far as they are the topic's own: adopted into it or into one of its channels;
//! and, at the nsqd that gives, those that were offered to no channel yet.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use nsq_protocol::ChannelName;
use nsq_queue::{Cursor, Log, NewRecord, ReadError, Reader};

use super::Topic;
use crate::channel::{Budget, Life, LogKind, Moving};
use crate::client::Wakes;
use crate::error::StoreError;
use crate::time::Now;

/// What a topic and its channels still have for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Messages that no channel was offered: there is none, or the topic is paused.
    pub unoffered: u64,
    /// Messages a client could have now.
    pub queued: u64,
    /// Messages that clients hold.
    pub in_flight: u64,
    /// Messages that are held back until they are due.
    pub deferred: u64,
}

impl Left {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.unoffered + self.queued + self.in_flight + self.deferred
    }

    /// Adds what another topic has.
    pub fn add(&mut self, other: Left) {
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
        messages: &[Moving<'_>],
        now: Now,
    ) -> Result<(), StoreError> {
        let logs = match channel {
            Some(channel) => self.adopt_into_channel(channel, messages, now)?,
            None => self.adopt_into_topic(messages, now)?,
        };
        for log in logs {
            log.sync()?;
        }
        // The channel's folder may have been made just now.
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        sync_folder(folder)?;
        folder.parent().map_or(Ok(()), sync_folder)
    }

    fn adopt_into_channel(
        &self,
        name: &ChannelName,
        messages: &[Moving<'_>],
        now: Now,
    ) -> Result<Vec<Arc<Log>>, StoreError> {
        let cell = self.get_or_create_channel(name, now)?;
        let mut wakes = Wakes::default();
        let (adopted, due) = {
            let mut state = self.lock();
            self.adopts(&state)?;
            let ids: Vec<u64> = messages
                .iter()
                .map(|_| state.ids.next(now.unix_nanos).as_u64())
                .collect();
            // With the topic locked, so that ids ascend in the channel's log: the last one is known after a restart.
            let mut channel = cell.lock();
            if channel.is_exiting() {
                return Err(StoreError::Exiting);
            }
            let adopted = channel.adopt(messages, &ids, now, &mut wakes);
            (adopted, channel.next_timeout())
        };
        wakes.ring();
        if let Some(due) = due {
            self.context.arm(&cell, due);
        }
        adopted
    }

    fn adopt_into_topic(
        &self,
        messages: &[Moving<'_>],
        now: Now,
    ) -> Result<Vec<Arc<Log>>, StoreError> {
        let mut state = self.lock();
        self.adopts(&state)?;
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let (deferred, at_once): (Vec<&Moving<'_>>, Vec<_>) = messages
            .iter()
            .partition(|message| message.due > now.unix_nanos);
        let state_ref = &mut *state;
        let ids = &mut state_ref.ids;
        let records: Vec<_> = at_once
            .iter()
            .map(|message| NewRecord {
                id: ids.next(now.unix_nanos).as_u64(),
                timestamp: message.timestamp,
                due: 0,
                attempts: message.attempts,
                body: message.body,
            })
            .collect();
        state_ref.main.append(records.into_iter())?;
        for message in deferred {
            self.append_deferred(state_ref, message, now)?;
        }
        let bytes = messages.iter().map(|message| message.body.len() as u64);
        self.count(state_ref, messages.len() as u64, bytes.sum());
        let wakes = self.resume_flow(state_ref, now);
        let logs = [Some(&state_ref.main), state_ref.deferred.as_ref()];
        let logs = logs.into_iter().flatten();
        let logs = logs.map(|writer| Arc::clone(writer.log())).collect();
        drop(state);
        wakes.ring();
        Ok(logs)
    }

    /// Whether messages may be adopted. As with publishes: once a drain of this nsqd has looked at the topic, nothing
    /// more comes.
    fn adopts(&self, state: &super::State) -> Result<(), StoreError> {
        if state.life != Life::Open {
            return Err(StoreError::Exiting);
        }
        if self.context.is_draining() {
            return Err(StoreError::Draining);
        }
        Ok(())
    }

    // ---- the nsqd that gives ----

    /// What is left here for somebody. What is kept in memory only counts while a client is there to take it.
    pub fn left(&self) -> Left {
        let mut left = Left::default();
        let cells: Vec<_> = {
            let state = self.lock();
            if self.folder.is_some() {
                left.unoffered = self.waiting_count(&state);
            }
            state.channels.values().cloned().collect()
        };
        for cell in cells {
            let channel = cell.lock();
            if channel.is_in_memory() && channel.client_count() == 0 {
                continue;
            }
            left.queued += channel.depth();
            left.in_flight += channel.in_flight_count() as u64;
            left.deferred += channel.deferred_count() as u64;
        }
        left
    }

    /// A walk over what no channel was offered; `None` when there is nothing. For a topic that takes no publishes: what
    /// comes later is not in it.
    pub fn unoffered(&self) -> Option<Unoffered> {
        let state = self.lock();
        self.folder.as_ref()?;
        if self.waiting_count(&state) == 0 {
            return None;
        }
        let bounds = self.bounds(&state);
        let logs = [Some(&state.main), state.deferred.as_ref()];
        let parts = logs.into_iter().zip(bounds);
        let parts = parts.filter_map(|(writer, (start, end))| {
            let log = Arc::clone(writer?.log());
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

    /// Forgets what a walk went over, if all of it still waits and nothing came behind it. Whether it did.
    ///
    /// # Errors
    /// [`StoreError`] when the log's files refuse.
    pub fn drop_unoffered(&self, walked: &Unoffered) -> Result<bool, StoreError> {
        let mut state = self.lock();
        if !self.is_as_walked(&state, walked) {
            return Ok(false);
        }
        self.drop_waiting(&mut state)?;
        Ok(true)
    }

    /// Whether what a walk goes over still waits, and nothing came behind it.
    pub fn still_waits(&self, walked: &Unoffered) -> bool {
        self.is_as_walked(&self.lock(), walked)
    }

    fn is_as_walked(&self, state: &super::State, walked: &Unoffered) -> bool {
        state.life == Life::Open && self.bounds(state) == walked.bounds
    }

    fn bounds(&self, state: &super::State) -> Bounds {
        let end = |writer: &nsq_queue::Writer| writer.end().sequence;
        let main = (self.offered.end(LogKind::Main), end(&state.main));
        let deferred = state.deferred.as_ref().map_or((0, 0), |writer| {
            (self.offered.end(LogKind::Deferred), end(writer))
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
        mut show: impl FnMut(Moving<'_>),
    ) -> Result<usize, ReadError> {
        let (mut count, mut bytes) = (0, 0);
        for part in &mut self.parts {
            while part.cursor.sequence < part.end {
                if count >= budget.messages || bytes >= budget.bytes {
                    return Ok(count);
                }
                match part.reader.next(&mut part.cursor) {
                    Ok(Some(record)) => {
                        show(Moving {
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

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let opened = File::open(folder);
    let synced = opened.and_then(|folder| folder.sync_all());
    synced.map_err(|error| StoreError::io("sync", folder, error))
}
