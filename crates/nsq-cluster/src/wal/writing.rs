//! Writing: one queue of operations, which the writer's lane does in order.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::boot::{Durability, Marker, MarkerState};
use super::files::Files;
use super::{Shared, State};
use crate::codec::{Entry, LogId, Vote};

/// Runs once the operation is done and stored.
pub type Stored = Box<dyn FnOnce() + Send>;

pub(super) enum Operation {
    Append(Vec<Entry>, Stored),
    Truncate(u64),
    Purge(LogId),
    Vote(Vote, Stored),
    Sync(Stored),
    Close(Stored),
    #[cfg(test)]
    Begin(u64),
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Append(entries, _) => write!(f, "append {}", entries.len()),
            Self::Truncate(end) => write!(f, "truncate {end}"),
            Self::Purge(id) => write!(f, "purge {id}"),
            Self::Vote(vote, _) => write!(f, "{vote:?}"),
            Self::Sync(_) => f.write_str("sync"),
            Self::Close(_) => f.write_str("close"),
            #[cfg(test)]
            Self::Begin(first) => write!(f, "begin at {first}"),
        }
    }
}

impl Shared {
    pub(super) fn enqueue(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        operation: Operation,
    ) {
        state.queue.push_back(operation);
        if !state.is_writing {
            state.is_writing = true;
            drop(state);
            let shared = Arc::clone(self);
            self.lanes.writer.submit(Box::new(move || shared.write()));
        }
    }

    /// Works off the queue. Runs on the writer's lane.
    fn write(self: Arc<Self>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut operations = {
                let mut state = self.state();
                if state.queue.is_empty() {
                    state.is_writing = false;
                    return;
                }
                std::mem::take(&mut state.queue)
            };
            while !operations.is_empty() {
                let Err(error) = self.write_first(&mut files, &mut operations) else {
                    continue;
                };
                tracing::warn!("cluster: {error}; trying again");
                let mut state = self.state();
                state.trouble = Some(error.to_string().into());
                // What arrived meanwhile comes after what is left.
                operations.append(&mut state.queue);
                state.queue = operations;
                drop(state);
                drop(files);
                let shared = Arc::clone(&self);
                let again = Box::new(move || shared.write());
                self.lanes.writer.submit_later(RETRY_DELAY, again);
                return;
            }
            self.state().trouble = None;
        }
    }

    /// Does the first operation, and the appends after it if it is one. It leaves the queue only when it is done.
    fn write_first(
        &self,
        files: &mut Files,
        operations: &mut VecDeque<Operation>,
    ) -> io::Result<()> {
        match operations.front() {
            Some(Operation::Append(..)) => return self.write_appends(files, operations),
            Some(Operation::Truncate(end)) => {
                files.truncate(*end)?;
                self.note_rewound(files);
            }
            Some(Operation::Purge(id)) => {
                files.purge(*id, self.options.durability == Durability::Synced)?;
                self.note_rewound(files);
            }
            Some(Operation::Vote(vote, _)) => {
                files.save_vote(vote)?;
                self.state().memory.set_vote(*vote);
            }
            Some(Operation::Sync(_)) => files.sync()?,
            #[cfg(test)]
            Some(Operation::Begin(first)) => {
                files.begin_at(*first)?;
                self.state().memory.set_view(files.view());
            }
            Some(Operation::Close(_)) => {
                files.sync()?;
                files.sync_note()?;
                let marker = Marker {
                    boot_id: self.options.boot_id.clone(),
                    durability: self.options.durability,
                    state: MarkerState::Closed,
                };
                marker.write(&self.folder)?;
            }
            None => return Ok(()),
        }
        match operations.pop_front() {
            Some(
                Operation::Append(_, stored)
                | Operation::Vote(_, stored)
                | Operation::Sync(stored)
                | Operation::Close(stored),
            ) => stored(),
            Some(Operation::Truncate(_) | Operation::Purge(_)) | None => {}
            #[cfg(test)]
            Some(Operation::Begin(_)) => {}
        }
        Ok(())
    }

    /// One write and one sync for the appends at the front of the queue.
    fn write_appends(
        &self,
        files: &mut Files,
        operations: &mut VecDeque<Operation>,
    ) -> io::Result<()> {
        let mut count = 0;
        let mut bytes = 0;
        for operation in operations.iter() {
            let Operation::Append(entries, _) = operation else {
                break;
            };
            if bytes >= MAX_WRITE_BYTES {
                break;
            }
            bytes += entries.iter().map(Entry::size).sum::<usize>();
            count += 1;
        }
        // After a failed sync the entries are written already.
        let end = files.end();
        let entries = operations
            .iter()
            .take(count)
            .flat_map(|append| match append {
                Operation::Append(entries, _) => entries.as_slice(),
                _ => &[],
            });
        let unwritten = entries.filter(|entry| entry.id.index >= end);
        if unwritten.clone().next().is_some() {
            files.append(unwritten)?;
        }
        if self.options.durability == Durability::Synced {
            files.sync()?;
        }
        files.note_end()?;
        let done: Vec<_> = operations.drain(..count).collect();
        let (end, cache_bytes) = (files.end(), self.options.cache_bytes);
        self.state().memory.note_stored(end, cache_bytes);
        for append in done {
            if let Operation::Append(_, stored) = append {
                stored();
            }
        }
        Ok(())
    }

    fn note_rewound(&self, files: &Files) {
        let mut state = self.state();
        state.memory.set_view(files.view());
        state.memory.note_rewound();
        let (end, cache_bytes) = (files.end(), self.options.cache_bytes);
        state.memory.note_stored(end, cache_bytes);
    }
}

/// How long a disk that refuses something is left alone.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// Appends that share a write: more would keep the first one waiting.
const MAX_WRITE_BYTES: usize = 8 << 20;
