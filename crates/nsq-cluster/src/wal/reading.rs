//! Reading entries: from memory, or else from the files on the reader's lane.

use std::io;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::files::Reading;
use super::memory::Part;
use super::{Shared, Wal, closed};
use crate::codec::Entry;

impl Wal {
    /// The entries of `range` that the log holds, in order: all of them, or as many as take `max_bytes`, but at least one.
    ///
    /// # Errors
    /// When the files cannot be read. If an entry is damaged, that is noted for the next start: the replica is not to be
    /// trusted then.
    pub async fn read(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<Entry>> {
        'again: loop {
            let mut entries = Vec::new();
            let mut bytes = 0;
            let mut next = range.start;
            let epoch = self.0.state().memory.epoch();
            loop {
                let part = {
                    let state = self.0.state();
                    if state.memory.epoch() != epoch {
                        continue 'again;
                    }
                    state.memory.read(next..range.end, max_bytes - bytes)
                };
                let part = match part {
                    Part::Nothing => return Ok(entries),
                    Part::Entries(part) => part,
                    Part::Files(range) => self.read_files(range, max_bytes - bytes).await?,
                };
                bytes += part.iter().map(Entry::size).sum::<usize>();
                next = part.last().map_or(range.end, |last| last.id.index + 1);
                entries.extend(part);
                if bytes >= max_bytes || next >= range.end {
                    // Whatever was dropped or replaced meanwhile must not be mixed with what was not.
                    if self.0.state().memory.epoch() == epoch {
                        return Ok(entries);
                    }
                    continue 'again;
                }
            }
        }
    }

    async fn read_files(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(&self.0);
        self.0.lanes.reader.submit(Box::new(move || {
            let _ = sender.send(shared.read_files(range, max_bytes));
        }));
        receiver.await.map_err(|_| closed())?
    }
}

impl Shared {
    /// Runs on the reader's lane.
    fn read_files(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let (epoch, view) = {
            let state = self.state();
            (state.memory.epoch(), state.memory.view().clone())
        };
        let mut slot = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reading = slot
            .take()
            .filter(|(of, _)| *of == epoch)
            .map_or_else(|| Reading::new(view), |(_, reading)| reading);
        let first = range.start;
        let read = reading.read(range, max_bytes);
        *slot = Some((epoch, reading));
        if let Err(error) = &read
            && error.kind() == io::ErrorKind::InvalidData
            // What was purged or replaced while it was being read is not damaged.
            && self.state().memory.is_in_files(first)
        {
            self.note_damage(&error.to_string());
        }
        read
    }

    fn note_damage(&self, why: &str) {
        if let Err(error) = self.distrust(why) {
            tracing::error!("cluster: {error}, after {why}");
        }
    }
}
