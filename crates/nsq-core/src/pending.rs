//! A publish, or another change of a replicated nsqd, that was proposed and has not been applied yet.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::topic::{TicketState, TicketWaiter};

/// The outcome of one proposal, once there is one, and who waits for it.
///
/// The proposer keeps one handle; the other travels with the proposal. Looking at the state costs one atomic
/// load.
pub struct Pending {
    outcome: OnceLock<Result<(), String>>,
    waiter: Arc<dyn TicketWaiter>,
}

impl Pending {
    /// A proposal without an outcome. `waiter` is called once, when there is one.
    pub fn new(waiter: Arc<dyn TicketWaiter>) -> Arc<Pending> {
        Arc::new(Pending {
            outcome: OnceLock::new(),
            waiter,
        })
    }

    /// Notes the outcome, and then calls the waiter. Only the first outcome counts; returns whether this was it. To be
    /// called without locks that the waiter might need.
    ///
    /// An error is a text for the client. Where a change may have been stored nevertheless, the text says so.
    pub fn settle(&self, outcome: Result<(), String>) -> bool {
        let is_first = self.outcome.set(outcome).is_ok();
        if is_first {
            self.waiter.ticket_settled();
        }
        is_first
    }

    /// How far the proposal is.
    pub fn state(&self) -> TicketState {
        match self.outcome.get() {
            None => TicketState::Pending,
            Some(Ok(())) => TicketState::Safe,
            Some(Err(fault)) => TicketState::Failed(fault.clone()),
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pending")
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl TicketWaiter for Count {
        fn ticket_settled(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_first_outcome_counts_and_wakes_the_waiter_once() {
        let count = Arc::new(Count::default());
        let pending = Pending::new(Arc::clone(&count) as Arc<dyn TicketWaiter>);
        assert_eq!(pending.state(), TicketState::Pending);
        assert!(pending.settle(Err("no majority".to_owned())));
        assert!(!pending.settle(Ok(())));
        assert_eq!(
            pending.state(),
            TicketState::Failed("no majority".to_owned())
        );
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
