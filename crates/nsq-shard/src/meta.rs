//! How far a replica has executed the shard's log, on the disk, and where its own logs ended then.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nsq_cluster::codec::{DecodeError, Decoder, LogId, put_bytes, put_count, put_optional};
use nsq_core::Ends;
use nsq_core::change::FanOut;
use nsq_protocol::TopicName;
use nsq_queue::{private, sync_folder};

/// 2: with the term of the parts, the boot, and the ends.
const VERSION: u8 = 2;
const FILE: &str = "meta";
const MAX_BOOT_ID_BYTES: usize = 1024;
const MAX_NAME_BYTES: usize = 64;

/// How far that is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The last entry of which everything was executed.
    pub(crate) applied: Option<LogId>,
    /// How many parts of the next entry were executed too.
    pub(crate) parts: u64,
    /// The term of that entry; 0 where there is none, or it is not known.
    pub(crate) parts_term: u64,
    /// Up to which change of the directory the shard has the topics and channels.
    pub(crate) registry_index: u64,
}

impl Meta {
    /// How far that is in the log.
    pub(crate) fn place(&self) -> (Option<LogId>, u64) {
        (self.applied, self.parts)
    }
}

/// What is stored, as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) meta: Meta,
    /// In which boot of the machine.
    pub(crate) boot_id: String,
    /// Where the logs of all topics end that were executed so far; `None` where no one has looked yet.
    pub(crate) ends: Option<Ends>,
}

impl Stored {
    /// Reads it; the default where there is none.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else.
    pub(crate) fn load(folder: &Path) -> io::Result<Stored> {
        let path = path(folder);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::default()),
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
        let decoded = Stored::decode(Bytes::copy_from_slice(content));
        decoded.map_err(|error| invalid(error.to_string()))
    }

    fn decode(bytes: Bytes) -> Result<Stored, DecodeError> {
        let mut from = Decoder::new(bytes);
        let version = from.version(VERSION, "the format of a shard's state")?;
        let mut stored = Stored {
            meta: Meta {
                applied: from.optional("an entry")?,
                parts: from.u64("a count of commands")?,
                parts_term: 0,
                registry_index: from.u64("an index of the directory")?,
            },
            ..Stored::default()
        };
        if version > 1 {
            stored.meta.parts_term = from.u64("a term")?;
            stored.boot_id = from.text(MAX_BOOT_ID_BYTES, "a boot id")?;
            if from.flag("ends of logs")? {
                stored.ends = Some(decode_ends(&mut from)?);
            }
        }
        from.finish("a shard's state")?;
        Ok(stored)
    }

    /// Puts it in the place of what was stored before, on the disk.
    ///
    /// # Errors
    /// When the disk does not take it; the one before is still there then.
    pub(crate) fn store(&self, folder: &Path) -> io::Result<()> {
        store(folder, &self.meta, &self.boot_id, self.ends.as_ref())
    }
}

/// As [`Stored::store`].
pub(crate) fn store(
    folder: &Path,
    meta: &Meta,
    boot_id: &str,
    ends: Option<&Ends>,
) -> io::Result<()> {
    let path = path(folder);
    let new = folder.join("meta.new");
    let mut bytes = vec![VERSION];
    put_optional::<LogId>(&mut bytes, meta.applied.as_ref());
    bytes.extend_from_slice(&meta.parts.to_le_bytes());
    bytes.extend_from_slice(&meta.registry_index.to_le_bytes());
    bytes.extend_from_slice(&meta.parts_term.to_le_bytes());
    put_bytes(&mut bytes, boot_id.as_bytes());
    bytes.push(u8::from(ends.is_some()));
    if let Some(ends) = ends {
        put_count(&mut bytes, ends.len());
        for (name, ends) in ends {
            put_bytes(&mut bytes, name.as_str().as_bytes());
            bytes.extend_from_slice(&ends.main.to_le_bytes());
            bytes.push(u8::from(ends.deferred.is_some()));
            bytes.extend_from_slice(&ends.deferred.unwrap_or(0).to_le_bytes());
        }
    }
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    let mut options = private::file_options();
    let mut file = options.write(true).create(true).truncate(true).open(&new)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    sync_folder(folder).map_err(|error| error.source)
}

fn decode_ends(from: &mut Decoder) -> Result<Ends, DecodeError> {
    let mut ends = Ends::new();
    for _ in 0..from.u32("a count of topics")? {
        let name = from.text(MAX_NAME_BYTES, "a topic")?;
        let name = TopicName::try_from(name.as_str())
            .map_err(|_| DecodeError::Invalid { what: "a topic" })?;
        let main = from.u64("the end of a log")?;
        let has_deferred = from.flag("the end of a log")?;
        let deferred = from.u64("the end of a log")?;
        let deferred = has_deferred.then_some(deferred);
        ends.insert(name, FanOut { main, deferred });
    }
    Ok(ends)
}

impl Meta {
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
        assert_eq!(Stored::load(folder.path()).unwrap(), Stored::default());
        let end = |main, deferred| FanOut { main, deferred };
        let topic = |name: &str| TopicName::try_from(name).unwrap();
        let ends = [(topic("a"), end(4, None)), (topic("b.c"), end(0, Some(17)))];
        let stored = Stored {
            meta: Meta {
                applied: Some(LogId { term: 3, index: 9 }),
                parts: 2,
                parts_term: 4,
                registry_index: 7,
            },
            boot_id: "some boot".to_owned(),
            ends: Some(ends.into_iter().collect()),
        };
        stored.store(folder.path()).unwrap();
        assert_eq!(Stored::load(folder.path()).unwrap(), stored);
        let path = path(folder.path());
        let whole = std::fs::read(&path).unwrap();
        for at in [0, 5, whole.len() - 20] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let error = Stored::load(folder.path()).unwrap_err();
            assert!(error.to_string().contains("is damaged"), "{error}");
        }
        Meta::remove(folder.path()).unwrap();
        assert_eq!(Stored::load(folder.path()).unwrap(), Stored::default());
    }

    #[test]
    fn the_first_format_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![1];
        put_optional::<LogId>(&mut bytes, Some(&LogId { term: 3, index: 9 }));
        bytes.extend_from_slice(&2_u64.to_le_bytes());
        bytes.extend_from_slice(&7_u64.to_le_bytes());
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        std::fs::write(path(folder.path()), bytes).unwrap();
        let stored = Stored::load(folder.path()).unwrap();
        let meta = Meta {
            applied: Some(LogId { term: 3, index: 9 }),
            parts: 2,
            parts_term: 0,
            registry_index: 7,
        };
        let expected = Stored {
            meta,
            ..Stored::default()
        };
        assert_eq!(stored, expected);
    }
}
