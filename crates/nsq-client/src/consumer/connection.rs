//! One connection of a consumer: what it holds, and the task that drives it.

use std::sync::Arc;
use std::time::Duration;

use nsq_protocol::{Frame, RawMessageId, encode};

use super::backoff::Signal;
use super::event::ConsumerEvent;
use super::message::Delivery;
use super::ready::ConnectionId;
use super::shared::Shared;
use crate::error::ConnectError;
use crate::outbox::{Outbox, State};
use crate::wire::{Frames, HEARTBEAT, Turn, Wire, lossy};

/// What messages and the consumer know of a connection.
pub(crate) struct Connection {
    id: ConnectionId,
    address: Arc<str>,
    shared: Arc<Shared>,
    outbox: Outbox<Held>,
    /// How long nsqd waits for a message's answer.
    message_timeout: Duration,
    /// With this many in flight nothing more is read.
    most_in_flight: usize,
}

/// Messages that came and are not answered.
#[derive(Debug, Default)]
struct Held {
    in_flight: usize,
    /// nsqd sends no more: the connection ends with the last answer.
    leaving: bool,
}

impl Connection {
    pub(crate) fn new(
        id: ConnectionId,
        address: Arc<str>,
        shared: Arc<Shared>,
        max_rdy_count: u32,
        message_timeout: Duration,
    ) -> Self {
        let most = usize::try_from(max_rdy_count).unwrap_or(usize::MAX);
        Self {
            id,
            address,
            shared,
            outbox: Outbox::new(Held::default()),
            message_timeout,
            most_in_flight: most.saturating_mul(2).max(LEAST_LIMIT),
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn message_timeout(&self) -> Duration {
        self.message_timeout
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.outbox.lock().more.in_flight
    }

    /// Whether answers have no effect any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.outbox.lock().closed
    }

    pub(crate) fn finish(&self, id: &RawMessageId) {
        self.shared.signal_success(self);
        if self.outbox.write(|state| {
            encode::finish(&mut state.bytes, id);
            self.one_less(state)
        }) {
            self.shared.counters.count_finished();
        }
    }

    /// The signal goes first, so that nsqd gets RDY 0 before it could send the message again.
    pub(crate) fn requeue(
        &self,
        id: &RawMessageId,
        attempts: u16,
        delay: Option<Duration>,
        signal: Option<Signal>,
    ) {
        if self.is_gone() {
            return;
        }
        if let Some(signal) = signal {
            self.shared.signal(signal);
        }
        let delay = delay.unwrap_or_else(|| {
            let config = &self.shared.dialer.config;
            let linear = config.default_requeue_delay * u32::from(attempts);
            linear.min(config.max_requeue_delay)
        });
        if self.outbox.write(|state| {
            encode::requeue(&mut state.bytes, id, delay);
            self.one_less(state)
        }) {
            self.shared.counters.count_requeued();
        }
    }

    pub(crate) fn touch(&self, id: &RawMessageId) {
        self.outbox.write(|state| {
            if !state.closed {
                encode::touch(&mut state.bytes, id);
            }
        });
    }

    pub(crate) fn send_ready_count(&self, count: u32) {
        self.outbox.write(|state| {
            if !state.closed {
                encode::ready(&mut state.bytes, count);
            }
        });
    }

    /// Asks nsqd to send no more.
    pub(crate) fn send_close(&self) {
        self.outbox.write(|state| encode::close(&mut state.bytes));
    }

    /// Ends the connection once what is written has left.
    pub(crate) fn close(&self) {
        self.outbox.write(|state| state.closing = true);
    }

    /// One message was answered. Whether that has an effect.
    fn one_less(&self, state: &mut State<Held>) -> bool {
        if state.closed {
            state.bytes.clear();
            return false;
        }
        state.more.in_flight = state.more.in_flight.saturating_sub(1);
        if state.more.in_flight == 0 && state.more.leaving {
            state.closing = true;
        }
        if state.more.in_flight < self.most_in_flight {
            state.reading_paused = false;
        }
        true
    }

    /// Drives the connection to its end, and says why it came, unless it was wanted.
    pub(crate) async fn run(self: &Arc<Self>, mut wire: Wire) -> Option<ConnectError> {
        // Also when the task is cut off, no one may continue writing for it.
        let _end = End(self);
        loop {
            let arrived = match wire.turn(&self.outbox).await {
                Ok(Turn::Arrived) => wire.take_frames(),
                Ok(Turn::AllSent) => {
                    wire.close().await;
                    return None;
                }
                Err(error) => Err(error),
            };
            match arrived {
                Ok(frames) => self.take_in(&frames),
                Err(ConnectError::Closed) if self.outbox.lock().closing => return None,
                Err(error) => return Some(error),
            }
        }
    }

    fn take_in(self: &Arc<Self>, frames: &Frames) {
        let mut message_count = 0;
        let mut is_last = false;
        for frame in frames.iter() {
            match frame {
                Frame::Message(_) => message_count += 1,
                Frame::Response(HEARTBEAT) => encode::nop(&mut self.outbox.lock().bytes),
                Frame::Response(b"CLOSE_WAIT") => is_last = true,
                Frame::Response(_) => {}
                Frame::Error(text) => self.report(&lossy(text)),
            }
        }
        if message_count > 0 {
            {
                let mut state = self.outbox.lock();
                state.more.in_flight += message_count;
                state.reading_paused = state.more.in_flight >= self.most_in_flight;
            }
            self.shared.messages_came(self, message_count);
            let messages = frames.iter().filter_map(|frame| match frame {
                Frame::Message(message) => Some(Delivery {
                    connection: Arc::clone(self),
                    body: frames.body(&message),
                    id: message.id,
                    timestamp: message.timestamp,
                    attempts: message.attempts,
                }),
                Frame::Response(_) | Frame::Error(_) => None,
            });
            self.shared.inbox.push(messages);
        }
        // After the messages that came with it, which are still to be answered.
        if is_last {
            self.leave();
        }
    }

    /// nsqd has sent its last message.
    fn leave(&self) {
        self.shared.disconnected(self);
        let mut state = self.outbox.lock();
        state.more.leaving = true;
        state.closing |= state.more.in_flight == 0;
    }

    /// An answer to a message that came too late, most often.
    fn report(&self, text: &str) {
        let Self {
            address, shared, ..
        } = self;
        tracing::error!("{} ({address}) protocol error - {text}", shared.label);
        shared.tell(&ConsumerEvent::Refused { address, text });
    }
}

struct End<'a>(&'a Connection);

impl Drop for End<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.0.outbox.lock();
            state.closed = true;
            state.bytes = Vec::new();
        }
        self.0.shared.disconnected(self.0);
    }
}

/// A connection that allows little may still have this many wait.
const LEAST_LIMIT: usize = 16;
