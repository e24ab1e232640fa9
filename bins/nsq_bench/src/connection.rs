//! One connection to nsqd: its socket and the handshake.

use std::{
    io::{self, Write as _},
    net::{Shutdown, TcpStream},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use nsq_protocol::{ChannelName, Frame, TopicName, encode};

use crate::{error::BenchError, inbox::Inbox, layers::Layers};

/// The socket. Several threads may write to it, one at a time; only one reads.
#[derive(Debug)]
pub struct Socket {
    /// Counted from 0, for error texts.
    number: usize,
    stream: TcpStream,
    writing: Mutex<()>,
}

/// What a connection asks for when it introduces itself. `None` leaves it to the server.
#[derive(Debug, Default, Clone, Copy)]
pub struct Hello {
    pub heartbeat: Option<Duration>,
    pub msg_timeout: Option<Duration>,
    pub output_buffer_timeout: Option<Duration>,
    pub layers: Layers,
}

impl Socket {
    /// Connects and sends IDENTIFY. Bytes that arrived after the answer are in the inbox.
    ///
    /// # Errors
    /// No connection, or IDENTIFY refused.
    pub fn open(
        number: usize,
        address: &str,
        hello: Hello,
        inbox_bytes: usize,
    ) -> Result<(Self, Inbox), BenchError> {
        let stream = TcpStream::connect(address)
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|error| BenchError::Connect {
                address: address.to_owned(),
                error,
            })?;
        let socket = Self {
            number,
            stream,
            writing: Mutex::new(()),
        };
        let mut inbox = Inbox::new(inbox_bytes);
        let mut out = Vec::new();
        encode::magic_v2(&mut out);
        encode::identify(&mut out, hello.to_json().as_bytes());
        socket.write(&out)?;
        let answer = inbox.receive_answer(&socket)?;
        if !hello.layers.is_any() {
            return Ok((socket, inbox));
        }
        let stream = hello
            .layers
            .put_on(socket.stream, &answer, inbox.into_rest())
            .map_err(|error| BenchError::Connect {
                address: address.to_owned(),
                error,
            })?;
        let writing = Mutex::new(());
        let socket = Self {
            number,
            stream,
            writing,
        };
        Ok((socket, Inbox::new(inbox_bytes)))
    }

    /// Subscribes and waits for the answer. RDY stays 0.
    ///
    /// # Errors
    /// SUB refused, or the connection lost.
    pub fn subscribe(
        &self,
        inbox: &mut Inbox,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<(), BenchError> {
        let mut out = Vec::new();
        encode::subscribe(&mut out, topic, channel);
        self.write(&out)?;
        inbox.receive_answer(self).map(drop)
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The write failed.
    pub fn write(&self, bytes: &[u8]) -> Result<(), BenchError> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.stream)
            .write_all(bytes)
            .map_err(|error| self.failed("write", error))
    }

    /// Ends both directions: a thread that waits for input wakes up with the connection lost.
    pub fn shut_down(&self) {
        // The other side may have closed it already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    pub fn number(&self) -> usize {
        self.number
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn failed(&self, act: &'static str, error: io::Error) -> BenchError {
        BenchError::Socket {
            connection: self.number,
            act,
            error,
        }
    }

    /// The error for an error frame.
    pub fn refused(&self, text: &[u8]) -> BenchError {
        BenchError::Refused {
            connection: self.number,
            text: String::from_utf8_lossy(text).into_owned(),
        }
    }

    /// The error for a frame that the protocol does not have here.
    pub fn unexpected(&self, frame: Frame<'_>) -> BenchError {
        let what = match frame {
            Frame::Response(data) => format!("unexpected response {}", data.escape_ascii()),
            Frame::Error(data) => format!("unexpected error {}", data.escape_ascii()),
            Frame::Message(_) => "unexpected message".to_owned(),
        };
        BenchError::Protocol {
            connection: self.number,
            what,
        }
    }
}

impl Hello {
    fn to_json(self) -> String {
        let millis = |duration: Option<Duration>| duration.map_or(0, |given| given.as_millis());
        serde_json::json!({
            "client_id": "nsq_bench",
            "hostname": "nsq_bench",
            "user_agent": concat!("nsq_bench/", env!("CARGO_PKG_VERSION")),
            "feature_negotiation": true,
            "tls_v1": self.layers.tls,
            "snappy": self.layers.snappy,
            "deflate": self.layers.deflate.is_some(),
            "deflate_level": self.layers.deflate.unwrap_or(0),
            "heartbeat_interval": millis(self.heartbeat),
            "msg_timeout": millis(self.msg_timeout),
            "output_buffer_timeout": millis(self.output_buffer_timeout),
        })
        .to_string()
    }
}

/// A heartbeat's body.
pub const HEARTBEAT: &[u8] = b"_heartbeat_";
/// The answer to a heartbeat.
pub const NOP: &[u8] = b"NOP\n";
/// The answer to PUB, MPUB and DPUB.
pub const OK: &[u8] = b"OK";
/// The answer to CLS.
pub const CLOSE_WAIT: &[u8] = b"CLOSE_WAIT";

#[cfg(test)]
mod tests {
    use std::{io::Read as _, net::TcpListener, thread};

    use super::*;

    /// Runs a server that reads `expected` bytes, writes `answer` and closes.
    fn serve(expected: usize, answer: Vec<u8>) -> (String, thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = vec![0; expected];
            stream.read_exact(&mut seen).unwrap();
            stream.write_all(&answer).unwrap();
            seen
        });
        (address, server)
    }

    #[test]
    fn it_introduces_itself_and_frames_behind_the_answer_are_kept() {
        let answer = b"\0\0\0\x0f\0\0\0\0_heartbeat_\0\0\0\x06\0\0\0\0{}\0\0\0\x06\0\0\0\0OK";
        let hello = Hello {
            heartbeat: Some(Duration::from_secs(5)),
            ..Hello::default()
        };
        let expected = b"  V2IDENTIFY\n".len() + 4 + hello.to_json().len();
        let (address, server) = serve(expected, answer.to_vec());
        // Smaller than a frame, so that the buffer has to move and to grow.
        let (socket, mut inbox) = Socket::open(0, &address, hello, 8).unwrap();

        let seen = server.join().unwrap().escape_ascii().to_string();
        assert!(seen.starts_with("  V2IDENTIFY\\n"), "{seen}");
        assert!(seen.contains(r#"heartbeat_interval\":5000"#), "{seen}");
        loop {
            if let Some(frame) = inbox.next_frame(&socket).unwrap() {
                assert_eq!(frame, Frame::Response(OK));
                break;
            }
            inbox.receive(&socket).unwrap();
        }
        let lost = inbox.receive(&socket).unwrap_err().to_string();
        assert!(lost.starts_with("connection 0: "), "{lost}");
    }

    #[test]
    fn a_refusal_is_named() {
        let expected = b"  V2IDENTIFY\n".len() + 4 + Hello::default().to_json().len();
        let (address, server) = serve(expected, b"\0\0\0\x0e\0\0\0\x01E_BAD_BODY".to_vec());
        let error = Socket::open(3, &address, Hello::default(), 64).unwrap_err();
        assert_eq!(
            error.to_string(),
            "connection 3: the server answered E_BAD_BODY"
        );
        server.join().unwrap();
    }
}
