//! What the two doors of nsqlookupd share: the registry behind its lock, and its own introduction.

use std::sync::{Mutex, MutexGuard};

use serde::Serialize;

use crate::Registry;

/// The state of one nsqlookupd.
#[derive(Debug)]
pub struct Lookupd {
    registry: Mutex<Registry>,
    introduction: Introduction,
}

/// How an nsqlookupd introduces itself to an nsqd that identified itself. The order of the fields is
/// that on the wire.
#[derive(Debug, Clone, Serialize)]
pub struct Introduction {
    /// Where nsqd shall send its HTTP questions, with the port below.
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
    pub fn new(registry: Registry, introduction: Introduction) -> Self {
        Self {
            registry: Mutex::new(registry),
            introduction,
        }
    }

    /// The registry, for one call of it: whoever holds it longer holds up every nsqd and every consumer.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().expect("no registry call panics")
    }

    /// How it introduces itself.
    pub fn introduction(&self) -> &Introduction {
        &self.introduction
    }
}
