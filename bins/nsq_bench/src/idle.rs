//! Many connections that do nothing but answer heartbeats, on one thread.

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    connection::Hello,
    crowd::{Crowd, Habit, Until},
    error::BenchError,
    options::Idle,
    process::{CpuUse, Memory, Process, ratio},
    report::{MemoryText, Split},
};

/// The outcome of holding the connections.
#[derive(Debug, Serialize)]
pub struct IdleReport {
    load: &'static str,
    address: String,
    connections: usize,
    open_seconds: f64,
    hold_seconds: f64,
    heartbeats: u64,
    pub server: Option<IdleUse>,
    pub failures: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct IdleUse {
    memory_before: Memory,
    pub memory_open: Memory,
    memory_end: Memory,
    /// Resident memory for each connection.
    kib_per_connection: f64,
    open_cpu: CpuUse,
    hold_cpu: CpuUse,
    /// One core busy all the time is 100.
    pub hold_cpu_percent: f64,
}

/// Opens the connections, holds them and measures.
///
/// # Errors
/// Not all connections could be opened, or the server's process cannot be read.
pub fn run(options: &Idle) -> Result<IdleReport, BenchError> {
    let server = options.common.pid.map(Process::new);
    if let Some(process) = server {
        process.settled_cpu()?;
    }
    let before = measure(server)?;
    let started = Instant::now();
    let mut crowd = open(options)?;
    let open_seconds = started.elapsed().as_secs_f64();
    hold(&mut crowd, SETTLE)?;
    let open = measure(server)?;
    let held_from = Instant::now();
    let mut failures = Vec::new();
    let heartbeats = match hold(&mut crowd, options.duration) {
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
                kib_per_connection: ratio(grown_kib, options.connections as u64),
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
        connections: options.connections,
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

fn open(options: &Idle) -> Result<Crowd, BenchError> {
    let hello = Hello {
        heartbeat: Some(options.heartbeat),
        layers: options.common.layers,
        ..Hello::default()
    };
    let subscription = options
        .topic
        .as_ref()
        .map(|topic| (topic, &options.channel, 1));
    let mut crowd = Crowd::new()?;
    for _ in 0..options.connections {
        crowd.join(&options.common.address, hello, subscription, Habit::Idle)?;
    }
    Ok(crowd)
}

/// Answers heartbeats for `duration` and returns how many there were.
fn hold(crowd: &mut Crowd, duration: Duration) -> Result<u64, BenchError> {
    let before = crowd.heartbeat_count;
    crowd.run(Until::Time(Instant::now() + duration))?;
    Ok(crowd.heartbeat_count - before)
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

/// Between opening and holding, so that the cost of opening does not count as holding.
const SETTLE: Duration = Duration::from_millis(500);
