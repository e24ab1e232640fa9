//! What an upstream nsqd had queued for one channel, moved into a log of the channel's own.
//!
//! What another nsqd hands over when it is drained comes here too. It is read in order like the topic's main log, and
//! before that, since it is older; so its length costs no memory. Once all of it is finished, the next start removes it.

use std::path::{Path, PathBuf};

use nsq_queue::{LogError, NewRecord};

use super::resume::has_log;
use super::{Channel, LogKind, OwnLog};
use crate::error::StoreError;

pub(crate) const BACKLOG: &str = "backlog";

impl OwnLog {
    /// Messages that the cursor has before it.
    pub(super) fn behind(&self) -> u64 {
        self.source.behind(self.writer.log().end_sequence())
    }

    pub(super) fn maintain(&mut self) {
        self.writer.release_before(self.source.marks.floor());
        self.writer.rest();
        if self.behind() == 0 {
            self.source.reader.rest();
        }
    }
}

impl Channel {
    /// Opens what an import left, unless it is finished: then its files go.
    pub(super) fn open_backlog(&mut self, folder: &Path) -> Result<(), LogError> {
        if !has_log(folder, BACKLOG) {
            return Ok(());
        }
        let backlog = self.open_own(folder, BACKLOG, LogKind::Backlog)?;
        if backlog.source.marks.floor() < backlog.writer.end().sequence {
            self.backlog = Some(backlog);
            return Ok(());
        }
        // The log first: marks without one are as good as none. What stays is looked at by the next start.
        let removed = backlog.writer.delete();
        if let Err(error) = removed.and_then(|()| backlog.source.marks.delete()) {
            tracing::warn!(
                "a finished backlog is left in {}: {error}",
                folder.display()
            );
        }
        Ok(())
    }

    /// The end of the backlog's log, which is made if there is none: where an import begins.
    pub(crate) fn backlog_end(&mut self) -> Result<u64, StoreError> {
        Ok(self.backlog_mut()?.writer.end().sequence)
    }

    /// Appends messages to the backlog. They can be had at once; an import does it before clients are let in.
    pub(crate) fn append_to_backlog<'a>(
        &mut self,
        records: impl ExactSizeIterator<Item = NewRecord<'a>>,
    ) -> Result<(), StoreError> {
        self.backlog_mut()?.writer.append(records)?;
        Ok(())
    }

    /// Brings the backlog to the disk.
    pub(crate) fn sync_backlog(&mut self) -> Result<(), StoreError> {
        self.backlog_mut()?.writer.log().sync()?;
        Ok(())
    }

    fn backlog_mut(&mut self) -> Result<&mut OwnLog, StoreError> {
        if self.backlog.is_none() {
            let folder = self.kept_folder()?;
            self.backlog = Some(self.open_own(&folder, BACKLOG, LogKind::Backlog)?);
        }
        Ok(self.backlog.as_mut().expect("made just now"))
    }

    /// The channel's folder, of which one in memory has none.
    pub(super) fn kept_folder(&self) -> Result<PathBuf, StoreError> {
        self.store.folder.clone().ok_or_else(|| {
            let source = std::io::ErrorKind::Unsupported.into();
            StoreError::io("keep a backlog for", Path::new(self.name.as_str()), source)
        })
    }
}
