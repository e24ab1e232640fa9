//! Bytes on their way to the client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::Instant;

/// What a quiet connection keeps of its buffer between two bursts.
const KEPT_BYTES: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// Since when the client has not taken anything.
    blocked_since: Option<Instant>,
    /// The stream holds bytes back that the client does not take.
    is_held_back: bool,
}

impl Outbox {
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Has `write` append to the buffer.
    pub(super) fn write<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        write(&mut self.bytes)
    }

    /// Where the next byte will go; good until something is sent.
    pub(super) fn mark(&self) -> usize {
        self.bytes.len()
    }

    /// Takes back what came after `mark`.
    pub(super) fn take_back(&mut self, mark: usize) {
        self.bytes.truncate(mark);
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether the client left something unread at the last try.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked_since.is_some()
    }

    pub(super) fn is_stuck(&self, now: Instant, timeout: Duration) -> bool {
        self.blocked_since
            .is_some_and(|since| now >= since + timeout)
    }

    /// Sends all there is; ready when nothing is left.
    pub(super) fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let written = Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.sent..]);
            if written.is_pending() && self.blocked_since.is_none() {
                self.blocked_since = Some(Instant::now());
            }
            let count = ready!(written)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
            // What a stream takes in is not yet taken by the client.
            if !self.is_held_back {
                self.blocked_since = None;
            }
        }
        self.bytes.clear();
        self.sent = 0;
        if self.bytes.capacity() > 4 * KEPT_BYTES {
            self.bytes = Vec::new();
        }
        // A compressing or encrypting stream holds bytes back until it is flushed; a socket has nothing to do here.
        let flushed = Pin::new(stream).poll_flush(cx);
        self.is_held_back = flushed.is_pending();
        if self.is_held_back {
            self.blocked_since.get_or_insert_with(Instant::now);
        } else {
            self.blocked_since = None;
        }
        flushed
    }

    /// Gives the buffer's memory back.
    pub(super) fn shrink(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }
}
