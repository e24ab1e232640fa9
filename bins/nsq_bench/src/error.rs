//! What can go wrong in a run. Any of these makes the exit code non-zero.
//!
//! Texts hold their causes, since a report shows an error as one line.

use std::{io, time::Duration};

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The options contradict each other.
    #[error("{0}")]
    Usage(String),
    /// No connection to the server.
    #[error("cannot connect to {address}: {error}")]
    Connect { address: String, error: io::Error },
    /// A call on an open connection failed.
    #[error("connection {connection}: cannot {act}: {error}")]
    Socket {
        connection: usize,
        act: &'static str,
        error: io::Error,
    },
    /// The server ended a connection that we still used.
    #[error("connection {connection}: closed by the server")]
    Lost { connection: usize },
    /// The server answered with an error frame.
    #[error("connection {connection}: the server answered {text}")]
    Refused { connection: usize, text: String },
    /// Error frames that leave the connection usable, such as E_FIN_FAILED.
    #[error("{count} commands were refused, the first with {first}")]
    CommandsRefused { count: u64, first: String },
    /// The server sent something that the protocol does not allow here.
    #[error("connection {connection}: {what}")]
    Protocol { connection: usize, what: String },
    /// Nothing moved for too long.
    #[error("no progress for {patience:?}: {published} published, {received} received")]
    Stalled {
        patience: Duration,
        published: u64,
        received: u64,
    },
    /// The time was up before the messages were through.
    #[error("only {actual} of {wanted} messages in the time given")]
    TooFew { wanted: u64, actual: u64 },
    /// The server's process could not be read.
    #[error("cannot read {path}: {error}")]
    Process { path: String, error: io::Error },
    /// A file of the server's process lacks a field.
    #[error("{path} has no {field}")]
    ProcessField { path: String, field: &'static str },
    /// A worker thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// An epoll call failed.
    #[error("cannot wait for the connections: {0}")]
    Epoll(io::Error),
    /// A server of a run failed.
    #[error("{server}: {what}")]
    Server { server: String, what: String },
}
