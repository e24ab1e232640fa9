//! Many connections that do nothing but answer heartbeats, on one thread.

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use nsq_protocol::{Frame, encode};
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::OwnedFd,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use serde::Serialize;

use crate::{
    connection::{HEARTBEAT, Hello, NOP, Socket},
    error::BenchError,
    inbox::Inbox,
    options::Idle,
    process::{CpuUse, Memory, Process, ratio},
    report::{MemoryText, Split},
};

/// What holding the connections came to.
#[derive(Debug, Serialize)]
pub(crate) struct IdleReport {
    load: &'static str,
    address: String,
    connections: usize,
    open_seconds: f64,
    hold_seconds: f64,
    heartbeats: u64,
    server: Option<IdleUse>,
    pub(crate) failures: Vec<String>,
}

#[derive(Debug, Serialize)]
struct IdleUse {
    memory_before: Memory,
    memory_open: Memory,
    memory_end: Memory,
    /// Resident memory that came with the connections, for each of them.
    kib_per_connection: f64,
    open_cpu: CpuUse,
    hold_cpu: CpuUse,
    /// One core busy all the time is 100.
    hold_cpu_percent: f64,
}

/// Opens the connections, holds them and measures.
///
/// # Errors
/// Not all connections could be opened, or the server's process cannot be read.
pub(crate) fn run(options: &Idle) -> Result<IdleReport, BenchError> {
    raise_file_limit();
    let server = options.common.pid.map(Process::new);
    if let Some(process) = server {
        process.settled_cpu()?;
    }
    let before = measure(server)?;
    let started = Instant::now();
    let mut connections = open(options)?;
    let open_seconds = started.elapsed().as_secs_f64();
    hold(&mut connections, SETTLE)?;
    let open = measure(server)?;
    let held_from = Instant::now();
    let mut failures = Vec::new();
    let heartbeats = match hold(&mut connections, options.duration) {
        Ok(heartbeats) => heartbeats,
        Err(error) => {
            failures.push(error.to_string());
            0
        }
    };
    let hold_seconds = held_from.elapsed().as_secs_f64();
    let end = measure(server)?;
    let server = match (before, open, end) {
        (Some(before), Some(open), Some(end)) => {
            let hold_cpu = end.0.since(&open.0);
            let grown_kib = open.1.rss_kib.saturating_sub(before.1.rss_kib);
            Some(IdleUse {
                memory_before: before.1,
                memory_open: open.1,
                memory_end: end.1,
                kib_per_connection: ratio(grown_kib, connections.len() as u64),
                open_cpu: open.0.since(&before.0),
                hold_cpu,
                hold_cpu_percent: hold_cpu.total_us / 1e4 / hold_seconds,
            })
        }
        _ => None,
    };
    Ok(IdleReport {
        load: "idle",
        address: options.common.address.clone(),
        connections: connections.len(),
        open_seconds,
        hold_seconds,
        heartbeats,
        server,
        failures,
    })
}

fn measure(
    server: Option<Process>,
) -> Result<Option<(crate::process::CpuReading, Memory)>, BenchError> {
    server
        .map(|process| Ok((process.cpu()?, process.memory()?)))
        .transpose()
}

fn open(options: &Idle) -> Result<Vec<(Socket, Inbox)>, BenchError> {
    let hello = Hello {
        heartbeat: Some(options.heartbeat),
        layers: options.common.layers,
        ..Hello::default()
    };
    let mut ready = Vec::new();
    encode::ready(&mut ready, 1);
    (0..options.connections)
        .map(|number| {
            let (socket, mut inbox) =
                Socket::open(number, &options.common.address, hello, INBOX_BYTES)?;
            if let Some(topic) = &options.topic {
                socket.subscribe(&mut inbox, topic, &options.channel)?;
                socket.write(&ready)?;
            }
            Ok((socket, inbox))
        })
        .collect()
}

/// Answers heartbeats for `duration` and says how many there were.
fn hold(connections: &mut [(Socket, Inbox)], duration: Duration) -> Result<u64, BenchError> {
    let waiting = |error: rustix::io::Errno| BenchError::Epoll(error.into());
    let epoll: OwnedFd = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(waiting)?;
    for (index, (socket, _)) in (0..).zip(connections.iter()) {
        let token = epoll::EventData::new_u64(index);
        epoll::add(&epoll, socket.stream(), token, epoll::EventFlags::IN).map_err(waiting)?;
    }
    let end = Instant::now() + duration;
    let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
    let mut heartbeat_count = 0;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(heartbeat_count);
        }
        let timeout = Timespec::try_from(left).expect("a duration given in minutes fits");
        match epoll::wait(&epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(waiting(error)),
        }
        for event in events.drain(..) {
            let token = event.data.u64();
            let (socket, inbox) = usize::try_from(token)
                .ok()
                .and_then(|index| connections.get_mut(index))
                .expect("tokens are indices of the connections");
            heartbeat_count += answer(socket, inbox)?;
        }
    }
}

fn answer(socket: &Socket, inbox: &mut Inbox) -> Result<u64, BenchError> {
    let mut heartbeat_count = 0;
    // Events say that there is something to read, so this does not wait.
    inbox.receive(socket)?;
    while let Some(frame) = inbox.next_frame(socket)? {
        match frame {
            Frame::Response(HEARTBEAT) => {
                socket.write(NOP)?;
                heartbeat_count += 1;
            }
            Frame::Error(text) => return Err(socket.refused(text)),
            frame @ (Frame::Response(_) | Frame::Message(_)) => {
                return Err(socket.unexpected(frame));
            }
        }
    }
    Ok(heartbeat_count)
}

/// Raises the soft limit of open files to the hard one. Should that fail, opening says so.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

impl fmt::Display for IdleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "idle on {}: {} connections opened in {:.2} s, held for {:.2} s, {} heartbeats",
            self.address, self.connections, self.open_seconds, self.hold_seconds, self.heartbeats
        )?;
        if let Some(server) = &self.server {
            writeln!(f, "  before       {}", MemoryText(server.memory_before))?;
            writeln!(f, "  open         {}", MemoryText(server.memory_open))?;
            writeln!(f, "  at the end   {}", MemoryText(server.memory_end))?;
            writeln!(
                f,
                "  memory       {:.2} KiB a connection",
                server.kib_per_connection
            )?;
            writeln!(
                f,
                "  opening CPU  {}",
                Split(server.open_cpu.per_message(self.connections as u64))
            )?;
            writeln!(
                f,
                "  holding CPU  {:.2} % of a core",
                server.hold_cpu_percent
            )?;
        }
        for failure in &self.failures {
            writeln!(f, "  FAILED       {failure}")?;
        }
        Ok(())
    }
}

/// Heartbeats are all that comes in.
const INBOX_BYTES: usize = 256;
const EVENTS_AT_ONCE: usize = 256;
/// Between opening and holding, so that the cost of opening does not count as holding.
const SETTLE: Duration = Duration::from_millis(500);
