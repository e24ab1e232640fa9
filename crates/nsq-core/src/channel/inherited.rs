//! The log that a channel inherits: what an upstream nsqd had queued for it, or another nsqd gave it when it was drained.
//!
//! It is read in order like the topic's main log, and before that, since its messages are older; so its length costs no
//! memory. Once all of it is finished, the next start removes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nsq_queue::{Log, LogError, NewRecord, Writer};

use super::{Channel, LogKind};
use crate::change::Action;
use crate::error::StoreError;

pub(crate) const INHERITED: &str = "backlog";

impl Channel {
    /// Opens the inherited log that an earlier run left. If all of it is finished, its files are removed.
    pub(super) fn open_inherited(&mut self, folder: &Path) -> Result<(), LogError> {
        let inherited = self.open_own(folder, INHERITED, LogKind::Inherited)?;
        let end = inherited.end(self.logs.offered());
        if inherited.source.finished.floor() < end {
            self.logs.insert(inherited);
            return Ok(());
        }
        if let Some(recorder) = &self.store.recorder {
            recorder.record(Action::LogRemoved(LogKind::Inherited));
        }
        // The log first: a finished set without a log means nothing. What stays is removed by the next start.
        let removed = inherited.writer.map_or(Ok(()), Writer::delete);
        if let Err(error) = removed.and_then(|()| inherited.source.finished.into_set().delete()) {
            tracing::warn!(
                "cannot remove the finished inherited log in {}: {error}",
                folder.display()
            );
        }
        Ok(())
    }

    /// The end of the inherited log, which is made if there is none: where an import begins.
    pub(crate) fn inherited_end(&mut self) -> Result<u64, StoreError> {
        Ok(self.inherited_writer()?.end().sequence)
    }

    /// Appends messages to the inherited log. Clients can have them at once; an import does it before there are any.
    pub(crate) fn append_inherited<'a>(
        &mut self,
        records: impl ExactSizeIterator<Item = NewRecord<'a>>,
    ) -> Result<(), StoreError> {
        let data_path = Arc::clone(&self.store.data_path);
        let recorder = self.store.recorder.clone();
        let writer = self.inherited_writer();
        let writer = writer.inspect_err(|error| data_path.note_not_opened(error))?;
        data_path.append(LogKind::Inherited, writer, records, recorder.as_ref())?;
        Ok(())
    }

    /// The inherited log, if there is one.
    pub(super) fn inherited_log(&self) -> Option<Arc<Log>> {
        let log = self.logs.get(LogKind::Inherited)?;
        log.own_log().map(Arc::clone)
    }

    /// Syncs the inherited log.
    pub(crate) fn sync_inherited(&mut self) -> Result<(), StoreError> {
        self.inherited_writer()?.log().sync()?;
        Ok(())
    }

    fn inherited_writer(&mut self) -> Result<&mut Writer, StoreError> {
        if self.logs.get(LogKind::Inherited).is_none() {
            let folder = self.kept_folder()?;
            let inherited = self.open_own(&folder, INHERITED, LogKind::Inherited)?;
            self.logs.insert(inherited);
        }
        let log = self.logs.get_mut(LogKind::Inherited);
        let writer = log.and_then(|log| log.writer.as_mut());
        Ok(writer.expect("inserted just now, with its writer"))
    }

    /// The channel's folder; one in memory has none.
    pub(super) fn kept_folder(&self) -> Result<PathBuf, StoreError> {
        self.store.folder.clone().ok_or_else(|| {
            let source = std::io::ErrorKind::Unsupported.into();
            StoreError::io(
                "keep an inherited log for",
                Path::new(self.name.as_str()),
                source,
            )
        })
    }
}
