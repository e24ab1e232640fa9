//! What a channel has finished in one log: the finished set, and what of it is still to be recorded.

use std::ops::{Deref, Range};

use nsq_queue::{FinishedSet, LogError};

/// A finished set that remembers its changes until they are [taken](Self::take_changes), if they are to be recorded.
#[derive(Debug)]
pub(crate) struct Progress {
    set: FinishedSet,
    changes: Option<Changes>,
}

/// What was finished. Neither the order nor a repetition matters.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// All below are finished.
    pub(crate) floor: u64,
    /// These are, too.
    pub(crate) sequences: Vec<u64>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.floor == 0 && self.sequences.is_empty()
    }
}

impl Deref for Progress {
    type Target = FinishedSet;

    fn deref(&self) -> &FinishedSet {
        &self.set
    }
}

impl Progress {
    pub(crate) fn new(set: FinishedSet, is_recorded: bool) -> Progress {
        Progress {
            set,
            changes: is_recorded.then(Changes::default),
        }
    }

    /// Of a log in memory: never recorded.
    pub(crate) fn in_memory() -> Progress {
        Progress::new(FinishedSet::in_memory(), false)
    }

    /// As [`FinishedSet::finish`].
    #[inline]
    pub(crate) fn finish(&mut self, sequence: u64) -> Result<(), LogError> {
        if let Some(changes) = &mut self.changes {
            changes.sequences.push(sequence);
        }
        self.set.finish(sequence)
    }

    /// As [`FinishedSet::finish`], for a record that cannot be read here. Where changes are recorded, other copies of it may
    /// be whole: then it is left unfinished, and is found again by the next start.
    pub(crate) fn finish_damaged(&mut self, sequence: u64) -> Result<(), LogError> {
        if self.changes.is_some() {
            return Ok(());
        }
        self.set.finish(sequence)
    }

    /// Finishes records everywhere, and so without recording it.
    pub(crate) fn skip(&mut self, sequences: Range<u64>) -> Result<(), LogError> {
        self.set.finish_range(sequences)
    }

    /// As [`FinishedSet::set_floor`], forwards.
    pub(crate) fn set_floor(&mut self, floor: u64) {
        if let Some(changes) = &mut self.changes {
            changes.floor = changes.floor.max(floor);
        }
        self.set.set_floor(floor);
    }

    /// What changed since the last call, for `record`; not called when nothing did.
    pub(crate) fn take_changes(&mut self, record: impl FnOnce(&Changes)) {
        if let Some(changes) = &mut self.changes
            && !changes.is_empty()
        {
            record(changes);
            changes.floor = 0;
            changes.sequences.clear();
            changes.sequences.shrink_to(KEPT_SEQUENCES);
        }
    }

    pub(crate) fn into_set(self) -> FinishedSet {
        self.set
    }
}

/// Room for this many sequences is kept.
const KEPT_SEQUENCES: usize = 256;
