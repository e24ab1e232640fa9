//! What a log needs from its file system, tried out before anything depends on it.
//!
//! Network and pass-through file systems (9p, virtiofs, some FUSE and network shares) refuse shared maps, or accept them
//! and show stale bytes. Without this probe nsqd would acknowledge messages that it can never deliver.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::map::{FileMap, WordMap};
use crate::{private, sync_folder};

/// Something that the file system of a folder cannot do.
#[derive(Debug, thiserror::Error)]
#[error("the file system of {} cannot {act}: {source}", folder.display())]
pub struct ProbeError {
    /// The folder.
    pub folder: PathBuf,
    /// What was tried, such as `sync a file`.
    pub act: &'static str,
    /// What the operating system answered.
    pub source: io::Error,
}

impl ProbeError {
    /// Whether there is no space for the few bytes that the probe writes.
    pub fn is_full_disk(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// What a file system may lack without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Whether space can be reserved (`fallocate`). Without it, files are extended without reserved space, and a full
    /// disk is noticed by the write that needs the space.
    pub can_reserve: bool,
}

/// Tries in `folder` everything that logs do with files, and leaves nothing behind.
///
/// # Errors
/// [`ProbeError`] for the first thing that does not work.
pub fn probe(folder: &Path) -> Result<Abilities, ProbeError> {
    let paths = Paths([NAME, OLD_NAME].map(|name| folder.join(name)));
    let [path, old_path] = &paths.0;
    let fail = |act| {
        move |source| ProbeError {
            folder: folder.to_path_buf(),
            act,
            source,
        }
    };
    let create = |path: &Path| {
        let mut options = private::file_options();
        let options = options.read(true).write(true).create(true);
        options.truncate(true).open(path)
    };
    let file = create(path).map_err(fail("create a file"))?;
    let can_reserve = reserve(&file).map_err(fail("make a file longer"))?;
    let map =
        FileMap::new(&file, BYTES).map_err(fail("map a file to be read (mmap, MAP_SHARED)"))?;
    // So that a stale page would be in the map when the file changes.
    if map.bytes(u32::MAX).iter().any(|&byte| byte != 0) || map.has_faulted() {
        return Err(fail("read a map of a new file")(unexpected()));
    }
    let write_act = "write to a file";
    file.write_all_at(PATTERN, BOUNDARY)
        .map_err(fail(write_act))?;
    let seen = map
        .bytes(u32::MAX)
        .get(index(BOUNDARY)..index(BOUNDARY) + PATTERN.len());
    if seen != Some(PATTERN) || map.has_faulted() {
        return Err(fail("show in a map what was written to the file")(
            unexpected(),
        ));
    }
    let words = WordMap::new(&file).map_err(fail("map a file to be written (mmap, MAP_SHARED)"))?;
    words.words()[WORD].store(u64::from_ne_bytes(*WORD_PATTERN), Ordering::Relaxed);
    let mut read = [0; size_of::<u64>()];
    let offset = (WORD * size_of::<u64>()) as u64;
    file.read_exact_at(&mut read, offset)
        .map_err(fail("read a file"))?;
    if read != *WORD_PATTERN || words.has_faulted() {
        return Err(fail("show in a file what was written to its map")(
            unexpected(),
        ));
    }
    words.sync().map_err(fail("sync a map (msync)"))?;
    file.sync_data().map_err(fail("sync a file (fdatasync)"))?;
    create(old_path).map_err(fail("create a file"))?;
    std::fs::rename(path, old_path).map_err(fail("rename a file over another one"))?;
    sync_folder(folder).map_err(|error| fail("sync a folder (fsync)")(error.source))?;
    Ok(Abilities { can_reserve })
}

/// The files of a probe, which go with it.
struct Paths([PathBuf; 2]);

impl Drop for Paths {
    fn drop(&mut self) {
        for path in &self.0 {
            // What stays is replaced by the next probe.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Makes the file [`BYTES`] long. Returns whether space for it could be reserved.
fn reserve(file: &File) -> io::Result<bool> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, BYTES) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return file.set_len(BYTES).map(|()| false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn unexpected() -> io::Error {
    io::Error::other("other bytes were read than written")
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset in the probe's file is small")
}

const NAME: &str = "nsqd.probe";
const OLD_NAME: &str = "nsqd.probe.old";
/// Two pages of the usual size.
const BYTES: u64 = 8192;
/// Bytes on both sides of a page's end.
const BOUNDARY: u64 = 4096 - 8;
const PATTERN: &[u8] = b"written by pwrite";
const WORD: usize = 3;
const WORD_PATTERN: &[u8; 8] = b"by a map";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_file_system_passes_and_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(OLD_NAME), "left by a kill").unwrap();
        assert!(probe(folder.path()).unwrap().can_reserve);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_folder_and_what_it_cannot_do_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let text = probe(&missing).unwrap_err().to_string();
        let wanted = format!(
            "the file system of {} cannot create a file: No such",
            missing.display()
        );
        assert!(text.starts_with(&wanted), "{text}");
    }
}
