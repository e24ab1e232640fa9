//! Many connections on one thread: idle ones, consumers, and consumers that take their time.

use std::{
    collections::VecDeque,
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use nsq_protocol::{ChannelName, Frame, RawMessageId, TopicName, encode};
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::OwnedFd,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use crate::{
    clock::Clock,
    command_block::send_time,
    connection::{HEARTBEAT, Hello, NOP, Socket},
    error::BenchError,
    inbox::Inbox,
    latency::Latencies,
};

/// What a member does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// It expects no message: one is an error.
    Idle,
    /// Finishes it at once.
    Finish,
    /// Keeps it.
    Keep,
    /// Works on one message after the other, this long on each, and then finishes it.
    Slow(Duration),
}

/// The connections, and counts of what they received.
#[derive(Debug)]
pub struct Crowd {
    members: Vec<Member>,
    epoll: OwnedFd,
    clock: Clock,
    /// The messages that slow members will finish, in the order of their times.
    at_work: VecDeque<(Instant, usize, RawMessageId)>,
    out: Vec<u8>,
    pub heartbeat_count: u64,
    pub received_count: u64,
    /// From a message's send time to its receipt.
    pub latencies: Latencies,
}

#[derive(Debug)]
struct Member {
    socket: Socket,
    inbox: Inbox,
    habit: Habit,
}

/// When a crowd has done its work.
#[derive(Debug, Clone, Copy)]
pub enum Until<'a> {
    /// At this time.
    Time(Instant),
    /// When so many messages have arrived since the crowd was made. It is an error when none arrives for that long.
    Received(u64, Duration),
    /// When another thread sets this.
    Told(&'a AtomicBool),
}

impl Crowd {
    /// A crowd without members.
    ///
    /// # Errors
    /// The kernel gives no epoll descriptor.
    pub fn new() -> Result<Self, BenchError> {
        raise_file_limit();
        Ok(Self {
            members: vec![],
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(waiting)?,
            clock: Clock::start(),
            at_work: VecDeque::new(),
            out: vec![],
            heartbeat_count: 0,
            received_count: 0,
            latencies: Latencies::default(),
        })
    }

    /// Connects one more member. With a subscription, it subscribes and sends that RDY.
    ///
    /// # Errors
    /// No connection, or the server refuses a command.
    pub fn join(
        &mut self,
        address: &str,
        hello: Hello,
        subscription: Option<(&TopicName, &ChannelName, u32)>,
        habit: Habit,
    ) -> Result<(), BenchError> {
        let number = self.members.len();
        let (socket, mut inbox) = Socket::open(number, address, hello, INBOX_BYTES)?;
        socket
            .stream()
            .set_write_timeout(Some(WRITE_LIMIT))
            .map_err(|error| socket.failed("set a limit", error))?;
        if let Some((topic, channel, ready)) = subscription {
            socket.subscribe(&mut inbox, topic, channel)?;
            let mut out = vec![];
            encode::ready(&mut out, ready);
            socket.write(&out)?;
        }
        let token = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.epoll, socket.stream(), token, epoll::EventFlags::IN).map_err(waiting)?;
        self.members.push(Member {
            socket,
            inbox,
            habit,
        });
        // Bytes that arrived after an answer are already read: epoll does not report them.
        self.take_frames(number)
    }

    /// Sets what all members do with a message from now on.
    pub fn change_habits(&mut self, habit: Habit) {
        for member in &mut self.members {
            member.habit = habit;
        }
    }

    /// Answers heartbeats and takes messages until the time has come.
    ///
    /// # Errors
    /// A connection is lost, a command is refused, or no message arrives for too long.
    pub fn run(&mut self, until: Until<'_>) -> Result<(), BenchError> {
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        let mut moved_at = Instant::now();
        loop {
            let now = Instant::now();
            self.finish_work(now)?;
            let mut left = match until {
                Until::Time(end) if now >= end => return Ok(()),
                Until::Time(end) => end - now,
                Until::Received(count, _) if self.received_count >= count => return Ok(()),
                Until::Received(_, patience) if moved_at.elapsed() > patience => {
                    return Err(BenchError::Stalled {
                        patience,
                        published: 0,
                        received: self.received_count,
                    });
                }
                Until::Told(told) if told.load(Ordering::Relaxed) => return Ok(()),
                Until::Received(..) | Until::Told(_) => LOOK_AROUND,
            };
            if let Some((due, ..)) = self.at_work.front() {
                left = left.min(due.saturating_duration_since(now));
            }
            let timeout = Timespec::try_from(left).expect("a duration given in minutes fits");
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(waiting(error)),
            }
            let received_before = self.received_count;
            for event in events.drain(..) {
                let number = usize::try_from(event.data.u64())
                    .expect("tokens are the numbers of the members");
                self.take(number)?;
            }
            if self.received_count > received_before {
                moved_at = Instant::now();
            }
        }
    }

    fn take(&mut self, number: usize) -> Result<(), BenchError> {
        let member = &mut self.members[number];
        // The event says that there are bytes to read, so this does not block.
        member.inbox.receive(&member.socket)?;
        self.take_frames(number)
    }

    fn take_frames(&mut self, number: usize) -> Result<(), BenchError> {
        let member = &mut self.members[number];
        let now = self.clock.now();
        while let Some(frame) = member.inbox.next_frame(&member.socket)? {
            match frame {
                Frame::Response(HEARTBEAT) => {
                    self.out.extend_from_slice(NOP);
                    self.heartbeat_count += 1;
                }
                Frame::Message(message) if member.habit != Habit::Idle => {
                    self.received_count += 1;
                    if let Some(sent) = send_time(message.body, now) {
                        self.latencies.record(now - sent);
                    }
                    match member.habit {
                        Habit::Finish => encode::finish(&mut self.out, &message.id),
                        Habit::Slow(each) => {
                            let free_at = self.at_work.back().map_or_else(Instant::now, |w| w.0);
                            let due = free_at.max(Instant::now()) + each;
                            self.at_work.push_back((due, number, message.id));
                        }
                        Habit::Keep | Habit::Idle => {}
                    }
                }
                Frame::Error(text) => return Err(member.socket.refused(text)),
                frame @ (Frame::Response(_) | Frame::Message(_)) => {
                    return Err(member.socket.unexpected(frame));
                }
            }
        }
        if !self.out.is_empty() {
            member.socket.write(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    fn finish_work(&mut self, now: Instant) -> Result<(), BenchError> {
        while let Some((due, number, id)) = self.at_work.front()
            && *due <= now
        {
            let mut out = vec![];
            encode::finish(&mut out, id);
            self.members[*number].socket.write(&out)?;
            self.at_work.pop_front();
        }
        Ok(())
    }
}

fn waiting(error: rustix::io::Errno) -> BenchError {
    BenchError::Epoll(error.into())
}

/// Raises the soft limit of open files to the hard one, also for processes started later. If that fails, opening a
/// connection reports it.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// Most members receive only heartbeats; the buffer grows for larger messages.
const INBOX_BYTES: usize = 1024;
const EVENTS_AT_ONCE: usize = 256;
/// How often the crowd checks whether it is done.
const LOOK_AROUND: Duration = Duration::from_millis(20);
/// A server that does not read for this long has stalled.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// A server that answers one IDENTIFY, then sends `bytes` and keeps the connection until it is closed.
    fn serve(bytes: Vec<u8>) -> (String, thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = vec![];
            let mut chunk = [0; 1024];
            while !seen.ends_with(b"}") {
                let count = stream.read(&mut chunk).unwrap();
                seen.extend_from_slice(&chunk[..count]);
            }
            stream.write_all(nsq_protocol::frame::OK).unwrap();
            stream.write_all(&bytes).unwrap();
            let mut after = vec![];
            stream.read_to_end(&mut after).unwrap();
            after
        });
        (address, server)
    }

    fn message() -> Vec<u8> {
        let mut bytes = 34_u32.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 2]);
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[0, 1]);
        bytes.extend_from_slice(b"0123456789abcdef");
        bytes.extend_from_slice(b"body");
        bytes
    }

    fn crowd_at(address: &str, habit: Habit) -> Crowd {
        let mut crowd = Crowd::new().unwrap();
        crowd.join(address, Hello::default(), None, habit).unwrap();
        crowd
    }

    #[test]
    fn messages_are_finished_and_heartbeats_answered() {
        let heartbeat = b"\0\0\0\x0f\0\0\0\0_heartbeat_".to_vec();
        let (address, server) = serve([heartbeat, message(), message()].concat());
        let mut crowd = crowd_at(&address, Habit::Finish);
        crowd
            .run(Until::Received(2, Duration::from_secs(10)))
            .unwrap();
        assert_eq!((crowd.heartbeat_count, crowd.received_count), (1, 2));
        drop(crowd);
        let fin = b"FIN 0123456789abcdef\n";
        assert_eq!(server.join().unwrap(), [NOP, fin, fin].concat());
    }

    #[test]
    fn a_slow_member_finishes_one_after_the_other() {
        let (address, server) = serve([message(), message()].concat());
        let mut crowd = crowd_at(&address, Habit::Slow(Duration::from_millis(30)));
        let started = Instant::now();
        while crowd.received_count < 2 || !crowd.at_work.is_empty() {
            crowd
                .run(Until::Time(Instant::now() + Duration::from_millis(5)))
                .unwrap();
        }
        assert!(started.elapsed() >= Duration::from_millis(60));
        drop(crowd);
        assert_eq!(server.join().unwrap().len(), 2 * 21);
    }

    #[test]
    fn what_does_not_come_is_an_error() {
        let (address, _server) = serve(vec![]);
        let mut crowd = crowd_at(&address, Habit::Keep);
        let error = crowd
            .run(Until::Received(1, Duration::from_millis(1)))
            .unwrap_err();
        assert!(matches!(error, BenchError::Stalled { .. }), "{error}");
    }

    #[test]
    fn an_idle_member_expects_no_message() {
        let (address, _server) = serve(message());
        let mut crowd = Crowd::new().unwrap();
        // Depending on timing, the message may arrive together with the answer to IDENTIFY.
        let outcome = crowd
            .join(&address, Hello::default(), None, Habit::Idle)
            .and_then(|()| crowd.run(Until::Received(1, Duration::from_secs(10))));
        let error = outcome.unwrap_err();
        assert!(matches!(error, BenchError::Protocol { .. }), "{error}");
    }
}
