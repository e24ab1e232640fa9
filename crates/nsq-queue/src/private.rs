//! Files and folders for nsqd's user alone: message bodies are in them.
//!
//! The permissions are upstream's, 0600 for a file and 0700 for a folder, whatever the umask allows. [`restrict`] gives
//! them to files that were copied, restored or made by an earlier version with wider ones.

use std::fs::{DirBuilder, DirEntry, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

/// How to open a file: if it is created, only this user can read it.
pub fn file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(FILE_MODE);
    options
}

/// Creates a file or replaces its content.
///
/// # Errors
/// The system's.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = file_options();
    let opened = options.write(true).create(true).truncate(true).open(path);
    opened?.write_all(bytes)
}

/// Creates one folder, which must not exist yet.
///
/// # Errors
/// The system's; `AlreadyExists` if it exists.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER_MODE).create(path)
}

/// Creates a folder and its missing parents, unless it exists.
///
/// # Errors
/// The system's.
pub fn create_folders(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(FOLDER_MODE).create(path)
}

/// What [`restrict`] did.
#[derive(Debug, Default)]
pub struct Restricted {
    /// Files and folders that other users could open before.
    pub changed: u64,
    /// The first one that could not be changed, and why.
    pub failed: Option<(PathBuf, io::Error)>,
}

/// Takes every permission of other users and groups from `root` and all files and folders in it. A `root` that does not
/// exist is fine; symbolic links inside are not followed.
pub fn restrict(root: &Path) -> Restricted {
    let mut outcome = Restricted::default();
    match std::fs::metadata(root) {
        Ok(metadata) => outcome.note(
            root.to_path_buf(),
            narrow(root, metadata.mode(), FOLDER_MODE),
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return outcome,
        Err(error) => outcome.note(root.to_path_buf(), Err(error)),
    }
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                outcome.note(folder, Err(error));
                continue;
            }
        };
        // A name that goes away while it is listed needs nothing.
        for entry in entries.flatten() {
            let path = entry.path();
            match restrict_entry(&entry) {
                Ok(found) => {
                    if found.is_folder {
                        folders.push(path.clone());
                    }
                    outcome.note(path, Ok(found.is_changed));
                }
                Err(error) => outcome.note(path, Err(error)),
            }
        }
    }
    outcome
}

impl Restricted {
    fn note(&mut self, path: PathBuf, result: io::Result<bool>) {
        match result {
            Ok(is_changed) => self.changed += u64::from(is_changed),
            Err(error) => {
                self.failed.get_or_insert((path, error));
            }
        }
    }
}

struct Found {
    is_folder: bool,
    is_changed: bool,
}

fn restrict_entry(entry: &DirEntry) -> io::Result<Found> {
    let metadata = entry.metadata()?;
    let is_folder = metadata.is_dir();
    let allowed = if is_folder { FOLDER_MODE } else { FILE_MODE };
    let is_changed = !metadata.is_symlink() && narrow(&entry.path(), metadata.mode(), allowed)?;
    Ok(Found {
        is_folder,
        is_changed,
    })
}

/// Removes from `mode` what is not in `allowed`, if others have any permission. Returns whether they had.
fn narrow(path: &Path, mode: u32, allowed: u32) -> io::Result<bool> {
    if mode & OTHERS == 0 {
        return Ok(false);
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode & allowed))?;
    Ok(true)
}

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Permissions of the group and of everyone else.
const OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn only_the_owner_can_open_what_is_created() {
        let base = tempfile::tempdir().unwrap();
        let [deep, flat, file] = ["a/b", "c", "a/b/file"].map(|name| base.path().join(name));
        create_folders(&deep).unwrap();
        create_folders(&deep).unwrap();
        create_folder(&flat).unwrap();
        assert!(create_folder(&flat).is_err());
        write_file(&file, b"long").unwrap();
        write_file(&file, b"x").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
        let modes = [&base.path().join("a"), &deep, &flat, &file].map(|path| mode(path));
        assert_eq!(modes, [0o700, 0o700, 0o700, 0o600]);
    }

    #[test]
    fn what_others_could_open_is_closed_to_them_and_counted() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("topics");
        assert_eq!(restrict(&root).changed, 0);
        create_folders(&root.join("t.topic")).unwrap();
        let [wide, narrow, outside] = ["topics/t.topic/wide", "topics/t.topic/narrow", "outside"]
            .map(|name| base.path().join(name));
        for path in [&wide, &narrow, &outside] {
            write_file(path, b"x").unwrap();
        }
        for (path, mode) in [
            (&root, 0o755),
            (&root.join("t.topic"), 0o750),
            (&wide, 0o664),
            (&outside, 0o644),
        ] {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();

        let outcome = restrict(&root);
        assert_eq!(outcome.changed, 3);
        assert!(outcome.failed.is_none());
        let modes = [&root, &root.join("t.topic"), &wide, &narrow].map(|path| mode(path));
        assert_eq!(modes, [0o700, 0o700, 0o600, 0o600]);
        assert_eq!(mode(&outside), 0o644, "links are not followed");
        assert_eq!(restrict(&root).changed, 0);
    }
}
