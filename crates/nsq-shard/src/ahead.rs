//! The note that a replica may know more finished messages than the others: a file in its folder.
//!
//! Written before it leads, since a leader's files have at once what the others learn later, and before it receives the files
//! of another replica, which may be a leader's. Removed when the replica stops leading and all of its progress was executed. A
//! kill leaves it. The next time that the replica leads, it [repeats](crate::Shard::repeat_progress) all that it knows.
//!
//! Not synced: the finished sets are not either when it is written, and the syncs of the replica take both.

use std::fs;
use std::io;
use std::path::Path;

use nsq_queue::private;

const FILE: &str = "ahead";

/// Writes the note. Returns whether it was there.
pub(crate) fn note(folder: &Path) -> io::Result<bool> {
    let created = private::file_options()
        .write(true)
        .create_new(true)
        .open(folder.join(FILE));
    match created {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
        Err(error) => Err(error),
    }
}

/// Removes the note, if it is there.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
