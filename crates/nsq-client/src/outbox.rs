//! What waits to be written to a connection, shared between those who write and the task that sends.
//!
//! Whatever gathers while the task is on its way, or busy with the socket, leaves in one write.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// Bytes to send, and next to them what must change together with them.
#[derive(Debug)]
pub(crate) struct Outbox<T>(Mutex<State<T>>);

/// The lock is held for a few instructions, never over an `.await`.
#[derive(Debug)]
pub(crate) struct State<T> {
    /// What to send next.
    pub(crate) bytes: Vec<u8>,
    /// The connection ends once all is sent.
    pub(crate) closing: bool,
    /// The connection has ended: nothing will be sent.
    pub(crate) closed: bool,
    /// The connection's task must not read for now.
    pub(crate) reading_paused: bool,
    pub(crate) more: T,
    waker: Option<Waker>,
}

impl<T> Outbox<T> {
    pub(crate) fn new(more: T) -> Self {
        Self(Mutex::new(State {
            bytes: Vec::new(),
            closing: false,
            closed: false,
            reading_paused: false,
            more,
            waker: None,
        }))
    }

    /// To look, or to write from the connection's own task, which sends in its next turn.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To write, and have the connection's task send it.
    pub(crate) fn write<R>(&self, write: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut state = self.lock();
        let result = write(&mut state);
        let waker = state.waker.take();
        // Not under the lock, which the task takes first of all.
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }
}

impl<T> State<T> {
    /// Has the next [`Outbox::write`] wake this task.
    pub(crate) fn register(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }
}
