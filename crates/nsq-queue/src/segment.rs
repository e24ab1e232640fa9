//! One file of a log: its header, its bytes, and who may touch which of them.
//!
//! The writer writes at or after `written`, readers read before it. Only the writer moves `written`,
//! after the bytes are there.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::io::Errno;

use crate::disk::Disk;
use crate::error::{Context, FileError};
use crate::header::{HEADER_BYTES, Header, Seal};
use crate::map::{FileMap, MemoryMap};
use crate::record::{self, Parsed};

/// A segment, shared by the writer, the readers and the syncer.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: Header,
    /// The sequence after its last record; `OPEN` while it is the last segment.
    end_sequence: AtomicU64,
    /// Bytes that readers may look at.
    written: AtomicU32,
    /// Bytes known to be on the disk.
    synced: AtomicU32,
    /// Whether the last sync failed, so that the kernel may have forgotten what is dirty.
    sync_failed: AtomicBool,
    /// Whether a truncation ended the log here. Locked while the header is written.
    seal: Mutex<Option<Seal>>,
    store: Store,
}

#[derive(Debug)]
enum Store {
    File {
        path: PathBuf,
        handle: Mutex<Option<Arc<File>>>,
        map: Mutex<Weak<FileMap>>,
    },
    Memory(Arc<MemoryMap>),
}

/// The readable bytes of a segment, kept readable for as long as this lives.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    File(Arc<FileMap>),
    Memory(Arc<MemoryMap>),
}

impl Bytes {
    pub(crate) fn up_to(&self, limit: u32) -> &[u8] {
        match self {
            Self::File(map) => map.bytes(limit),
            Self::Memory(map) => map.bytes(limit),
        }
    }

    pub(crate) fn has_faulted(&self) -> bool {
        match self {
            Self::File(map) => map.has_faulted(),
            Self::Memory(_) => false,
        }
    }
}

impl Segment {
    pub(crate) fn in_file(header: Header, path: PathBuf, handle: Option<File>) -> Self {
        let store = Store::File {
            path,
            handle: Mutex::new(handle.map(Arc::new)),
            map: Mutex::new(Weak::new()),
        };
        Self::new(header, store)
    }

    pub(crate) fn in_memory(header: Header) -> io::Result<Self> {
        let memory = MemoryMap::new(header.capacity)?;
        Ok(Self::new(header, Store::Memory(Arc::new(memory))))
    }

    fn new(header: Header, store: Store) -> Self {
        Self {
            end_sequence: AtomicU64::new(OPEN),
            written: AtomicU32::new(HEADER_BYTES),
            synced: AtomicU32::new(0),
            sync_failed: AtomicBool::new(false),
            seal: Mutex::new(header.seal),
            header,
            store,
        }
    }

    pub(crate) fn ordinal(&self) -> u32 {
        self.header.ordinal
    }

    /// The sequence of its first record.
    pub(crate) fn base(&self) -> u64 {
        self.header.base
    }

    pub(crate) fn end_sequence(&self) -> u64 {
        self.end_sequence.load(Ordering::Acquire)
    }

    pub(crate) fn set_end_sequence(&self, end: u64) {
        self.end_sequence.store(end, Ordering::Release);
    }

    pub(crate) fn written(&self) -> u32 {
        self.written.load(Ordering::Acquire)
    }

    pub(crate) fn set_written(&self, bytes: u32) {
        if let Store::Memory(memory) = &self.store {
            memory.publish(bytes);
        }
        self.written.store(bytes, Ordering::Release);
    }

    pub(crate) fn synced(&self) -> u32 {
        self.synced.load(Ordering::Acquire)
    }

    pub(crate) fn set_synced(&self, bytes: u32) {
        self.synced.store(bytes, Ordering::Release);
    }

    pub(crate) fn note_sync_failure(&self) {
        self.sync_failed.store(true, Ordering::Release);
    }

    pub(crate) fn take_sync_failure(&self) -> bool {
        self.sync_failed.swap(false, Ordering::AcqRel)
    }

    /// The file, unless the segment is in memory.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.store {
            Store::File { path, .. } => Some(path),
            Store::Memory(_) => None,
        }
    }

    /// Puts `bytes` at `offset`, which is at or after `written`, or the header.
    pub(crate) fn write(&self, disk: &Disk, bytes: &[u8], offset: u32) -> Result<(), FileError> {
        match &self.store {
            Store::File { path, .. } => {
                let handle = self.open(disk)?.expect("a file segment has a file");
                disk.write_at(&handle, path, bytes, u64::from(offset))
            }
            Store::Memory(memory) => memory
                .write(bytes, offset)
                .context("write", Path::new("memory")),
        }
    }

    /// Writes into the header that the log ends here.
    pub(crate) fn seal(&self, disk: &Disk, new: Seal) -> Result<(), FileError> {
        let mut seal = lock(&self.seal);
        self.write_header_with(disk, Some(new))?;
        *seal = Some(new);
        Ok(())
    }

    /// Writes the header as it is meant to be.
    pub(crate) fn write_header(&self, disk: &Disk) -> Result<(), FileError> {
        let seal = lock(&self.seal);
        self.write_header_with(disk, *seal)
    }

    fn write_header_with(&self, disk: &Disk, seal: Option<Seal>) -> Result<(), FileError> {
        if self.path().is_none() {
            return Ok(());
        }
        let header = Header {
            seal,
            ..self.header
        };
        self.set_synced(0);
        self.write(disk, &header.encode(), 0)
    }

    /// The header as it is meant to be.
    pub(crate) fn current_header(&self) -> Header {
        Header {
            seal: *lock(&self.seal),
            ..self.header
        }
    }

    /// Writes what is not synced once more.
    pub(crate) fn write_again(&self, disk: &Disk) -> Result<(), FileError> {
        if self.synced() < HEADER_BYTES {
            self.write_header(disk)?;
        }
        let from = self.synced().max(HEADER_BYTES);
        let bytes = self.bytes()?;
        let again = bytes.up_to(self.written()).get(from as usize..);
        self.write(disk, again.unwrap_or(&[]), from)?;
        if bytes.has_faulted() {
            return Err(self.fault());
        }
        Ok(())
    }

    /// The file, opened if it is not; `None` in memory.
    pub(crate) fn open(&self, disk: &Disk) -> Result<Option<Arc<File>>, FileError> {
        let Store::File { path, handle, .. } = &self.store else {
            return Ok(None);
        };
        let mut handle = lock(handle);
        if handle.is_none() {
            *handle = Some(Arc::new(disk.open(path)?));
        }
        Ok(handle.clone())
    }

    /// The file, for as long as the caller needs it: one that no one else has open stays closed.
    pub(crate) fn open_briefly(&self, disk: &Disk) -> Result<Option<Arc<File>>, FileError> {
        let Store::File { path, handle, .. } = &self.store else {
            return Ok(None);
        };
        let open = lock(handle).clone();
        open.map_or_else(|| disk.open(path).map(Arc::new), Ok)
            .map(Some)
    }

    /// Closes the file; the next write opens it again.
    pub(crate) fn close(&self) {
        if let Store::File { handle, .. } = &self.store {
            *lock(handle) = None;
        }
    }

    /// The segment's bytes. Maps of one file are shared, and end with their last reader.
    pub(crate) fn bytes(&self) -> Result<Bytes, FileError> {
        match &self.store {
            Store::Memory(memory) => Ok(Bytes::Memory(Arc::clone(memory))),
            Store::File { path, map, .. } => {
                let mut shared = lock(map);
                // One that has faulted is replaced, so that the next try looks at the file again.
                if let Some(map) = shared.upgrade().filter(|map| !map.has_faulted()) {
                    return Ok(Bytes::File(map));
                }
                let file = File::open(path).context("open", path)?;
                let new = FileMap::new(&file, u64::from(self.header.capacity));
                let new = Arc::new(new.context("map", path)?);
                *shared = Arc::downgrade(&new);
                Ok(Bytes::File(new))
            }
        }
    }

    /// Where the record `sequence` begins, or where the damage begins that it is lost in. `bytes` are
    /// this segment's, and the sequence lies in it.
    pub(crate) fn find(&self, bytes: &Bytes, sequence: u64) -> u32 {
        let readable = bytes.up_to(self.written());
        let mut offset = HEADER_BYTES;
        let mut expected = self.base()..self.end_sequence();
        while expected.start < sequence {
            let Some((at, parsed)) = self.next_whole(readable, offset, &expected) else {
                break;
            };
            if parsed.sequence > sequence {
                break;
            }
            if parsed.sequence == sequence {
                return at;
            }
            offset = parsed.end;
            expected.start = parsed.sequence + 1;
        }
        offset
    }

    /// The first whole record at or after `offset` with a sequence in `expected`, and where it begins.
    pub(crate) fn next_whole(
        &self,
        readable: &[u8],
        offset: u32,
        expected: &std::ops::Range<u64>,
    ) -> Option<(u32, Parsed)> {
        let seed = self.header.seed;
        let at_once = expected.start..expected.start.saturating_add(1).min(expected.end);
        match record::parse(readable, offset, seed, &at_once) {
            Some(parsed) => Some((offset, parsed)),
            None => record::search(readable, offset, seed, expected),
        }
    }

    /// What to report when bytes of this segment could not be read.
    pub(crate) fn fault(&self) -> FileError {
        FileError {
            act: "read",
            path: self.path().unwrap_or(Path::new("memory")).to_path_buf(),
            source: io::Error::from_raw_os_error(Errno::IO.raw_os_error()),
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end sequence of a segment that is still appended to.
const OPEN: u64 = u64::MAX;
