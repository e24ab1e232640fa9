//! One file that is being written: what was synced stays whole, whatever happens later.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;

use crate::folder;
use crate::gzip_members;

/// An open file. Lines are on disk once [`sync`](Self::sync) has returned, and not before.
///
/// It is locked (flock) while it is open, so that other processes can tell a file in use from one left behind:
/// exclusively with gzip, shared otherwise, since several may append lines.
#[derive(Debug)]
pub(crate) struct OutputFile {
    file: File,
    path: PathBuf,
    lines: Lines,
    /// Of the file, before compression: what rotation goes by.
    pub(crate) size_bytes: u64,
    /// In the file, of what is known.
    written_bytes: u64,
    synced_bytes: u64,
}

/// What has not been handed to the system yet.
#[derive(Debug)]
enum Lines {
    Plain(Vec<u8>),
    Gzip {
        level: u32,
        /// Begins with the first line after a sync.
        member: Option<Box<GzEncoder<Vec<u8>>>>,
    },
}

/// How to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    /// The level; `None` for no compression.
    pub(crate) gzip: Option<u32>,
    /// Whether there must be no such file yet.
    pub(crate) is_exclusive: bool,
}

impl OutputFile {
    /// Opens or makes the file. Returns it together with how many bytes of a torn line were cut off.
    ///
    /// # Errors
    /// The system's; `AlreadyExists` if it must not.
    pub(crate) fn open(path: &Path, mode: Mode) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(!mode.is_exclusive)
            .create_new(mode.is_exclusive)
            .open(path)?;
        let opened = Self::begin(file, path, mode);
        if opened.is_err() && mode.is_exclusive {
            // Made just now, and of no use to anybody: the disk is full, most likely.
            let _ = std::fs::remove_file(path);
        }
        opened
    }

    fn begin(mut file: File, path: &Path, mode: Mode) -> io::Result<(Self, u64)> {
        let mut cut_bytes = 0;
        // A file system without locks has no protection from a second process; everything else works.
        if mode.gzip.is_some() {
            let _ = file.lock();
            // From here on it is a gzip file, and one of ours.
            file.write_all(&gzip_members::END)?;
        } else {
            if file.try_lock().is_ok() {
                cut_bytes = cut_torn_line(&mut file)?;
                let _ = file.unlock();
            }
            let _ = file.try_lock_shared();
        }
        file.sync_all()?;
        folder::sync_parent(path)?;
        let written_bytes = file.metadata()?.len();
        let lines = match mode.gzip {
            None => Lines::Plain(Vec::new()),
            Some(level) => Lines::Gzip {
                level,
                member: None,
            },
        };
        let opened = Self {
            file,
            path: path.to_owned(),
            // Without compression, what was there counts.
            size_bytes: if mode.gzip.is_some() {
                0
            } else {
                written_bytes
            },
            lines,
            written_bytes,
            synced_bytes: written_bytes,
        };
        Ok((opened, cut_bytes))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a body and a newline.
    pub(crate) fn append(&mut self, body: &[u8]) -> io::Result<()> {
        let waiting = match &mut self.lines {
            Lines::Plain(bytes) => {
                bytes.extend_from_slice(body);
                bytes.push(b'\n');
                bytes.len()
            }
            Lines::Gzip { level, member } => {
                let member = member.get_or_insert_with(|| Box::new(gzip_members::begin(*level)));
                member.write_all(body)?;
                member.write_all(b"\n")?;
                member.get_ref().len()
            }
        };
        self.size_bytes += u64::try_from(body.len()).unwrap_or(u64::MAX) + 1;
        if waiting >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands to the system what waits, so that readers of a plain file see it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let bytes = match &mut self.lines {
            Lines::Plain(bytes) => bytes,
            Lines::Gzip { member: None, .. } => return Ok(()),
            Lines::Gzip {
                member: Some(member),
                ..
            } => member.get_mut(),
        };
        self.file.write_all(bytes)?;
        self.written_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        bytes.clear();
        bytes.shrink_to(WRITE_BYTES);
        Ok(())
    }

    /// Returns when all that was appended is on disk. A member of gzip ends with it.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if let Lines::Gzip { member, .. } = &mut self.lines
            && let Some(member) = member.take()
        {
            let end = member.finish()?;
            self.write_whole(&end)?;
        }
        self.flush()?;
        self.file.sync_all()?;
        self.synced_bytes = self.written_bytes;
        Ok(())
    }

    /// Syncs, and marks a gzip file as complete.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.sync()?;
        if let Lines::Gzip { .. } = &self.lines {
            self.write_whole(&gzip_members::END)?;
            self.file.sync_all()?;
            self.synced_bytes = self.written_bytes;
        }
        Ok(())
    }

    /// After a failure: cuts the file back to what was synced, unless others may have written after that.
    pub(crate) fn abandon(self) -> io::Result<()> {
        let is_alone = self.file.try_lock().is_ok();
        if is_alone && self.file.metadata()?.len() > self.synced_bytes {
            self.file.set_len(self.synced_bytes)?;
            self.file.sync_all()?;
        }
        Ok(())
    }

    fn write_whole(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.written_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

/// Cuts off what stands after the last newline: a message that was not finished. Returns how many bytes that were.
pub(crate) fn cut_torn_line(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut bytes = Vec::new();
    while end > 0 && length - end < LONGEST_TORN_LINE {
        let begin = end.saturating_sub(CHUNK_BYTES);
        file.seek(SeekFrom::Start(begin))?;
        bytes.clear();
        file.take(end - begin).read_to_end(&mut bytes)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            end = begin + u64::try_from(at).unwrap_or(u64::MAX) + 1;
            break;
        }
        end = begin;
    }
    if end == length {
        return Ok(0);
    }
    if length - end >= LONGEST_TORN_LINE {
        // No line of ours is that long. It must at least not run into the next one.
        file.write_all(b"\n")?;
        return Ok(0);
    }
    file.set_len(end)?;
    Ok(length - end)
}

/// As much waits in memory before it is written.
const WRITE_BYTES: usize = 64 * 1024;

/// Read at once while looking for a newline.
const CHUNK_BYTES: u64 = 64 * 1024;

/// More than any nsqd takes as a message in practice; it takes 1 MiB by default.
const LONGEST_TORN_LINE: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gzip_members::Members;

    const PLAIN: Mode = Mode {
        gzip: None,
        is_exclusive: false,
    };
    const GZIP: Mode = Mode {
        gzip: Some(6),
        is_exclusive: true,
    };

    fn unzipped(path: &Path) -> String {
        let bytes = std::fs::read(path).unwrap();
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&bytes[..])
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn lines_add_up_over_syncs() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [PLAIN, GZIP] {
            let path = folder.path().join(format!("{:?}", mode.gzip));
            let (mut file, _) = OutputFile::open(&path, mode).unwrap();
            file.append(b"one").unwrap();
            file.sync().unwrap();
            file.append(b"two").unwrap();
            file.append(b"").unwrap();
            assert_eq!(file.size_bytes, 9);
            file.close().unwrap();
            let text = match mode.gzip {
                None => std::fs::read_to_string(&path).unwrap(),
                Some(_) => unzipped(&path),
            };
            assert_eq!(text, "one\ntwo\n\n");
        }
    }

    #[test]
    fn a_gzip_file_is_whole_from_its_beginning_and_after_every_sync() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gz");
        let whole = || {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.is_empty());
            gzip_members::scan(io::Cursor::new(&bytes[..])).unwrap() == Members::Whole
        };
        let (mut file, _) = OutputFile::open(&path, GZIP).unwrap();
        assert!(whole());
        file.append(&vec![b'x'; 1_000_000]).unwrap();
        file.sync().unwrap();
        assert!(whole());
        file.close().unwrap();
        assert!(whole());
        assert!(std::fs::read(&path).unwrap().ends_with(&gzip_members::END));
    }

    #[test]
    fn what_was_not_synced_is_cut_off_after_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [PLAIN, GZIP] {
            let path = folder.path().join(format!("{:?}", mode.gzip));
            let (mut file, _) = OutputFile::open(&path, mode).unwrap();
            file.append(b"kept").unwrap();
            file.sync().unwrap();
            let kept = std::fs::read(&path).unwrap();
            file.append(b"lost").unwrap();
            file.flush().unwrap();
            file.abandon().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), kept);
        }
    }

    #[test]
    fn the_lines_of_another_process_are_not_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let (mut ours, _) = OutputFile::open(&path, PLAIN).unwrap();
        let (mut theirs, _) = OutputFile::open(&path, PLAIN).unwrap();
        theirs.append(b"theirs").unwrap();
        theirs.flush().unwrap();
        ours.append(b"ours").unwrap();
        ours.abandon().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"theirs\n");
    }

    #[test]
    fn a_torn_line_is_gone_before_the_next_one_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let long = vec![b'x'; 200_000];
        for (before, kept) in [
            (&b"one\ntw"[..], &b"one\n"[..]),
            (b"one\n", b"one\n"),
            (b"", b""),
            (b"tw", b""),
            (&[b"one\n", &long[..]].concat(), b"one\n"),
        ] {
            std::fs::write(&path, before).unwrap();
            let (mut file, cut_bytes) = OutputFile::open(&path, PLAIN).unwrap();
            assert_eq!(cut_bytes, u64::try_from(before.len() - kept.len()).unwrap());
            file.append(b"two").unwrap();
            file.close().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), [kept, b"two\n"].concat());
        }
    }
}
