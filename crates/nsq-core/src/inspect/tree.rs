//! What lies in the folders of a data path and is no part of it.

use std::fs::DirEntry;
use std::io;
use std::path::Path;

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::diskqueue::FileKind;

use super::Finding;
use crate::error::StoreError;

/// Adds a finding for everything that does not belong where it is.
pub(super) fn find_strays(
    data_path: &Path,
    topics: &Path,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    for entry in list(data_path)? {
        let name = name_of(&entry);
        let is_known = matches!(
            name.as_str(),
            "nsqd.dat" | "topics" | "upstream-imported" | "replica.applied"
        ) || FileKind::parse(&name).is_some();
        if !is_known {
            findings.push(stray(&entry));
        }
    }
    for entry in list(topics)? {
        let name = name_of(&entry);
        if name == "free" {
            continue;
        }
        let topic = name.strip_suffix(".topic");
        if topic.is_none_or(|topic| TopicName::try_from(topic).is_err()) {
            findings.push(stray(&entry));
            continue;
        }
        for entry in list(&entry.path())? {
            let name = name_of(&entry);
            if let Some(channel) = name.strip_suffix(".channel") {
                if ChannelName::try_from(channel).is_ok() {
                    for entry in list(&entry.path())? {
                        if !is_channels(&name_of(&entry)) {
                            findings.push(stray(&entry));
                        }
                    }
                    continue;
                }
            } else if is_topics(&name) {
                continue;
            }
            findings.push(stray(&entry));
        }
    }
    Ok(())
}

fn is_topics(name: &str) -> bool {
    is_log(name, &["main", "deferred"])
        || matches!(
            name,
            "main.offered" | "deferred.offered" | "imported.id" | "ends"
        )
}

fn is_channels(name: &str) -> bool {
    is_log(name, &["private", "notes", "backlog"])
        || name
            .strip_suffix(".marks")
            .is_some_and(|log| matches!(log, "main" | "deferred" | "private" | "backlog"))
}

/// A segment of one of these logs, or the note that it could not be synced.
fn is_log(name: &str, logs: &[&str]) -> bool {
    if let Some(log) = name.strip_suffix(".unsynced") {
        return logs.contains(&log);
    }
    let stem = name.strip_suffix(".log");
    let parts = stem.and_then(|stem| stem.split_once('.'));
    parts.is_some_and(|(log, number)| {
        logs.contains(&log) && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// What was put aside because it was damaged is damage still: it may hold messages.
fn stray(entry: &DirEntry) -> Finding {
    let path = entry.path();
    let shown = path.display();
    let name = name_of(entry);
    if name.ends_with(".deleted") {
        Finding::Notice(format!(
            "{shown}: of something deleted, the next start removes it"
        ))
    } else if Path::new(&name).extension().is_some_and(|end| end == "bad") {
        Finding::Damage(format!("{shown}: was damaged and put aside"))
    } else {
        Finding::Notice(format!("{shown}: nothing of nsqd's, or left over"))
    }
}

fn name_of(entry: &DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

fn list(folder: &Path) -> Result<Vec<DirEntry>, StoreError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| StoreError::io("list", folder, error))?,
    };
    let entries = entries.collect::<io::Result<Vec<_>>>();
    entries.map_err(|error| StoreError::io("list", folder, error))
}
