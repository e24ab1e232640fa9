//! `nsqd.dat`: which topics and channels there are, and which of them are paused. Upstream's file, to the byte.
//!
//! Source: nsq 1.3.0, nsqd/nsqd.go (`GetMetadata`, `PersistMetadata`, `LoadMetadata`).

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

/// The version that the file names: upstream's, whose form it has.
pub const VERSION: &str = "1.3.0";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Its topics; written as `null` when there are none, as upstream does.
    #[serde(
        default,
        deserialize_with = "null_as_empty",
        serialize_with = "empty_as_null"
    )]
    pub topics: Vec<TopicMetadata>,
    /// Informative.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub version: String,
}

/// A topic in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicMetadata {
    /// Its name; not checked yet.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub name: String,
    /// Whether it was paused.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub paused: bool,
    /// Its channels.
    #[serde(
        default,
        deserialize_with = "null_as_empty",
        serialize_with = "empty_as_null"
    )]
    pub channels: Vec<ChannelMetadata>,
}

/// A channel in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelMetadata {
    /// Its name; not checked yet.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub name: String,
    /// Whether it was paused.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub paused: bool,
}

fn null_as_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    input: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

fn empty_as_null<S: serde::Serializer, T: Serialize>(
    list: &Vec<T>,
    output: S,
) -> Result<S::Ok, S::Error> {
    if list.is_empty() {
        output.serialize_none()
    } else {
        list.serialize(output)
    }
}

/// The file could not be read or written. `Display` is upstream's text.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// It is there and cannot be read.
    #[error("failed to read metadata from {path} - {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not JSON of the right form.
    #[error("failed to parse metadata in {path} - {source}")]
    Parse {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It cannot be written.
    #[error("failed to write metadata to {path} - {source}")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Where the file lies.
pub fn path(data_path: &Path) -> PathBuf {
    data_path.join("nsqd.dat")
}

/// Reads the file; `None` when there is none.
///
/// # Errors
/// [`MetadataError`] when it is there but cannot be read or understood: a start must not go on without it.
pub fn load(data_path: &Path) -> Result<Option<Metadata>, MetadataError> {
    let file = path(data_path);
    let named = || file.display().to_string();
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(MetadataError::Read {
                path: named(),
                source,
            });
        }
    };
    let metadata = serde_json::from_slice(&bytes).map_err(|source| MetadataError::Parse {
        path: named(),
        source,
    })?;
    Ok(Some(metadata))
}

/// Writes the file by way of another one, so that a crash leaves the old or the new.
///
/// # Errors
/// [`MetadataError::Write`]; the old file is still there then.
pub fn save(data_path: &Path, metadata: &Metadata) -> Result<(), MetadataError> {
    let file = path(data_path);
    let temporary = data_path.join(format!("nsqd.dat.{}.tmp", std::process::id()));
    write_and_rename(&temporary, &file, metadata).map_err(|source| MetadataError::Write {
        path: file.display().to_string(),
        source,
    })
}

fn write_and_rename(temporary: &Path, file: &Path, metadata: &Metadata) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(metadata)?;
    let mut output = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)?;
    output.write_all(&bytes)?;
    // Rename only after fsync: a crash in between must leave the old metadata readable.
    output.sync_all()?;
    std::fs::rename(temporary, file)?;
    if let Some(folder) = file.parent() {
        File::open(if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        })?
        .sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_set_is_written_as_upstream_writes_it() {
        let metadata = Metadata {
            topics: Vec::new(),
            version: VERSION.to_owned(),
        };
        assert_eq!(
            serde_json::to_string(&metadata).unwrap(),
            r#"{"topics":null,"version":"1.3.0"}"#
        );
    }

    #[test]
    fn what_is_written_has_upstreams_form_and_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"topics":[{"name":"t","paused":true,"channels":[{"name":"c","paused":false}]},{"name":"u","paused":false,"channels":null}],"version":"1.3.0"}"#;
        std::fs::write(path(folder.path()), text).unwrap();
        let metadata = load(folder.path()).unwrap().unwrap();
        save(folder.path(), &metadata).unwrap();
        assert_eq!(std::fs::read_to_string(path(folder.path())).unwrap(), text);
    }

    #[test]
    fn an_empty_file_is_an_error_and_a_missing_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path()).unwrap().is_none());
        std::fs::write(path(folder.path()), "").unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("failed to parse metadata in "), "{error}");
    }

    #[test]
    fn missing_and_unknown_keys_are_taken() {
        let metadata: Metadata =
            serde_json::from_str(r#"{"topics":[{"name":"t","channels":null,"x":1}]}"#).unwrap();
        assert_eq!(metadata.topics[0].name, "t");
        assert!(metadata.topics[0].channels.is_empty());
    }
}
