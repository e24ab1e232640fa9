//! Waiting for proposals of this node.

use std::sync::Arc;

use nsq_core::{Pending, TicketState, TicketWaiter};
use tokio::sync::Notify;

/// Who waits for any number of proposals, one after the other.
#[derive(Debug, Default, Clone)]
pub(crate) struct Settled(Arc<Notified>);

#[derive(Debug, Default)]
struct Notified(Notify);

impl Settled {
    /// A proposal whose outcome is to be awaited here.
    pub(crate) fn pending(&self) -> Arc<Pending> {
        Pending::new(self.waiter())
    }

    /// Is called when a proposal is settled.
    pub(crate) fn waiter(&self) -> Arc<dyn TicketWaiter> {
        Arc::clone(&self.0) as Arc<dyn TicketWaiter>
    }

    /// Completes once `pending`, which was made by [`pending`](Self::pending), is settled.
    ///
    /// # Errors
    /// Why it failed, if it did.
    pub(crate) async fn outcome(&self, pending: &Pending) -> Result<(), String> {
        loop {
            match pending.state() {
                TicketState::Safe => return Ok(()),
                TicketState::Failed(why) => return Err(why),
                // A settling between the look and the wait leaves a permit.
                TicketState::Pending => self.0.0.notified().await,
            }
        }
    }
}

impl TicketWaiter for Notified {
    fn ticket_settled(&self) {
        self.0.notify_one();
    }
}
