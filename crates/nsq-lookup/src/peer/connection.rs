//! One TCP connection to an nsqlookupd: requests out, one answer each back.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nsq_daemon::os_error;
use nsq_transport::tls::{Connector, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::{AnswerSizeError, MAGIC_V1, Request, take_answer};

pub(super) struct Connection {
    stream: Stream,
    input: BytesMut,
    io_timeout: Duration,
    max_answer_bytes: usize,
}

/// A conversation that cannot continue.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("{act} - {}", os_error::plain_text(.source))]
    Io { act: Act, source: io::Error },
    #[error("{act} - timeout after {after:?}")]
    Timeout { act: Act, after: Duration },
    #[error("{act} - {source}")]
    Answer { act: Act, source: AnswerSizeError },
    #[error("{act} - refused: {answer:?}")]
    Refused { act: Act, answer: String },
    #[error("parsing response - {0:?}")]
    Introduction(String),
    #[error("{0} - connection closed")]
    Closed(Act),
    #[error("sent {0} unexpected bytes")]
    Unsolicited(usize),
}

/// What was being done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    Connect,
    ShakeHands,
    Wait,
    Ask(Request),
}

impl Connection {
    /// Connects, with TLS if there is a connector for it, and sends the magic, to which there is no answer.
    pub(super) async fn open(
        address: &str,
        tls: Option<&Connector>,
        io_timeout: Duration,
        max_answer_bytes: usize,
    ) -> Result<Self, ConnectionError> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = bounded(io_timeout, || Act::Connect, connect).await?;
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let handshake = tls.connect(address, stream);
                bounded(io_timeout, || Act::ShakeHands, handshake).await?
            }
        };
        let mut connection = Self {
            stream,
            input: BytesMut::new(),
            io_timeout,
            max_answer_bytes,
        };
        connection.write(&MAGIC_V1, || Act::Connect).await?;
        Ok(connection)
    }

    /// Sends one request and waits for its answer.
    pub(super) async fn ask(&mut self, request: Request) -> Result<Bytes, ConnectionError> {
        let mut answers = self.ask_all(&[request]).await?;
        Ok(answers.pop().expect("one answer for each request"))
    }

    /// Sends all requests in one go, then reads an answer for each. An answer that is an error is one here,
    /// since nsqlookupd closes the connection after it.
    pub(super) async fn ask_all(
        &mut self,
        requests: &[Request],
    ) -> Result<Vec<Bytes>, ConnectionError> {
        let Some(first) = requests.first() else {
            return Ok(Vec::new());
        };
        let mut output = BytesMut::new();
        for request in requests {
            request.put(&mut output);
        }
        self.write(&output, || Act::Ask(first.clone())).await?;
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(self.read_answer(request).await?);
        }
        Ok(answers)
    }

    /// Waits for the other side to close, or to break the rules.
    pub(super) async fn closed(&mut self) -> ConnectionError {
        if !self.input.is_empty() {
            // It came together with the last answer, and would be taken for the next.
            return ConnectionError::Unsolicited(self.input.len());
        }
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => ConnectionError::Closed(Act::Wait),
            Ok(bytes) => ConnectionError::Unsolicited(bytes),
            Err(source) => ConnectionError::Io {
                act: Act::Wait,
                source,
            },
        }
    }

    async fn write(&mut self, bytes: &[u8], act: impl Fn() -> Act) -> Result<(), ConnectionError> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        bounded(self.io_timeout, act, write).await
    }

    async fn read_answer(&mut self, request: &Request) -> Result<Bytes, ConnectionError> {
        let act = || Act::Ask(request.clone());
        loop {
            let taken = take_answer(&mut self.input, self.max_answer_bytes);
            let taken = taken.map_err(|source| ConnectionError::Answer { act: act(), source })?;
            if let Some(answer) = taken {
                if answer.starts_with(b"E_") {
                    let answer = String::from_utf8_lossy(&answer).into_owned();
                    return Err(ConnectionError::Refused { act: act(), answer });
                }
                return Ok(answer);
            }
            let read = self.stream.read_buf(&mut self.input);
            if bounded(self.io_timeout, act, read).await? == 0 {
                return Err(ConnectionError::Closed(act()));
            }
        }
    }
}

async fn bounded<T>(
    limit: Duration,
    act: impl Fn() -> Act,
    operation: impl Future<Output = io::Result<T>>,
) -> Result<T, ConnectionError> {
    match timeout(limit, operation).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(ConnectionError::Io { act: act(), source }),
        Err(_) => Err(ConnectionError::Timeout {
            act: act(),
            after: limit,
        }),
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("dial"),
            Self::ShakeHands => f.write_str("TLS handshake"),
            Self::Wait => f.write_str("idle"),
            Self::Ask(request) => request.fmt(f),
        }
    }
}
