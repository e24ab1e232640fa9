//! A write-ahead log as it stands on the disk, without a change to a byte of it: for `nsqd --check` and `--export-to`.

use std::io;
use std::path::{Path, PathBuf};

use nsq_queue::{Damage, Log};

use super::boot::{Marker, current_boot_id};
use super::end_note;
use super::files::{PLACE_FILE, Place, Reading, VOTE_FILE, View, log_files, log_name};
use super::small_file;
use crate::codec::{Entry, LogId, Vote};

/// The log of a replica that is not open.
#[derive(Debug)]
pub struct LogLook {
    folder: PathBuf,
    view: Option<View>,
    /// The last entry that a checkpoint has replaced.
    pub purged: Option<LogId>,
    /// The last entry; the last purged one if there is none after it, or none that can be read.
    pub last: Option<LogId>,
    /// The vote.
    pub vote: Option<Vote>,
    /// What is damaged or missing.
    pub damage: Vec<String>,
    /// What a start deals with.
    pub notices: Vec<String>,
}

impl LogLook {
    /// Looks at the log in `folder`; `None` when there is none.
    ///
    /// # Errors
    /// When a file cannot be read now. What is damaged is no error.
    pub fn at(folder: &Path) -> io::Result<Option<Self>> {
        Self::in_boot(folder, &current_boot_id())
    }

    /// The same in a boot with this id.
    pub(super) fn in_boot(folder: &Path, boot_id: &str) -> io::Result<Option<Self>> {
        if !folder.try_exists()? {
            return Ok(None);
        }
        let mut look = Self {
            folder: folder.to_path_buf(),
            view: None,
            purged: None,
            last: None,
            vote: None,
            damage: Vec::new(),
            notices: Vec::new(),
        };
        let marker = look.unless_damaged(Marker::read(folder))?.flatten();
        let has_crashed = marker
            .as_ref()
            .is_some_and(|marker| marker.has_crashed(boot_id));
        if let Some(distrust) = marker.and_then(|marker| marker.distrust(boot_id)) {
            look.notices
                .push(format!("{}: {distrust}", folder.display()));
        }
        look.vote = look
            .unless_damaged(small_file::read(folder, VOTE_FILE))?
            .flatten();
        match look.unless_damaged(small_file::read::<Place>(folder, PLACE_FILE))? {
            Some(Some(place)) => look.read_log(&place, has_crashed)?,
            Some(None) if look.vote.is_some() || !log_files(folder)?.is_empty() => {
                look.note_damage(&format!("{PLACE_FILE} is missing"));
            }
            Some(None) | None => {}
        }
        Ok(Some(look))
    }

    /// Calls `visit` with each entry after `index`, or with all that are there if there is none, in order.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] where an entry is damaged, and what `visit` returns.
    pub fn for_each_after<E: From<io::Error>>(
        &self,
        index: Option<u64>,
        mut visit: impl FnMut(Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let (Some(view), Some(last)) = (&self.view, self.last) else {
            return Ok(());
        };
        let purged_end = self.purged.map_or(0, |purged| purged.index + 1);
        let mut next = index.map_or(0, |index| index + 1).max(purged_end);
        let mut reading = Reading::new(view.clone());
        while next <= last.index {
            for entry in reading.read(next..last.index + 1, READ_BYTES)? {
                next = entry.id.index + 1;
                visit(entry)?;
            }
        }
        Ok(())
    }

    fn read_log(&mut self, place: &Place, has_crashed: bool) -> io::Result<()> {
        self.purged = place.purged;
        self.last = place.purged;
        let opened = Log::open_read_only(&self.folder, &log_name(place.generation));
        let (log, recovery) = opened.map_err(io::Error::other)?;
        for damage in &recovery.damaged {
            match damage {
                Damage::TornTail { .. } => self
                    .notices
                    .push(format!("{}: {damage}", self.folder.display())),
                _ => self.note_damage(&damage.to_string()),
            }
        }
        let (first, end) = (
            place.offset + log.first_sequence(),
            place.offset + log.end_sequence(),
        );
        let purged_end = place.purged.map_or(0, |purged| purged.index + 1);
        if first > purged_end && end > purged_end {
            self.note_damage(&format!("entries {purged_end}..{first} are missing"));
        }
        // A note from before a crash of the machine may be newer than what the disk kept.
        let noted = self.unless_damaged(end_note::read(&self.folder))?;
        let noted = if has_crashed { 0 } else { noted.unwrap_or(0) };
        let must_end = noted.max(place.synced_end).max(purged_end);
        if end < must_end {
            self.note_damage(&format!("entries {end}..{must_end} are missing"));
        }
        let view = View::new(log, place.offset);
        self.check_entries(&view, first.max(purged_end)..end)?;
        self.view = Some(view);
        Ok(())
    }

    /// Reads all entries. What follows a damaged one is not counted: a replica could not execute it.
    fn check_entries(&mut self, view: &View, mut range: std::ops::Range<u64>) -> io::Result<()> {
        let mut reading = Reading::new(view.clone());
        while !range.is_empty() {
            // One at a time, so that those before a damaged one count.
            match reading.read(range.clone(), 1) {
                Ok(entries) => {
                    let Some(last) = entries.last() else { break };
                    self.last = Some(last.id);
                    range.start = last.id.index + 1;
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.note_damage(&error.to_string());
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn note_damage(&mut self, why: &str) {
        self.damage
            .push(format!("{}: {why}", self.folder.display()));
    }

    /// What was read; `None` after a note if it is damaged.
    fn unless_damaged<T>(&mut self, read: io::Result<T>) -> io::Result<Option<T>> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.damage.push(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Entries are read in pieces of about this size.
const READ_BYTES: usize = 1 << 20;
