//! What nsqd may find where an nsqlookupd should be.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use serde_json::json;

/// Takes connections, as the system does without being asked, and never says a word on them.
#[derive(Debug)]
pub(crate) struct Hanging(TcpListener);

impl Hanging {
    pub(crate) fn start() -> Self {
        Self(listener())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        address(&self.0)
    }
}

/// Answers every connection with bytes that mean nothing, and closes it.
pub(crate) fn talking_garbage() -> SocketAddr {
    serve(|mut stream| {
        // A client that hung up already has not missed anything.
        let _ = stream.write_all(b"\x00\x00\x00\x07garbage and more of it");
        let _ = stream.read(&mut [0; 1024]);
    })
}

/// Introduces itself properly, says `OK` to everything, and sends those who ask for channels to `http`.
pub(crate) fn pointing_to(http: SocketAddr) -> SocketAddr {
    serve(move |mut stream| {
        let introduction = json!({
            "broadcast_address": http.ip().to_string(),
            "hostname": "fake",
            "http_port": http.port(),
            "tcp_port": 4160,
            "version": "1.3.0",
        });
        let mut answer = introduction.to_string();
        let mut magic = [0; 4];
        if stream.read_exact(&mut magic).is_err() {
            return;
        }
        while skip_request(&mut stream).is_some() {
            let size = u32::try_from(answer.len()).expect("answers are small");
            let bytes = [&size.to_be_bytes()[..], answer.as_bytes()].concat();
            if stream.write_all(&bytes).is_err() {
                return;
            }
            answer = "OK".to_string();
        }
    })
}

/// Reads over one request. `None` at the end of the connection.
fn skip_request(stream: &mut TcpStream) -> Option<()> {
    let mut line = vec![];
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        line.extend(byte);
    }
    if line == b"IDENTIFY\n" {
        let mut size = [0; 4];
        stream.read_exact(&mut size).ok()?;
        let size = u32::from_be_bytes(size);
        let mut body = vec![0; usize::try_from(size).expect("introductions are small")];
        stream.read_exact(&mut body).ok()?;
    }
    Some(())
}

/// Has `answer` deal with each connection, for as long as the test program runs.
fn serve(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = listener();
    let address = address(&listener);
    thread::spawn(move || {
        thread::scope(|scope| {
            for stream in listener.incoming().flatten() {
                let answer = &answer;
                scope.spawn(move || answer(stream));
            }
        });
    });
    address
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("loopback has a free port")
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("it is bound")
}
