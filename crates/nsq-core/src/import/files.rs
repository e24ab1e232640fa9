//! Upstream's files on their way aside.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nsq_queue::diskqueue::QueueFiles;
use nsq_queue::{private, sync_folder};

use super::journal::{Journal, Original};
use super::{ImportError, Queue, step};
use crate::error::StoreError;

/// Whether an import was interrupted, and the next start has to end it.
pub(crate) fn is_under_way(data_path: &Path) -> bool {
    imported_folder(data_path)
        .join(super::journal::FILE)
        .exists()
}

/// Where the files of all imports go, each import's in a folder of its own.
pub(super) fn imported_folder(data_path: &Path) -> PathBuf {
    data_path.join("upstream-imported")
}

pub(super) fn aside(data_path: &Path, folder: &str) -> PathBuf {
    imported_folder(data_path).join(folder)
}

/// Makes the folder for this import's files: the first number that is free.
pub(super) fn next_folder(data_path: &Path) -> Result<String, StoreError> {
    let all = imported_folder(data_path);
    private::create_folders(&all).map_err(|error| StoreError::io("create", &all, error))?;
    let mut number = 1_u64;
    loop {
        let folder = all.join(number.to_string());
        match private::create_folder(&folder) {
            Ok(()) => break,
            // One that an import made and did not come to fill is as good.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mut entries = std::fs::read_dir(&folder)
                    .map_err(|error| StoreError::io("list", &folder, error))?;
                if entries.next().is_none() {
                    break;
                }
                number += 1;
            }
            Err(error) => return Err(StoreError::io("create", &folder, error)),
        }
    }
    sync_folder(&all)?;
    sync_folder(data_path)?;
    Ok(number.to_string())
}

/// The most that the queue's messages may take.
pub(super) fn data_bytes(data_path: &Path, files: &QueueFiles) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for name in files.file_names() {
        bytes += examine(&data_path.join(name))?.map_or(0, |metadata| metadata.len());
    }
    Ok(bytes)
}

/// The files of these queues as they are now.
pub(super) fn of(data_path: &Path, batch: &[Queue]) -> Result<Vec<Original>, StoreError> {
    let mut originals = Vec::new();
    for name in batch.iter().flat_map(|queue| queue.files.file_names()) {
        if let Some(metadata) = examine(&data_path.join(&name))? {
            originals.push(original(name, &metadata));
        }
    }
    Ok(originals)
}

fn original(name: String, metadata: &Metadata) -> Original {
    Original {
        name,
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    }
}

fn examine(path: &Path) -> Result<Option<Metadata>, StoreError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("examine", path, error)),
    }
}

/// Moves the files of a committed batch out of the way. Those that are gone were moved before; one that is not what
/// was imported has been written since, and is left to be imported itself.
pub(super) fn put_aside(data_path: &Path, journal: &Journal) -> Result<(), ImportError> {
    let folder = aside(data_path, &journal.folder);
    private::create_folders(&folder).map_err(|error| StoreError::io("create", &folder, error))?;
    for file in &journal.files {
        let from = data_path.join(&file.name);
        let Some(metadata) = examine(&from)? else {
            continue;
        };
        if original(file.name.clone(), &metadata) != *file {
            tracing::warn!("IMPORT: {} was written since it was imported", file.name);
            continue;
        }
        std::fs::rename(&from, folder.join(&file.name))
            .map_err(|error| StoreError::io("move", &from, error))?;
        step()?;
    }
    sync_folder(&folder).map_err(StoreError::from)?;
    sync_folder(data_path).map_err(StoreError::from)?;
    Ok(())
}
