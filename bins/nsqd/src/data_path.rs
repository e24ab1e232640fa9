//! The data path before the broker opens it: where it is, what its file system can do, who may read it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nsq_queue::private;
use nsq_queue::probe::{self, ProbeError};

use crate::settings::Settings;

/// The folder that `--data-path` names.
pub(crate) fn of(settings: &Settings) -> PathBuf {
    let path = settings.data_path.as_str();
    PathBuf::from(if path.is_empty() { "." } else { path })
}

/// Checks that nsqd can work on the data path, which is locked, and closes what is in it to other users.
///
/// # Errors
/// [`ProbeError`] when the file system lacks something that nsqd needs.
pub(crate) fn prepare(data_path: &Path) -> Result<(), ProbeError> {
    match probe::probe(data_path) {
        Ok(abilities) if abilities.can_reserve => {}
        Ok(_) => tracing::warn!(
            "DATA PATH: the file system of {} cannot reserve space (fallocate): a publish may fail later than the one that \
             fills the disk",
            data_path.display()
        ),
        // Consumers may make room again, so nsqd starts if it can.
        Err(error) if error.is_full_disk() => {
            tracing::warn!("DATA PATH: cannot be probed: {error}");
        }
        Err(error) => return Err(error),
    }
    for folder in OURS {
        let folder = data_path.join(folder);
        let restricted = private::restrict(&folder);
        if restricted.changed > 0 {
            tracing::info!(
                "DATA PATH: {} files and folders in {} were open to other users, now they are not",
                restricted.changed,
                folder.display()
            );
        }
        if let Some((path, error)) = restricted.failed {
            tracing::warn!(
                "DATA PATH: cannot close {} to other users: {error}",
                path.display()
            );
        }
    }
    Ok(())
}

/// What an operator can do about it.
pub(crate) fn advice(error: &ProbeError) -> &'static str {
    match error.source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "--data-path: this user must be able to write there"
        }
        ErrorKind::FileTooLarge => {
            "the limit of a file's size is too low: ulimit -f, or LimitFSIZE= of a systemd unit"
        }
        _ => {
            "--data-path: must be on a file system with shared maps, locks, and syncs of files and folders, such as ext4 or \
             XFS"
        }
    }
}

/// The folders in the data path that are nsqd's alone.
const OURS: [&str; 3] = ["topics", "upstream-imported", "cluster"];
