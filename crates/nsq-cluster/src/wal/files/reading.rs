//! Reading entries from the files of one generation.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use nsq_queue::{Cursor, Log, ReadError, Reader};

use crate::codec::{Entry, Wire};

/// Where entries are read: one generation's log.
#[derive(Clone, Debug)]
pub(in crate::wal) struct View {
    pub(super) log: Arc<Log>,
    pub(super) offset: u64,
}

impl View {
    pub(in crate::wal) fn new(log: Arc<Log>, offset: u64) -> Self {
        Self { log, offset }
    }

    /// Bytes that the log's files take.
    pub(in crate::wal) fn disk_bytes(&self) -> u64 {
        self.log.disk_bytes()
    }

    pub(in crate::wal) fn index_keeping(&self, bytes: u64) -> u64 {
        self.offset + self.log.sequence_keeping(bytes)
    }
}

/// Entries being read in order.
#[derive(Debug)]
pub(in crate::wal) struct Reading {
    view: View,
    reader: Reader,
    /// Where the entry after the last one read stands.
    next: Option<Cursor>,
}

impl Reading {
    pub(in crate::wal) fn new(view: View) -> Self {
        Self {
            reader: Reader::new(Arc::clone(&view.log)),
            view,
            next: None,
        }
    }

    /// The entries of `range`: the first one at least, and more until they take `max_bytes`.
    pub(in crate::wal) fn read(
        &mut self,
        range: std::ops::Range<u64>,
        max_bytes: usize,
    ) -> io::Result<Vec<Entry>> {
        let missing = |index: u64| {
            let text = format!("entry {index} is not in the log");
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let first = range
            .start
            .checked_sub(self.view.offset)
            .ok_or_else(|| missing(range.start))?;
        let known = self.next.filter(|next| next.sequence == first);
        let mut cursor = known.unwrap_or_else(|| self.view.log.seek(first));
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in range {
            if cursor.sequence + self.view.offset != index {
                return Err(missing(index));
            }
            let record = match self.reader.next(&mut cursor) {
                Ok(Some(record)) => record,
                Ok(None) => return Err(missing(index)),
                Err(error @ ReadError::Damaged { .. }) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
                Err(ReadError::Io(error)) => return Err(io::Error::other(error)),
            };
            let entry = Entry::from_bytes(Bytes::copy_from_slice(record.body))
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if entry.id.index != index || record.id != index {
                return Err(missing(index));
            }
            bytes += record.body.len();
            entries.push(entry);
            if bytes >= max_bytes {
                break;
            }
        }
        self.next = Some(cursor);
        Ok(entries)
    }
}
