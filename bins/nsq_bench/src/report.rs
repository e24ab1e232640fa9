//! The report of a run, as text and as JSON.

use std::fmt;

use serde::Serialize;

use crate::{
    error::BenchError,
    latency::Percentiles,
    process::{CpuReading, CpuUse, Memory, Process, ratio},
};

/// The outcome of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub load: String,
    pub address: String,
    pub topic: String,
    /// Messages the server has answered with OK.
    pub published: u64,
    /// Messages received and finished.
    pub received: u64,
    /// Those of the received that had been delivered before.
    pub redelivered: u64,
    pub body_bytes: u64,
    pub seconds: f64,
    /// From a command's send time to its answer; in an open-loop run, from its due time.
    pub answer_latency: Option<Percentiles>,
    /// From the send time in the body (in an open-loop run, the due time) to receipt.
    pub end_to_end_latency: Option<Percentiles>,
    pub server: Option<ServerUse>,
    /// CPU time that the load generator itself has used, over all messages.
    pub own_cpu_us: f64,
    /// Why the run does not count. Empty when all went well.
    pub failures: Vec<String>,
}

/// The server's use of CPU and memory in the measured phase.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ServerUse {
    pub cpu: CpuUse,
    pub memory: Memory,
}

impl ServerUse {
    /// The use of `process` since `before`, measured once it has gone quiet.
    ///
    /// # Errors
    /// The process is gone or not readable.
    pub fn since(before: &CpuReading, process: Process) -> Result<Self, BenchError> {
        Ok(Self {
            cpu: process.settled_cpu()?.since(before),
            memory: process.memory()?,
        })
    }
}

impl Report {
    /// The messages that rates and costs count: those that were received, if any were.
    pub fn messages(&self) -> u64 {
        if self.received > 0 {
            self.received
        } else {
            self.published
        }
    }

    pub fn messages_per_second(&self) -> f64 {
        ratio(self.messages(), 1) / self.seconds
    }

    /// The server's CPU time for one message, in microseconds.
    /// `None` without a server's pid, or without a message.
    pub fn server_cpu_per_message(&self) -> Option<CpuUse> {
        let server = self.server.filter(|_| self.messages() > 0)?;
        Some(server.cpu.per_message(self.messages()))
    }

    /// One line of JSON: the fields, and figures computed from them.
    pub fn to_json(&self) -> serde_json::Value {
        let mut value = serde_json::json!(self);
        value["messages"] = self.messages().into();
        value["messages_per_second"] = self.messages_per_second().into();
        value["megabytes_per_second"] = self.megabytes_per_second().into();
        value["server_cpu_us_per_message"] = serde_json::json!(self.server_cpu_per_message());
        value["own_cpu_us_per_message"] = self.own_cpu_per_message().into();
        value
    }

    fn own_cpu_per_message(&self) -> f64 {
        self.own_cpu_us / ratio(self.messages().max(1), 1)
    }

    fn megabytes_per_second(&self) -> f64 {
        ratio(self.body_bytes, 1_000_000) / self.seconds
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} on {} (topic {})",
            self.load, self.address, self.topic
        )?;
        writeln!(
            f,
            "  messages      {} in {:.3} s: {:.0} a second, {:.1} MB/s",
            self.messages(),
            self.seconds,
            self.messages_per_second(),
            self.megabytes_per_second()
        )?;
        if self.redelivered > 0 {
            writeln!(f, "  redelivered   {}", self.redelivered)?;
        }
        if let Some(latency) = &self.answer_latency {
            writeln!(f, "  answers       {latency}")?;
        }
        if let Some(latency) = &self.end_to_end_latency {
            writeln!(f, "  end to end    {latency}")?;
        }
        if let (Some(server), Some(cpu)) = (self.server, self.server_cpu_per_message()) {
            writeln!(f, "  server CPU    {} a message", Split(cpu))?;
            writeln!(f, "  server memory {}", MemoryText(server.memory))?;
        }
        writeln!(
            f,
            "  own CPU       {:.2} µs a message",
            self.own_cpu_per_message()
        )?;
        for failure in &self.failures {
            writeln!(f, "  FAILED        {failure}")?;
        }
        Ok(())
    }
}

/// CPU time, whole and split.
pub struct Split(pub CpuUse);

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} µs ({:.2} user, {:.2} system)",
            self.0.total_us, self.0.user_us, self.0.system_us
        )
    }
}

/// Memory in MiB.
pub struct MemoryText(pub Memory);

impl fmt::Display for MemoryText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |kib| ratio(kib, 1024);
        write!(
            f,
            "{:.1} MiB now ({:.1} anonymous, {:.1} file), {:.1} at its peak",
            mib(self.0.rss_kib),
            mib(self.0.rss_anon_kib),
            mib(self.0.rss_file_kib),
            mib(self.0.peak_rss_kib)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_report() -> Report {
        Report {
            load: "publish".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            topic: "t".to_owned(),
            published: 1000,
            received: 0,
            redelivered: 0,
            body_bytes: 4_000_000,
            seconds: 2.0,
            answer_latency: None,
            end_to_end_latency: None,
            server: Some(ServerUse {
                cpu: CpuUse {
                    total_us: 3000.0,
                    user_us: 1000.0,
                    system_us: 2000.0,
                },
                memory: Memory {
                    rss_kib: 2048,
                    peak_rss_kib: 4096,
                    rss_anon_kib: 1024,
                    rss_file_kib: 1024,
                },
            }),
            own_cpu_us: 1500.0,
            failures: Vec::new(),
        }
    }

    #[test]
    fn the_text_has_rates_and_the_cost_of_a_message() {
        let text = any_report().to_string();
        assert!(
            text.contains("1000 in 2.000 s: 500 a second, 2.0 MB/s"),
            "{text}"
        );
        assert!(
            text.contains("3.00 µs (1.00 user, 2.00 system) a message"),
            "{text}"
        );
        assert!(text.contains("4.0 at its peak"), "{text}");
        assert!(text.contains("1.50 µs a message"), "{text}");
        assert!(!text.contains("FAILED"), "{text}");
    }

    #[test]
    fn received_messages_count_before_published_ones() {
        let report = Report {
            received: 500,
            ..any_report()
        };
        assert_eq!(report.messages(), 500);
        let json = report.to_json();
        assert_eq!(json["server_cpu_us_per_message"]["total_us"], 6.0);
        assert_eq!(json["messages_per_second"], 250.0);
    }

    #[test]
    fn a_failure_stands_in_the_text() {
        let report = Report {
            failures: vec!["lost".to_owned()],
            ..any_report()
        };
        assert!(report.to_string().contains("FAILED        lost"));
    }
}
