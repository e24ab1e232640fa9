//! Taking in what an upstream nsqd had queued for the topic itself, before the first client comes.
//!
//! The messages are appended to the main log without being offered; once the import is committed they are, to
//! whichever channels there are, as upstream would do with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nsq_protocol::MessageId;
use nsq_queue::NewRecord;

use super::Topic;
use crate::error::StoreError;
use crate::ids::FIRST_FOREIGN_ID;
use crate::time::Now;

/// The highest id that was ever imported for the topic or a channel of it: it need not stand in the main log.
const HIGHEST_ID: &str = "imported.id";

impl Topic {
    /// The end of the main log: where an import begins.
    pub(crate) fn log_end(&self) -> u64 {
        self.lock().main.end().sequence
    }

    /// Appends messages that nobody is offered yet.
    pub(crate) fn append_imported<'a>(
        &self,
        records: impl ExactSizeIterator<Item = NewRecord<'a>>,
    ) -> Result<(), StoreError> {
        self.lock().main.append(records)?;
        Ok(())
    }

    /// Brings the main log to the disk, and the note of the highest id, above which new ones must be.
    pub(crate) fn sync_imported(&self, highest_id: u64) -> Result<(), StoreError> {
        let log = Arc::clone(self.lock().main.log());
        log.sync()?;
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let known = highest_imported(folder).map_or(0, MessageId::as_u64);
        if highest_id > known {
            let path = folder.join(HIGHEST_ID);
            let text = MessageId::from_u64(highest_id).to_string();
            std::fs::write(&path, text).map_err(|error| StoreError::io("write", &path, error))?;
        }
        let sync = |folder: &Path| {
            let opened = std::fs::File::open(folder);
            let synced = opened.and_then(|folder| folder.sync_all());
            synced.map_err(|error| StoreError::io("sync", folder, error))
        };
        sync(folder)?;
        folder.parent().map_or(Ok(()), sync)
    }

    /// Offers what was imported, as far as the topic may.
    pub(crate) fn offer_imported(&self, highest_id: u64, now: Now) {
        let mut state = self.lock();
        state.ids.stay_above(MessageId::from_u64(highest_id));
        let wakes = self.resume_flow(&state, now);
        drop(state);
        wakes.ring();
    }
}

/// The highest id of all imports so far.
pub(super) fn highest_imported(folder: &Path) -> Option<MessageId> {
    let path: PathBuf = folder.join(HIGHEST_ID);
    let digits = std::fs::read(path).ok()?;
    let digits = std::str::from_utf8(&digits).ok()?;
    let id = u64::from_str_radix(digits, 16).ok()?;
    (id < FIRST_FOREIGN_ID).then_some(MessageId::from_u64(id))
}
