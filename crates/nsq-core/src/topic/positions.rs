//! The fan-out positions of a topic that stands still, or that has no channel to say after a restart what it had.
//!
//! Without the files a topic with channels did not stand still: all it has was offered.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use nsq_queue::{FinishedSet, Log, LogError};

use super::{State, Topic, TopicLog};
use crate::change::{Action, FanOut};
use crate::channel::LogKind;
use crate::error::StoreError;

/// Files that hold the fan-out positions; there while the topic stands still.
pub(crate) const MAIN_OFFERED: &str = "main.offered";
pub(crate) const DEFERRED_OFFERED: &str = "deferred.offered";

impl Topic {
    /// The fan-out positions as they were saved; `None` when the topic did not stand still.
    ///
    /// What a machine crash took counts as offered where there are channels: what is not offered goes when the topic is
    /// emptied, and no channel must lose what it had.
    pub(super) fn saved_positions(
        &self,
        state: &State,
        has_channels: bool,
    ) -> Result<Option<(u64, u64)>, StoreError> {
        let Some(folder) = &self.folder else {
            return Ok(None);
        };
        let position = |log: &Log, name: &str| -> Result<Option<u64>, StoreError> {
            let file = folder.join(name);
            if !file.exists() {
                return Ok(None);
            }
            let mut saved = FinishedSet::open(&file, log.identity())?;
            let position = if saved.started_afresh() && has_channels {
                log.end_sequence()
            } else {
                saved.floor()
            };
            // On the disk too: after another machine crash, new records must not count as offered with numbers of lost ones.
            saved.retain_below(log.end_sequence())?;
            Ok(Some(
                position.clamp(log.first_sequence(), log.end_sequence()),
            ))
        };
        let Some(main) = position(state.main.log(), MAIN_OFFERED)? else {
            return Ok(None);
        };
        let deferred = match &state.deferred {
            // A log that came later has not been offered at all.
            Some(writer) => position(writer.log(), DEFERRED_OFFERED)?
                .unwrap_or_else(|| writer.log().first_sequence()),
            None => 0,
        };
        Ok(Some((main, deferred)))
    }

    /// The topic stands still no longer: after a kill, all there is counts as offered.
    pub(super) fn forget_positions(&self) {
        let Some(folder) = &self.folder else { return };
        if forget_positions_in(folder) {
            self.record(Action::FannedOut(None));
        }
    }

    /// Makes the saved fan-out positions safe against a machine crash. No lock need be held.
    pub(super) fn sync_positions(&self) {
        let Some(folder) = &self.folder else { return };
        for name in [MAIN_OFFERED, DEFERRED_OFFERED] {
            let file = folder.join(name);
            match File::open(&file).and_then(|file| file.sync_data()) {
                Ok(()) => {}
                // Most topics do not stand still.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => tracing::error!("cannot sync {}: {error}", file.display()),
            }
        }
    }

    /// Writes the fan-out positions down: for a topic that stands still, or that has no channel to say what it had.
    pub(super) fn save_positions(&self, state: &State) {
        let Some(folder) = &self.folder else { return };
        let position = FanOut {
            main: self.offered.end(LogKind::Main),
            deferred: state
                .deferred
                .as_ref()
                .map(|_| self.offered.end(LogKind::Deferred)),
        };
        let deferred = state.deferred.as_ref().map(TopicLog::log);
        if let Err(error) = save_positions_in(folder, position, state.main.log(), deferred) {
            tracing::error!(
                "TOPIC({}): messages may be offered to channels again: {error}",
                self.name
            );
        }
        self.record(Action::FannedOut(Some(position)));
    }
}

/// Writes fan-out positions of these logs into a topic's folder.
pub(crate) fn save_positions_in(
    folder: &Path,
    position: FanOut,
    main: &Log,
    deferred: Option<&Arc<Log>>,
) -> Result<(), LogError> {
    let save = |log: &Log, name: &str, position: u64| {
        FinishedSet::open(&folder.join(name), log.identity())
            .map(|mut finished| finished.set_floor(position))
    };
    save(main, MAIN_OFFERED, position.main)?;
    match (deferred, position.deferred) {
        (Some(log), Some(position)) => save(log, DEFERRED_OFFERED, position),
        _ => Ok(()),
    }
}

/// Removes the fan-out positions from a topic's folder. Returns whether there were any.
pub(crate) fn forget_positions_in(folder: &Path) -> bool {
    let mut is_changed = false;
    for name in [MAIN_OFFERED, DEFERRED_OFFERED] {
        let file = folder.join(name);
        match std::fs::remove_file(&file) {
            Ok(()) => is_changed = true,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::error!("cannot remove {}: {error}", file.display()),
        }
    }
    is_changed
}
