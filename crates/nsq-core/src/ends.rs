//! Where the logs of a replicated topic had ended, noted in a small file of the topic's folder.
//!
//! Every replica gives a message the same place in its log. A log whose end was damaged would give the next messages places
//! that others have already, and what is finished there would be finished here. So every sync notes the ends, and a log that
//! ends earlier when it is opened is not used. The note itself is not synced: after a crash of the machine it says nothing,
//! and [`crash`](crate::crash) cuts the logs off where the owner of the data path has stored their [`Ends`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nsq_protocol::TopicName;
use nsq_queue::{Writer, private};

use crate::change::FanOut;
use crate::error::StoreError;

/// Where the logs of topics end.
pub type Ends = BTreeMap<TopicName, FanOut>;

/// Notes where the logs end now. A note that cannot be written is left out: the one before is still true.
pub(crate) fn note(folder: &Path, ends: FanOut) {
    let written = open(folder).and_then(|file| file.write_all_at(&encode(ends), 0));
    if let Err(error) = written
        && error.kind() != ErrorKind::NotFound
    {
        tracing::debug!("{}: {error}", path(folder).display());
    }
}

fn open(folder: &Path) -> io::Result<File> {
    let mut options = private::file_options();
    let options = options.write(true).create(true).truncate(false);
    options.open(path(folder))
}

/// Checks that the logs reach as far as is noted.
///
/// # Errors
/// [`StoreError::Io`] with [`ErrorKind::InvalidData`] when they do not, or the note is damaged.
pub(crate) fn check(
    folder: &Path,
    main: &Writer,
    deferred: Option<&Writer>,
) -> Result<(), StoreError> {
    let path = path(folder);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|error| StoreError::io("read", &path, error))?,
    };
    let damaged = |why: String| {
        let source = io::Error::new(ErrorKind::InvalidData, why);
        Err(StoreError::io("trust the logs of", folder, source))
    };
    // The disk had no room for the note.
    if bytes.is_empty() {
        return Ok(());
    }
    let Some((noted_main, noted_deferred)) = decode(&bytes) else {
        return damaged("the note of their ends is damaged".to_owned());
    };
    let ends = FanOut::ends(main, deferred);
    let (main_end, deferred_end) = (ends.main, ends.deferred.unwrap_or(0));
    if main_end < noted_main || deferred_end < noted_deferred {
        return damaged(format!(
            "they end at {main_end} and {deferred_end}, and had reached {noted_main} and {noted_deferred}"
        ));
    }
    Ok(())
}

/// Removes the note, since the logs may be cut.
pub(crate) fn forget(folder: &Path) {
    // A note that stays costs a copy of the topic's data at most.
    let _ = fs::remove_file(path(folder));
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Each number twice, the second time with all bits flipped.
fn encode(ends: FanOut) -> [u8; BYTES] {
    let (main, deferred) = (ends.main, ends.deferred.unwrap_or(0));
    let mut bytes = [0; BYTES];
    let numbers = [main, deferred, !main, !deferred];
    for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<(u64, u64)> {
    let main = u64::from_le_bytes(*bytes.first_chunk()?);
    let deferred = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    let ends = FanOut {
        main,
        deferred: Some(deferred),
    };
    (encode(ends) == *bytes).then_some((main, deferred))
}

pub(crate) const FILE: &str = "ends";
const BYTES: usize = 32;
