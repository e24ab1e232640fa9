//! Finding out that a replica has executed entries which the group does not have.
//!
//! As long as no disk loses what it has acknowledged, an executed entry is in the log of every later leader. After a power cut
//! of all machines that is not so by default: a leader may be elected without the last entries, and a replica may have
//! executed them. Raft takes what was executed for what the leader has, so the replica would skip the entries that come in
//! their places, and still acknowledge them. Such a replica takes no more entries; it has to be received again.

use std::sync::{Mutex, PoisonError};

use openraft::async_runtime::WatchReceiver;

use super::replica::Shared;
use crate::codec::{Entry, LogId, Vote};
use crate::raft::{Types, convert};

/// What shows that a replica has executed what the group does not have, once that is known.
#[derive(Debug, Default)]
pub(super) struct Divergence(Mutex<Option<String>>);

impl Divergence {
    pub(super) fn why(&self) -> Option<String> {
        let why = self.0.lock();
        why.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, why: &str) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.get_or_insert_with(|| why.to_owned());
    }
}

/// Checks what a leader says its log holds against what this replica has executed.
///
/// # Errors
/// What contradicts it.
pub(super) fn check<C: Types>(
    shared: &Shared<C>,
    vote: Vote,
    previous: Option<LogId>,
    entries: &[Entry],
) -> Result<(), String> {
    if let Some(why) = shared.divergence.why() {
        return Err(why);
    }
    let (known, applied) = {
        let metrics = shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        let applied = metrics.last_applied.as_ref().map(convert::log_id);
        (metrics.vote, applied)
    };
    // A leader of the past may still send what was replaced since.
    if known > convert::to_vote(vote) {
        return Ok(());
    }
    let Some(applied) = applied else {
        return Ok(());
    };
    let Some(other) = contradiction(applied, previous, entries) else {
        return Ok(());
    };
    let group = shared.options.group;
    let why = format!(
        "this replica has executed entry {applied} of {group}, and its leader has {other} there: a crash of machines has \
         taken what was executed out of the logs of the others"
    );
    tracing::error!("cluster: {why}");
    shared.divergence.note(&why);
    Err(why)
}

/// The entry of a leader's log that cannot be in one log with `applied`.
fn contradiction(applied: LogId, previous: Option<LogId>, entries: &[Entry]) -> Option<LogId> {
    let of_leader = previous
        .into_iter()
        .chain(entries.iter().map(|entry| entry.id));
    let mut in_question = of_leader.take_while(|id| id.index <= applied.index);
    // Terms never descend.
    in_question
        .find(|id| id.term > applied.term || (id.index == applied.index && id.term != applied.term))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::EntryBody;

    fn id(term: u64, index: u64) -> LogId {
        LogId { term, index }
    }

    #[test]
    fn a_leader_contradicts_what_was_executed_with_another_entry_there_or_a_later_term_before_it() {
        let find = |previous: Option<LogId>, entries: &[LogId]| {
            let entries: Vec<_> = entries
                .iter()
                .map(|id| Entry {
                    id: *id,
                    body: EntryBody::Blank,
                })
                .collect();
            contradiction(id(3, 10), previous, &entries)
        };
        assert_eq!(find(None, &[]), None);
        assert_eq!(find(Some(id(2, 8)), &[id(3, 9), id(3, 10)]), None);
        assert_eq!(find(Some(id(3, 10)), &[id(4, 11)]), None);
        assert_eq!(find(Some(id(7, 12)), &[id(7, 13)]), None);
        assert_eq!(find(Some(id(2, 8)), &[id(4, 9)]), Some(id(4, 9)));
        let replaced = [id(2, 9), id(2, 10), id(4, 11)];
        assert_eq!(find(Some(id(2, 8)), &replaced), Some(id(2, 10)));
        assert_eq!(find(Some(id(4, 10)), &[]), Some(id(4, 10)));
        assert_eq!(find(Some(id(4, 9)), &[]), Some(id(4, 9)));
    }
}
