//! The input of a connection, frame by frame.

use std::{
    io::{self, Read as _},
    time::Duration,
};

use nsq_protocol::{Frame, decode_frame};
use rustix::net::{RecvFlags, recv};

use crate::{
    connection::{HEARTBEAT, NOP, Socket},
    error::BenchError,
};

/// Bytes that have arrived and are not yet consumed.
#[derive(Debug)]
pub struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// Room for `bytes`; it grows when a frame needs more.
    pub fn new(bytes: usize) -> Self {
        Self {
            buffer: vec![0; bytes],
            start: 0,
            end: 0,
        }
    }

    /// Waits for bytes and reads as many as there are.
    ///
    /// # Errors
    /// The connection has ended or failed.
    pub fn receive(&mut self, socket: &Socket) -> Result<(), BenchError> {
        self.make_room();
        loop {
            match socket.stream().read(&mut self.buffer[self.end..]) {
                Ok(count) => return self.arrived(count, socket),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(socket.failed("read", error)),
            }
        }
    }

    /// Reads what is there without waiting, and returns whether anything was.
    ///
    /// # Errors
    /// The connection has ended or failed.
    pub fn receive_now(&mut self, socket: &Socket) -> Result<bool, BenchError> {
        self.make_room();
        match recv(
            socket.stream(),
            &mut self.buffer[self.end..],
            RecvFlags::DONTWAIT,
        ) {
            Ok((_, count)) => self.arrived(count, socket).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(socket.failed("read", error.into())),
        }
    }

    /// The reason why a write has failed: the error frame that nsqd sent before it closed the
    /// connection, if there is one, else `error` itself.
    pub fn explain(&mut self, socket: &Socket, error: BenchError) -> BenchError {
        loop {
            while let Ok(Some(frame)) = self.next_frame(socket) {
                if let Frame::Error(text) = frame {
                    return socket.refused(text);
                }
            }
            // The connection is broken, so this loop ends.
            if self.receive(socket).is_err() {
                return error;
            }
        }
    }

    /// Takes the next whole frame, if there is one.
    ///
    /// # Errors
    /// The bytes are not a frame.
    pub fn next_frame(&mut self, socket: &Socket) -> Result<Option<Frame<'_>>, BenchError> {
        match decode_frame(&self.buffer[self.start..self.end], MAX_FRAME_BYTES) {
            Ok(Some((frame, used_bytes))) => {
                self.start += used_bytes;
                Ok(Some(frame))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(BenchError::Protocol {
                connection: socket.number(),
                what: error.to_string(),
            }),
        }
    }

    /// Waits for the answer to the command just sent, and returns it. A server that says nothing for
    /// `ANSWER_LIMIT` is an error.
    ///
    /// # Errors
    /// The command is refused, or the connection lost.
    pub fn receive_answer(&mut self, socket: &Socket) -> Result<Vec<u8>, BenchError> {
        let limit = |time| {
            socket
                .stream()
                .set_read_timeout(time)
                .map_err(|error| socket.failed("set a limit", error))
        };
        limit(Some(ANSWER_LIMIT))?;
        let answer = self.next_answer(socket)?;
        limit(None)?;
        Ok(answer)
    }

    /// Waits for the next answer to a command, and returns it.
    ///
    /// # Errors
    /// The command is refused, or the connection lost.
    pub fn next_answer(&mut self, socket: &Socket) -> Result<Vec<u8>, BenchError> {
        loop {
            match self.next_frame(socket)? {
                Some(Frame::Response(HEARTBEAT)) => socket.write(NOP)?,
                Some(Frame::Response(answer)) => return Ok(answer.to_vec()),
                Some(Frame::Error(text)) => return Err(socket.refused(text)),
                Some(frame @ Frame::Message(_)) => return Err(socket.unexpected(frame)),
                None => self.receive(socket)?,
            }
        }
    }

    /// The bytes that are not yet consumed.
    pub fn into_rest(self) -> Vec<u8> {
        self.buffer[self.start..self.end].to_vec()
    }

    fn arrived(&mut self, count: usize, socket: &Socket) -> Result<(), BenchError> {
        if count == 0 {
            return Err(BenchError::Lost {
                connection: socket.number(),
            });
        }
        self.end += count;
        Ok(())
    }

    /// Makes room after `end`.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.end == self.buffer.len() {
                // One frame fills the buffer; next_frame bounds how large a frame may be.
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
    }
}

/// A server that does not even answer IDENTIFY or SUB in this time has stalled.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// No nsqd is run with messages larger than this.
const MAX_FRAME_BYTES: u32 = 256 * 1024 * 1024;
