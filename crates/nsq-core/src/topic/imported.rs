//! Taking in what an upstream nsqd had queued for the topic itself, before the first client comes.
//!
//! The messages are appended to the main log without being offered; once the import is committed they are, to
//! whichever channels there are, as upstream would do with them.

use std::path::{Path, PathBuf};

use std::sync::Arc;

use nsq_protocol::MessageId;
use nsq_queue::{NewRecord, private, sync_folder};

use super::{ChannelCell, Topic};
use crate::change::Action;
use crate::error::StoreError;
use crate::ids::FIRST_FOREIGN_ID;
use crate::time::Now;

/// The highest id that was ever imported for the topic or a channel of it: it need not stand in the main log.
pub(crate) const HIGHEST_ID: &str = "imported.id";

impl Topic {
    /// The end of the main log: where an import begins.
    pub(crate) fn log_end(&self) -> u64 {
        self.lock().main.end().sequence
    }

    /// Appends messages that no one is offered yet, or, with `channel`, what that channel inherits.
    pub(crate) fn append_imported<'a>(
        &self,
        channel: Option<&Arc<ChannelCell>>,
        records: impl ExactSizeIterator<Item = NewRecord<'a>>,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        self.admit(&state)?;
        let Some(cell) = channel else {
            state.main.append(&self.context.data_path, records)?;
            return Ok(());
        };
        let mut channel = cell.lock_inner();
        let appended = channel.append_inherited(records);
        let mut effects = channel.end_batch();
        drop(channel);
        drop(state);
        effects.plan_timeout(cell);
        self.carry_out(effects);
        appended
    }

    /// Brings the main log to the disk, and the note of the highest id, above which new ones must be.
    pub(crate) fn sync_imported(&self, highest_id: u64) -> Result<(), StoreError> {
        let log = Arc::clone(self.lock().main.log());
        log.sync()?;
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        if note_highest_imported(folder, highest_id)? {
            self.record(Action::Imported { highest_id });
        }
        sync_folder(folder)?;
        if let Some(topics) = folder.parent() {
            sync_folder(topics)?;
        }
        Ok(())
    }

    /// Offers what was imported, as far as the topic may.
    pub(crate) fn offer_imported(&self, highest_id: u64, now: Now) {
        let mut state = self.lock();
        state.ids.stay_above(MessageId::from_u64(highest_id));
        state.main.note_synced();
        let effects = self.resume_flow(&state, now);
        drop(state);
        self.carry_out(effects);
    }
}

/// Notes in a topic's folder that messages with ids up to this one were imported. Returns whether that is news.
pub(crate) fn note_highest_imported(folder: &Path, highest_id: u64) -> Result<bool, StoreError> {
    let known = highest_imported(folder).map_or(0, MessageId::as_u64);
    if highest_id <= known {
        return Ok(false);
    }
    let path = folder.join(HIGHEST_ID);
    let text = MessageId::from_u64(highest_id).to_string();
    private::write_file(&path, text.as_bytes())
        .map_err(|error| StoreError::io("write", &path, error))?;
    Ok(true)
}

/// The highest id of all imports so far.
pub(super) fn highest_imported(folder: &Path) -> Option<MessageId> {
    let path: PathBuf = folder.join(HIGHEST_ID);
    let digits = std::fs::read(path).ok()?;
    let digits = std::str::from_utf8(&digits).ok()?;
    let id = u64::from_str_radix(digits, 16).ok()?;
    (id < FIRST_FOREIGN_ID).then_some(MessageId::from_u64(id))
}
