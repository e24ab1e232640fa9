//! The connection between a client of the simulation and a node: what one writes, the other reads.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::process;

/// What the system keeps of what a client has not read.
const SOCKET_BYTES: usize = 64 << 10;

#[derive(Default)]
struct State {
    to_node: Vec<u8>,
    to_client: Vec<u8>,
    client_is_gone: bool,
    node_is_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl State {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }
}

/// The client's end.
#[derive(Default)]
pub(super) struct Pipe(Arc<Mutex<State>>);

impl Pipe {
    pub(super) fn node_end(&self) -> NodeEnd {
        NodeEnd(Arc::clone(&self.0))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    pub(super) fn send(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.to_node.extend_from_slice(bytes);
        state.wake();
    }

    pub(super) fn receive(&self) -> Vec<u8> {
        let mut state = self.state();
        let received = std::mem::take(&mut state.to_client);
        if !received.is_empty() {
            state.wake();
        }
        received
    }

    /// Whether the node has closed it, and everything was read.
    pub(super) fn is_over(&self) -> bool {
        let state = self.state();
        state.node_is_gone && state.to_client.is_empty()
    }

    /// The node's process has ended without a word.
    pub(super) fn break_off(&self) {
        self.state().node_is_gone = true;
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut state = self.state();
        state.client_is_gone = true;
        state.wake();
    }
}

/// The node's end.
pub(super) struct NodeEnd(Arc<Mutex<State>>);

impl AsyncRead for NodeEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0);
        if state.to_node.is_empty() && !state.client_is_gone {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = state.to_node.len().min(buffer.remaining());
        buffer.put_slice(&state.to_node[..count]);
        state.to_node.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for NodeEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if process::is_dead() {
            return Poll::Pending;
        }
        let mut state = lock(&self.0);
        if state.client_is_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = SOCKET_BYTES.saturating_sub(state.to_client.len());
        if room == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = bytes.len().min(room);
        state.to_client.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).node_is_gone = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for NodeEnd {
    fn drop(&mut self) {
        if !process::is_dead() {
            lock(&self.0).node_is_gone = true;
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
