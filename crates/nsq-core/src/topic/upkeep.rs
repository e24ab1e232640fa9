//! What a topic needs from time to time: freeing segments, syncing, resting.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nsq_queue::{Log, LogError};

use super::{State, Topic};
use crate::channel::{Life, LogKind};
use crate::time::Now;

impl Topic {
    /// Frees the segments that every channel has done with.
    pub fn release(&self) {
        let mut state = self.lock();
        if state.life == Life::Discarded {
            return;
        }
        let (main, deferred) = self.floors(&state);
        state.main.release_before(main);
        if let Some(writer) = &mut state.deferred {
            writer.release_before(deferred);
        }
        self.note_release_point(&state);
    }

    /// Below these sequences nobody needs anything any more, by log.
    fn floors(&self, state: &State) -> (u64, u64) {
        let main = state
            .channels
            .values()
            .map(|cell| cell.shared.main_floor())
            .min();
        let deferred = state
            .channels
            .values()
            .map(|cell| cell.shared.deferred_floor())
            .min();
        let main_offered = self.offered.end(LogKind::Main);
        let deferred_offered = self.offered.end(LogKind::Deferred);
        (
            main.unwrap_or(main_offered).min(main_offered),
            deferred.unwrap_or(deferred_offered).min(deferred_offered),
        )
    }

    /// Tells the channels from which floor on a release would free something.
    pub(super) fn note_release_point(&self, state: &State) {
        let log = state.main.log();
        let first = log.seek(log.first_sequence()).position.segment;
        self.offered
            .set_release_at(log.segment_base(first + 1).unwrap_or(u64::MAX));
    }

    /// Housekeeping, every few seconds; free for a topic that nobody used since. Whether somebody did.
    pub fn maintain(&self, now: Now) -> bool {
        if !self.active.swap(false, Ordering::Relaxed) {
            return false;
        }
        let cells = self.channels();
        let mut is_busy = false;
        for cell in &cells {
            let mut channel = cell.lock();
            channel.maintain(now);
            is_busy |= channel.in_flight_count() + channel.deferred_count() > 0
                || (channel.depth() > 0 && channel.client_count() > 0);
        }
        self.release();
        self.note_position();
        if is_busy {
            // Finishes do not go through the topic: look again.
            self.active.store(true, Ordering::Relaxed);
        } else {
            let mut state = self.lock();
            if state.life != Life::Discarded && !self.active.load(Ordering::Relaxed) {
                state.main.rest();
                if let Some(writer) = &mut state.deferred {
                    writer.rest();
                }
            }
        }
        true
    }

    /// Where only ephemeral channels follow, nothing but the topic itself knows after a restart what was offered.
    fn note_position(&self) {
        let state = self.lock();
        if state.is_flowing() && !state.has_kept_channel() && state.life != Life::Discarded {
            self.save_positions(&state);
        }
    }

    /// Makes the topic safe against a machine crash, as far as anyone still needs it. Blocks on the disk, with no
    /// lock held; to be called from a thread that may.
    ///
    /// # Errors
    /// [`LogError`] when the disk refuses; what was not synced stays marked as such.
    pub fn sync(&self) -> Result<(), LogError> {
        self.sync_published()?;
        self.unless_discarded(self.sync_channels())
    }

    /// Makes what was published safe against a machine crash, as [`Topic::sync`] does; what the channels noted of it is
    /// left for later, since a message that comes back is no message lost.
    ///
    /// # Errors
    /// As [`Topic::sync`].
    pub fn sync_published(&self) -> Result<(), LogError> {
        self.unless_discarded(self.sync_logs())
    }

    /// What is deleted meanwhile cannot be synced, and need not.
    fn unless_discarded(&self, outcome: Result<(), LogError>) -> Result<(), LogError> {
        outcome.or_else(|error| {
            if self.lock().life == Life::Discarded {
                Ok(())
            } else {
                Err(error)
            }
        })
    }

    fn sync_logs(&self) -> Result<(), LogError> {
        let logs = {
            let mut state = self.lock();
            if state.life == Life::Discarded {
                return Ok(());
            }
            state.unsynced_count = 0;
            let (main, deferred) = self.floors(&state);
            let mut logs: Vec<Arc<Log>> = Vec::new();
            // What every channel has finished needs no sync.
            if main < state.main.end().sequence {
                logs.push(Arc::clone(state.main.log()));
            }
            if let Some(writer) = state
                .deferred
                .as_ref()
                .filter(|writer| deferred < writer.end().sequence)
            {
                logs.push(Arc::clone(writer.log()));
            }
            logs
        };
        logs.iter().try_for_each(|log| log.sync().map(drop))
    }

    fn sync_channels(&self) -> Result<(), LogError> {
        let (cells, has_position) = {
            let state = self.lock();
            if state.life == Life::Discarded {
                return Ok(());
            }
            let has_position = !(state.is_flowing() && state.has_kept_channel());
            let cells = state.channels.values().cloned();
            (cells.collect::<Vec<_>>(), has_position)
        };
        if has_position {
            self.sync_positions();
        }
        for cell in cells {
            let (logs, folder) = {
                let channel = cell.lock();
                (channel.own_logs().collect::<Vec<_>>(), channel.folder())
            };
            for log in logs {
                match log.sync() {
                    Err(error) if !cell.lock().is_discarded() => return Err(error),
                    _ => {}
                }
            }
            if let Some(folder) = folder {
                sync_marks(&folder);
            }
        }
        Ok(())
    }

    /// Writes down what only memory knows, and syncs; at shutdown, after [`Topic::exit`].
    pub(crate) fn close(&self, now: Now) -> Result<(), LogError> {
        if self.folder.is_none() {
            return Ok(());
        }
        for cell in self.channels() {
            cell.lock().save(now);
        }
        self.note_position();
        self.sync()
    }
}

/// Syncs a channel's marks through files of its own, so that the channel need not be held meanwhile.
fn sync_marks(folder: &Path) {
    for kind in LogKind::ALL {
        let path = folder.join(kind.marks_file());
        match File::open(&path).and_then(|file| file.sync_data()) {
            Ok(()) => {}
            // Not every channel has all of them, and the channel may have been deleted.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::error!("cannot sync {}: {error}", path.display()),
        }
    }
}
