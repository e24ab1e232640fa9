//! What a topic needs from time to time: freeing segments, syncing, resting.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nsq_queue::LogError;

use super::{SafeOnce, SettledWaiters, State, Topic, safe_once};
use crate::change::FanOut;
use crate::channel::{Lifecycle, LogKind};
use crate::effects::Effects;
use crate::ends;
use crate::time::Now;

impl Topic {
    /// Frees the segments that every channel has done with.
    pub fn release(&self) {
        let mut state = self.lock();
        if state.life == Lifecycle::Discarded {
            return;
        }
        let (main, deferred) = self.floors(&state);
        state.main.writer.release_before(main);
        if let Some(log) = &mut state.deferred {
            log.writer.release_before(deferred);
        }
        self.note_release_point(&state);
    }

    /// Below these sequences no one needs anything any more, by log.
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
        let main = main.unwrap_or(main_offered).min(main_offered);
        let deferred = deferred.unwrap_or(deferred_offered).min(deferred_offered);
        match &state.committed {
            None => (main, deferred),
            Some(committed) => {
                let kept = committed.kept_from(state.ends());
                let stored = committed.stored();
                let (main, deferred) = (main.min(kept.0), deferred.min(kept.1));
                (main.min(stored.0), deferred.min(stored.1))
            }
        }
    }

    /// Tells the channels from which floor on a release would free something.
    pub(super) fn note_release_point(&self, state: &State) {
        let log = state.main.log();
        let first = log.seek(log.first_sequence()).position.segment;
        self.offered
            .set_release_at(log.segment_base(first + 1).unwrap_or(u64::MAX));
    }

    /// Whether something happened since the last [maintenance](Self::maintain).
    pub(crate) fn is_used(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether a channel has found damaged messages.
    pub(crate) fn has_damage(&self) -> bool {
        let channels = self.channels();
        channels
            .iter()
            .any(|cell| cell.lock_inner().damaged_count() > 0)
    }

    /// Housekeeping, every few seconds; free for a topic that no one used since. Whether someone did.
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
            if state.life != Lifecycle::Discarded && !self.active.load(Ordering::Relaxed) {
                state.main.writer.rest();
                if let Some(log) = &mut state.deferred {
                    log.writer.rest();
                }
            }
        }
        true
    }

    /// Where only ephemeral channels follow, nothing but the topic itself knows after a restart what was offered.
    fn note_position(&self) {
        let state = self.lock();
        if state.committed.is_some() {
            return self.record_offered(&state);
        }
        if state.is_flowing() && !state.has_kept_channel() && state.life != Lifecycle::Discarded {
            self.save_positions(&state);
        }
    }

    /// Makes the topic safe against a machine crash, as far as anyone still needs it. Blocks on the disk, with no
    /// lock held; to be called from a thread that may. Where messages are safe once they are synced, channels may have
    /// them then, and those who wait for their tickets are called.
    ///
    /// # Errors
    /// [`LogError`] when the disk refuses; what was not synced stays marked as such.
    pub fn sync(&self, now: Now) -> Result<(), LogError> {
        self.sync_published(now)?;
        self.unless_discarded(self.sync_channels())
    }

    /// Makes what was published safe against a machine crash, as [`Topic::sync`] does; what the channels noted of it is
    /// left for later, since a message that comes back is no message lost.
    ///
    /// # Errors
    /// As [`Topic::sync`].
    pub fn sync_published(&self, now: Now) -> Result<(), LogError> {
        self.unless_discarded(self.sync_logs(now))
    }

    /// What is deleted meanwhile cannot be synced, and need not.
    fn unless_discarded(&self, outcome: Result<(), LogError>) -> Result<(), LogError> {
        outcome.or_else(|error| {
            if self.lock().life == Lifecycle::Discarded {
                Ok(())
            } else {
                Err(error)
            }
        })
    }

    fn sync_logs(&self, now: Now) -> Result<(), LogError> {
        let logs = {
            let mut state = self.lock();
            if state.life == Lifecycle::Discarded {
                return Ok(());
            }
            state.unsynced_count = 0;
            // Replicas must agree on the places of messages to come, so a crash may take no end of a log.
            let (main, deferred) = if state.committed.is_some() {
                (0, 0)
            } else {
                self.floors(&state)
            };
            let logs = [
                (Some(&state.main), main),
                (state.deferred.as_ref(), deferred),
            ];
            let logs = logs.into_iter().filter_map(|(log, floor)| {
                // What every channel has finished needs no sync.
                let log = log.filter(|log| floor < log.end().sequence)?;
                Some((Arc::clone(log.log()), log.ticket()))
            });
            logs.collect::<Vec<_>>()
        };
        let mut outcome = Ok(());
        for (log, ticket) in logs {
            if let Err(error) = log.sync() {
                self.tickets.fail(ticket, &error).wake_all();
                // The next maintenance asks for a sync again, although nothing else may happen in the topic until then.
                self.active.store(true, Ordering::Relaxed);
                outcome = outcome.and(Err(error));
            }
        }
        self.note_synced(now);
        outcome
    }

    /// What is on the disk now is safe, if that was missing: channels may have it, and its publishers are answered.
    fn note_synced(&self, now: Now) {
        if safe_once(&self.name, &self.context) != SafeOnce::Synced {
            return;
        }
        let mut state = self.lock();
        if state.life == Lifecycle::Discarded {
            return;
        }
        state.main.note_synced();
        if let Some(deferred) = &mut state.deferred {
            deferred.note_synced();
        }
        let settled = self.settle_tickets(&state);
        let effects = if state.is_flowing() {
            self.fan_out(&state, now)
        } else {
            Effects::default()
        };
        drop(state);
        self.carry_out(effects);
        settled.into_iter().for_each(SettledWaiters::wake_all);
    }

    /// Settles the tickets of all that is safe.
    pub(super) fn settle_tickets(&self, state: &State) -> [SettledWaiters; 2] {
        let deferred = state.deferred.as_ref();
        [
            self.tickets.settle(state.main.safe_ticket()),
            deferred.map_or_else(SettledWaiters::default, |log| {
                self.tickets.settle(log.safe_ticket())
            }),
        ]
    }

    fn sync_channels(&self) -> Result<(), LogError> {
        let (cells, has_position) = {
            let state = self.lock();
            if state.life == Lifecycle::Discarded {
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
                let channel = cell.lock_inner();
                (channel.own_logs().collect::<Vec<_>>(), channel.folder())
            };
            for log in logs {
                match log.sync() {
                    Err(error) if !cell.lock_inner().is_discarded() => return Err(error),
                    _ => {}
                }
            }
            if let Some(folder) = folder {
                sync_finished_sets(&folder);
            }
        }
        Ok(())
    }

    /// Writes down what only memory knows, and syncs; at shutdown, after [`Topic::exit`].
    pub(crate) fn close(&self, now: Now) -> Result<(), LogError> {
        if self.folder.is_none() {
            return Ok(());
        }
        self.write_down(now);
        self.sync(now)
    }

    /// Writes down what only memory knows. A kill takes nothing of it away.
    pub(crate) fn write_down(&self, now: Now) {
        if self.folder.is_none() {
            return;
        }
        for cell in self.channels() {
            cell.lock().save(now);
        }
        self.note_position();
    }

    /// Where the logs end.
    pub(crate) fn ends(&self) -> FanOut {
        self.lock().ends()
    }

    /// A crash of the machine leaves the messages before these places.
    pub(crate) fn note_stored(&self, ends: FanOut) {
        if let Some(committed) = &mut self.lock().committed {
            committed.note_stored(ends);
        }
        // What could not be freed until now may be.
        self.active.store(true, Ordering::Relaxed);
    }

    /// Notes where the logs of a replicated topic end, for the next that opens them.
    pub(crate) fn note_ends(&self) {
        if let Some(folder) = self.folder.as_deref().filter(|_| self.is_replicated()) {
            let ends = self.lock().ends();
            ends::note(folder, ends);
        }
    }
}

/// Syncs a channel's marks through files of its own, so that the channel need not be held meanwhile.
fn sync_finished_sets(folder: &Path) {
    for kind in LogKind::ALL {
        let path = folder.join(kind.finished_file());
        match File::open(&path).and_then(|file| file.sync_data()) {
            Ok(()) => {}
            // Not every channel has all of them, and the channel may have been deleted.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::error!("cannot sync {}: {error}", path.display()),
        }
    }
}
