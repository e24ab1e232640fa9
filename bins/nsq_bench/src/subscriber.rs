//! One subscribed connection and its thread.

use std::sync::Arc;

use nsq_protocol::{Frame, encode};

use crate::{
    clock::Clock,
    command_block::send_time,
    connection::{CLOSE_WAIT, HEARTBEAT, NOP, Socket},
    error::BenchError,
    inbox::Inbox,
    latency::Latencies,
    options::Subscribing,
    progress::Progress,
};

/// A connection that finishes every message it gets.
#[derive(Debug)]
pub(crate) struct Subscriber {
    socket: Arc<Socket>,
    inbox: Inbox,
    ready: u32,
    /// The most FINs in a write; `usize::MAX` for all of one read.
    fin_batch: usize,
    /// Whether a message that was delivered before counts as received.
    redelivered: Redelivered,
    clock: Clock,
    out: Vec<u8>,
    received: Received,
}

/// How to count a message whose attempts are above 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redelivered {
    /// Another client had it: it is new to us.
    Counts,
    /// We had it, and are waiting for each message once.
    DoesNotCount,
}

/// What one subscriber has done.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) messages: u64,
    pub(crate) redelivered: u64,
    pub(crate) body_bytes: u64,
    pub(crate) latencies: Latencies,
    /// Commands refused with the connection kept, and the first refusal.
    pub(crate) refused_count: u64,
    pub(crate) first_refusal: Option<String>,
}

impl Subscriber {
    /// Takes a connection that has subscribed already.
    pub(crate) fn new(
        socket: Arc<Socket>,
        inbox: Inbox,
        subscribing: &Subscribing,
        redelivered: Redelivered,
        clock: Clock,
    ) -> Self {
        Self {
            socket,
            inbox,
            ready: subscribing.ready,
            fin_batch: match subscribing.fin_batch {
                0 => usize::MAX,
                most => most as usize,
            },
            redelivered,
            clock,
            out: Vec::with_capacity(INITIAL_OUT_BYTES),
            received: Received {
                messages: 0,
                redelivered: 0,
                body_bytes: 0,
                latencies: Latencies::default(),
                refused_count: 0,
                first_refusal: None,
            },
        }
    }

    /// Receives and finishes messages until the answer to a CLS arrives, which the coordinator sends.
    /// Commands are carried out in order, so by then the server has seen every FIN before it.
    /// `enough` is called once when all wanted messages are there.
    ///
    /// # Errors
    /// The connection is lost, or the server refuses a command for good.
    pub(crate) fn run(
        mut self,
        progress: &Progress,
        enough: impl Fn(),
    ) -> Result<Received, BenchError> {
        encode::ready(&mut self.out, self.ready);
        self.flush()?;
        let mut said_enough = false;
        loop {
            self.inbox.receive(&self.socket)?;
            let counted_before = self.counted();
            let goes_on = self.take_frames()?;
            self.flush()?;
            let counted = self.counted() - counted_before;
            if counted > 0 && progress.add_received(counted) && !said_enough {
                said_enough = true;
                enough();
            }
            if !goes_on {
                return Ok(self.received);
            }
        }
    }

    /// Handles every frame in the inbox. Returns `false` when the server has answered CLS.
    fn take_frames(&mut self) -> Result<bool, BenchError> {
        // Everything from one read counts as received now.
        let now = self.clock.now();
        let mut fin_count = 0;
        let mut goes_on = true;
        while let Some(frame) = self.inbox.next_frame(&self.socket)? {
            match frame {
                Frame::Message(message) => {
                    if message.attempts > 1 {
                        self.received.redelivered += 1;
                    }
                    self.received.messages += 1;
                    self.received.body_bytes += message.body.len() as u64;
                    if let Some(sent) = send_time(message.body, now) {
                        self.received.latencies.record(now - sent);
                    }
                    encode::finish(&mut self.out, &message.id);
                    fin_count += 1;
                    if fin_count == self.fin_batch {
                        self.socket.write(&self.out)?;
                        self.out.clear();
                        fin_count = 0;
                    }
                }
                Frame::Response(HEARTBEAT) => self.out.extend_from_slice(NOP),
                Frame::Response(CLOSE_WAIT) => goes_on = false,
                Frame::Error(text) if text.starts_with(FIN_FAILED) => {
                    self.received.refused_count += 1;
                    self.received
                        .first_refusal
                        .get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
                }
                Frame::Error(text) => return Err(self.socket.refused(text)),
                frame @ Frame::Response(_) => return Err(self.socket.unexpected(frame)),
            }
        }
        Ok(goes_on)
    }

    fn counted(&self) -> u64 {
        match self.redelivered {
            Redelivered::Counts => self.received.messages,
            Redelivered::DoesNotCount => self.received.messages - self.received.redelivered,
        }
    }

    fn flush(&mut self) -> Result<(), BenchError> {
        if !self.out.is_empty() {
            self.socket.write(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }
}

/// The one refusal that a FIN can meet without the connection being closed.
const FIN_FAILED: &[u8] = b"E_FIN_FAILED";
/// Room for the FINs of one read of small messages; it grows when that is not enough.
const INITIAL_OUT_BYTES: usize = 64 * 1024;
