//! A client's byte stream, guarded at both ends of a request: a head that never ends is cut off, and a
//! close waits for the client to have read the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What the stream and the one who serves it tell each other.
#[derive(Debug, Default)]
pub(super) struct Phase {
    /// A request's head is complete and its answer is not: what is read now is its body.
    pub(super) answering: AtomicBool,
    /// Heads completed so far.
    pub(super) head_count: AtomicU32,
    /// The daemon goes down: closing waits for nobody.
    pub(super) closing: AtomicBool,
}

pub(super) struct GuardedStream<T> {
    inner: T,
    phase: Arc<Phase>,
    /// When the head that is being read must be complete, or the lingering close be over.
    deadline: Pin<Box<Sleep>>,
    guard: Guard,
    /// The [`Phase::head_count`] at which `guard` was last right.
    head_count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// Between requests: a kept-alive connection may be idle for as long as it likes.
    Idle,
    /// The first byte of a head has come, or the connection is new.
    Head,
    /// Our side is shut down; what the client still sends is read and dropped.
    Lingering,
}

impl<T> GuardedStream<T> {
    pub(super) fn new(inner: T, phase: Arc<Phase>) -> Self {
        Self {
            inner,
            phase,
            deadline: Box::pin(tokio::time::sleep(HEAD_LIMIT)),
            guard: Guard::Head,
            head_count: 0,
        }
    }

    fn arm(&mut self, guard: Guard, limit: Duration) {
        self.guard = guard;
        self.deadline.as_mut().reset(Instant::now() + limit);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for GuardedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let head_count = this.phase.head_count.load(Ordering::Relaxed);
        if head_count != this.head_count {
            this.head_count = head_count;
            this.guard = Guard::Idle;
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Ready(result) => {
                let more = buf.filled().len() > before;
                let head = !this.phase.answering.load(Ordering::Relaxed);
                if more && head && this.guard == Guard::Idle {
                    this.arm(Guard::Head, HEAD_LIMIT);
                }
                Poll::Ready(result)
            }
            Poll::Pending if this.guard == Guard::Head => {
                ready!(this.deadline.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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

/// Generous for a slow link, an end for one who sends a byte a minute.
const HEAD_LIMIT: Duration = Duration::from_mins(1);

/// How long a close waits for the client's, as in Go's server.
const LINGER_LIMIT: Duration = Duration::from_millis(500);
