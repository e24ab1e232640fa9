//! One connection of a producer: publishes out, answers in, matched by their order.

use std::collections::VecDeque;
use std::sync::Arc;

use nsq_protocol::{Frame, encode};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot, watch};

use super::PublishError;
use crate::error::ConnectError;
use crate::outbox::Outbox;
use crate::wire::{Frames, HEARTBEAT, Turn, Wire, lossy};

/// What a producer knows of its connection.
pub(super) struct Link {
    address: String,
    outbox: Outbox<Publishes>,
    has_ended: watch::Sender<bool>,
    is_cut: Notify,
}

/// Publishes without an answer, in the order of their commands.
#[derive(Debug, Default)]
struct Publishes {
    pending: VecDeque<Pending>,
    /// All bytes ever put into the outbox.
    total_bytes: u64,
    /// The connection ends with the last answer.
    leaving: bool,
}

/// A publish that waits for its answer.
#[derive(Debug)]
pub(super) struct Pending {
    reply: oneshot::Sender<Result<(), PublishError>>,
    /// Where its command ends among all bytes.
    end: u64,
    /// Its part of what may wait, if that is bounded.
    _room: Option<OwnedSemaphorePermit>,
}

impl Pending {
    pub(super) fn new(
        reply: oneshot::Sender<Result<(), PublishError>>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            reply,
            end: 0,
            _room: room,
        }
    }

    fn answer(self, answer: Result<(), PublishError>) {
        // Who published may not care.
        let _ = self.reply.send(answer);
    }
}

impl Link {
    /// Has a task drive the connection.
    pub(super) fn start(address: &str, wire: Wire) -> Arc<Self> {
        let link = Arc::new(Self {
            address: address.to_owned(),
            outbox: Outbox::new(Publishes::default()),
            has_ended: watch::Sender::new(false),
            is_cut: Notify::new(),
        });
        let task = Arc::clone(&link);
        tokio::spawn(async move {
            let _end = End(&task);
            tokio::select! {
                () = task.run(wire) => {}
                () = task.is_cut.notified() => {}
            }
        });
        link
    }

    /// Puts a command into the outbox; gives it back if the connection has ended.
    pub(super) fn send(
        &self,
        mut pending: Pending,
        encode: impl Fn(&mut Vec<u8>),
    ) -> Result<(), Pending> {
        self.outbox.write(|state| {
            if state.closed || state.more.leaving {
                return Err(pending);
            }
            let before = state.bytes.len();
            encode(&mut state.bytes);
            state.more.total_bytes += bytes(state.bytes.len() - before);
            pending.end = state.more.total_bytes;
            state.more.pending.push_back(pending);
            Ok(())
        })
    }

    /// Sends a NOP; whether the connection was there for it.
    pub(super) fn ping(&self) -> bool {
        self.outbox.write(|state| {
            if !state.closed {
                encode::nop(&mut state.bytes);
                state.more.total_bytes += bytes(NOP_BYTES);
            }
            !state.closed
        })
    }

    /// Ends the connection with the last answer.
    pub(super) fn leave(&self) {
        self.outbox.write(|state| {
            state.more.leaving = true;
            state.closing = state.more.pending.is_empty();
        });
    }

    /// Ends the connection without waiting for answers.
    pub(super) fn cut(&self) {
        self.is_cut.notify_one();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.outbox.lock().closed
    }

    pub(super) async fn ended(&self) {
        // It cannot fail: the sender is in `self`.
        let _ = self.has_ended.subscribe().wait_for(|ended| *ended).await;
    }

    async fn run(&self, mut wire: Wire) {
        let error = loop {
            let arrived = match wire.turn(&self.outbox).await {
                Ok(Turn::Arrived) => wire.take_frames(),
                Ok(Turn::AllSent) => {
                    wire.close().await;
                    return;
                }
                Err(error) => Err(error),
            };
            if let Err(error) = arrived.and_then(|frames| self.take_in(&frames)) {
                break error;
            }
        };
        tracing::error!("({}) IO error - {error}", self.address);
        self.fail(bytes(wire.unsent_bytes()), error);
    }

    fn take_in(&self, frames: &Frames) -> Result<(), ConnectError> {
        for frame in frames.iter() {
            let answer = match frame {
                Frame::Response(HEARTBEAT) => {
                    self.ping();
                    continue;
                }
                Frame::Response(_) => Ok(()),
                Frame::Error(text) => Err(PublishError::Rejected(lossy(text))),
                Frame::Message(_) => return Err(unexpected("a message".into())),
            };
            let pending = {
                let mut state = self.outbox.lock();
                let pending = state.more.pending.pop_front();
                if state.more.leaving && state.more.pending.is_empty() {
                    state.closing = true;
                }
                pending
            };
            match (pending, answer) {
                (Some(pending), answer) => pending.answer(answer),
                (None, Err(PublishError::Rejected(text))) => return Err(unexpected(text)),
                (None, _) => return Err(unexpected("a response".into())),
            }
        }
        Ok(())
    }

    /// Tells all who wait that no answer will come. `unsent_bytes` of what was taken from the outbox have not left.
    fn fail(&self, unsent_bytes: u64, error: ConnectError) {
        let error = Arc::new(error);
        let (pending, sent_bytes) = {
            let mut state = self.outbox.lock();
            state.closed = true;
            let unsent_bytes = unsent_bytes + bytes(state.bytes.len());
            let sent_bytes = state.more.total_bytes.saturating_sub(unsent_bytes);
            (std::mem::take(&mut state.more.pending), sent_bytes)
        };
        for pending in pending {
            let error = Arc::clone(&error);
            let outcome = if pending.end > sent_bytes {
                PublishError::NotSent(error)
            } else {
                PublishError::Lost(error)
            };
            pending.answer(Err(outcome));
        }
    }
}

/// An answer to nothing: from here on, answers could not be told apart.
fn unexpected(answer: String) -> ConnectError {
    let command = "nothing";
    ConnectError::UnexpectedAnswer { command, answer }
}

struct End<'a>(&'a Link);

impl Drop for End<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.0.outbox.lock();
            state.closed = true;
            state.bytes = Vec::new();
            // Only when the task was cut off are there any.
            state.more.pending.clear();
        }
        self.0.has_ended.send_replace(true);
    }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).expect("a usize has at most 64 bits")
}

const NOP_BYTES: usize = b"NOP\n".len();
