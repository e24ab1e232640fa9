//! A fake HTTP server, which may break the protocol, for behaviour that our daemons do not have.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};

/// A request that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The first line, without the version: `GET /stats?format=json`.
    pub line: String,
    /// Each `name: value`, as received.
    pub headers: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Told {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A listener with answers that a test chooses.
#[derive(Debug)]
pub struct Fake {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// All requests so far.
    pub told: Receiver<Told>,
    /// Connections without an answer are kept open, so that their clients keep waiting.
    _silent: Arc<Mutex<Vec<TcpStream>>>,
}

impl Fake {
    /// Answers every request with the bytes that `answer` returns; with `None`, not at all.
    pub fn start(answer: impl Fn(&Told) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (sender, told) = mpsc::channel();
        let silent = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&silent);
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, sender, kept) =
                    (Arc::clone(&answer), sender.clone(), Arc::clone(&kept));
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    let bytes = answer(&request);
                    // The test may have ended.
                    let _ = sender.send(request);
                    match bytes {
                        Some(bytes) => drop((&stream).write_all(&bytes)),
                        None => kept
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(stream),
                    }
                });
            }
        });
        Self {
            address,
            told,
            _silent: silent,
        }
    }

    /// A 200 with this JSON.
    pub fn ok(json: &str) -> Vec<u8> {
        let length = json.len();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
        format!("{head}\r\nContent-Length: {length}\r\n\r\n{json}").into_bytes()
    }
}

fn read(stream: &TcpStream) -> Option<Told> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .ok()
            .filter(|count| *count > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let line = lines.next()?;
    let line = line.rsplit_once(' ').map(|(line, _)| line.to_owned())?;
    let headers: Vec<_> = lines.collect();
    let length = headers.iter().find_map(|header| {
        let (name, value) = header.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Told {
        line,
        headers,
        body,
    })
}
