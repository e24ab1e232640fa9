//! A client's bytes on their way to hyper, one head or body at a time.
//!
//! Heads are rewritten and bodies are not, so the two must never be mixed up. The end of a head shows in its bytes. How long
//! the body after it is, only hyper decides: what follows a head is held back until hyper has parsed it and begun the request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::ReadBuf;

use super::chunks::ChunkTracker;
use super::head::HeadRewriter;
use super::stream::{CHUNKED, Phase};

pub(super) struct Input {
    phase: Arc<Phase>,
    /// From the socket, and not looked at yet: less than one read brought.
    held: Vec<u8>,
    /// Of a head, rewritten, and not yet given to hyper.
    ready: Vec<u8>,
    part: Part,
    /// Heads given to hyper so far, as [`Phase::head_count`] counts those that it parsed.
    head_count: u32,
}

/// What the next byte belongs to.
enum Part {
    Head(HeadRewriter),
    /// What follows a head that hyper had not parsed when it was given to it.
    Unknown,
    Body {
        left_bytes: u64,
    },
    Chunks(ChunkTracker),
}

impl Input {
    pub(super) fn new(phase: Arc<Phase>) -> Self {
        Self {
            phase,
            held: Vec::new(),
            ready: Vec::new(),
            part: Part::Head(HeadRewriter::default()),
            head_count: 0,
        }
    }

    /// Gives hyper what is here already. Without that, returns `false`: the socket must be read, and what it brings be
    /// passed to [`take_in`](Self::take_in).
    pub(super) fn fill(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let before = buf.filled().len();
        loop {
            if !self.ready.is_empty() || buf.remaining() == 0 {
                let count = self.ready.len().min(buf.remaining());
                buf.put_slice(&self.ready[..count]);
                self.ready.drain(..count);
                return true;
            }
            self.learn_what_follows();
            if self.held.is_empty() {
                return false;
            }
            let held = std::mem::take(&mut self.held);
            let used = if let Part::Head(rewriter) = &mut self.part {
                let (used, has_ended) = rewriter.rewrite(&held, &mut self.ready);
                if has_ended {
                    self.head_count = self.head_count.wrapping_add(1);
                    self.part = Part::Unknown;
                }
                used
            } else {
                let used = self.follow_body(&held[..held.len().min(buf.remaining())]);
                buf.put_slice(&held[..used]);
                used
            };
            self.held = held;
            self.held.drain(..used);
            if self.held.is_empty() {
                // Idle connections must not keep it.
                self.held = Vec::new();
            }
            if buf.filled().len() > before {
                return true;
            }
        }
    }

    /// Takes what the socket brought to `buf` after `before`, and leaves there what hyper may have as it is.
    pub(super) fn take_in(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let brought = &buf.filled()[before..];
        let used = match self.part {
            Part::Head(_) | Part::Unknown => 0,
            Part::Body { .. } | Part::Chunks(_) => self.follow_body(brought),
        };
        self.held.extend_from_slice(&brought[used..]);
        buf.set_filled(before + used);
    }

    /// hyper reads on after a head: either it has begun the request, and so knows about the body, or it has not found the
    /// end of the head where we did.
    fn learn_what_follows(&mut self) {
        if !matches!(self.part, Part::Unknown) {
            return;
        }
        self.part = if self.phase.head_count.load(Ordering::Relaxed) == self.head_count {
            match self.phase.body_bytes.load(Ordering::Relaxed) {
                0 => Part::Head(HeadRewriter::default()),
                CHUNKED => Part::Chunks(ChunkTracker::default()),
                left_bytes => Part::Body { left_bytes },
            }
        } else {
            self.head_count = self.head_count.wrapping_sub(1);
            Part::Head(HeadRewriter::within_headers())
        };
    }

    /// How many of `bytes` belong to the body.
    fn follow_body(&mut self, bytes: &[u8]) -> usize {
        let (used, has_ended) = match &mut self.part {
            Part::Body { left_bytes } => {
                let used =
                    usize::try_from(*left_bytes).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left_bytes -= used as u64;
                (used, *left_bytes == 0)
            }
            Part::Chunks(tracker) => tracker.follow(bytes),
            Part::Head(_) | Part::Unknown => (0, false),
        };
        if has_ended {
            self.phase.has_whole_body.store(true, Ordering::Relaxed);
            self.part = Part::Head(HeadRewriter::default());
        }
        used
    }
}
