//! The files of a checkpoint: what a replica that is far behind receives instead of entries.

use bytes::Bytes;

use super::{DecodeError, Decoder, Wire, put_bytes, put_count};

/// All files that make up a state machine's state at one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The files, in the order they are transferred.
    pub files: Vec<ManifestFile>,
    /// What the state machine has to say besides, in a format of its own.
    pub note: Bytes,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// Its path below the replica's folder, with `/` between folders.
    pub name: String,
    /// How many of its bytes belong to the checkpoint.
    pub bytes: u64,
    /// Two files with the same name and fingerprint have the same first `bytes` bytes; 0: not known.
    pub fingerprint: u64,
}

impl Manifest {
    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        let sizes = self.files.iter().map(|file| file.bytes);
        sizes.fold(0, u64::saturating_add)
    }
}

impl Wire for Manifest {
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(VERSION);
        put_count(to, self.files.len());
        for file in &self.files {
            put_bytes(to, file.name.as_bytes());
            to.extend_from_slice(&file.bytes.to_le_bytes());
            to.extend_from_slice(&file.fingerprint.to_le_bytes());
        }
        put_bytes(to, &self.note);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        from.version(VERSION, "a manifest's version")?;
        let count = from.count(20, "a manifest's files")?;
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            let name = from.text(MAX_NAME_BYTES, "a file's name")?;
            if !is_below(&name) {
                return Err(DecodeError::Invalid {
                    what: "a file's name",
                });
            }
            files.push(ManifestFile {
                name,
                bytes: from.u64("a file's size")?,
                fingerprint: from.u64("a file's fingerprint")?,
            });
        }
        let note = from.bytes("a manifest's note")?;
        Ok(Self { files, note })
    }
}

/// Whether a name stays below the folder it is put in: a peer must not write elsewhere.
fn is_below(name: &str) -> bool {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    name.split('/').all(is_plain) && !name.contains(['\\', '\0'])
}

const VERSION: u8 = 1;
const MAX_NAME_BYTES: usize = 1024;
