//! Appending, truncating and freeing: the one owner of a log's tail.
//!
//! A batch is encoded as a whole, its new files are created, then it is written with one `pwrite` per
//! segment, and then the log's end moves over all of it at once. Whatever fails before that is undone;
//! what cannot be undone at once is put into `untidy`, and nothing is appended until it is. Segments in memory are
//! written to while the batch is encoded: no one sees bytes after their published end.

use std::cell::Cell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::FileError;
use crate::header::{self, HEADER_BYTES, Seal};
use crate::listing::Listing;
use crate::pool::SegmentPool;
use crate::recovery::{self, Recovery};
use crate::segment::Segment;
use crate::segment_allocator::{GROWTH, SegmentAllocator};
use crate::spare_memory;
use crate::unsynced_marker::UnsyncedMarker;
use crate::{Cursor, Log, LogError, LogOptions, NewRecord, Position};

/// Appends to one log.
#[derive(Debug)]
pub struct Writer {
    log: Arc<Log>,
    segment_allocator: SegmentAllocator,
    options: LogOptions,
    /// Where the next record goes, if the last segment takes any.
    active: Option<Active>,
    next_ordinal: u32,
    last_capacity: u32,
    /// Everything below was released; kept for the moment the log comes to rest.
    released: u64,
    /// The batch being appended; lent by the thread that appends it.
    buffer: Vec<u8>,
    chunks: Vec<Chunk>,
    untidy: Vec<Untidy>,
}

#[derive(Clone, Debug)]
struct Active {
    segment: Arc<Segment>,
    offset: u32,
}

/// The part of a batch that goes into one segment.
#[derive(Debug)]
struct Chunk {
    segment: Arc<Segment>,
    is_new: bool,
    /// Where it goes in the segment.
    offset: u32,
    /// How many of its bytes are in the segment already: no one sees them before [`Segment::set_written`]. None, unless
    /// the segment is in memory.
    placed: u32,
    /// Where the others are in the buffer.
    bytes: Range<usize>,
}

impl Chunk {
    /// For records that go into `segment` at `offset`; the next one in the buffer begins at `begin`.
    fn at(segment: Arc<Segment>, offset: u32, begin: usize) -> Self {
        Self {
            segment,
            is_new: false,
            offset,
            placed: 0,
            bytes: begin..begin,
        }
    }

    /// Begins a new segment, whose header is `bytes` of the buffer.
    fn begin(segment: Arc<Segment>, bytes: Range<usize>) -> Self {
        Self {
            segment,
            is_new: true,
            offset: 0,
            placed: 0,
            bytes,
        }
    }

    fn is_empty(&self) -> bool {
        self.placed == 0 && self.bytes.is_empty()
    }

    /// How many bytes of the segment it takes.
    fn length(&self) -> u32 {
        self.placed + u32::try_from(self.bytes.len()).expect("a chunk fits its segment")
    }

    /// Writes its next bytes, which are not in the buffer, or no longer need to be.
    fn place(&mut self, disk: &Disk, bytes: &[u8]) -> Result<(), FileError> {
        self.segment.write(disk, bytes, self.offset + self.placed)?;
        self.placed += u32::try_from(bytes.len()).expect("a chunk fits its segment");
        Ok(())
    }
}

/// What a failed operation left on the disk.
#[derive(Debug)]
enum Untidy {
    /// A segment file made for a batch that failed.
    File(PathBuf),
    /// Records of a batch that failed. Were they left, a later and shorter batch could expose them.
    Records {
        segment: Arc<Segment>,
        bytes: Range<u32>,
    },
    /// A header that may or may not say that the log ends here.
    Seal(Arc<Segment>),
}

impl Writer {
    /// Opens the log `name` in `folder`, or starts it: its files, `<name>.<ordinal>.log`, come with the
    /// first append.
    ///
    /// # Errors
    /// When the folder or a file in it cannot be read now. Damage is no error: it is reported in
    /// [`Recovery`], and what is left is served.
    pub fn open(
        folder: &Path,
        name: &str,
        pool: Arc<SegmentPool>,
        options: LogOptions,
    ) -> Result<(Self, Recovery), LogError> {
        let listing = Listing::of_log(folder, name)?;
        Self::open_listed(folder, name, pool, options, &listing)
    }

    /// As [`open`](Self::open), for one of many logs in a folder that was listed once for all of them,
    /// and in which no one has opened this log since.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_listed(
        folder: &Path,
        name: &str,
        pool: Arc<SegmentPool>,
        options: LogOptions,
        listing: &Listing,
    ) -> Result<(Self, Recovery), LogError> {
        Self::open_on(Disk::default(), folder, name, pool, options, listing)
    }

    pub(crate) fn open_on(
        disk: Disk,
        folder: &Path,
        name: &str,
        pool: Arc<SegmentPool>,
        options: LogOptions,
        listing: &Listing,
    ) -> Result<(Self, Recovery), LogError> {
        let mut found = recovery::recover(&disk, folder, name, listing.ordinals(name))?;
        let recovery = Recovery::of(&mut found);
        let active = found.segments.last().filter(|_| !found.is_sealed);
        let active = active.map(|segment| Active {
            offset: segment.written(),
            segment: Arc::clone(segment),
        });
        let segment_allocator = SegmentAllocator::in_folder(folder, name, pool);
        let last_capacity = found.segments.last().map_or(0, |last| last.header.capacity);
        let note = UnsyncedMarker::read(folder, name);
        let folder = Some(folder.to_path_buf());
        let log = Log::new(
            disk,
            folder,
            found.identity,
            found.segments,
            found.end,
            note,
        );
        let mut writer = Self::new(log, segment_allocator, options);
        writer.active = active;
        writer.next_ordinal = found.next_ordinal;
        writer.last_capacity = last_capacity;
        Ok((writer, recovery))
    }

    /// A log in memory, which ends with its writer and readers.
    pub fn in_memory(options: LogOptions) -> Self {
        let (disk, note) = (Disk::default(), UnsyncedMarker::none());
        let log = Log::new(disk, None, header::random(), Vec::new(), 0, note);
        Self::new(log, SegmentAllocator::in_memory(), options)
    }

    fn new(log: Log, segment_allocator: SegmentAllocator, options: LogOptions) -> Self {
        Self {
            log: Arc::new(log),
            segment_allocator,
            options,
            active: None,
            next_ordinal: 0,
            last_capacity: 0,
            released: 0,
            buffer: Vec::new(),
            chunks: Vec::new(),
            untidy: Vec::new(),
        }
    }

    /// What readers and the syncer share with this writer.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The place of the next record.
    pub fn end(&self) -> Cursor {
        let position = self.active.as_ref().map_or(
            Position {
                segment: self.next_ordinal,
                offset: HEADER_BYTES,
            },
            |active| Position {
                segment: active.segment.ordinal(),
                offset: active.offset,
            },
        );
        Cursor {
            sequence: self.log.end_sequence(),
            position,
        }
    }

    /// Appends a batch and returns its sequence numbers.
    ///
    /// # Errors
    /// All or nothing: on an error no record of the batch is ever seen, and the writer stays usable.
    /// Should the process end before the next success, part of the batch may come back, once.
    pub fn append<'a>(
        &mut self,
        records: impl ExactSizeIterator<Item = NewRecord<'a>>,
    ) -> Result<Range<u64>, LogError> {
        self.buffer = BUFFER.take();
        let appended = self.append_buffered(records);
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() <= MAX_KEPT_BYTES {
            buffer.clear();
            BUFFER.set(buffer);
        }
        appended
    }

    fn append_buffered<'a>(
        &mut self,
        records: impl ExactSizeIterator<Item = NewRecord<'a>>,
    ) -> Result<Range<u64>, LogError> {
        let first = self.log.end_sequence();
        self.tidy_up()?;
        let end = match self.encode(records, first) {
            Ok(end) => end,
            Err(error) => {
                self.undo(0);
                return Err(error);
            }
        };
        for at in 0..self.chunks.len() {
            let chunk = &self.chunks[at];
            let bytes = &self.buffer[chunk.bytes.clone()];
            let offset = chunk.offset + chunk.placed;
            if let Err(error) = chunk.segment.write(&self.log.disk, bytes, offset) {
                self.undo(at + 1);
                return Err(error.into());
            }
        }
        self.take_over_chunks();
        self.log.publish_end(end);
        Ok(first..end)
    }

    /// Encodes a batch into `buffer` and plans its `chunks`, creating the segments it needs. Returns the
    /// sequence after the batch.
    fn encode<'a>(
        &mut self,
        records: impl ExactSizeIterator<Item = NewRecord<'a>>,
        first: u64,
    ) -> Result<u64, LogError> {
        let is_in_memory = self.log.folder.is_none();
        let mut sequence = first;
        let mut room = 0;
        let mut seed = 0;
        if let Some(active) = &self.active {
            room = active.segment.header.capacity.saturating_sub(active.offset);
            seed = active.segment.header.seed;
            let segment = Arc::clone(&active.segment);
            self.chunks.push(Chunk::at(segment, active.offset, 0));
        }
        for record in records {
            let size = record.size()?;
            if size > room {
                let segment = self.create_segment(sequence, self.next_capacity(), size)?;
                room = segment.header.capacity - HEADER_BYTES;
                seed = segment.header.seed;
                let begin = self.buffer.len();
                self.buffer.extend_from_slice(&segment.header.encode());
                let header = begin..self.buffer.len();
                self.chunks.push(Chunk::begin(segment, header));
            }
            if is_in_memory && record.body.len() >= DIRECT_BYTES {
                self.place_directly(&record, seed, sequence)?;
            } else {
                record.encode(&mut self.buffer, seed, sequence);
                let chunk = self.chunks.last_mut().expect("a chunk has the room");
                chunk.bytes.end = self.buffer.len();
                if is_in_memory && chunk.bytes.len() >= MAX_BUFFERED_BYTES {
                    self.place_buffered()?;
                }
            }
            room -= size;
            sequence += 1;
        }
        self.chunks.retain(|chunk| !chunk.is_empty());
        Ok(sequence)
    }

    /// Writes a large record to the last chunk's segment, which is in memory.
    fn place_directly(
        &mut self,
        record: &NewRecord<'_>,
        seed: u32,
        sequence: u64,
    ) -> Result<(), FileError> {
        self.place_buffered()?;
        let chunk = self.chunks.last_mut().expect("a chunk has the room");
        let disk = &self.log.disk;
        record.encode_parts(seed, sequence, |part| chunk.place(disk, part))
    }

    /// Writes what the buffer holds of the last chunk to its segment, which is in memory.
    fn place_buffered(&mut self) -> Result<(), FileError> {
        let chunk = self.chunks.last_mut().expect("a chunk has the room");
        let bytes = chunk.bytes.clone();
        chunk.place(&self.log.disk, &self.buffer[bytes.clone()])?;
        self.buffer.truncate(bytes.start);
        chunk.bytes = bytes.start..bytes.start;
        Ok(())
    }

    /// Makes what the chunks wrote readable, all but the log's end, which follows.
    fn take_over_chunks(&mut self) {
        for chunk in self.chunks.drain(..) {
            let offset = chunk.offset + chunk.length();
            chunk.segment.set_written(offset);
            if chunk.is_new {
                self.next_ordinal = chunk.segment.ordinal() + 1;
                self.last_capacity = chunk.segment.header.capacity;
                self.log.push_segment(Arc::clone(&chunk.segment));
            }
            self.active = Some(Active {
                segment: chunk.segment,
                offset,
            });
        }
    }

    /// Takes back a batch of which the first `attempted` chunks were written, perhaps.
    fn undo(&mut self, attempted: usize) {
        for (at, chunk) in self.chunks.drain(..).enumerate() {
            let Some(path) = chunk.segment.path() else {
                continue;
            };
            if chunk.is_new {
                self.untidy.push(Untidy::File(path.to_path_buf()));
            } else if at < attempted {
                let bytes = chunk.offset..chunk.offset + chunk.length();
                let segment = chunk.segment;
                self.untidy.push(Untidy::Records { segment, bytes });
            }
        }
        // What fails now is tried again before the next append; the caller gets the first error.
        drop(self.tidy_up());
    }

    /// Removes what failed operations left. From the back: a kill in between leaves a prefix.
    fn tidy_up(&mut self) -> Result<(), FileError> {
        let disk = &self.log.disk;
        while let Some(last) = self.untidy.last() {
            match last {
                Untidy::File(path) => {
                    disk.remove(path)?;
                    self.log.note_folder_change();
                }
                Untidy::Seal(segment) => segment.write_header(disk)?,
                Untidy::Records { segment, bytes } => {
                    let zeros = [0; ZEROS_BYTES as usize];
                    // From the back too: its first record is the last to go.
                    let mut end = bytes.end;
                    while end > bytes.start {
                        let begin = end.saturating_sub(ZEROS_BYTES).max(bytes.start);
                        segment.write(disk, &zeros[..(end - begin) as usize], begin)?;
                        end = begin;
                    }
                }
            }
            self.untidy.pop();
        }
        Ok(())
    }

    /// Drops every record from `to` on.
    ///
    /// The seal in the header of the segment that holds `to` is what does it: from then on neither its
    /// later records nor the later segments count, whether or not they could be removed.
    ///
    /// # Errors
    /// When that header cannot be written; nothing is dropped then.
    pub fn truncate(&mut self, to: u64) -> Result<(), LogError> {
        self.tidy_up()?;
        let to = to.max(self.log.first_sequence());
        if to >= self.log.end_sequence() {
            return Ok(());
        }
        let Some(holder) = self.log.segment_for(to) else {
            return Ok(());
        };
        let seal = Seal {
            end: to,
            next_ordinal: self.next_ordinal,
        };
        if let Err(error) = holder.seal(&self.log.disk, seal) {
            self.untidy.push(Untidy::Seal(holder));
            drop(self.tidy_up());
            return Err(error.into());
        }
        self.active = None;
        self.released = self.released.min(to);
        for segment in self.log.cut(&holder, seal).into_iter().rev() {
            self.segment_allocator.retire(&self.log, segment);
        }
        self.segment_allocator.end_batch(&self.log);
        holder.close();
        Ok(())
    }

    /// Frees the segments whose records all lie below `sequence`, and returns how many. The last one is
    /// freed too, once half of it is used: the next append begins another.
    pub fn release_before(&mut self, sequence: u64) -> usize {
        let end = self.log.end_sequence();
        self.released = self.released.max(sequence.min(end));
        if sequence >= end && self.is_last_worth_freeing() {
            self.roll(self.next_capacity());
        }
        let mut freed = 0;
        while let Some(segment) = self.log.pop_segment(sequence) {
            self.segment_allocator.retire(&self.log, segment);
            freed += 1;
        }
        if freed > 0 {
            self.segment_allocator.end_batch(&self.log);
        }
        freed
    }

    fn is_last_worth_freeing(&self) -> bool {
        match &self.active {
            Some(active) => active.offset >= active.segment.header.capacity / 2,
            // Sealed by a truncation: it takes no more records.
            None => self.log.last_segment().is_some(),
        }
    }

    /// Closes the file of a log that no one appends to; the next append opens it again. If all its
    /// records were released, it shrinks to one small segment.
    pub fn rest(&mut self) {
        let small = self.options.first_segment_bytes;
        if self.released >= self.log.end_sequence() && self.last_capacity > small {
            self.roll(small);
            self.release_before(self.released);
        }
        if let Some(active) = &self.active {
            active.segment.close();
        }
        self.segment_allocator.end_batch(&self.log);
        self.buffer = Vec::new();
        self.chunks = Vec::new();
        if self.log.folder.is_none() {
            spare_memory::let_go();
        }
    }

    /// Removes the log with all its files.
    ///
    /// # Errors
    /// The first file that could not be removed; the others are gone.
    pub fn delete(mut self) -> std::io::Result<()> {
        let disk = self.log.disk.clone();
        let mut result = self.tidy_up();
        let segments = self.log.clear().into_iter().rev();
        let paths = segments.filter_map(|segment| segment.path().map(Path::to_path_buf));
        for path in paths.chain(self.segment_allocator.leaving_paths()) {
            result = result.and(disk.remove(&path));
        }
        self.log.unsynced_marker.remove(&disk);
        result.map_err(std::io::Error::other)
    }

    /// Ends the last segment and begins one of `capacity` bytes. A log keeps at least one file, which
    /// knows its next sequence; so when the new one cannot be made, the old one stays.
    fn roll(&mut self, capacity: u32) {
        if self.tidy_up().is_err() {
            return;
        }
        let end = self.log.end_sequence();
        let Ok(segment) = self.create_segment(end, capacity, 0) else {
            return;
        };
        let begin = self.buffer.len();
        self.buffer.extend_from_slice(&segment.header.encode());
        let bytes = begin..self.buffer.len();
        let result = segment.write(&self.log.disk, &self.buffer[bytes.clone()], 0);
        self.chunks.push(Chunk::begin(segment, bytes));
        match result {
            Ok(()) => self.take_over_chunks(),
            Err(_) => self.undo(1),
        }
    }

    /// The file of a segment to come; its header is written with its first records.
    fn create_segment(
        &self,
        base: u64,
        capacity: u32,
        record: u32,
    ) -> Result<Arc<Segment>, FileError> {
        let planned = self.chunks.last().filter(|chunk| chunk.is_new);
        let ordinal = planned.map_or(self.next_ordinal, |chunk| chunk.segment.ordinal() + 1);
        self.segment_allocator
            .create(&self.log, ordinal, base, capacity, record)
    }

    fn next_capacity(&self) -> u32 {
        let last = self.chunks.last().filter(|chunk| chunk.is_new);
        let last = last.map_or(self.last_capacity, |chunk| chunk.segment.header.capacity);
        let (first, max) = (
            self.options.first_segment_bytes,
            self.options.max_segment_bytes,
        );
        last.saturating_mul(GROWTH).clamp(first.min(max), max)
    }
}

thread_local! {
    /// Each thread has one for all its logs: they need no memory of their own for it, and where several threads append
    /// to one log, it need not travel from one processor's cache to another's.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The largest buffer that is kept from one batch to the next.
const MAX_KEPT_BYTES: usize = 1 << 20;
/// From this size on, a message that is kept in memory is not copied into the buffer first.
const DIRECT_BYTES: usize = 4 << 10;
/// Of a batch that is kept in memory, at most about this much is in the buffer: it stays in the processor's cache.
const MAX_BUFFERED_BYTES: usize = 128 << 10;
/// How much of a failed batch is wiped with one write.
const ZEROS_BYTES: u32 = 4096;
