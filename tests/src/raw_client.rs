//! A TCP client that sends any bytes and reads frames.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stream::Stream;
use crate::wait::{PATIENCE, SILENCE};

/// One connection to nsqd.
#[derive(Debug)]
pub struct RawClient {
    stream: Stream,
    received: Vec<u8>,
    /// Messages that arrived while the client waited for an answer.
    set_aside: VecDeque<Delivery>,
}

/// What nsqd sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Type 0.
    Response(String),
    /// Type 1.
    Error(String),
    /// Type 2.
    Message(Delivery),
}

/// A message as delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// When it was published, in unix nanoseconds.
    pub timestamp_nanos: i64,
    /// How often it was delivered, including this time.
    pub attempts: u16,
    /// The 16 characters of the id.
    pub id: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why there is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadEnd {
    /// None arrived in time.
    Silence,
    /// The other side closed, with or without a reset.
    Closed,
}

impl RawClient {
    /// Connects and sends the magic.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let mut client = Self::connect_silently(address);
        client.send(b"  V2");
        client
    }

    /// Connects and sends nothing.
    #[track_caller]
    pub fn connect_silently(address: SocketAddr) -> Self {
        Self::try_connect(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// As [`RawClient::connect_silently`], for an address that may have no listener.
    ///
    /// # Errors
    /// An I/O error when there is no connection.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    pub(crate) fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Self::through(Stream::Tcp(stream))
    }

    /// Connects to a unix socket and sends the magic.
    #[track_caller]
    pub fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path);
        let stream =
            stream.unwrap_or_else(|error| panic!("cannot connect to {}: {error}", path.display()));
        let client = Self::through(Stream::Unix(stream));
        let mut client = client.expect("a new connection is open");
        client.send(b"  V2");
        client
    }

    fn through(stream: Stream) -> io::Result<Self> {
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            received: vec![],
            set_aside: VecDeque::new(),
        })
    }

    /// The connection itself, and the bytes already read from it.
    #[track_caller]
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        let unlimited = self.stream.set_read_timeout(None);
        unlimited.expect("the connection is open");
        match self.stream {
            Stream::Tcp(stream) => (stream, self.received),
            Stream::Unix(_) => panic!("layers go on TCP connections only"),
        }
    }

    /// Sends these bytes in one write.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes)
            .expect("the connection takes what we send");
    }

    /// As [`RawClient::send`], for a connection that the other side may have closed.
    ///
    /// # Errors
    /// An I/O error when the connection is broken.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a command line.
    #[track_caller]
    pub fn send_line(&mut self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
    }

    /// Sends a command line, the size of the body, and the body.
    #[track_caller]
    pub fn send_with_body(&mut self, line: &str, body: &[u8]) {
        self.send(&Self::command(line, body));
    }

    /// Publishes and waits for the `OK`; messages that arrive before it are kept for later.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, body: impl AsRef<[u8]>) {
        self.send_with_body(&format!("PUB {topic}"), body.as_ref());
        self.wait_for_ok();
    }

    /// Publishes many at once and waits for the `OK` like [`RawClient::publish`].
    #[track_caller]
    pub fn publish_many<B: AsRef<[u8]>>(&mut self, topic: &str, bodies: &[B]) {
        self.send(&Self::multi_publish(topic, bodies));
        self.wait_for_ok();
    }

    /// An MPUB command's bytes.
    pub fn multi_publish<B: AsRef<[u8]>>(topic: &str, bodies: &[B]) -> Vec<u8> {
        let mut batch = big_endian(bodies.len()).to_vec();
        for body in bodies {
            batch.extend(big_endian(body.as_ref().len()));
            batch.extend(body.as_ref());
        }
        Self::command(&format!("MPUB {topic}"), &batch)
    }

    /// The bytes of a command with the size of its body and the body.
    pub fn command(line: &str, body: &[u8]) -> Vec<u8> {
        [line.as_bytes(), b"\n", &big_endian(body.len()), body].concat()
    }

    /// Sends IDENTIFY and waits for its answer, which is JSON or `OK`.
    #[track_caller]
    pub fn identify(&mut self, settings: &Value) -> String {
        self.send_with_body("IDENTIFY", settings.to_string().as_bytes());
        match self.next_frame(PATIENCE) {
            Ok(Frame::Response(answer)) => answer,
            other => panic!("IDENTIFY was answered by {other:?}"),
        }
    }

    /// Subscribes and waits for the `OK`.
    #[track_caller]
    pub fn subscribe(&mut self, topic: &str, channel: &str) {
        self.send_line(&format!("SUB {topic} {channel}"));
        self.expect_ok();
    }

    /// Finishes a message.
    #[track_caller]
    pub fn finish(&mut self, message: &Delivery) {
        self.send_line(&format!("FIN {}", message.id));
    }

    /// Shuts down the sending half, as client libraries do before they close.
    #[track_caller]
    pub fn close_sending_half(&mut self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("the connection is open");
    }

    /// The next frame, waiting for it.
    ///
    /// # Errors
    /// [`ReadEnd`] when none came in time or the connection ended.
    pub fn next_frame(&mut self, patience: Duration) -> Result<Frame, ReadEnd> {
        if let Some(message) = self.set_aside.pop_front() {
            return Ok(Frame::Message(message));
        }
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = self.take_frame() {
                return Ok(frame);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ReadEnd::Silence);
            }
            // On a broken connection even this fails.
            if self.stream.set_read_timeout(Some(left)).is_err() {
                return Err(ReadEnd::Closed);
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ReadEnd::Closed),
                Ok(count) => self.received.extend(&chunk[..count]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::Interrupted => {}
                    _ => return Err(ReadEnd::Closed),
                },
            }
        }
    }

    /// Waits for `OK`.
    #[track_caller]
    pub fn expect_ok(&mut self) {
        self.expect_response("OK");
    }

    /// Waits for this response.
    #[track_caller]
    pub fn expect_response(&mut self, text: &str) {
        assert_eq!(self.next_frame(PATIENCE), Ok(Frame::Response(text.into())));
    }

    /// Waits for an error frame of exactly this text.
    #[track_caller]
    pub fn expect_error(&mut self, text: &str) {
        assert_eq!(self.next_frame(PATIENCE), Ok(Frame::Error(text.into())));
    }

    /// Waits for a message.
    #[track_caller]
    pub fn expect_message(&mut self) -> Delivery {
        match self.next_frame(PATIENCE) {
            Ok(Frame::Message(message)) => message,
            other => panic!("not a message: {other:?}"),
        }
    }

    /// Waits for a message with this body.
    #[track_caller]
    pub fn expect_body(&mut self, body: impl AsRef<[u8]>) -> Delivery {
        let message = self.expect_message();
        let (got, wanted) = (
            String::from_utf8_lossy(&message.body),
            String::from_utf8_lossy(body.as_ref()),
        );
        assert_eq!(got, wanted);
        message
    }

    /// Waits for the end of the connection, without a frame before it.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        assert_eq!(self.next_frame(PATIENCE), Err(ReadEnd::Closed));
    }

    /// Checks that the connection works and that no frame is waiting on it.
    #[track_caller]
    pub fn expect_silence(&mut self) {
        assert_eq!(self.next_frame(SILENCE), Err(ReadEnd::Silence));
    }

    #[track_caller]
    fn wait_for_ok(&mut self) {
        let mut before = VecDeque::new();
        loop {
            match self.next_frame(PATIENCE) {
                Ok(Frame::Message(message)) => before.push_back(message),
                Ok(Frame::Response(text)) if text == "OK" => break,
                other => panic!("not OK: {other:?}"),
            }
        }
        self.set_aside = before;
    }

    /// The next frame if all of it has been received.
    fn take_frame(&mut self) -> Option<Frame> {
        let size = self.received.get(..4)?;
        let size = u32::from_be_bytes(size.try_into().expect("four bytes"));
        let end = 4 + usize::try_from(size).expect("sizes here fit");
        if self.received.len() < end {
            return None;
        }
        let rest = self.received.split_off(end);
        let frame = std::mem::replace(&mut self.received, rest);
        let (kind, body) = frame[4..].split_at_checked(4).expect("a frame has a type");
        let text = || String::from_utf8_lossy(body).into_owned();
        Some(match kind {
            [0, 0, 0, 0] => Frame::Response(text()),
            [0, 0, 0, 1] => Frame::Error(text()),
            [0, 0, 0, 2] => Frame::Message(Delivery::parse(body)),
            _ => panic!("a frame of type {kind:?}"),
        })
    }
}

impl Delivery {
    fn parse(frame: &[u8]) -> Self {
        let (timestamp, rest) = frame
            .split_at_checked(8)
            .expect("a message has a timestamp");
        let (attempts, rest) = rest.split_at_checked(2).expect("a message has attempts");
        let (id, body) = rest.split_at_checked(16).expect("a message has an id");
        Self {
            timestamp_nanos: i64::from_be_bytes(timestamp.try_into().expect("eight bytes")),
            attempts: u16::from_be_bytes(attempts.try_into().expect("two bytes")),
            id: String::from_utf8(id.to_vec()).expect("ids are text"),
            body: body.to_vec(),
        }
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn big_endian(count: usize) -> [u8; 4] {
    u32::try_from(count)
        .expect("test bodies are small")
        .to_be_bytes()
}
