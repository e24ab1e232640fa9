//! A connection as others see it: statistics read it, channels wake it, a deletion closes it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::task::AtomicWaker;
use nsq_core::{ChannelCell, ClientHandle, ClientId, Locality};
use nsq_protocol::{ClientState, TopicName};
use nsq_transport::Compression;
use nsq_transport::tls::Session;

use crate::auth::Grants;

/// One connection, shared between its task and everyone else.
pub(crate) struct Client {
    pub(crate) id: ClientId,
    /// As `/stats` shows it, and the logs.
    pub(crate) remote_address: String,
    /// Without a port; empty for a unix socket.
    pub(crate) remote_ip: String,
    /// Unix seconds.
    pub(crate) connect_ts: i64,
    pub(crate) connected: std::time::Instant,
    state: AtomicU8,
    is_woken: AtomicBool,
    is_closed: AtomicBool,
    waker: AtomicWaker,
    details: Mutex<Details>,
}

/// What the client said of itself, and what it did.
#[derive(Default)]
pub(crate) struct Details {
    pub(crate) client_id: String,
    pub(crate) hostname: String,
    pub(crate) user_agent: String,
    pub(crate) topology_region: String,
    pub(crate) topology_zone: String,
    pub(crate) locality: Locality,
    pub(crate) sample_rate: u8,
    /// What TLS agreed on, once there is TLS.
    pub(crate) tls: Option<Session>,
    pub(crate) compression: Option<Compression>,
    /// Messages published, by topic.
    pub(crate) published: HashMap<TopicName, u64>,
    pub(crate) channel: Option<Arc<ChannelCell>>,
    /// What it was granted last, if it had to ask.
    pub(crate) grants: Option<Arc<Grants>>,
}

impl Client {
    pub(crate) fn new(
        id: ClientId,
        remote_address: String,
        remote_ip: String,
        connect_ts: i64,
    ) -> Client {
        let details = Details {
            client_id: remote_ip.clone(),
            hostname: remote_ip.clone(),
            ..Details::default()
        };
        Client {
            id,
            remote_address,
            remote_ip,
            connect_ts,
            connected: std::time::Instant::now(),
            state: AtomicU8::new(ClientState::Init.number()),
            is_woken: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            details: Mutex::new(details),
        }
    }

    pub(crate) fn details(&self) -> MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_state(&self, state: ClientState) {
        self.state.store(state.number(), Ordering::Relaxed);
    }

    /// The state's number, as `/stats` shows it.
    pub(crate) fn state_number(&self) -> u8 {
        self.state.load(Ordering::Relaxed)
    }

    /// Counts messages that the client published.
    pub(crate) fn count_published(&self, topic: &TopicName, count: u64) {
        let mut details = self.details();
        if let Some(total) = details.published.get_mut(topic) {
            *total += count;
        } else {
            details.published.insert(topic.clone(), count);
        }
    }

    /// Has the connection's task polled when something happens to it.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    /// Whether it was woken since the last call.
    pub(crate) fn was_woken(&self) -> bool {
        self.is_woken.load(Ordering::Relaxed) && self.is_woken.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }
}

impl ClientHandle for Client {
    fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.waker.wake();
    }
}
