//! The files of a data path as of one moment, to be read while the data path continues.
//!
//! Segments are not copied: each gets a second link, in a folder of its own, so that whatever is freed or deleted
//! meanwhile, its file is neither overwritten nor gone. Small files that change in place are copied when they are listed.
//!
//! [`Broker::checkpoint`](crate::Broker::checkpoint) and [`Replica::checkpoint`](crate::replica::Replica::checkpoint)
//! make them. The caller executes no command meanwhile; consumers of a broker may continue.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nsq_queue::{FinishedSet, Listing, Log, SegmentFile, private, whole_bytes};

use crate::broker::topics_folder;
use crate::error::StoreError;

/// The files of a data path, readable for as long as this lives.
#[derive(Debug)]
pub struct DataFiles {
    /// The files, in the order of their names.
    pub files: Vec<DataFile>,
    /// Dropped last: it removes the links.
    _links: Links,
}

/// One of them.
#[derive(Debug)]
pub struct DataFile {
    /// Its path below the data path, with `/` between folders.
    pub name: String,
    /// How many of its bytes belong to the checkpoint.
    pub bytes: u64,
    /// Two files with the same name and fingerprint have the same bytes, up to the end of the shorter one; 0: not known.
    pub fingerprint: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// The link, and the first bytes as they were.
    Segment(PathBuf, Vec<u8>),
    Bytes(Vec<u8>),
    /// Words of eight bytes that are not 0, by their places.
    Words(Vec<(usize, u64)>),
}

impl DataFile {
    /// Fills `buffer` with the bytes at `offset`, which must be in the file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.bytes) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        match &self.content {
            Content::Segment(link, header) => {
                File::open(link)?.read_exact_at(buffer, offset)?;
                copy_overlap(buffer, offset, header, 0);
            }
            Content::Bytes(bytes) => copy_overlap(buffer, offset, bytes, 0),
            Content::Words(words) => {
                buffer.fill(0);
                let first = usize::try_from(offset / WORD_BYTES).unwrap_or(usize::MAX);
                let from = words.partition_point(|(place, _)| *place < first);
                let end = offset + buffer.len() as u64;
                for (place, word) in &words[from..] {
                    let at = *place as u64 * WORD_BYTES;
                    if at >= end {
                        break;
                    }
                    copy_overlap(buffer, offset, &word.to_le_bytes(), at);
                }
            }
        }
        Ok(())
    }

    /// How many of the first `limit` bytes surely are what was written, which a damaged disk may have changed: of a
    /// segment, all are read and checked; of other files, none are sure.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn whole_bytes(&self, limit: u64) -> io::Result<u64> {
        match &self.content {
            Content::Segment(link, _) => whole_bytes(link, limit.min(self.bytes)),
            Content::Bytes(_) | Content::Words(_) => Ok(0),
        }
    }
}

/// Copies what of `piece`, which lies at `at`, falls into `buffer`, which lies at `offset`.
fn copy_overlap(buffer: &mut [u8], offset: u64, piece: &[u8], at: u64) {
    let start = offset.max(at);
    let end = (offset + buffer.len() as u64).min(at + piece.len() as u64);
    if start >= end {
        return;
    }
    // Both differences lie within a slice.
    #[expect(clippy::cast_possible_truncation, reason = "within a slice")]
    let (to, from, count) = (
        (start - offset) as usize,
        (start - at) as usize,
        (end - start) as usize,
    );
    buffer[to..to + count].copy_from_slice(&piece[from..from + count]);
}

/// A folder of links, removed when this goes.
#[derive(Debug)]
struct Links(PathBuf);

impl Drop for Links {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!("cannot remove {}: {error}", self.0.display());
            }
            _ => {}
        }
    }
}

/// Collects the files of a data path. A caller that adds files holds the locks under which they are appended to and freed.
pub(crate) struct Collector {
    data_path: PathBuf,
    links: Links,
    link_count: u64,
    files: BTreeMap<String, DataFile>,
}

impl Collector {
    pub(crate) fn new(data_path: &Path) -> Result<Collector, StoreError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{LINKED}{:016x}.{number}", this_process());
        let folder = topics_folder(data_path).join(name);
        private::create_folders(&folder)
            .map_err(|error| StoreError::io("create", &folder, error))?;
        Ok(Collector {
            data_path: data_path.to_owned(),
            links: Links(folder),
            link_count: 0,
            files: BTreeMap::new(),
        })
    }

    fn add(&mut self, path: &Path, bytes: u64, fingerprint: u64, content: Content) {
        let below = path.strip_prefix(&self.data_path).unwrap_or(path);
        let name = below.to_string_lossy().into_owned();
        let file = DataFile {
            name: name.clone(),
            bytes,
            fingerprint,
            content,
        };
        self.files.insert(name, file);
    }

    /// Adds the segments of a log.
    pub(crate) fn add_log(&mut self, log: &Log) -> Result<(), StoreError> {
        for file in log.files()? {
            let SegmentFile {
                path,
                bytes,
                header,
                fingerprint,
            } = file;
            let link = self.links.0.join(self.link_count.to_string());
            std::fs::hard_link(&path, &link)
                .map_err(|error| StoreError::io("link", &path, error))?;
            self.link_count += 1;
            let content = Content::Segment(link, header.to_vec());
            self.add(&path, bytes, fingerprint, content);
        }
        Ok(())
    }

    /// Adds a copy of a finished set.
    pub(crate) fn add_set(&mut self, path: &Path, set: &FinishedSet) {
        let (words, count) = set.words();
        self.add(path, count as u64 * WORD_BYTES, 0, Content::Words(words));
    }

    /// Adds a copy of a small file, if it is there.
    pub(crate) fn add_small(&mut self, path: &Path) -> Result<(), StoreError> {
        match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            read => {
                let bytes = read.map_err(|error| StoreError::io("read", path, error))?;
                self.add_bytes(path, bytes);
            }
        }
        Ok(())
    }

    pub(crate) fn add_bytes(&mut self, path: &Path, bytes: Vec<u8>) {
        self.add(path, bytes.len() as u64, 0, Content::Bytes(bytes));
    }

    /// Adds the folder of a topic that is not open, with its channels.
    pub(crate) fn add_quiet_topic(&mut self, folder: &Path) -> Result<(), StoreError> {
        let listing = Listing::of(folder)?;
        for name in listing.names() {
            let (log, _) = Log::open_read_only(folder, name)?;
            self.add_log(&log)?;
        }
        let entries = std::fs::read_dir(folder);
        for entry in entries.map_err(|error| StoreError::io("list", folder, error))? {
            let entry = entry.map_err(|error| StoreError::io("list", folder, error))?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if name.ends_with(".channel") {
                self.add_quiet_topic(&path)?;
            } else if SMALL.iter().any(|end| name.ends_with(end)) {
                self.add_small(&path)?;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> DataFiles {
        DataFiles {
            files: self.files.into_values().collect(),
            _links: self.links,
        }
    }
}

/// Whether this is the name of a folder of links that an earlier process left.
pub(crate) fn is_left_behind(name: &str) -> bool {
    let own = format!("{LINKED}{:016x}.", this_process());
    name.starts_with(LINKED) && !name.starts_with(&own)
}

/// A number that tells this process from earlier ones, which may have had its id.
fn this_process() -> u64 {
    static NUMBER: OnceLock<u64> = OnceLock::new();
    *NUMBER.get_or_init(|| RandomState::new().hash_one(std::process::id()))
}

/// Begins the name of a folder of links, which is in the folder of the topics.
const LINKED: &str = "checkpoint.";
/// Ends of names of files of a topic or channel that are copied.
const SMALL: [&str; 3] = [".marks", ".offered", ".id"];
const WORD_BYTES: u64 = 8;
