//! Folders: made when missing, and synced so that a file's name outlives a power cut as its content does.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes the folder of a file, and those above it.
pub(crate) fn make_parent(file: &Path) -> io::Result<()> {
    let Some(folder) = file.parent().filter(|folder| !folder.is_dir()) else {
        return Ok(());
    };
    let existing = folder.ancestors().find(|folder| folder.is_dir());
    DirBuilder::new()
        .recursive(true)
        .mode(0o770)
        .create(folder)?;
    let made = folder
        .ancestors()
        .take_while(|folder| Some(*folder) != existing);
    for folder in made {
        sync_parent(folder)?;
    }
    Ok(())
}

/// Has the folder of a file remember it.
pub(crate) fn sync_parent(file: &Path) -> io::Result<()> {
    match file.parent() {
        None => Ok(()),
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(folder) => File::open(folder)?.sync_all(),
    }
}

/// Moves a file within a file system, never onto another one.
///
/// # Errors
/// The system's; `AlreadyExists` if there is a file of that name.
pub(crate) fn move_exclusively(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    // On disk under the new name before it goes from the old one.
    sync_parent(to)?;
    fs::remove_file(from)?;
    sync_parent(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_and_files_are_never_overwritten() {
        let base = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "x/y/to"].map(|name| base.path().join(name));
        make_parent(&to).unwrap();
        make_parent(&to).unwrap();
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        let error = move_exclusively(&from, &to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"old");
        fs::remove_file(&to).unwrap();
        move_exclusively(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
        assert!(!from.exists());
    }
}
