//! Daemons that did not answer: warnings if others did, else an error.

use std::fmt;

/// Which program was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonKind {
    /// nsqlookupd.
    Lookupd,
    /// nsqd.
    Nsqd,
}

/// A request to a daemon that failed. `Display` is its `text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it is.
    pub kind: DaemonKind,
    /// `host:port` of its HTTP interface.
    pub address: String,
    /// The status, if it answered at all.
    pub status: Option<u16>,
    /// What went wrong.
    pub cause: String,
    /// The same with what was asked, in upstream's form: `Get "http://...": why`.
    pub text: String,
}

/// Why a request has no answer. `Display` is what the API says after `UPSTREAM_ERROR: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// Every daemon that was asked failed, or there was none to ask.
    #[error("failed to query any {kind}: {}", lines(.failures))]
    Unanswered {
        /// Who was asked.
        kind: DaemonKind,
        /// All of them.
        failures: Vec<Failure>,
    },
    /// No daemon knows the topic.
    #[error("TOPIC_NOT_FOUND")]
    NoSuchTopic,
    /// The topic is there, and has no such channel on any node.
    #[error("CHANNEL_NOT_FOUND")]
    NoSuchChannel,
    /// No nsqd has this address.
    #[error("NODE_NOT_FOUND")]
    NoSuchNode,
}

/// What was found, and who could not be asked.
#[derive(Debug, Clone)]
pub struct Found<T> {
    /// The answer, perhaps in part.
    pub value: T,
    /// Empty when it is the whole answer.
    pub warnings: Warnings,
}

/// Partial failures, in the rounds of requests in which they happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warnings {
    rounds: Vec<Vec<Failure>>,
}

impl<T> Found<T> {
    /// The same warnings with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Found<U> {
        Found {
            value: f(self.value),
            warnings: self.warnings,
        }
    }
}

impl Warnings {
    /// Adds the failures of one round, if any.
    pub fn add(&mut self, failures: Vec<Failure>) {
        if !failures.is_empty() {
            tracing::warn!("{}", lines(&failures));
            self.rounds.push(failures);
        }
    }

    /// Adds those of an earlier request.
    pub fn extend(&mut self, earlier: Warnings) {
        self.rounds.extend(earlier.rounds);
    }

    /// The error when these failures leave nothing to answer with.
    pub(super) fn into_unanswered(self, kind: DaemonKind) -> ClusterError {
        let failures = self.rounds.into_iter().flatten().collect();
        ClusterError::Unanswered { kind, failures }
    }

    /// Every failure.
    pub fn iter(&self) -> impl Iterator<Item = &Failure> {
        self.rounds.iter().flatten()
    }

    /// Whether nothing failed.
    pub fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }

    /// The API's `message`: empty, or `WARNING: ` and every failure, those of a round on lines of their own.
    pub fn message(&self) -> String {
        if self.is_empty() {
            return String::new();
        }
        let rounds: Vec<_> = self.rounds.iter().map(|round| lines(round)).collect();
        format!("WARNING: {}", rounds.join("; "))
    }
}

impl fmt::Display for DaemonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lookupd => "nsqlookupd",
            Self::Nsqd => "nsqd",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn lines(failures: &[Failure]) -> String {
    let lines: Vec<_> = failures.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
