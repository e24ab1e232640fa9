//! Writing a queue as upstream would have, for it to start on.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::files::{data_name, metadata_name};
use super::{HEADER_BYTES, LENGTH_BYTES, Message, Metadata, Place};
use crate::error::{Context, FileError};
use crate::private;

/// How much is gathered for one write.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes the files of one new queue.
#[derive(Debug)]
pub struct QueueWriter {
    folder: PathBuf,
    queue: String,
    max_file_bytes: u64,
    file: Option<(File, PathBuf)>,
    buffer: Vec<u8>,
    write: Place,
    count: u64,
}

impl QueueWriter {
    /// A queue of that name in `folder`, where it must not have files yet. A file ends before the record that would
    /// bring it above `max_file_bytes`, but has at least one.
    pub fn new(folder: &Path, queue: &str, max_file_bytes: u64) -> QueueWriter {
        QueueWriter {
            folder: folder.to_path_buf(),
            queue: queue.to_owned(),
            max_file_bytes,
            file: None,
            buffer: Vec::new(),
            write: Place::default(),
            count: 0,
        }
    }

    /// Adds a message; its place is not looked at.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub fn append(&mut self, message: &Message<'_>) -> Result<(), FileError> {
        let record_bytes = (LENGTH_BYTES + HEADER_BYTES + message.body.len()) as u64;
        if self.write.offset > 0 && self.write.offset + record_bytes > self.max_file_bytes {
            self.end_file()?;
            self.write = Place {
                file: self.write.file + 1,
                offset: 0,
            };
        }
        let length = u32::try_from(HEADER_BYTES + message.body.len())
            .expect("a log's bodies have at most a gibibyte");
        let buffer = &mut self.buffer;
        buffer.extend_from_slice(&length.to_be_bytes());
        buffer.extend_from_slice(&message.timestamp.to_be_bytes());
        buffer.extend_from_slice(&message.attempts.to_be_bytes());
        buffer.extend_from_slice(format!("{:016x}", message.id).as_bytes());
        buffer.extend_from_slice(message.body);
        self.write.offset += record_bytes;
        self.count += 1;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Ends the queue with its metadata, everything synced but the folder. How many messages it has.
    ///
    /// # Errors
    /// When a file cannot be written or synced.
    pub fn finish(mut self) -> Result<u64, FileError> {
        self.end_file()?;
        let metadata = Metadata {
            depth: i64::try_from(self.count).unwrap_or(i64::MAX),
            read: Place::default(),
            write: self.write,
        };
        let path = self.folder.join(metadata_name(&self.queue));
        let mut file = create(&path)?;
        file.write_all(metadata.to_string().as_bytes())
            .context("write", &path)?;
        file.sync_all().context("sync", &path)?;
        Ok(self.count)
    }

    fn flush(&mut self) -> Result<(), FileError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            let path = self.folder.join(data_name(&self.queue, self.write.file));
            self.file = Some((create(&path)?, path));
        }
        if let Some((file, path)) = &mut self.file {
            file.write_all(&self.buffer).context("write", path)?;
        }
        self.buffer.clear();
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), FileError> {
        self.flush()?;
        match self.file.take() {
            Some((file, path)) => file.sync_all().context("sync", &path),
            None => Ok(()),
        }
    }
}

fn create(path: &Path) -> Result<File, FileError> {
    private::file_options()
        .write(true)
        .create_new(true)
        .open(path)
        .context("create", path)
}
