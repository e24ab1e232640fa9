//! The end of the log, noted in a small file after every write.
//!
//! A kill leaves everything that was written, and a log that ends earlier than this says was damaged meanwhile. Otherwise the
//! loss of its last entries would look like an end that a kill has cut short. The note is not synced: after a crash of the
//! machine it says nothing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::small_file::explain;

/// The file.
#[derive(Debug)]
pub(super) struct EndNote {
    file: File,
    noted: u64,
}

impl EndNote {
    /// Opens the file in `folder`, or makes it. Returns the noted end too.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when the file is damaged, otherwise what the operating system answered.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, u64)> {
        let path = folder.join(FILE);
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options
            .open(&path)
            .map_err(|error| explain(&error, "open", &path))?;
        let noted = read(folder)?;
        Ok((Self { file, noted }, noted))
    }

    /// Forgets what is noted in `folder`.
    pub(super) fn remove(folder: &Path) -> io::Result<()> {
        let path = folder.join(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(explain(&error, "remove", &path))
            }
            _ => Ok(()),
        }
    }

    /// The log ends there.
    pub(super) fn note(&mut self, end: u64) -> io::Result<()> {
        if end != self.noted {
            self.file.write_all_at(&encode(end), 0)?;
            self.noted = end;
        }
        Ok(())
    }

    /// The log may end there from now on.
    pub(super) fn lower(&mut self, end: u64) -> io::Result<()> {
        self.note(end.min(self.noted))
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// The noted end in `folder`; 0 where there is none.
///
/// # Errors
/// As [`EndNote::open`].
pub(super) fn read(folder: &Path) -> io::Result<u64> {
    let path = folder.join(FILE);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        read => read.map_err(|error| explain(&error, "read", &path))?,
    };
    if bytes.is_empty() {
        return Ok(0);
    }
    decode(&bytes).ok_or_else(|| {
        let why = format!("{} is damaged", path.display());
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}

fn encode(end: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let (number, checksum) = bytes.split_at_mut(8);
    number.copy_from_slice(&end.to_le_bytes());
    checksum.copy_from_slice(&crc32fast::hash(number).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let end = u64::from_le_bytes(*bytes.first_chunk()?);
    (encode(end) == *bytes).then_some(end)
}

const FILE: &str = "end";
const BYTES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_read_back_and_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (mut note, none) = EndNote::open(folder.path()).unwrap();
        assert_eq!(none, 0);
        note.note(70).unwrap();
        note.lower(90).unwrap();
        assert_eq!(EndNote::open(folder.path()).unwrap().1, 70);
        note.lower(60).unwrap();
        assert_eq!(EndNote::open(folder.path()).unwrap().1, 60);
        let path = folder.path().join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        for damaged in [&bytes[..], &bytes[..5], &[0; 12][..]] {
            fs::write(&path, damaged).unwrap();
            let error = EndNote::open(folder.path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        EndNote::remove(folder.path()).unwrap();
        assert_eq!(EndNote::open(folder.path()).unwrap().1, 0);
    }
}
