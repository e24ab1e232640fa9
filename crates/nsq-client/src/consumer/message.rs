//! A message in the hands of a consumer.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use nsq_protocol::RawMessageId;

use super::backoff::Signal;
use super::connection::Connection;

/// A message as it came: what it says, and what nsqd says about it. A clone is cheap.
///
/// The body shares memory with messages that came at the same time (up to some 64 KiB). To keep a small
/// part for long, copy it: `Bytes::copy_from_slice`.
#[derive(Clone)]
pub struct Delivery {
    pub(crate) connection: Arc<Connection>,
    pub(crate) body: Bytes,
    pub(crate) id: RawMessageId,
    pub(crate) timestamp: i64,
    pub(crate) attempts: u16,
}

impl Delivery {
    /// The publisher's bytes.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Its id, which is unique within its topic on one nsqd.
    pub fn id(&self) -> &RawMessageId {
        &self.id
    }

    /// Its id as text.
    pub fn id_text(&self) -> String {
        self.id.escape_ascii().to_string()
    }

    /// How often it has been delivered, this time included.
    pub fn attempts(&self) -> u16 {
        self.attempts
    }

    /// When it was published, in unix nanoseconds by nsqd's clock.
    pub fn timestamp_nanos(&self) -> i64 {
        self.timestamp
    }

    /// When it was published, by nsqd's clock.
    pub fn published_at(&self) -> SystemTime {
        let nanos = u64::try_from(self.timestamp).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
    }

    /// The nsqd it came from, as `host:port`.
    pub fn nsqd_address(&self) -> &str {
        self.connection.address()
    }

    /// How long nsqd waits for an answer after it has sent the message, and again after each [`touch`](Self::touch):
    /// what was agreed on when the connection was made.
    pub fn timeout(&self) -> Duration {
        self.connection.message_timeout()
    }

    /// Asks nsqd for as much time again as it gave at first, up to its own limit.
    pub fn touch(&self) {
        self.connection.touch(&self.id);
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id_text())
            .field("nsqd", &self.nsqd_address())
            .field("attempts", &self.attempts)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// It has been dealt with.
    Finish,
    /// It has to come again, to this consumer or another one.
    Requeue {
        /// How long nsqd holds it back. `None`: the attempts times `default_requeue_delay`, at most
        /// `max_requeue_delay`.
        delay: Option<Duration>,
        /// Whether this counts as a failure, which slows the consumer down.
        backoff: bool,
    },
}

impl Answer {
    /// What a failure is answered with: again after the default delay, and backing off.
    pub const FAILURE: Self = Self::Requeue {
        delay: None,
        backoff: true,
    };
}

/// A message that is to be answered, by [`finish`](Self::finish) or [`requeue`](Self::requeue).
///
/// One that is dropped without an answer, as by a panic, is requeued as a failure. Answers to a connection
/// that has gone meanwhile have no effect: its nsqd delivers such messages again when their time is up.
#[derive(Debug)]
#[must_use = "a message that is dropped is requeued"]
pub struct Message {
    delivery: Delivery,
    answered: bool,
}

impl Message {
    pub(crate) fn new(delivery: Delivery) -> Self {
        Self {
            delivery,
            answered: false,
        }
    }

    /// Tells nsqd that the message has been dealt with.
    pub fn finish(self) {
        self.answer(Answer::Finish);
    }

    /// Gives the message back as a failure: it comes again after `delay` (see [`Answer::Requeue`] for `None`),
    /// and the consumer backs off.
    pub fn requeue(self, delay: Option<Duration>) {
        let backoff = true;
        self.answer(Answer::Requeue { delay, backoff });
    }

    /// As [`requeue`](Self::requeue), but it is no failure.
    pub fn requeue_without_backoff(self, delay: Option<Duration>) {
        let backoff = false;
        self.answer(Answer::Requeue { delay, backoff });
    }

    /// Answers it either way.
    pub fn answer(mut self, answer: Answer) {
        self.give(answer);
    }

    /// What came, which may be kept after the answer.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    fn give(&mut self, answer: Answer) {
        self.answered = true;
        let Delivery {
            connection,
            id,
            attempts,
            ..
        } = &self.delivery;
        match answer {
            Answer::Finish => connection.finish(id),
            Answer::Requeue { delay, backoff } => {
                let signal = if backoff {
                    Signal::Failure
                } else {
                    Signal::Neutral
                };
                connection.requeue(id, *attempts, delay, Some(signal));
            }
        }
    }

    /// Gives it back at once, as never seen.
    pub(crate) fn hand_back(mut self) {
        self.answered = true;
        let Delivery {
            connection,
            id,
            attempts,
            ..
        } = &self.delivery;
        connection.requeue(id, *attempts, Some(Duration::ZERO), None);
    }
}

impl Deref for Message {
    type Target = Delivery;

    fn deref(&self) -> &Delivery {
        &self.delivery
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if !self.answered {
            self.give(Answer::FAILURE);
        }
    }
}
