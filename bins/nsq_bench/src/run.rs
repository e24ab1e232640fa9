//! One run: the plan is checked, connections are set up, and everything is measured around the
//! threads' work.

use std::{sync::Arc, time::Duration};

use nsq_protocol::{ChannelName, TopicName};

use crate::{
    clock::Clock,
    connection::{Hello, Socket},
    coordinator::Coordinator,
    error::BenchError,
    inbox::Inbox,
    options::{Publishing, Subscribing},
    process::{Process, own_cpu_nanos, ratio},
    report::{Report, ServerUse},
};

/// What a run is to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The name it has in reports.
    pub(crate) load: String,
    pub(crate) address: String,
    pub(crate) pid: Option<u32>,
    pub(crate) topic: TopicName,
    pub(crate) channel: ChannelName,
    /// How many connections publish, and what.
    pub(crate) publishing: Option<(usize, Publishing)>,
    /// How many connections subscribe, and how.
    pub(crate) subscribing: Option<(usize, Subscribing)>,
    pub(crate) messages: Option<u64>,
    pub(crate) duration: Option<Duration>,
    pub(crate) patience: Duration,
}

impl Plan {
    /// Carries the plan out. A run that went wrong half-way still has a report, with failures.
    ///
    /// # Errors
    /// The plan contradicts itself, or the connections could not be set up.
    pub(crate) fn run(&self) -> Result<Report, BenchError> {
        self.check()?;
        let clock = Clock::start();
        let server = self.pid.map(Process::new);
        let (publishers, subscribers) = self.connect()?;
        let mut coordinator = Coordinator::new(self, clock, &publishers, &subscribers);
        coordinator.spawn(publishers, subscribers)?;

        // Not even the end of an earlier run's work belongs to this one.
        let cpu_before = server.map(Process::settled_cpu).transpose()?;
        let own_cpu_before = own_cpu_nanos();
        let start_nanos = clock.now();
        coordinator.let_go(start_nanos);
        coordinator.wait_for_all(start_nanos);
        let seconds = ratio(clock.now() - start_nanos, 1_000_000_000);
        let own_cpu_us = ratio(own_cpu_nanos() - own_cpu_before, 1000);
        let mut report = Report {
            seconds,
            own_cpu_us,
            ..coordinator.into_report()
        };
        if let (Some(process), Some(before)) = (server, cpu_before) {
            match ServerUse::since(&before, process) {
                Ok(used) => report.server = Some(used),
                // Why the server is gone, its connections have said already.
                Err(error) => report.failures.push(error.to_string()),
            }
        }
        Ok(report)
    }

    fn check(&self) -> Result<(), BenchError> {
        let usage = |text: String| Err(BenchError::Usage(text));
        if self.messages.is_none() && self.duration.is_none() {
            return usage("a run needs --messages or --duration".to_owned());
        }
        let connection_count = self.publishing.as_ref().map_or(0, |(count, _)| *count)
            + self.subscribing.as_ref().map_or(0, |(count, _)| *count);
        if !(1..=MAX_CONNECTIONS).contains(&connection_count) {
            return usage(format!(
                "{connection_count} connections: each has a thread, so 1 to {MAX_CONNECTIONS} are \
                 allowed; idle holds more"
            ));
        }
        if let Some((_, publishing)) = &self.publishing {
            let batch = publishing.batch;
            if self
                .messages
                .is_some_and(|messages| messages % u64::from(batch) > 0)
            {
                return usage(format!("--messages must be a multiple of --batch {batch}"));
            }
            if batch > 1 && publishing.defer.is_some() {
                return usage("--defer needs --batch 1: MPUB cannot defer".to_owned());
            }
            if u64::from(batch) * (u64::from(publishing.size) + 4) > MAX_COMMAND_BYTES {
                return usage(format!(
                    "a command must stay below {MAX_COMMAND_BYTES} bytes"
                ));
            }
        }
        Ok(())
    }

    /// Connects subscribers first, so that the channel is there before the first message.
    fn connect(&self) -> Result<(Vec<Connection>, Vec<Connection>), BenchError> {
        let mut numbers = 0..;
        let mut open = |hello| {
            let number = numbers.next().unwrap_or_default();
            Socket::open(number, &self.address, hello, INBOX_BYTES)
        };
        let mut subscribers = Vec::new();
        if let Some((count, subscribing)) = &self.subscribing {
            for _ in 0..*count {
                let (socket, mut inbox) = open(Hello {
                    msg_timeout: subscribing.msg_timeout,
                    output_buffer_timeout: subscribing.output_buffer_timeout,
                    ..Hello::default()
                })?;
                socket.subscribe(&mut inbox, &self.topic, &self.channel)?;
                subscribers.push((Arc::new(socket), inbox));
            }
        }
        let mut publishers = Vec::new();
        if let Some((count, _)) = &self.publishing {
            for _ in 0..*count {
                let (socket, inbox) = open(Hello::default())?;
                publishers.push((Arc::new(socket), inbox));
            }
        }
        Ok((publishers, subscribers))
    }
}

/// A connection that is set up, on its way to its thread.
pub(crate) type Connection = (Arc<Socket>, Inbox);

/// One thread each: past this, the threads themselves would be the load.
const MAX_CONNECTIONS: usize = 1024;
/// The wire's lengths are signed 32-bit; nsqd allows 5 MiB unless told otherwise.
const MAX_COMMAND_BYTES: u64 = 1 << 30;
/// What one read takes at most: the socket's own buffer is of this order.
const INBOX_BYTES: usize = 256 * 1024;
