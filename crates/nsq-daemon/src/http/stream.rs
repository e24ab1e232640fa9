//! A client's byte stream, guarded at both ends of a request: a head that never ends is cut off, and so is a connection
//! that is idle for too long; a close waits for the client to have read the answer.
//!
//! What is refused before there is a request is answered here, since hyper has no words for it. What hyper reads passes
//! through an [`Input`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::go_duration::GoDuration;

use super::Remote;
use super::input::Input;
use super::limits::{HEADER_TIMEOUT, HttpLimits, MAX_HEADER_BYTES, MAX_HEADERS};

/// What the stream and the one who serves it tell each other.
#[derive(Debug, Default)]
pub(super) struct Phase {
    /// A request's head is complete and its answer is not: what is read now is its body.
    pub(super) answering: AtomicBool,
    /// Heads completed so far.
    pub(super) head_count: AtomicU32,
    /// The length of the body that follows the last of them, or [`CHUNKED`].
    pub(super) body_bytes: AtomicU64,
    /// All of that body has come.
    pub(super) has_whole_body: AtomicBool,
    /// The daemon goes down: closing waits for no one.
    pub(super) closing: AtomicBool,
}

/// A body whose chunks say how long it is.
pub(super) const CHUNKED: u64 = u64::MAX;

pub(super) struct GuardedStream<T> {
    inner: T,
    input: Input,
    phase: Arc<Phase>,
    limits: Arc<HttpLimits>,
    remote: Remote,
    /// When the head that is being read must be complete, the idle time or the lingering close be over.
    deadline: Pin<Box<Sleep>>,
    guard: Guard,
    /// The [`Phase::head_count`] at which `guard` was last right.
    head_count: u32,
    /// Something of the head that is being read has come.
    has_begun: bool,
    /// What is sent in place of hyper's own refusal, as far as it is not sent yet.
    refusal: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// Reading a body, or waiting for the handler.
    Answering,
    /// Between requests.
    Idle,
    /// The first byte of a head has come, or the connection is new.
    Head,
    /// Our side is shut down; what the client still sends is read and dropped.
    Lingering,
}

impl<T> GuardedStream<T> {
    pub(super) fn new(
        inner: T,
        phase: Arc<Phase>,
        limits: Arc<HttpLimits>,
        remote: Remote,
    ) -> Self {
        Self {
            inner,
            input: Input::new(Arc::clone(&phase)),
            phase,
            deadline: Box::pin(tokio::time::sleep(limits.header_timeout)),
            limits,
            remote,
            guard: Guard::Head,
            head_count: 0,
            has_begun: false,
            refusal: None,
        }
    }

    /// Bytes came, or are given to hyper now. While no request is served they belong to a head.
    fn note_bytes(&mut self) {
        if self.guard == Guard::Idle {
            self.arm(Guard::Head, self.limits.header_timeout);
        }
        self.has_begun |= self.guard == Guard::Head;
    }

    fn arm(&mut self, guard: Guard, limit: Duration) {
        self.guard = guard;
        self.deadline.as_mut().reset(Instant::now() + limit);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for GuardedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let head_count = this.phase.head_count.load(Ordering::Relaxed);
        if head_count != this.head_count {
            this.head_count = head_count;
            this.guard = Guard::Answering;
            this.has_begun = false;
        }
        let is_answering = this.phase.answering.load(Ordering::Relaxed);
        if this.guard == Guard::Answering && !is_answering {
            this.arm(Guard::Idle, this.limits.idle_timeout);
        }
        loop {
            let before = buf.filled().len();
            if this.input.fill(buf) {
                this.note_bytes();
                return Poll::Ready(Ok(()));
            }
            match Pin::new(&mut this.inner).poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() > before => {
                    this.note_bytes();
                    this.input.take_in(buf, before);
                    if buf.filled().len() > before {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(result) => return Poll::Ready(result),
                Poll::Pending => return this.poll_deadline(cx),
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> GuardedStream<T> {
    /// Whether the client has taken too long for what it does now.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.guard {
            Guard::Head if !self.limits.header_timeout.is_zero() => {
                ready!(self.deadline.as_mut().poll(cx));
                self.refuse_late_head(cx);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Guard::Idle if !self.limits.idle_timeout.is_zero() => {
                ready!(self.deadline.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Guard::Head | Guard::Answering | Guard::Idle | Guard::Lingering => Poll::Pending,
        }
    }

    /// Counts it, and answers as far as the socket takes it; a client that sent nothing yet did not ask.
    fn refuse_late_head(&mut self, cx: &mut Context<'_>) {
        let (limit, remote) = (self.limits.header_timeout, &self.remote);
        let limit = GoDuration::from(limit);
        self.limits.refusals.note(
            HEADER_TIMEOUT,
            format_args!(
                "http: client({remote}) - no whole head within {limit} (--{HEADER_TIMEOUT})"
            ),
        );
        if self.has_begun {
            let answer = self.limits.late_head();
            // The connection ends here whether or not it is heard.
            let _ = Pin::new(&mut self.inner).poll_write(cx, &answer);
        }
    }

    /// Whether these are the first bytes of hyper's refusal of a head that is too large. Ours are sent in their place.
    fn begins_refusal(&mut self, bytes: &[u8]) -> bool {
        let is_between_answers = self.guard == Guard::Head
            && self.phase.head_count.load(Ordering::Relaxed) == self.head_count;
        if !is_between_answers || !bytes.starts_with(TOO_LARGE) {
            return false;
        }
        self.limits.refusals.note(
            MAX_HEADER_BYTES,
            format_args!(
                "http: client({}) - a head above --{MAX_HEADER_BYTES} or --{MAX_HEADERS}",
                self.remote
            ),
        );
        self.refusal = Some(self.limits.large_head());
        true
    }

    /// Sends the refusal to its end.
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(refusal) = self.refusal.as_mut().filter(|left| !left.is_empty()) {
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, refusal))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            refusal.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.refusal.is_some() || self.begins_refusal(bytes) {
            ready!(self.poll_refusal(cx))?;
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        if self.refusal.is_some() || first.is_some_and(|first| self.begins_refusal(first)) {
            ready!(self.poll_refusal(cx))?;
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Shuts down our side, then reads until the client closes its own. Closing a socket with unread
    /// input resets it, and the reset can overtake the answer: the client of a refused upload would see
    /// a broken connection in place of the 413.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.guard != Guard::Lingering {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            this.arm(Guard::Lingering, LINGER_LIMIT);
        }
        let mut scratch = [0; 4096];
        loop {
            if this.phase.closing.load(Ordering::Relaxed)
                || this.deadline.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                // The client closed, or broke off: either way nothing is left to protect.
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// How hyper begins what it says of a head above its limits.
const TOO_LARGE: &[u8] = b"HTTP/1.1 431 ";

/// How long a close waits for the client's, as in Go's server.
const LINGER_LIMIT: Duration = Duration::from_millis(500);
