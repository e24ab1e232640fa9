//! Small files that are replaced as a whole: the vote, the log's place, the boot marker, the members.
//!
//! ```text
//! 0  [u8; 8]  "nsqclust"
//! 8  u8       version of this format
//! 9           the value's bytes
//!    u32      CRC-32 of all before
//! ```
//! Replacing writes a second file, syncs it, renames it over the first, and syncs the folder. So there is always exactly one
//! whole value, and after `replace` has returned it is the new one, whatever happens to the machine.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;

use crate::codec::Wire;

/// Puts `value` into the file `name` of `folder`.
///
/// # Errors
/// What the operating system answered. The file holds the old value or the new one then.
pub(crate) fn replace(folder: &Path, name: &str, value: &impl Wire) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    value.encode(&mut bytes);
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    let path = folder.join(name);
    let beside = folder.join(format!("{name}.new"));
    let mut file = File::create(&beside).map_err(|error| explain(&error, "create", &beside))?;
    file.write_all(&bytes)
        .map_err(|error| explain(&error, "write", &beside))?;
    file.sync_all()
        .map_err(|error| explain(&error, "sync", &beside))?;
    drop(file);
    fs::rename(&beside, &path).map_err(|error| explain(&error, "rename", &beside))?;
    sync_folder(folder)
}

/// The value in the file `name` of `folder`; `None` when there is no such file.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when the file holds something else, otherwise what the operating system answered.
pub(crate) fn read<T: Wire>(folder: &Path, name: &str) -> io::Result<Option<T>> {
    let path = folder.join(name);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(explain(&error, "read", &path)),
    };
    let damaged = |why: &str| {
        let text = format!("{} is damaged: {why}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let Some((sound, checksum)) = bytes.split_last_chunk::<4>() else {
        return Err(damaged("it is too short"));
    };
    if crc32fast::hash(sound) != u32::from_le_bytes(*checksum) {
        return Err(damaged("its checksum is wrong"));
    }
    let Some(rest) = sound.strip_prefix(MAGIC) else {
        return Err(damaged("it is of another kind"));
    };
    match rest.split_first() {
        Some((&VERSION, value)) => T::from_bytes(Bytes::copy_from_slice(value))
            .map(Some)
            .map_err(|error| damaged(&error.to_string())),
        _ => Err(damaged("a later version of nsqd wrote it")),
    }
}

/// Makes created, renamed and removed names in `folder` last.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| explain(&error, "sync", folder))
}

pub(crate) fn explain(error: &io::Error, act: &str, path: &Path) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot {act} {}: {error}", path.display()),
    )
}

const MAGIC: &[u8; 8] = b"nsqclust";
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeId;
    use crate::codec::Vote;

    fn vote(term: u64) -> Vote {
        Vote {
            term,
            node: NodeId(3),
            is_committed: false,
        }
    }

    #[test]
    fn a_value_is_read_back_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read::<Vote>(folder.path(), "vote").unwrap(), None);
        for term in [1, 2] {
            replace(folder.path(), "vote", &vote(term)).unwrap();
            assert_eq!(read(folder.path(), "vote").unwrap(), Some(vote(term)));
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_passes() {
        let folder = tempfile::tempdir().unwrap();
        replace(folder.path(), "vote", &vote(7)).unwrap();
        let path = folder.path().join("vote");
        let whole = fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            let error = read::<Vote>(folder.path(), "vote").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "bit {bit}");
        }
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            read::<Vote>(folder.path(), "vote").unwrap_err();
        }
    }
}
