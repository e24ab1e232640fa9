//! `nsqd.dat`: which topics and channels there are, and which of them are paused. Upstream's file, with a lock in front.
//!
//! Upstream's nsqd cannot read our logs: started on our data path, it would show every queue empty. So the file that
//! [`save`] writes has one more key, `TOPICS`, with a text for the operator. Go takes a key in capitals for the same key,
//! so upstream's nsqd ends with `failed to parse metadata in <file> - json: cannot unmarshal string into Go struct field
//! Metadata.topics`. Whatever reads JSON by exact keys, this nsqd included, finds `topics` and `version` as upstream
//! writes them. The key has the first line to itself: without it, the file is upstream's.
//!
//! Source: nsq 1.3.0, nsqd/nsqd.go (`GetMetadata`, `PersistMetadata`, `LoadMetadata`).

use std::io::Write as _;
use std::path::{Path, PathBuf};

use nsq_queue::{private, sync_folder};
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
/// [`MetadataError`] when it is there but cannot be read or understood: a start must not continue without it.
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

/// Writes our file, which upstream's nsqd refuses to start on. A crash leaves the old file or the new one.
///
/// # Errors
/// [`MetadataError::Write`]; the old file is still there then.
pub fn save(data_path: &Path, metadata: &Metadata) -> Result<(), MetadataError> {
    write(data_path, metadata, LOCKED_BEGINNING)
}

/// Writes the file as upstream's nsqd does, for a folder that has its queues.
///
/// # Errors
/// As [`save`].
pub fn save_for_upstream(folder: &Path, metadata: &Metadata) -> Result<(), MetadataError> {
    write(folder, metadata, "{")
}

/// Has upstream's nsqd refuse the data path from now on. To be called before its first queue becomes ours.
///
/// # Errors
/// As [`load`] and [`save`]; the file is as it was then.
pub(crate) fn lock_out_upstream(data_path: &Path) -> Result<(), MetadataError> {
    let is_locked = std::fs::read(path(data_path))
        .is_ok_and(|bytes| bytes.starts_with(LOCKED_BEGINNING.as_bytes()));
    if is_locked {
        return Ok(());
    }
    let metadata = load(data_path)?.unwrap_or_else(|| Metadata {
        topics: Vec::new(),
        version: VERSION.to_owned(),
    });
    save(data_path, &metadata)
}

/// Our file's bytes.
pub(crate) fn encode(metadata: &Metadata) -> std::io::Result<Vec<u8>> {
    text(metadata, LOCKED_BEGINNING).map(String::into_bytes)
}

fn text(metadata: &Metadata, beginning: &str) -> std::io::Result<String> {
    let json = serde_json::to_string(metadata)?;
    let members = json.strip_prefix('{').unwrap_or(&json);
    Ok(format!("{beginning}{members}"))
}

fn write(folder: &Path, metadata: &Metadata, beginning: &str) -> Result<(), MetadataError> {
    let file = path(folder);
    let temporary = folder.join(format!("nsqd.dat.{}.tmp", std::process::id()));
    let write = || -> std::io::Result<()> {
        let text = text(metadata, beginning)?;
        let mut output = private::file_options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)?;
        output.write_all(text.as_bytes())?;
        // Rename only after fsync: a crash in between must leave the old metadata readable.
        output.sync_all()?;
        std::fs::rename(&temporary, &file)?;
        sync_folder(folder).map_err(|error| error.source)
    };
    write().map_err(|source| MetadataError::Write {
        path: file.display().to_string(),
        source,
    })
}

/// What stands in our file where upstream's has `{`. MOVING.md has the same command to remove it.
const LOCKED_BEGINNING: &str = concat!(
    r#"{"TOPICS":"STOP: upstream's nsqd cannot read the messages of this data path and would show every queue empty. "#,
    r"To move back, run this nsqd with --data-path=<this folder> --export-to=<new folder> and start upstream's nsqd on ",
    r"the new folder. To start upstream's nsqd here without the messages, remove this line: ",
    r#"sed -i '1s/.*/{/' nsqd.dat","#,
    "\n"
);

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

    const UPSTREAMS: &str = r#"{"topics":[{"name":"t","paused":true,"channels":[{"name":"c","paused":false}]},{"name":"u","paused":false,"channels":null}],"version":"1.3.0"}"#;

    fn text_in(folder: &Path) -> String {
        std::fs::read_to_string(path(folder)).unwrap()
    }

    #[test]
    fn what_upstream_wrote_is_read_and_written_back_to_the_byte() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path(folder.path()), UPSTREAMS).unwrap();
        let metadata = load(folder.path()).unwrap().unwrap();
        save_for_upstream(folder.path(), &metadata).unwrap();
        assert_eq!(text_in(folder.path()), UPSTREAMS);
    }

    #[test]
    fn our_file_has_a_key_that_go_refuses_on_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path(folder.path()), UPSTREAMS).unwrap();
        let metadata = load(folder.path()).unwrap().unwrap();
        save(folder.path(), &metadata).unwrap();
        assert_eq!(load(folder.path()).unwrap().unwrap(), metadata);
        let text = text_in(folder.path());
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(json["TOPICS"].is_string(), "Go wants a list: {text}");
        let (first, others) = text.split_once('\n').unwrap();
        assert!(first.starts_with(r#"{"TOPICS":"STOP: "#), "{first}");
        assert_eq!(format!("{{{others}"), UPSTREAMS);
    }

    #[test]
    fn upstream_is_locked_out_without_a_change_to_what_it_wrote() {
        let folder = tempfile::tempdir().unwrap();
        lock_out_upstream(folder.path()).unwrap();
        assert!(load(folder.path()).unwrap().unwrap().topics.is_empty());
        std::fs::write(path(folder.path()), UPSTREAMS).unwrap();
        for _ in 0..2 {
            lock_out_upstream(folder.path()).unwrap();
            let text = text_in(folder.path());
            assert_eq!(
                text.strip_prefix(LOCKED_BEGINNING),
                UPSTREAMS.strip_prefix('{')
            );
        }
        std::fs::write(path(folder.path()), "broken").unwrap();
        assert!(lock_out_upstream(folder.path()).is_err());
        assert_eq!(text_in(folder.path()), "broken");
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
