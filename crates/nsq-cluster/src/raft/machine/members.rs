//! The members of a group as of the last entry that a replica has applied.
//!
//! ```text
//! members          the newest; written before the state machine applies their entry or installs the checkpoint they came with
//! members.before   those before, back to the ones of the last checkpoint of the state machine
//! ```
//! A kill or a power cut can leave a state that is older than the newest members by several changes, and a log without their
//! entries: what is committed is applied even if this node has not stored it yet. The members to go on with are the newest
//! ones that are not beyond the state. Later ones come again with their entries, from the log or from the leader. openraft
//! would take members from beyond the log for an entry that the leader never had.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::types::{StoredMembership, convert};
use crate::codec::{self, DecodeError, Decoder, LogId, Wire, put_count, put_optional};
use crate::wal::small_file;

/// The members of one replica's group, in the order of their entries, the newest last.
pub(super) struct AppliedMembers {
    folder: PathBuf,
    known: Vec<Members>,
}

impl AppliedMembers {
    /// Reads the members in `folder` for a state machine that has applied `applied`, and removes those that are newer.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when a file is damaged, otherwise what the operating system answered.
    pub(super) fn open(folder: &Path, applied: Option<LogId>) -> io::Result<Self> {
        let mut members = Self {
            folder: folder.to_path_buf(),
            known: read(folder)?,
        };
        let end = members.position(applied).map_or(0, |at| at + 1);
        if end < members.known.len() {
            members.known.truncate(end);
            // A crash of machines may have taken their entries out of the group's log: they must not count once the state has
            // come that far with others.
            members.store_newest()?;
        }
        Ok(members)
    }

    fn store_newest(&self) -> io::Result<()> {
        if let Some(newest) = self.known.last() {
            return small_file::replace(&self.folder, MEMBERS_FILE, newest);
        }
        small_file::replace(&self.folder, BEFORE_FILE, &FormerMembers(Vec::new()))?;
        let path = self.folder.join(MEMBERS_FILE);
        fs::remove_file(&path).map_err(|error| small_file::explain(&error, "remove", &path))?;
        small_file::sync_folder(&self.folder)
    }

    /// The members as of the entry `applied`.
    pub(super) fn as_of(&self, applied: Option<LogId>) -> StoredMembership {
        let at = self.position(applied);
        at.map_or_else(StoredMembership::default, |at| self.known[at].to_stored())
    }

    fn position(&self, applied: Option<LogId>) -> Option<usize> {
        let at = self.known.iter().rposition(|members| members.id <= applied);
        // A recovery leaves only those to come, and an earlier build only the newest.
        at.or_else(|| (applied.is_some() && !self.known.is_empty()).then_some(0))
    }

    /// Adds `members` if they are newer than all. The state machine may apply their entry, or install the checkpoint they came
    /// with, after that.
    ///
    /// # Errors
    /// When the disk does not take them; they are not added then.
    pub(super) fn advance(&mut self, members: &StoredMembership) -> io::Result<()> {
        let members = Members::from_stored(members);
        let newest = self.known.last().and_then(|newest| newest.id);
        if members.id <= newest {
            return Ok(());
        }
        if !self.known.is_empty() {
            small_file::replace(
                &self.folder,
                BEFORE_FILE,
                &FormerMembers(self.known.clone()),
            )?;
        }
        small_file::replace(&self.folder, MEMBERS_FILE, &members)?;
        self.known.push(members);
        Ok(())
    }

    /// The state as of `applied` is synced: no crash can take it back to before that.
    pub(super) fn note_checkpoint(&mut self, applied: Option<LogId>) {
        let first = self.position(applied).unwrap_or(0);
        self.known.drain(..first);
    }

    /// Whether there are so many that a checkpoint is due.
    pub(super) fn are_many(&self) -> bool {
        self.known.len() > MAX_KNOWN
    }
}

/// The newest members that the replica in `folder` has stored; `None` if it has stored none.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when a file is damaged, otherwise what the operating system answered.
pub(crate) fn stored_members(folder: &Path) -> io::Result<Option<codec::Membership>> {
    let newest = read(folder)?.pop();
    Ok(newest.map(|members| members.membership))
}

/// Puts the members as of the entry `id` in the place of all in `folder`. For a replica that is not open.
///
/// # Errors
/// When the disk does not take it; the newest are still there then.
pub(crate) fn store_members(
    folder: &Path,
    id: LogId,
    membership: codec::Membership,
) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    small_file::replace(folder, BEFORE_FILE, &FormerMembers(Vec::new()))?;
    let members = Members {
        id: Some(id),
        membership,
    };
    small_file::replace(folder, MEMBERS_FILE, &members)
}

/// All members in `folder`, the newest last.
fn read(folder: &Path) -> io::Result<Vec<Members>> {
    let before = small_file::read::<FormerMembers>(folder, BEFORE_FILE)?;
    let newest = small_file::read::<Members>(folder, MEMBERS_FILE)?;
    let Some(newest) = newest else {
        return Ok(Vec::new());
    };
    let mut known = before.map_or_else(Vec::new, |before| before.0);
    // A kill may have come between the two files.
    known.retain(|members| members.id < newest.id);
    known.push(newest);
    Ok(known)
}

/// Members, and the entry that made them so.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Members {
    id: Option<LogId>,
    membership: codec::Membership,
}

impl Members {
    fn from_stored(stored: &StoredMembership) -> Self {
        Self {
            id: stored.log_id().as_ref().map(convert::log_id),
            membership: convert::membership(stored.membership()),
        }
    }

    fn to_stored(&self) -> StoredMembership {
        let id = self.id.map(convert::to_log_id);
        StoredMembership::new(id, convert::to_membership(self.membership.clone()))
    }
}

impl Wire for Members {
    fn encode(&self, to: &mut Vec<u8>) {
        put_optional(to, self.id.as_ref());
        self.membership.encode(to);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            id: from.optional("the members' entry")?,
            membership: codec::Membership::decode(from)?,
        })
    }
}

/// The file `members.before`.
#[derive(Debug, PartialEq)]
pub(crate) struct FormerMembers(Vec<Members>);

impl Wire for FormerMembers {
    fn encode(&self, to: &mut Vec<u8>) {
        put_count(to, self.0.len());
        for members in &self.0 {
            members.encode(to);
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let count = from.count(1, "members")?;
        let members = (0..count).map(|_| Members::decode(from));
        members.collect::<Result<_, _>>().map(Self)
    }
}

const MEMBERS_FILE: &str = "members";
const BEFORE_FILE: &str = "members.before";
/// Each change writes them all again.
const MAX_KNOWN: usize = 32;
