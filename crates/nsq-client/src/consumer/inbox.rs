//! Messages that have come and wait for someone to take them.
//!
//! Bounded by the ready counts, and past those by each connection, which stops reading when it holds too
//! much.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::message::{Delivery, Message};

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// How many are waiting in [`wait`](Self::wait).
    waiting: AtomicUsize,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Message>,
    closed: bool,
}

/// What there is to take.
pub(crate) enum Taken {
    Message(Message),
    Nothing,
    /// Nothing, and there will be nothing.
    Closed,
}

impl Inbox {
    /// Adds messages, and wakes as many who wait as there is work for.
    pub(crate) fn push(&self, deliveries: impl Iterator<Item = Delivery>) {
        let mut state = self.lock();
        if state.closed {
            // Dropped, and thereby requeued, outside the lock.
            drop(state);
            deliveries.map(Message::new).for_each(Message::hand_back);
            return;
        }
        let before = state.queue.len();
        state.queue.extend(deliveries.map(Message::new));
        let count = state.queue.len() - before;
        drop(state);
        for _ in 0..count.min(self.waiting.load(Ordering::SeqCst)) {
            self.news.notify_one();
        }
    }

    pub(crate) fn take(&self) -> Taken {
        let mut state = self.lock();
        match state.queue.pop_front() {
            Some(message) => Taken::Message(message),
            None if state.closed => Taken::Closed,
            None => Taken::Nothing,
        }
    }

    /// Waits until there may be something to take. May be given up at any time.
    pub(crate) async fn wait(&self) {
        let mut news = pin!(self.news.notified());
        // Registered first, so that whatever comes after the look below is noticed.
        news.as_mut().enable();
        let _waiting = Waiting::new(&self.waiting);
        {
            let state = self.lock();
            if state.closed || !state.queue.is_empty() {
                return;
            }
        }
        news.await;
    }

    /// Nothing more is taken in; what is there can still be taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_waiters();
    }

    /// Everything that no one has taken.
    pub(crate) fn take_all(&self) -> Vec<Message> {
        self.lock().queue.drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
