//! What the two doors of nsqlookupd share: the registry with its lock, and its own introduction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use nsq_daemon::http::RequestCounts;
use serde::Serialize;

use crate::{LookupLimits, Registry};

/// The state of one nsqlookupd.
#[derive(Debug)]
pub struct Lookupd {
    registry: Mutex<Registry>,
    introduction: Introduction,
    limits: LookupLimits,
    opened: AtomicU64,
    closed: AtomicU64,
    /// Of HTTP.
    pub(crate) requests: Arc<RequestCounts>,
}

/// How an nsqlookupd introduces itself to an nsqd that identified itself. The order of the fields is
/// that on the wire.
#[derive(Debug, Clone, Serialize)]
pub struct Introduction {
    /// Where nsqd sends its HTTP questions, with the port below.
    pub broadcast_address: String,
    /// The host's own name.
    pub hostname: String,
    /// The port HTTP is really bound to.
    pub http_port: u16,
    /// The port TCP is really bound to.
    pub tcp_port: u16,
    /// The version.
    pub version: &'static str,
}

impl Lookupd {
    /// An nsqlookupd with what it knows so far.
    pub fn new(registry: Registry, introduction: Introduction, limits: LookupLimits) -> Self {
        Self {
            registry: Mutex::new(registry),
            introduction,
            limits,
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            requests: Arc::default(),
        }
    }

    /// The registry, for one call of it: a caller that holds it longer delays every nsqd and every consumer.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().expect("no registry call panics")
    }

    /// Counts a TCP connection as open until the result is dropped.
    pub(crate) fn connection_opened(self: &Arc<Self>) -> OpenConnection {
        self.opened.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }

    /// How many TCP connections there have been, and how many of them are open.
    pub(crate) fn connection_counts(&self) -> (u64, u64) {
        // In this order: a connection is opened before it is closed.
        let closed = self.closed.load(Ordering::Acquire);
        let opened = self.opened.load(Ordering::Acquire);
        (opened, opened.saturating_sub(closed))
    }

    /// What others may take of it.
    pub fn limits(&self) -> &LookupLimits {
        &self.limits
    }

    /// How it introduces itself.
    pub fn introduction(&self) -> &Introduction {
        &self.introduction
    }
}

/// A TCP connection that counts as open.
pub(crate) struct OpenConnection(Arc<Lookupd>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.closed.fetch_add(1, Ordering::Release);
    }
}
