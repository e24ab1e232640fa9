//! A connection's two directions, driven by one task: frames out of the bytes that arrive, an outbox into what
//! goes, both at once so that neither end can hold the other up.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nsq_protocol::{DecodeError, Frame, MessageFrame, decode_frame};
use nsq_transport::Compression;
use nsq_transport::tls::{Connector, HANDSHAKE_TIMEOUT};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::ConnectError;
use crate::outbox::Outbox;
use crate::transport::Transport;

/// A connection after its magic.
pub(crate) struct Wire {
    transport: Transport,
    incoming: BytesMut,
    /// Frames above this are refused: type, message header and body.
    max_frame_bytes: u32,
    outgoing: Vec<u8>,
    written: usize,
    flushed: bool,
    reading_paused: bool,
    timeouts: Timeouts,
    last_read: Instant,
    /// Since when nsqd takes nothing of what is there to send.
    stuck_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) read: Duration,
    pub(crate) write: Duration,
}

/// What made [`Wire::turn`] return.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Bytes came: there may be frames to take.
    Arrived,
    /// The outbox is closing and all of it has been sent.
    AllSent,
}

impl Wire {
    pub(crate) fn new(transport: Transport, max_msg_size: u32, timeouts: Timeouts) -> Self {
        let now = Instant::now();
        Self {
            transport,
            incoming: BytesMut::new(),
            max_frame_bytes: match max_msg_size {
                0 => i32::MAX.unsigned_abs(),
                max => max.saturating_add(FRAME_OVERHEAD_BYTES),
            },
            outgoing: Vec::new(),
            written: 0,
            flushed: true,
            reading_paused: false,
            timeouts,
            last_read: now,
            stuck_since: None,
            timer: Box::pin(sleep_until(now + timeouts.read)),
        }
    }

    /// Sends and receives until something has come. What cannot be sent meanwhile is not lost.
    pub(crate) async fn turn<T>(&mut self, outbox: &Outbox<T>) -> Result<Turn, ConnectError> {
        poll_fn(|context| self.poll_turn(outbox, context)).await
    }

    fn poll_turn<T>(
        &mut self,
        outbox: &Outbox<T>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Turn, ConnectError>> {
        if let Poll::Ready(all_sent) = self.poll_send(outbox, context) {
            all_sent?;
            return Poll::Ready(Ok(Turn::AllSent));
        }
        if !self.reading_paused
            && let Poll::Ready(count) = self.poll_receive(context)
        {
            return Poll::Ready(match count? {
                0 => Err(ConnectError::Closed),
                _ => Ok(Turn::Arrived),
            });
        }
        Poll::Ready(Err(ready!(self.poll_timeout(context))))
    }

    /// Ready once there will be nothing more to send.
    fn poll_send<T>(
        &mut self,
        outbox: &Outbox<T>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let closing = {
                let mut state = outbox.lock();
                state.register(context);
                self.reading_paused = state.reading_paused;
                if self.written == self.outgoing.len() {
                    self.outgoing.clear();
                    self.outgoing.shrink_to(KEPT_BYTES);
                    self.written = 0;
                    std::mem::swap(&mut self.outgoing, &mut state.bytes);
                }
                state.closing
            };
            if self.outgoing.is_empty() && self.flushed {
                return if closing {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            }
            ready!(self.poll_write_or_flush(context))?;
            self.stuck_since = None;
        }
    }

    fn poll_write_or_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let transport = Pin::new(&mut self.transport);
        let progress = if self.outgoing.is_empty() {
            transport.poll_flush(context).map_ok(|()| {
                self.flushed = true;
            })
        } else {
            self.flushed = false;
            let rest = &self.outgoing[self.written..];
            transport.poll_write(context, rest).map(|outcome| {
                match outcome? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    count => self.written += count,
                }
                Ok(())
            })
        };
        if progress.is_pending() && self.stuck_since.is_none() {
            let now = Instant::now();
            self.stuck_since = Some(now);
            let next = (now + self.timeouts.write).min(self.last_read + self.timeouts.read);
            self.timer.as_mut().reset(next);
        }
        progress
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.make_room();
        let read = std::pin::pin!(self.transport.read_buf(&mut self.incoming));
        let count = ready!(read.poll(context))?;
        self.last_read = Instant::now();
        Poll::Ready(Ok(count))
    }

    /// A large frame has the buffer double as its bytes come: what a peer declares takes nothing.
    fn make_room(&mut self) {
        if self.incoming.capacity() - self.incoming.len() < LEAST_READ_BYTES {
            self.incoming.reserve(READ_BYTES.max(self.incoming.len()));
        }
    }

    fn poll_timeout(&mut self, context: &mut Context<'_>) -> Poll<ConnectError> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let now = Instant::now();
            let Timeouts { read, write } = self.timeouts;
            if now >= self.last_read + read {
                return Poll::Ready(ConnectError::ReadTimeout(read));
            }
            let mut next = self.last_read + read;
            if let Some(since) = self.stuck_since {
                if now >= since + write {
                    return Poll::Ready(ConnectError::WriteTimeout(write));
                }
                next = next.min(since + write);
            }
            self.timer.as_mut().reset(next);
        }
    }

    /// All frames that are there in whole. They share memory, which is free again when the last of
    /// them is gone.
    pub(crate) fn take_frames(&mut self) -> Result<Frames, ConnectError> {
        Ok(Frames::take(&mut self.incoming, self.max_frame_bytes)?)
    }

    /// Sends everything at once: for the conversation before the [turns](Self::turn).
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        let write = async {
            self.transport.write_all(bytes).await?;
            self.transport.flush().await
        };
        let timeout = self.timeouts.write;
        match tokio::time::timeout(timeout, write).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(ConnectError::WriteTimeout(timeout)),
        }
    }

    /// The next frame that is no heartbeat: for the conversation before the [turns](Self::turn).
    pub(crate) async fn answer(&mut self) -> Result<Answer, ConnectError> {
        loop {
            // As a size it would be one that fits.
            if self.incoming.starts_with(b"HTTP") {
                return Err(ConnectError::Http);
            }
            let decoded = decode_frame(&self.incoming, self.max_frame_bytes);
            let Some((frame, count)) = decoded? else {
                let timeout = self.timeouts.read;
                self.make_room();
                let read = self.transport.read_buf(&mut self.incoming);
                match tokio::time::timeout(timeout, read).await {
                    Ok(Ok(0)) => return Err(ConnectError::Closed),
                    Ok(count) => count?,
                    Err(_) => return Err(ConnectError::ReadTimeout(timeout)),
                };
                self.last_read = Instant::now();
                continue;
            };
            let answer = match frame {
                Frame::Response(HEARTBEAT) => None,
                Frame::Response(body) => Some(Answer::Response(body.to_vec())),
                Frame::Error(body) => Some(Answer::Error(lossy(body))),
                Frame::Message(_) => Some(Answer::Response(b"a message".to_vec())),
            };
            let _ = self.incoming.split_to(count);
            match answer {
                Some(answer) => return Ok(answer),
                None => self.send(b"NOP\n").await?,
            }
        }
    }

    /// Continues in TLS from here; nsqd confirms that within it.
    pub(crate) async fn start_tls(
        &mut self,
        connector: &Connector,
        address: &str,
    ) -> Result<(), ConnectError> {
        let upgrade = |source| ConnectError::Upgrade {
            layer: "TLS",
            source,
        };
        let read_ahead = self.incoming.split().to_vec();
        let handshake = self.transport.connect_tls(connector, address, read_ahead);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(outcome) => outcome.map_err(upgrade)?,
            Err(late) => return Err(upgrade(late.into())),
        }
        self.expect_ok("the TLS upgrade").await
    }

    /// Continues with a compression from here; nsqd confirms that within it.
    pub(crate) async fn compress(&mut self, compression: Compression) -> Result<(), ConnectError> {
        let (layer, command) = match compression {
            Compression::Snappy => ("snappy", "the snappy upgrade"),
            Compression::Deflate { .. } => ("deflate", "the deflate upgrade"),
        };
        let read_ahead = self.incoming.split().to_vec();
        self.transport
            .compress(compression, read_ahead)
            .map_err(|source| ConnectError::Upgrade { layer, source })?;
        self.expect_ok(command).await
    }

    async fn expect_ok(&mut self, command: &'static str) -> Result<(), ConnectError> {
        match self.answer().await? {
            Answer::Response(body) if body == b"OK" => Ok(()),
            answer => Err(answer.unexpected(command)),
        }
    }

    /// Says goodbye as far as the other side listens.
    pub(crate) async fn close(mut self) {
        // It is over either way.
        let _ = tokio::time::timeout(self.timeouts.write, self.transport.shutdown()).await;
    }

    /// How much of what was taken from the outbox has left for certain not.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.outgoing.len() - self.written
    }
}

/// An answer to one of the first commands.
#[derive(Debug)]
pub(crate) enum Answer {
    Response(Vec<u8>),
    Error(String),
}

impl Answer {
    /// As an answer that the protocol does not have after `command`.
    pub(crate) fn unexpected(&self, command: &'static str) -> ConnectError {
        let answer = match self {
            Self::Response(body) => lossy(&body[..body.len().min(SHOWN_BYTES)]),
            Self::Error(text) => text.clone(),
        };
        ConnectError::UnexpectedAnswer { command, answer }
    }
}

pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whole frames, one after the other.
pub(crate) struct Frames {
    bytes: Bytes,
    max_frame_bytes: u32,
}

impl Frames {
    /// All frames that `incoming` begins with and that are there in whole.
    pub(crate) fn take(incoming: &mut BytesMut, max_frame_bytes: u32) -> Result<Self, DecodeError> {
        let mut end = 0;
        while let Some((_, count)) = decode_frame(&incoming[end..], max_frame_bytes)? {
            end += count;
        }
        Ok(Self {
            bytes: incoming.split_to(end).freeze(),
            max_frame_bytes,
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Frame<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (frame, count) = decode_frame(rest, self.max_frame_bytes).ok()??;
            rest = &rest[count..];
            Some(frame)
        })
    }

    /// A message's body, which keeps all of these frames in memory.
    pub(crate) fn body(&self, message: &MessageFrame<'_>) -> Bytes {
        self.bytes.slice_ref(message.body)
    }
}

pub(crate) const HEARTBEAT: &[u8] = b"_heartbeat_";

/// Type, time, attempts and id.
const FRAME_OVERHEAD_BYTES: u32 = 4 + 8 + 2 + 16;

/// With less room than this, new room is made before reading.
const LEAST_READ_BYTES: usize = 4 * 1024;

/// nsqd gathers 16 KiB by default; a few of these in one read still fit.
const READ_BYTES: usize = 64 * 1024;

/// What an idle connection keeps for its next write.
const KEPT_BYTES: usize = 64 * 1024;

/// Enough of an answer to know it by.
const SHOWN_BYTES: usize = 64;
