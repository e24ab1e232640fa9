//! Whether the other replicas know what this one, which leads, knows of finished messages.
//!
//! The leader's own files have it at once, and the others once it was proposed and committed. What is lost on the way (a
//! proposal fails, or the leader is killed) must not be missing there forever: a later leader would deliver it again,
//! however much later. Which messages that was is not kept. The leader [repeats](crate::Shard::repeat_progress) all that it
//! knows.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Of one leadership.
#[derive(Debug)]
pub(crate) struct Behind {
    state: Mutex<State>,
    /// Everything has to be repeated, or leadership is over.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    repeating: Repeating,
    /// Pieces of progress that were taken to be proposed, and have no outcome yet.
    under_way: usize,
    is_over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeating {
    /// Something may be missing.
    Due,
    /// Everything is being repeated, and nothing was lost since that began.
    UnderWay,
    /// Nothing is missing.
    Done,
}

impl Behind {
    /// At the beginning of a leadership. `is_ahead`: the replica may know something already that the others do not.
    pub(crate) fn new(is_ahead: bool) -> Behind {
        Behind {
            state: Mutex::new(State {
                repeating: if is_ahead {
                    Repeating::Due
                } else {
                    Repeating::Done
                },
                under_way: 0,
                is_over: false,
            }),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece of progress is put in line.
    pub(crate) fn note_piece(&self) {
        self.state().under_way += 1;
    }

    /// Pieces of progress were executed, or may not be there.
    pub(crate) fn note_outcome(&self, pieces: usize, is_executed: bool) {
        if pieces == 0 {
            return;
        }
        let mut state = self.state();
        state.under_way = state.under_way.saturating_sub(pieces);
        if !is_executed {
            state.repeating = Repeating::Due;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Leadership is over.
    pub(crate) fn end(&self) {
        self.state().is_over = true;
        self.changed.notify_one();
    }

    /// Whether nothing is missing, apart from what was not put in line yet.
    pub(crate) fn is_all_known(&self) -> bool {
        let state = self.state();
        state.repeating == Repeating::Done && state.under_way == 0
    }

    /// Completes once everything has to be [repeated](Self::try_begin). Returns false when leadership is over.
    pub(crate) async fn begin(&self) -> bool {
        while !self.state().is_over {
            if self.try_begin() {
                return true;
            }
            self.changed.notified().await;
        }
        false
    }

    /// Whether everything has to be repeated. What fails from now on makes that so once more.
    pub(crate) fn try_begin(&self) -> bool {
        let mut state = self.state();
        let is_due = state.repeating == Repeating::Due;
        if is_due {
            state.repeating = Repeating::UnderWay;
        }
        is_due
    }

    /// Everything was repeated and executed, or the attempt failed.
    pub(crate) fn finish(&self, is_known: bool) {
        let mut state = self.state();
        if !is_known {
            state.repeating = Repeating::Due;
        } else if state.repeating == Repeating::UnderWay {
            state.repeating = Repeating::Done;
        }
    }
}
