//! A connection as others see it: statistics read it, channels wake it, and so do publishes that become safe, a deletion closes it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use nsq_core::{ChannelCell, ClientHandle, ClientId, Locality, Tick, TicketWaiter};
use nsq_protocol::{ChannelName, ClientState, TopicName};

use crate::fetch::RemotePart;
use crate::session::Grants;

/// One connection, shared between its [`Session`](crate::Session) and everyone else.
pub struct Client {
    id: ClientId,
    remote_address: String,
    remote_ip: String,
    /// Unix seconds.
    connect_ts: i64,
    connected_at: Tick,
    state: AtomicU8,
    is_woken: AtomicBool,
    is_settled: AtomicBool,
    is_dismissed: AtomicBool,
    is_closed: AtomicBool,
    waker: AtomicWaker,
    details: Mutex<Details>,
}

/// What the client said of itself, and what it did.
#[derive(Default)]
pub struct Details {
    /// From IDENTIFY; the client's address before.
    pub client_id: String,
    /// From IDENTIFY; the client's address before.
    pub hostname: String,
    /// From IDENTIFY.
    pub user_agent: String,
    /// From IDENTIFY.
    pub topology_region: String,
    /// From IDENTIFY.
    pub topology_zone: String,
    /// How near the client is.
    pub locality: Locality,
    /// Per cent of the messages the client wants; 0 for all.
    pub sample_rate: u8,
    /// Messages published, by topic.
    pub published: HashMap<TopicName, u64>,
    /// The topic and channel it is subscribed to.
    pub subscription: Option<(TopicName, ChannelName)>,
    /// The channels that this comes to: one; in a cluster one in each served shard that has it, so none or several too.
    pub channels: Vec<Arc<ChannelCell>>,
    /// In a cluster: the messages that it gets of shards that other nodes lead.
    pub remote: Option<Arc<RemotePart>>,
    /// What it was granted last, if it had to ask.
    pub grants: Option<Arc<Grants>>,
}

impl Client {
    /// A connection from `remote_address`, which is shown in statistics and log lines, and `remote_ip`, which has no
    /// port and is empty for a unix socket.
    pub fn new(
        id: ClientId,
        remote_address: String,
        remote_ip: String,
        now: nsq_core::Now,
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
            connect_ts: now.unix_nanos / 1_000_000_000,
            connected_at: now.tick,
            state: AtomicU8::new(ClientState::Init.number()),
            is_woken: AtomicBool::new(false),
            is_settled: AtomicBool::new(false),
            is_dismissed: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            details: Mutex::new(details),
        }
    }

    /// Its number.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// As statistics and log lines show it.
    pub fn remote_address(&self) -> &str {
        &self.remote_address
    }

    /// Without a port; empty for a unix socket.
    pub fn remote_ip(&self) -> &str {
        &self.remote_ip
    }

    /// When it connected, in unix seconds.
    pub fn connect_ts(&self) -> i64 {
        self.connect_ts
    }

    /// When it connected.
    pub fn connected_at(&self) -> Tick {
        self.connected_at
    }

    /// What the client said of itself, and what it did.
    pub fn details(&self) -> MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_state(&self, state: ClientState) {
        self.state.store(state.number(), Ordering::Relaxed);
    }

    /// The state's number, as `/stats` shows it.
    pub fn state_number(&self) -> u8 {
        self.state.load(Ordering::Relaxed)
    }

    /// Counts messages that the client published.
    #[expect(
        clippy::inline_always,
        reason = "every publish calls it, and it has two callers"
    )]
    #[inline(always)]
    pub(crate) fn count_published(&self, topic: &TopicName, count: u64) {
        let mut details = self.details();
        if let Some(total) = details.published.get_mut(topic) {
            *total += count;
        } else {
            details.published.insert(topic.clone(), count);
        }
    }

    /// Has `waker` woken when something happens to the client.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Whether there may be messages that were not there at the last call.
    pub(crate) fn was_woken(&self) -> bool {
        self.is_woken.load(Ordering::Relaxed) && self.is_woken.swap(false, Ordering::AcqRel)
    }

    /// Whether a publish of the client has become safe, or has failed, since the last call.
    pub(crate) fn was_settled(&self) -> bool {
        self.is_settled.load(Ordering::Relaxed) && self.is_settled.swap(false, Ordering::AcqRel)
    }

    /// Has the connection end once what came is answered: nsqd is going down.
    pub fn dismiss(&self) {
        self.is_dismissed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the connection is to end once what came is answered.
    pub fn is_dismissed(&self) -> bool {
        self.is_dismissed.load(Ordering::Acquire)
    }

    /// Whether the connection is to be closed.
    pub fn is_closed(&self) -> bool {
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

impl TicketWaiter for Client {
    fn ticket_settled(&self) {
        self.is_settled.store(true, Ordering::Release);
        self.waker.wake();
    }
}
