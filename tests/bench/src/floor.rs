//! The floor, which shows what sockets alone cost: a server with one thread for each connection that speaks just enough of
//! nsqd's protocol to be published to and consumed from, and keeps nothing.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use clap::Args;
use nsq_protocol::frame;

#[derive(Debug, Args)]
pub(crate) struct Floor {
    /// Where to listen.
    #[arg(long)]
    pub(crate) tcp_address: SocketAddr,
    /// Body size of the messages that consumers get, in bytes.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) size: u32,
}

/// Serves until it is killed.
///
/// # Errors
/// The address cannot be bound.
pub(crate) fn run(options: &Floor) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.tcp_address)?;
    let messages = messages(options.size);
    for stream in listener.incoming() {
        let messages = messages.clone();
        let stream = stream?;
        thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || {
                // A connection that fails has ended; no one needs the error.
                drop(serve(stream, &messages));
                // The thread stays: if it ended, its CPU time would be gone before it is read.
                loop {
                    thread::park();
                }
            })?;
    }
    Ok(())
}

/// [`BATCH`] message frames, one after the other.
fn messages(body_bytes: u32) -> Vec<u8> {
    let mut one = (HEAD_BYTES + body_bytes).to_be_bytes().to_vec();
    one.extend_from_slice(&MESSAGE_FRAME.to_be_bytes());
    one.extend_from_slice(&[0; 8]);
    one.extend_from_slice(&[0, 1]);
    one.extend_from_slice(b"0123456789abcdef");
    one.resize(one.len() + body_bytes as usize, b'x');
    one.repeat(BATCH)
}

fn serve(mut stream: TcpStream, messages: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut magic = [0; 4];
    stream.read_exact(&mut magic)?;
    let mut scanner = Scanner::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    let one_bytes = messages.len() / BATCH;
    let (mut ready, mut in_flight) = (0_usize, 0_usize);
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let (mut ok_count, mut is_closing) = (0, false);
        scanner.take(&buffer[..count], |line| match line.first() {
            // PUB, MPUB, DPUB, SUB, IDENTIFY.
            Some(b'P' | b'M' | b'D' | b'S' | b'I') => ok_count += 1,
            Some(b'R') => {
                ready = std::str::from_utf8(line.get(4..).unwrap_or_default())
                    .ok()
                    .and_then(|number| number.parse().ok())
                    .unwrap_or(0);
            }
            Some(b'F') => in_flight = in_flight.saturating_sub(1),
            Some(b'C') => {
                ready = 0;
                is_closing = true;
            }
            _ => {}
        });
        // One write for each answer, as a server does that does not look at its other input.
        for _ in 0..ok_count {
            stream.write_all(frame::OK)?;
        }
        if is_closing {
            stream.write_all(CLOSE_WAIT_FRAME)?;
        }
        // One part at a time, as a queue does, so that finishing and sending overlap.
        let room = ready.saturating_sub(in_flight);
        if ready > 0 && (room >= BATCH || in_flight == 0) {
            let count = room.min(BATCH);
            stream.write_all(&messages[..count * one_bytes])?;
            in_flight += count;
        }
    }
}

/// Finds the commands in a stream, however reads have divided it.
#[derive(Debug, Default)]
struct Scanner {
    line: Vec<u8>,
    place: Place,
}

#[derive(Debug, Default, Clone, Copy)]
enum Place {
    #[default]
    Line,
    /// After the line: how many bytes of the body's length have arrived, and their value.
    Length(u8, usize),
    /// How many bytes of the body are missing.
    Body(usize),
}

impl Scanner {
    /// Calls `seen` with the line of every command that is complete.
    fn take(&mut self, mut bytes: &[u8], mut seen: impl FnMut(&[u8])) {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.place {
                Place::Line => match memchr_newline(bytes) {
                    None => {
                        self.line.extend_from_slice(bytes);
                        return;
                    }
                    Some(end) => {
                        self.line.extend_from_slice(&bytes[..end]);
                        bytes = &bytes[end + 1..];
                        if matches!(self.line.first(), Some(b'P' | b'M' | b'D' | b'I')) {
                            self.place = Place::Length(0, 0);
                        } else {
                            seen(&self.line);
                            self.line.clear();
                        }
                    }
                },
                Place::Length(count, value) => {
                    let value = value << 8 | usize::from(first);
                    bytes = rest;
                    self.place = if count == 3 {
                        Place::Body(value)
                    } else {
                        Place::Length(count + 1, value)
                    };
                }
                Place::Body(missing) => {
                    let here = missing.min(bytes.len());
                    bytes = &bytes[here..];
                    self.place = Place::Body(missing - here);
                }
            }
            if let Place::Body(0) = self.place {
                seen(&self.line);
                self.line.clear();
                self.place = Place::Line;
            }
        }
    }
}

fn memchr_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == b'\n')
}

const MESSAGE_FRAME: u32 = 2;
/// Frame type, timestamp, attempts and id.
const HEAD_BYTES: u32 = 4 + 8 + 2 + 16;
/// How many messages go out in one write.
const BATCH: usize = 200;
const BUFFER_BYTES: usize = 256 * 1024;
const STACK_BYTES: usize = 256 * 1024;
const CLOSE_WAIT_FRAME: &[u8] = b"\0\0\0\x0e\0\0\0\0CLOSE_WAIT";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_however_reads_cut_them() {
        let stream =
            b"IDENTIFY\n\0\0\0\x02{}SUB t c\nRDY 5\nPUB t\n\0\0\0\x03a\nbFIN 0123\nMPUB t\n\0\0\0\x01\nCLS\n";
        for step in 1..stream.len() {
            let mut scanner = Scanner::default();
            let mut seen = vec![];
            for part in stream.chunks(step) {
                scanner.take(part, |line| {
                    seen.push(String::from_utf8_lossy(line).into_owned());
                });
            }
            let expected = [
                "IDENTIFY", "SUB t c", "RDY 5", "PUB t", "FIN 0123", "MPUB t", "CLS",
            ];
            assert_eq!(seen, expected, "in steps of {step}");
        }
    }
}
