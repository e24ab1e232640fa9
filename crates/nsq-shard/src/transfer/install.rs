//! Replaces what a replica has by what it has received, or removes it; whole, whenever the process is killed.
//!
//! A file says what has begun: `installing` or `forgetting`. Then what the replica had is put aside, and what was received
//! takes its place, one rename after the other. A start that finds such a file continues where the process was killed; one that
//! does not removes what was received.
//!
//! Of the data path, only `topics` and `nsqd.dat` belong to the shard.

use std::fs;
use std::io;
use std::path::Path;

use nsq_queue::{private, sync_folder};

use crate::meta::Meta;

pub(super) const TOPICS: &str = "topics";
pub(super) const REGISTRY: &str = "nsqd.dat";
pub(super) const STAGED: &str = "staged";
const REPLACED: &str = "replaced";
const INSTALLING: &str = "installing";
const FORGETTING: &str = "forgetting";

/// Continues with what a killed process had begun, and removes what it had only received. Returns whether the replica has
/// something else than before.
pub(crate) fn resume(folder: &Path, data_path: &Path) -> io::Result<bool> {
    let is_forgetting = folder.join(FORGETTING).exists();
    if is_forgetting {
        finish_forgetting(folder, data_path)?;
    }
    let is_installing = folder.join(INSTALLING).exists();
    if is_installing {
        finish_installing(folder, data_path)?;
    }
    step()?;
    remove_all(&folder.join(REPLACED))?;
    step()?;
    remove_all(&folder.join(STAGED))?;
    Ok(is_forgetting || is_installing)
}

/// Whether a process was killed while it replaced or removed the replica in this folder.
pub(crate) fn is_interrupted(folder: &Path) -> bool {
    [INSTALLING, FORGETTING]
        .iter()
        .any(|name| folder.join(name).exists())
}

/// Puts what was received, and is synced, in the place of what the replica has.
pub(super) fn install(folder: &Path, data_path: &Path) -> io::Result<()> {
    step()?;
    mark(&folder.join(INSTALLING))?;
    resume(folder, data_path).map(drop)
}

fn finish_installing(folder: &Path, data_path: &Path) -> io::Result<()> {
    let (staged, replaced) = (folder.join(STAGED), folder.join(REPLACED));
    let (new, old) = (staged.join(TOPICS), data_path.join(TOPICS));
    if new.exists() {
        if old.exists() {
            remove_all(&replaced)?;
            step()?;
            fs::rename(&old, &replaced)?;
        }
        private::create_folders(data_path)?;
        step()?;
        fs::rename(&new, &old)?;
    }
    step()?;
    move_file(&staged.join(REGISTRY), &data_path.join(REGISTRY))?;
    sync(data_path)?;
    step()?;
    move_file(&staged.join("meta"), &folder.join("meta"))?;
    sync(folder)?;
    step()?;
    fs::remove_file(folder.join(INSTALLING))?;
    sync(folder)
}

/// Removes everything of a shard that is not open from its data path, and how far it had got: after a machine crash it may
/// lack what its log says it has. Whenever the process is killed, the next start finds all of it or nothing.
///
/// # Errors
/// When the disk refuses; then it is to be tried again.
pub(crate) fn forget(folder: &Path, data_path: &Path) -> io::Result<()> {
    step()?;
    private::create_folders(folder)?;
    mark(&folder.join(FORGETTING))?;
    resume(folder, data_path).map(drop)
}

fn finish_forgetting(folder: &Path, data_path: &Path) -> io::Result<()> {
    step()?;
    Meta::remove(folder)?;
    step()?;
    remove_all(&data_path.join(TOPICS))?;
    step()?;
    match fs::remove_file(data_path.join(REGISTRY)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => sync(data_path)?,
    }
    step()?;
    fs::remove_file(folder.join(FORGETTING))?;
    sync(folder)
}

/// A moment at which the process may be killed.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "tests end it here")]
fn step() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use tests::step;

/// Makes a file that says what has begun, on the disk.
fn mark(path: &Path) -> io::Result<()> {
    let mut options = private::file_options();
    let file = options.write(true).create(true).truncate(true).open(path)?;
    file.sync_all()?;
    match path.parent() {
        Some(folder) => sync(folder),
        None => Ok(()),
    }
}

fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        // It was moved before the process was killed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved,
    }
}

pub(super) fn remove_all(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    sync_folder(folder).map_err(|error| error.source)
}

/// Syncs a folder and all folders in it.
pub(super) fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync(folder)
}

#[cfg(test)]
mod tests;
