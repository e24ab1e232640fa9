//! A shard's files on their way to a replica that lacks them.
//!
//! What is received lies in the folder `staged` until it is complete; then it is [installed](install).

mod install;

use std::any::Any;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use nsq_cluster::codec::{DecodeError, Decoder, LogId, Manifest, ManifestFile};
use nsq_cluster::state_machine::{Checkpoint, CheckpointFiles, Staging};
use nsq_core::checkpoint::DataFiles;
use nsq_core::metadata::{self, Metadata};
use nsq_queue::{private, segment_bytes};

use self::install::{REGISTRY, STAGED, TOPICS, install, remove_all, sync_folders};
pub(crate) use self::install::{forget, is_interrupted, resume};
use crate::meta::{Meta, Stored};

const NOTE_VERSION: u8 = 1;
/// Files of this replica are read and copied in pieces of this size.
const COPY_BYTES: usize = 1 << 20;

/// What a checkpoint of these files offers.
pub(crate) fn checkpoint(files: DataFiles, meta: &Meta) -> Checkpoint {
    let manifest_files = files.files.iter().map(|file| ManifestFile {
        name: file.name.clone(),
        bytes: file.bytes,
        fingerprint: file.fingerprint,
    });
    let note = Note {
        parts: meta.parts,
        registry_index: meta.registry_index,
    };
    Checkpoint {
        manifest: Manifest {
            files: manifest_files.collect(),
            note: note.to_bytes(),
        },
        files: Arc::new(Offered(files)),
    }
}

#[derive(Debug)]
struct Offered(DataFiles);

impl CheckpointFiles for Offered {
    fn read(&self, file: usize, offset: u64, bytes: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; bytes];
        let file = self.0.files.get(file).ok_or(io::ErrorKind::NotFound)?;
        file.read_at(&mut buffer, offset)?;
        Ok(buffer.into())
    }
}

/// The files of another replica, being received.
pub(crate) struct Staged {
    folder: PathBuf,
    files: Vec<PathBuf>,
    /// The one that was written last. A large shard has more files than a process may have open.
    opened: Option<(usize, File)>,
    note: Note,
    /// What this replica has, by name.
    known: Option<DataFiles>,
    known_places: HashMap<String, usize>,
    /// The data of an earlier replica.
    previous: Option<PathBuf>,
    is_installing: bool,
}

impl Staged {
    /// Makes the folder. `known` are the files that this replica has, and `previous` is where those of an earlier one are.
    pub(crate) fn begin(
        folder: &Path,
        manifest: &Manifest,
        known: Option<DataFiles>,
        previous: Option<PathBuf>,
    ) -> io::Result<Staged> {
        let note = Note::from_bytes(&manifest.note)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let staged = folder.join(STAGED);
        remove_all(&staged)?;
        private::create_folders(&staged.join(TOPICS))?;
        let mut files = Vec::with_capacity(manifest.files.len());
        for file in &manifest.files {
            files.push(staged.join(checked(&file.name)?));
        }
        let names = known
            .iter()
            .flat_map(|known| known.files.iter().enumerate());
        let known_places = names
            .map(|(place, file)| (file.name.clone(), place))
            .collect();
        Ok(Staged {
            folder: folder.to_owned(),
            files,
            opened: None,
            note,
            known,
            known_places,
            previous,
            is_installing: false,
        })
    }

    fn open(&mut self, file: usize) -> io::Result<&File> {
        if self
            .opened
            .as_ref()
            .is_none_or(|(opened, _)| *opened != file)
        {
            let path = self.files.get(file).ok_or(io::ErrorKind::NotFound)?;
            if let Some(parent) = path.parent() {
                private::create_folders(parent)?;
            }
            let mut options = private::file_options();
            let options = options.write(true).create(true).truncate(false);
            self.opened = Some((file, options.open(path)?));
        }
        let opened = self.opened.as_ref().map(|(_, opened)| opened);
        Ok(opened.ok_or(io::ErrorKind::NotFound)?)
    }

    /// Takes the file out of an earlier replica's data if it is whole there, otherwise copies what is. Returns how many bytes
    /// that are.
    fn take_previous(&mut self, file: usize, about: &ManifestFile) -> io::Result<u64> {
        let Some(previous) = &self.previous else {
            return Ok(0);
        };
        let from = previous.join(checked(&about.name)?);
        let whole = match segment_bytes(&from, about.fingerprint, about.bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            whole => whole?,
        };
        if whole < about.bytes {
            let source = File::open(&from)?;
            self.fill(file, whole, |buffer, offset| {
                source.read_exact_at(buffer, offset)
            })?;
            return Ok(whole);
        }
        let to = self.files.get(file).ok_or(io::ErrorKind::NotFound)?;
        self.opened = None;
        std::fs::rename(&from, to)?;
        // Nothing in it counts beyond the end of what the checkpoint has.
        self.open(file)?.set_len(about.bytes)?;
        Ok(whole)
    }

    /// Writes the first bytes of a file, piece by piece.
    fn fill(
        &mut self,
        file: usize,
        bytes: u64,
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; COPY_BYTES];
        let mut offset = 0;
        while offset < bytes {
            let left = usize::try_from(bytes - offset).unwrap_or(usize::MAX);
            let piece = left.min(COPY_BYTES);
            read(&mut buffer[..piece], offset)?;
            self.open(file)?.write_all_at(&buffer[..piece], offset)?;
            offset += piece as u64;
        }
        Ok(())
    }

    /// Copies what this replica has of a file, as far as it is whole. Returns how many bytes that are.
    fn copy_known(&mut self, file: usize, about: &ManifestFile) -> io::Result<u64> {
        let Some(place) = self.known_places.get(&about.name).copied() else {
            return Ok(0);
        };
        let Some(known) = self.known.take() else {
            return Ok(0);
        };
        let copied = match known.files.get(place) {
            Some(mine) if mine.fingerprint == about.fingerprint => {
                let whole = mine.whole_bytes(about.bytes);
                whole.and_then(|whole| {
                    self.fill(file, whole, |buffer, offset| mine.read_at(buffer, offset))?;
                    Ok(whole)
                })
            }
            _ => Ok(0),
        };
        self.known = Some(known);
        copied
    }

    /// Puts what was received in the place of what the replica has, as of the entry `applied`.
    pub(crate) fn install(mut self, data_path: &Path, applied: LogId) -> io::Result<Meta> {
        for file in 0..self.files.len() {
            self.open(file)?.sync_all()?;
        }
        self.opened = None;
        let staged = self.folder.join(STAGED);
        if !staged.join(REGISTRY).exists() {
            let none = Metadata {
                topics: Vec::new(),
                version: metadata::VERSION.to_owned(),
            };
            metadata::save(&staged, &none).map_err(io::Error::other)?;
        }
        sync_folders(&staged)?;
        let meta = Meta {
            applied: Some(applied),
            parts: self.note.parts,
            parts_term: 0,
            registry_index: self.note.registry_index,
        };
        let stored = Stored {
            meta,
            ..Stored::default()
        };
        stored.store(&staged)?;
        // The pins on this replica's files go before they are put aside.
        self.known = None;
        // From here on, what was received stays if this breaks off: a start decides what becomes of it.
        self.is_installing = true;
        install(&self.folder, data_path)?;
        Ok(meta)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_installing {
            // What stays is removed by the next one.
            let _ = remove_all(&self.folder.join(STAGED));
        }
    }
}

impl Staging for Staged {
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }

    fn needed_from(&mut self, file: usize, about: &ManifestFile) -> io::Result<u64> {
        self.open(file)?;
        if about.fingerprint == 0 {
            return Ok(0);
        }
        match self.copy_known(file, about)? {
            0 => self.take_previous(file, about),
            copied => Ok(copied),
        }
    }

    fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.open(file)?.write_all_at(bytes, offset)
    }
}

/// What the note of a manifest says besides its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    parts: u64,
    registry_index: u64,
}

impl Note {
    fn to_bytes(self) -> Bytes {
        let mut bytes = vec![NOTE_VERSION];
        bytes.extend_from_slice(&self.parts.to_le_bytes());
        bytes.extend_from_slice(&self.registry_index.to_le_bytes());
        bytes.into()
    }

    fn from_bytes(bytes: &Bytes) -> Result<Note, DecodeError> {
        let mut from = Decoder::new(bytes.clone());
        from.version(NOTE_VERSION, "the format of a shard's checkpoint")?;
        Ok(Note {
            parts: from.u64("a count of commands")?,
            registry_index: from.u64("an index of the directory")?,
        })
    }
}

/// The path of a file in a manifest, if it lies where a shard's files may lie.
fn checked(name: &str) -> io::Result<PathBuf> {
    let path = Path::new(name);
    let is_plain = path
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    let is_ours = path.starts_with(TOPICS) || path == Path::new(REGISTRY);
    if is_plain && is_ours && path != Path::new(TOPICS) {
        return Ok(path.to_owned());
    }
    let why = format!("{name:?} is no name of a shard's file");
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_the_data_path_are_taken() {
        for good in ["topics/a.topic/main.0", "nsqd.dat"] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "topics",
            "/etc/passwd",
            "topics/../../x",
            "../topics/x",
            "cluster/identity",
            "nsqd.dat/x",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
