//! Which publishes are safe, for those who wait to answer them.
//!
//! ```text
//! publish ─▶ Published { ticket, is_safe } ── is_safe ─▶ answer
//!                          │ else
//!                          ▼
//! Topic::await_ticket(ticket, waiter) ── Pending ─▶ waiter.ticket_settled() ─▶ Topic::ticket_state(ticket)
//! ```
//! A ticket is settled once its messages are safe, once making them safe has failed, or once they are gone: the topic was
//! emptied or deleted. A message whose ticket failed stays on the log, and becomes safe when the next sync works.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::topic_log::SafeOnce;
use crate::channel::LogKind;

/// A publish that was accepted: in which of its topic's logs it lies, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    log: LogKind,
    /// Sequence after its last message; counts on where a truncation gives sequences out again.
    end: u64,
}

impl Ticket {
    pub(super) fn new(log: LogKind, end: u64) -> Ticket {
        Ticket { log, end }
    }
}

/// How far a publish is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketState {
    /// It is not safe yet.
    Pending,
    /// It is safe, or no one needs it any more.
    Safe,
    /// It could not be made safe, for this reason. Its messages may still be delivered.
    Failed(String),
}

/// Waits for a ticket. The call only leaves a note; it may not block.
pub trait TicketWaiter: Send + Sync {
    /// The ticket is no longer pending.
    fn ticket_settled(&self);
}

/// Those whose tickets were settled, handed out of a call so that no one is woken under a lock.
#[derive(Default)]
#[must_use = "a publisher that is not woken may wait for ever"]
pub(super) struct SettledWaiters(Vec<Arc<dyn TicketWaiter>>);

impl SettledWaiters {
    pub(super) fn wake_all(self) {
        for waiter in self.0 {
            waiter.ticket_settled();
        }
    }
}

/// The tickets of one topic.
pub(super) struct Tickets {
    safe_once: SafeOnce,
    main: Progress,
    deferred: Progress,
    waiting: Mutex<Waiting>,
}

/// How far the tickets of one log are settled.
#[derive(Default)]
struct Progress {
    safe: AtomicU64,
    /// Tickets up to here that are not safe have failed.
    failed: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    waiters: Vec<(Ticket, Arc<dyn TicketWaiter>)>,
    /// Why a sync failed last.
    fault: String,
}

impl Tickets {
    pub(super) fn new(safe_once: SafeOnce) -> Tickets {
        Tickets {
            safe_once,
            main: Progress::default(),
            deferred: Progress::default(),
            waiting: Mutex::default(),
        }
    }

    fn progress(&self, log: LogKind) -> &Progress {
        match log {
            LogKind::Deferred => &self.deferred,
            LogKind::Main | LogKind::Private | LogKind::Inherited => &self.main,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self, ticket: Ticket) -> TicketState {
        if self.is_safe(ticket) {
            TicketState::Safe
        } else if self.has_failed(ticket) {
            TicketState::Failed(self.lock().fault.clone())
        } else {
            TicketState::Pending
        }
    }

    fn is_safe(&self, ticket: Ticket) -> bool {
        self.safe_once == SafeOnce::Appended
            || ticket.end <= self.progress(ticket.log).safe.load(Ordering::Acquire)
    }

    fn has_failed(&self, ticket: Ticket) -> bool {
        ticket.end <= self.progress(ticket.log).failed.load(Ordering::Acquire)
    }

    /// The ticket's state; while it is pending, `waiter` is called once it no longer is.
    pub(super) fn wait(&self, ticket: Ticket, waiter: &Arc<dyn TicketWaiter>) -> TicketState {
        let mut waiting = self.lock();
        // With the list locked: what settles it now looks through the list after us.
        if self.is_safe(ticket) {
            TicketState::Safe
        } else if self.has_failed(ticket) {
            TicketState::Failed(waiting.fault.clone())
        } else {
            waiting.waiters.push((ticket, Arc::clone(waiter)));
            TicketState::Pending
        }
    }

    /// All that was published up to `ticket` is safe.
    pub(super) fn settle(&self, ticket: Ticket) -> SettledWaiters {
        let progress = self.progress(ticket.log);
        if progress.safe.fetch_max(ticket.end, Ordering::AcqRel) >= ticket.end {
            return SettledWaiters::default();
        }
        self.take_settled(&mut self.lock())
    }

    /// What was published up to `ticket` and is not safe could not be made so.
    pub(super) fn fail(&self, ticket: Ticket, fault: &dyn std::fmt::Display) -> SettledWaiters {
        let mut waiting = self.lock();
        waiting.fault = fault.to_string();
        let progress = self.progress(ticket.log);
        progress.failed.fetch_max(ticket.end, Ordering::AcqRel);
        self.take_settled(&mut waiting)
    }

    /// No one makes what is pending safe: the sync that would have done so broke off.
    pub(super) fn fail_pending(&self, fault: &dyn std::fmt::Display) -> SettledWaiters {
        let mut waiting = self.lock();
        waiting.fault = fault.to_string();
        for (ticket, _) in &waiting.waiters {
            let progress = self.progress(ticket.log);
            progress.failed.fetch_max(ticket.end, Ordering::AcqRel);
        }
        self.take_settled(&mut waiting)
    }

    /// The topic is gone: no one needs its messages any more.
    pub(super) fn settle_all(&self) -> SettledWaiters {
        for progress in [&self.main, &self.deferred] {
            progress.safe.store(u64::MAX, Ordering::Release);
        }
        self.take_settled(&mut self.lock())
    }

    fn take_settled(&self, waiting: &mut Waiting) -> SettledWaiters {
        let settled = waiting.waiters.extract_if(.., |(ticket, _)| {
            self.is_safe(*ticket) || self.has_failed(*ticket)
        });
        SettledWaiters(settled.map(|(_, waiter)| waiter).collect())
    }
}
