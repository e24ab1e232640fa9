//! Deliveries from several channels to one client, whose ready count holds for what it has of all of them together.
//!
//! A turn visits every part once, since each may have woken the client and counts on it: a part gives it messages, notes that it
//! waits, or wakes another client in its place. Two rules keep the client from sleeping next to a message it could have:
//!
//! - When a turn ends and the client has room, it waits in every part, or wants another turn.
//! - When it has no room, it waits in no part. So whichever part its messages time out in wakes it (a part in which it waits would
//!   not), and the turn after that visits all parts. After a FIN or REQ of its own, a session always makes a turn.
//!
//! Messages that were fetched from other nodes come first, since they were taken from their channels for this client. More are
//! fetched only if the client has room when all parts have been visited.

use std::sync::Arc;

use nsq_core::channel::Budget;
use nsq_core::{ClientId, Delivery, Now};
use nsq_protocol::frame;

use super::parts::Part;
use super::subscription::{DELIVERY_LIMIT, TAKE_MESSAGES, write_message};
use super::{Observer, Session, log};

/// A turn of one client over the parts of its subscription.
pub(crate) struct Turn<'p> {
    client: ClientId,
    ready_count: u32,
    /// Messages that it holds of shards that other nodes lead.
    elsewhere: u32,
    visits: Vec<Visit<'p>>,
}

/// One part during a turn.
struct Visit<'p> {
    /// Its place among the parts.
    at: usize,
    part: &'p Part,
    /// How many messages of the part the client holds, at most: only this turn takes more of them, while timeouts may take
    /// some back at any time.
    held: u32,
    outcome: Outcome,
}

/// How a visit ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The client had no room.
    Full,
    /// The client waits there for the next message.
    Waits,
    /// The part may have more, or will never give anything again.
    Over,
}

/// What a turn came to.
pub(crate) struct Ran {
    /// There has to be another turn at once.
    pub(crate) again: bool,
    /// The last part that gave messages.
    pub(crate) gave: Option<usize>,
    /// How many more messages the client may have.
    pub(crate) room: u32,
}

impl<'p> Turn<'p> {
    /// A turn that begins with the part `first`.
    pub(crate) fn new(client: ClientId, ready_count: u32, parts: &'p [Part], first: usize) -> Self {
        let visits = (0..parts.len()).map(|step| {
            let at = (first + step) % parts.len();
            let part = &parts[at];
            Visit {
                at,
                part,
                held: part.cell.lock().held_by(client),
                outcome: Outcome::Full,
            }
        });
        Turn {
            client,
            ready_count,
            elsewhere: 0,
            visits: visits.collect(),
        }
    }

    /// How many more messages the client may have.
    pub(crate) fn room(&self) -> u32 {
        self.ready_count.saturating_sub(self.total())
    }

    fn total(&self) -> u32 {
        let held = self.visits.iter().map(|visit| visit.held);
        held.fold(self.elsewhere, u32::saturating_add)
    }

    /// Takes messages of every part within `budget`. `deliver` gets each with the place of its part.
    pub(crate) fn run(
        &mut self,
        mut budget: Budget,
        now: Now,
        mut deliver: impl FnMut(usize, Delivery<'_>),
    ) -> Ran {
        let mut has_more = false;
        let mut gave = None;
        for step in 0..self.visits.len() {
            let before = budget.messages;
            has_more |= self.visit(step, &mut budget, now, &mut deliver);
            if budget.messages < before {
                gave = Some(self.visits[step].at);
            }
        }
        let again = has_more | self.missed_something();
        let room = self.room();
        Ran { again, gave, room }
    }

    /// Takes messages from one part, within `budget`. Returns whether only that kept it from taking more.
    fn visit(
        &mut self,
        step: usize,
        budget: &mut Budget,
        now: Now,
        deliver: &mut impl FnMut(usize, Delivery<'_>),
    ) -> bool {
        let elsewhere = self.held_elsewhere(step);
        let visit = &mut self.visits[step];
        let at = visit.at;
        let mut bytes = 0;
        let mut channel = visit.part.cell.lock();
        channel.set_held_elsewhere(self.client, elsewhere);
        let taken = channel.take(self.client, *budget, now, |message| {
            bytes += message.body.len();
            deliver(at, message);
        });
        visit.held = channel.held_by(self.client);
        visit.outcome = if taken.waiting {
            Outcome::Waits
        } else if taken.more || channel.is_exiting() {
            Outcome::Over
        } else {
            Outcome::Full
        };
        budget.messages -= taken.count;
        budget.bytes = budget.bytes.saturating_sub(bytes);
        taken.more
    }

    /// Ends a turn by the rules above. Returns whether there has to be another one at once.
    fn missed_something(&mut self) -> bool {
        if self.room() > 0 {
            // A timeout made room after a part had been visited.
            let mut visits = self.visits.iter();
            return visits.any(|visit| visit.outcome == Outcome::Full);
        }
        for step in 0..self.visits.len() {
            if self.visits[step].outcome == Outcome::Waits {
                let elsewhere = self.held_elsewhere(step);
                let visit = &mut self.visits[step];
                let mut channel = visit.part.cell.lock();
                channel.set_held_elsewhere(self.client, elsewhere);
                channel.decline(self.client);
                visit.held = channel.held_by(self.client);
            }
        }
        self.room() > 0
    }

    fn held_elsewhere(&self, step: usize) -> u32 {
        self.total().saturating_sub(self.visits[step].held)
    }
}

impl<O: Observer> Session<O> {
    /// As [`deliver`](Self::deliver), for any number of parts but one, and for messages of other nodes.
    pub(super) fn deliver_from_parts(&mut self, now: Now) {
        let Some(subscription) = &self.subscription else {
            return;
        };
        let parts = Arc::clone(&subscription.parts);
        let remote = subscription.remote().cloned();
        let first = subscription.sharing.as_ref().map_or(0, |s| s.first);
        if let Some(remote) = &remote {
            for error in remote.take_refusals() {
                log::refused(self.client.remote_address(), &error, None);
                self.answer(|out| frame::write_error(out, &error));
            }
        }
        let begin = self.outbox.bytes().len();
        let mut budget = Budget {
            messages: TAKE_MESSAGES,
            bytes: DELIVERY_LIMIT,
        };
        let mut turn = Turn::new(self.client.id(), self.ready_count, &parts, first);
        let out = self.outbox.bytes();
        if let Some(remote) = &remote {
            turn.elsewhere = remote.held();
            remote.take(turn.room(), &mut budget, out);
            turn.elsewhere = remote.held();
        }
        let observer = &mut self.observer;
        let ran = turn.run(budget, now, |at, message| {
            observer.delivered(&parts[at].cell, &message, now);
            write_message(out, &message);
        });
        if log::is_debugging() {
            log::messages(self.client.remote_address(), &out[begin..]);
        }
        let mut again = ran.again;
        if let Some(remote) = &remote {
            again |= remote.settle(ran.room, self.ready_count, now);
        }
        if let Some(gave) = ran.gave
            && let Some(subscription) = &mut self.subscription
            && let Some(sharing) = &mut subscription.sharing
        {
            // The next part is the first of the next turn.
            sharing.first = (gave + 1) % parts.len();
        }
        self.wants_delivery = again;
    }
}
