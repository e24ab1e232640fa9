//! An authorization server with answers and delays that a test chooses.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::{Value, json};

use crate::wait::{PATIENCE, wait_until};

/// A server on a free loopback port. It speaks HTTP, one thread a connection.
#[derive(Debug)]
pub struct AuthServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The answer with its head. With `None`, every request waits.
    answer: Option<Vec<u8>>,
    questions: Vec<Question>,
    connections: Vec<TcpStream>,
    is_down: bool,
}

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Question {
    /// Such as `GET /auth?secret=s HTTP/1.1`.
    pub line: String,
    /// The rest of the head.
    pub headers: String,
    /// The body.
    pub body: String,
}

impl AuthServer {
    /// A server that grants `authorization` (an object with `topic`, `channels` and `permissions`) to every client for a
    /// minute.
    pub fn granting(authorization: &Value) -> Self {
        let server = Self::silent();
        server.grant(60, authorization);
        server
    }

    /// A server that lets every request wait.
    pub fn silent() -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut state = serving.state();
                if state.is_down {
                    return;
                }
                state
                    .connections
                    .push(stream.try_clone().expect("sockets can be cloned"));
                drop(state);
                let serving = Arc::clone(&serving);
                thread::spawn(move || serving.converse(stream));
            }
        });
        Self { address, shared }
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on grants `authorization` for `ttl` seconds.
    pub fn grant(&self, ttl: i64, authorization: &Value) {
        let identity = json!({"ttl": ttl, "identity": "<who>", "identity_url": "http://who",
            "authorizations": [authorization]});
        self.answer(200, &identity.to_string());
    }

    /// From now on answers with this status and body, also to requests that wait.
    pub fn answer(&self, status: u16, body: &str) {
        let head = format!(
            "HTTP/1.1 {status} Because\r\nContent-Length: {}",
            body.len()
        );
        self.answer_bytes(format!("{head}\r\n\r\n{body}").as_bytes());
    }

    /// From now on answers with these bytes, HTTP or not.
    pub fn answer_bytes(&self, bytes: &[u8]) {
        self.shared.state().answer = Some(bytes.to_vec());
        self.shared.changed.notify_all();
    }

    /// From now on every request waits.
    pub fn fall_silent(&self) {
        self.shared.state().answer = None;
    }

    /// Closes all connections and accepts no more.
    pub fn go_down(&self) {
        let mut state = self.shared.state();
        state.is_down = true;
        for connection in state.connections.drain(..) {
            // The connection may be closed already.
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(state);
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect(self.address);
        wait_until("nobody listens there", PATIENCE, || {
            TcpStream::connect(self.address).is_err()
        });
    }

    /// The requests so far.
    pub fn questions(&self) -> Vec<Question> {
        self.shared.state().questions.clone()
    }

    /// Waits until there were this many requests.
    #[track_caller]
    pub fn wait_for_questions(&self, count: usize) {
        wait_until("it is asked", PATIENCE, || self.questions().len() >= count);
        assert_eq!(self.questions().len(), count);
    }
}

impl Drop for AuthServer {
    fn drop(&mut self) {
        self.go_down();
    }
}

impl Shared {
    /// Answers every request on one connection.
    fn converse(&self, mut stream: TcpStream) {
        while let Some(question) = read_question(&mut stream) {
            let mut state = self.state();
            state.questions.push(question);
            while state.answer.is_none() && !state.is_down {
                state = self
                    .changed
                    .wait_timeout(state, PATIENCE)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            let answer = state.answer.clone().unwrap_or_default();
            drop(state);
            // The client may have closed the connection.
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request; `None` at the connection's end.
fn read_question(stream: &mut TcpStream) -> Option<Question> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head);
    let (line, headers) = head.split_once("\r\n").unwrap_or_default();
    let headers = headers.to_lowercase();
    let length = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().expect("a length is a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Question {
        line: line.to_owned(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
