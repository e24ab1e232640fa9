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
    layers::Layers,
    options::{Publishing, Subscribing},
    process::{Process, own_cpu_nanos, ratio},
    report::{Report, ServerUse},
};

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The name it has in reports.
    pub load: String,
    pub address: String,
    pub pid: Option<u32>,
    pub topic: TopicName,
    pub channel: ChannelName,
    /// How many connections publish, and what.
    pub publishing: Option<(usize, Publishing)>,
    /// How many connections subscribe, and how.
    pub subscribing: Option<(usize, Subscribing)>,
    pub messages: Option<u64>,
    pub duration: Option<Duration>,
    pub patience: Duration,
    pub layers: Layers,
}

impl Plan {
    /// Runs the plan. A run that fails half-way still has a report, with failures.
    ///
    /// # Errors
    /// The plan contradicts itself, or the connections could not be set up.
    pub fn run(&self) -> Result<Report, BenchError> {
        self.check()?;
        let clock = Clock::start();
        let server = self.pid.map(Process::new);
        let (publishers, subscribers) = self.connect()?;
        let mut coordinator = Coordinator::new(self, clock, &publishers, &subscribers);
        coordinator.spawn(publishers, subscribers)?;

        // The server may still be finishing work of an earlier run.
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
                // If the server is gone, its connections have reported it.
                Err(_) if !report.failures.is_empty() => {}
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
                    layers: self.layers,
                    ..Hello::default()
                })?;
                socket.subscribe(&mut inbox, &self.topic, &self.channel)?;
                subscribers.push((Arc::new(socket), inbox));
            }
        }
        let mut publishers = Vec::new();
        if let Some((count, _)) = &self.publishing {
            for _ in 0..*count {
                let (socket, inbox) = open(Hello {
                    layers: self.layers,
                    ..Hello::default()
                })?;
                publishers.push((Arc::new(socket), inbox));
            }
        }
        Ok((publishers, subscribers))
    }
}

/// A connection that is set up, for its thread.
pub type Connection = (Arc<Socket>, Inbox);

/// One thread each: past this, the threads themselves would be the load.
const MAX_CONNECTIONS: usize = 1024;
/// The wire's lengths are signed 32-bit; nsqd allows 5 MiB unless told otherwise.
const MAX_COMMAND_BYTES: u64 = 1 << 30;
/// What one read takes at most: the socket's own buffer is of this order.
const INBOX_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use nsq_protocol::frame;

    use super::*;
    use crate::options::{default_channel, unique_topic};

    /// A server that answers IDENTIFY with OK and the first publish with `answer`, then closes.
    fn serve_one(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            let mut chunk = [0; 1024];
            while !seen.ends_with(b"}") {
                let count = stream.read(&mut chunk).unwrap();
                seen.extend_from_slice(&chunk[..count]);
            }
            stream.write_all(frame::OK).unwrap();
            let count = stream.read(&mut chunk).unwrap();
            assert!(chunk[..count].starts_with(b"PUB "));
            stream.write_all(answer).unwrap();
        });
        address
    }

    fn plan(address: String, messages: Option<u64>) -> Plan {
        let publishing = Publishing {
            size: 10,
            batch: 1,
            window: 1,
            rate: 0,
            defer: None,
        };
        Plan {
            load: "publish".to_owned(),
            address,
            pid: None,
            topic: unique_topic(),
            channel: default_channel(),
            publishing: Some((1, publishing)),
            subscribing: None,
            messages,
            duration: None,
            patience: Duration::from_secs(30),
            layers: Layers::default(),
        }
    }

    #[test]
    fn what_was_answered_counts() {
        let report = plan(serve_one(frame::OK), Some(1)).run().unwrap();
        assert_eq!(report.failures, Vec::<String>::new());
        assert_eq!(report.published, 1);
        assert_eq!(report.body_bytes, 10);
        assert_eq!(report.answer_latency.unwrap().count, 1);
    }

    #[test]
    fn an_error_frame_fails_the_run_and_is_named() {
        let answer = b"\0\0\0\x0f\0\0\0\x01E_BAD_TOPIC";
        let report = plan(serve_one(answer), Some(1)).run().unwrap();
        assert_eq!(
            report.failures,
            ["connection 0: the server answered E_BAD_TOPIC"]
        );
    }

    #[test]
    fn a_connection_that_ends_early_fails_the_run_and_what_was_done_is_told() {
        let report = plan(serve_one(frame::OK), Some(2)).run().unwrap();
        assert_eq!(report.failures.len(), 1, "{:?}", report.failures);
        assert!(report.failures[0].starts_with("connection 0: "));
        assert_eq!(report.published, 1);
    }

    #[test]
    fn a_plan_without_a_bound_is_refused() {
        let error = plan("127.0.0.1:0".to_owned(), None).run().unwrap_err();
        assert!(matches!(error, BenchError::Usage(_)), "{error}");
    }
}
