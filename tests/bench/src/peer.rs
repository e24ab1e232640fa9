//! Other queues with the same work: one connection each, an answer for each published message, an acknowledgement for
//! each consumed one, and up to [`AT_ONCE`] of them under way.

pub(crate) mod beanstalkd;
pub(crate) mod nats;
pub(crate) mod redis;
pub(crate) mod wire;

use std::net::SocketAddr;

use nsq_bench::error::BenchError;

/// A queue that is measured next to nsqd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Nats,
    Redis,
    Beanstalkd,
}

impl Peer {
    pub(crate) const ALL: [Self; 3] = [Self::Nats, Self::Redis, Self::Beanstalkd];

    /// The name in tables, with how it was set up.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nats => "NATS JetStream, file storage",
            Self::Redis => "Redis Streams, AOF every second",
            Self::Beanstalkd => "beanstalkd, binlog",
        }
    }

    /// The server's program.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Nats => "nats-server",
            Self::Redis => "redis-server",
            Self::Beanstalkd => "beanstalkd",
        }
    }

    pub(crate) fn version_flag(self) -> &'static str {
        match self {
            Self::Nats | Self::Redis => "--version",
            Self::Beanstalkd => "-v",
        }
    }

    /// The server's arguments; `{port}` and `{folder}` are replaced.
    pub(crate) fn args(self) -> &'static [&'static str] {
        match self {
            Self::Nats => &[
                "--addr=127.0.0.1",
                "--port={port}",
                "--jetstream",
                "--store_dir={folder}",
            ],
            Self::Redis => &[
                "--bind",
                "127.0.0.1",
                "--port",
                "{port}",
                "--dir",
                "{folder}",
                "--appendonly",
                "yes",
                "--appendfsync",
                "everysec",
                "--save",
                "",
            ],
            Self::Beanstalkd => &["-l", "127.0.0.1", "-p", "{port}", "-b", "{folder}"],
        }
    }

    /// Publishes `count` messages; returns when all are acknowledged.
    ///
    /// # Errors
    /// The server refuses, ends or stalls.
    pub(crate) fn publish(
        self,
        address: SocketAddr,
        count: u64,
        size: usize,
    ) -> Result<(), BenchError> {
        match self {
            Self::Nats => nats::publish(address, count, size),
            Self::Redis => redis::publish(address, count, size),
            Self::Beanstalkd => beanstalkd::publish(address, count, size),
        }
        .map_err(|error| self.failed("publish", &error))
    }

    /// Receives and acknowledges `count` messages, one acknowledgement each.
    ///
    /// # Errors
    /// The server refuses, ends or stalls.
    pub(crate) fn consume(self, address: SocketAddr, count: u64) -> Result<(), BenchError> {
        match self {
            Self::Nats => nats::consume(address, count),
            Self::Redis => redis::consume(address, count),
            Self::Beanstalkd => beanstalkd::consume(address, count),
        }
        .map_err(|error| self.failed("consume", &error))
    }

    fn failed(self, act: &str, error: &std::io::Error) -> BenchError {
        BenchError::Server {
            server: self.name().to_owned(),
            what: format!("{act}: {error}"),
        }
    }
}

/// The most messages without an answer, or received and not acknowledged yet.
pub(crate) const AT_ONCE: u64 = 200;
