//! How far a replica has executed the shard's log, on the disk.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nsq_cluster::codec::{DecodeError, Decoder, LogId, put_optional};
use nsq_queue::{private, sync_folder};

const VERSION: u8 = 1;
const FILE: &str = "meta";

/// What is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The last entry of which everything was executed.
    pub(crate) applied: Option<LogId>,
    /// How many parts of the next entry were executed too.
    pub(crate) parts: u64,
    /// Up to which change of the directory the shard has the topics and channels.
    pub(crate) registry_index: u64,
}

impl Meta {
    /// How far that is in the log.
    pub(crate) fn place(&self) -> (Option<LogId>, u64) {
        (self.applied, self.parts)
    }

    /// Reads it; the default where there is none.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else.
    pub(crate) fn load(folder: &Path) -> io::Result<Meta> {
        let path = path(folder);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Meta::default()),
            read => read?,
        };
        let invalid = |why: String| {
            let why = format!("{}: {why}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        let Some((content, checksum)) = bytes.split_last_chunk::<4>() else {
            return Err(invalid("is cut short".to_owned()));
        };
        if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return Err(invalid("is damaged".to_owned()));
        }
        Meta::decode(Bytes::copy_from_slice(content)).map_err(|error| invalid(error.to_string()))
    }

    fn decode(bytes: Bytes) -> Result<Meta, DecodeError> {
        let mut from = Decoder::new(bytes);
        from.version(VERSION, "the format of a shard's state")?;
        let meta = Meta {
            applied: from.optional("an entry")?,
            parts: from.u64("a count of commands")?,
            registry_index: from.u64("an index of the directory")?,
        };
        from.finish("a shard's state")?;
        Ok(meta)
    }

    /// Puts it in the place of what was stored before, on the disk.
    ///
    /// # Errors
    /// When the disk does not take it; the one before is still there then.
    pub(crate) fn store(&self, folder: &Path) -> io::Result<()> {
        let path = path(folder);
        let new = folder.join("meta.new");
        let mut bytes = vec![VERSION];
        put_optional::<LogId>(&mut bytes, self.applied.as_ref());
        bytes.extend_from_slice(&self.parts.to_le_bytes());
        bytes.extend_from_slice(&self.registry_index.to_le_bytes());
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let mut options = private::file_options();
        let mut file = options.write(true).create(true).truncate(true).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        sync_folder(folder).map_err(|error| error.source)
    }

    /// Forgets what was stored.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(crate) fn remove(folder: &Path) -> io::Result<()> {
        match std::fs::remove_file(path(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_stored_and_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Meta::load(folder.path()).unwrap(), Meta::default());
        let meta = Meta {
            applied: Some(LogId { term: 3, index: 9 }),
            parts: 2,
            registry_index: 7,
        };
        meta.store(folder.path()).unwrap();
        assert_eq!(Meta::load(folder.path()).unwrap(), meta);
        let path = path(folder.path());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[5] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = Meta::load(folder.path()).unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
        Meta::remove(folder.path()).unwrap();
        assert_eq!(Meta::load(folder.path()).unwrap(), Meta::default());
    }
}
