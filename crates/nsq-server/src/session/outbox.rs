//! Bytes on their way to the client, and whether the client takes them.

use std::time::Duration;

use nsq_core::Tick;

/// What a quiet connection keeps of its buffer between two bursts.
const KEPT_BYTES: usize = 64 << 10;

/// What has been written for the client and not yet sent. The program around it sends [`unsent`](Self::unsent) and reports
/// how that went.
#[derive(Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// Since when the client has taken nothing.
    blocked_since: Option<Tick>,
    /// The stream holds bytes back that the client does not take.
    is_held_back: bool,
}

impl Outbox {
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// What is to be sent next.
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// The stream took `count` bytes.
    pub fn handle_sent(&mut self, count: usize) {
        self.sent += count;
        // What a stream takes in is not yet taken by the client.
        if !self.is_held_back {
            self.blocked_since = None;
        }
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
            if self.bytes.capacity() > 4 * KEPT_BYTES {
                self.bytes = Vec::new();
            }
        }
    }

    /// The stream takes no more bytes for now.
    pub fn handle_blocked(&mut self, now: Tick) {
        self.blocked_since.get_or_insert(now);
    }

    /// The stream took all bytes, and holds some back that the client does not take: a compressing or encrypting stream
    /// does.
    pub fn handle_held_back(&mut self, now: Tick) {
        self.is_held_back = true;
        self.handle_blocked(now);
    }

    /// Everything has left.
    pub fn handle_flushed(&mut self) {
        self.is_held_back = false;
        self.blocked_since = None;
    }

    /// Whether the client left something unread at the last attempt.
    pub fn is_blocked(&self) -> bool {
        self.blocked_since.is_some()
    }

    pub(super) fn is_stuck(&self, now: Tick, timeout: Duration) -> bool {
        self.blocked_since
            .is_some_and(|since| now >= since.after(timeout))
    }

    /// Gives the buffer's memory back.
    pub(super) fn shrink(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }
}
