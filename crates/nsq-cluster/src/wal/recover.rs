//! Makes a replica that is not open the only member of its group, since the majority of the others is lost for good.
//!
//! All entries stay. One is appended that says who the members are, in a term after all that this replica knows: from here on
//! its group is another one, and must not meet the replicas of the old one again. What keeps them apart is the cluster id.

use std::io;
use std::path::Path;

use super::WalOptions;
use super::boot::{Distrust, Durability, Marker, MarkerState};
use super::files::{Crash, Files, OpenError};
use crate::codec::{Entry, EntryBody, LogId, Membership, Vote};
use crate::{Member, NodeId};

/// Why a replica cannot become the only one of its group. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The files cannot be read or written now.
    #[error(transparent)]
    File(#[from] io::Error),
    /// They are damaged: only another replica has what is missing.
    #[error("{0}")]
    Damaged(Distrust),
    /// It has never received anything.
    #[error("its log holds no entry")]
    Empty,
}

impl From<OpenError> for RecoverError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::File(error) => Self::File(error),
            OpenError::Distrust(distrust) => Self::Damaged(distrust),
        }
    }
}

/// Makes `node` the only member of the group whose log is in `folder`, and returns the entry that says so. What a crash of the
/// machine has left counts. `executed` is what the state machine has executed: after a crash that may be more than the log
/// has. With `has_checkpoint`, the state machine holds all entries on its disk in a form that does not follow from them, so they
/// are purged: a replica that joins later receives the state.
///
/// Doing it again appends another such entry.
///
/// # Errors
/// [`RecoverError`].
pub(crate) fn recover(
    folder: &Path,
    options: &WalOptions,
    node: NodeId,
    member: Member,
    executed: Option<LogId>,
    has_checkpoint: bool,
) -> Result<LogId, RecoverError> {
    let marker = match Marker::read(folder) {
        Ok(marker) => marker,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(RecoverError::Damaged(Distrust::Damaged(error.to_string())));
        }
        Err(error) => return Err(error.into()),
    };
    let mut crash = Crash::None;
    if let Some(marker) = &marker {
        if let MarkerState::Distrusted(why) = &marker.state {
            return Err(RecoverError::Damaged(Distrust::Damaged(why.clone())));
        }
        if marker.has_crashed(&options.boot_id) {
            crash = match marker.durability {
                Durability::Synced => Crash::OfSynced,
                Durability::Written => Crash::OfWritten,
            };
        }
    }
    let (mut files, found) =
        Files::open(folder, options.log_options(), options.pool_bytes(), crash)?;
    let Some(last) = found.last.max(executed) else {
        return Err(RecoverError::Empty);
    };
    files.sync()?;
    if has_checkpoint || found.last < Some(last) {
        files.purge(last, true)?;
    }
    let promised = found.vote.map_or(0, |vote| vote.term);
    let term = promised.max(last.term) + 1;
    let id = LogId {
        term,
        index: last.index + 1,
    };
    // The vote first: no entry is of a later term than the vote.
    files.save_vote(&Vote {
        term,
        node,
        is_committed: false,
    })?;
    let entry = Entry {
        id,
        body: EntryBody::Membership(Membership::alone(node, member)),
    };
    files.append(std::iter::once(&entry))?;
    files.sync()?;
    files.sync_note()?;
    Marker {
        boot_id: options.boot_id.clone(),
        durability: options.durability,
        state: MarkerState::Closed,
    }
    .write(folder)?;
    Ok(id)
}
