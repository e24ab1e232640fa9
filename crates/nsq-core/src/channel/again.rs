//! Recording again what a channel has finished and what came back to it, for followers that may lack it.
//!
//! What is recorded is lost with the process or the leadership that was to bring it to the others, and is in this channel's
//! own files nevertheless. A follower applies it in any order, and any number of times.

use super::journal::JournalEntry;
use super::tracked_message::LogKind;
use super::{Channel, due_of};
use crate::change::Action;
use crate::time::Now;

/// How far a channel has recorded [again](Channel::record_again).
#[derive(Debug, Clone, Copy, Default)]
pub struct Again {
    /// Of [`LogKind::ALL`].
    log: usize,
    sequence: u64,
}

impl Channel {
    /// Records a part of what the channel has finished, up to `most` single messages, and at last the attempts and due times
    /// of the messages that came back. Returns where the next call continues; `None` at the end.
    ///
    /// Nothing of a channel with damaged messages: here they are passed over, and other copies of them may be whole.
    pub fn record_again(&mut self, from: Again, most: usize, now: Now) -> Option<Again> {
        let recorder = self.store.recorder.as_ref()?;
        if self.logs.damaged_count() > 0 {
            return None;
        }
        let Some(&kind) = LogKind::ALL.get(from.log) else {
            self.record_journal_again(now);
            return None;
        };
        let next_log = Again {
            log: from.log + 1,
            sequence: 0,
        };
        let Some(log) = self.logs.get(kind) else {
            return Some(next_log);
        };
        let finished = &log.source.finished;
        let mut sequences = Vec::new();
        let mut next = finished.next_finished(from.sequence);
        while let Some(sequence) = next
            && sequences.len() < most
        {
            sequences.push(sequence);
            next = finished.next_finished(sequence + 1);
        }
        if finished.floor() > 0 || !sequences.is_empty() {
            recorder.record(Action::Finished {
                log: kind,
                floor: finished.floor(),
                sequences: &sequences,
            });
        }
        let rest = next.map(|sequence| Again { sequence, ..from });
        Some(rest.unwrap_or(next_log))
    }

    fn record_journal_again(&self, now: Now) {
        let came_back = self.tracked.iter().filter(|message| message.attempts > 0);
        let entries: Vec<_> = came_back
            .map(|message| JournalEntry::of(message, due_of(message, now)).to_record())
            .collect();
        if let Some(recorder) = &self.store.recorder
            && !entries.is_empty()
        {
            recorder.record(Action::Journaled {
                unix_nanos: now.unix_nanos,
                entries: &entries,
            });
        }
    }
}
