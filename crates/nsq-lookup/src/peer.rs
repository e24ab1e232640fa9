//! nsqd's side: tells every nsqlookupd what there is, and asks them which channels a topic has elsewhere.
//!
//! ```text
//! nsqd ── topic_changed, channel_changed ──▶ inbox of each peer ──▶ its task ──▶ nsqlookupd (TCP)
//!      ── channels_of ─────────────────────▶ all peers at once  ──────────────▶ nsqlookupd (HTTP)
//! ```
//!
//! Each nsqlookupd has a task of its own, so that one that hangs delays no other. What is sent is decided
//! when it is sent: a change names a topic or channel, and the [`Catalog`] says whether it exists by then.
//! So an inbox holds each name once however often it changed, and needs nothing while disconnected: a new
//! connection begins by registering everything.

mod connection;
mod discovery;
mod task;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use nsq_daemon::http::client::Client;
use nsq_protocol::{ChannelName, TopicName};
use nsq_transport::tls::Connector;
use serde::Serialize;
use tokio::runtime;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

pub use discovery::Discovery;

/// What nsqd has, asked at the moment something is sent.
pub trait Catalog: Send + Sync + 'static {
    /// Every topic with its channels, ephemeral ones too.
    fn registrations(&self) -> Vec<(TopicName, Vec<ChannelName>)>;

    /// Whether the topic, or that channel of it, is there and not about to go.
    fn has(&self, topic: &TopicName, channel: Option<&ChannelName>) -> bool;
}

/// How an nsqd introduces itself to nsqlookupd. The order of the fields is that on the wire.
#[derive(Debug, Clone, Serialize)]
pub struct Announcement {
    /// The address that clients use. nsqlookupd refuses an empty one.
    pub broadcast_address: String,
    /// The host's own name.
    pub hostname: String,
    /// The broadcast port for HTTP. nsqlookupd refuses zero.
    pub http_port: i64,
    /// The broadcast port for clients. nsqlookupd refuses zero.
    pub tcp_port: i64,
    /// The region it is in, perhaps empty.
    pub topology_region: String,
    /// The zone it is in, perhaps empty.
    pub topology_zone: String,
    /// The version.
    pub version: &'static str,
}

/// What does not change while nsqd runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How to introduce oneself.
    pub announcement: Announcement,
    /// The longest answer to accept from an nsqlookupd, in bytes.
    pub max_answer_bytes: usize,
    /// With what to connect by TLS; `None` connects plainly. One never stands in for the other.
    pub tls: Option<Connector>,
    /// Asks the nsqlookupds for channels.
    pub discovery: Client,
}

/// The nsqlookupds an nsqd talks to. Clones are the same; with the last one the connections close.
#[derive(Clone)]
pub struct LookupHandle {
    lookup: Arc<Lookup>,
}

struct Lookup {
    shared: Arc<Shared>,
    runtime: runtime::Handle,
    /// In the order of their addresses in the configuration.
    peers: Mutex<Vec<Peer>>,
}

/// What all peers' tasks use.
struct Shared {
    settings: Settings,
    catalog: Box<dyn Catalog>,
    timing: Timing,
}

/// One nsqlookupd; its task ends with it.
struct Peer {
    state: Arc<PeerState>,
    task: AbortHandle,
}

/// What a peer's task and the rest of nsqd tell each other.
struct PeerState {
    address: String,
    inbox: Mutex<Inbox>,
    wake: Notify,
    /// `host:port` for HTTP, as the nsqlookupd said when it was last there.
    http_address: Mutex<Option<String>>,
}

/// Changes that the nsqlookupd has not heard of.
#[derive(Debug, Default)]
struct Inbox {
    /// Whether the task takes changes. Else the next connection's registrations will say it all.
    is_open: bool,
    changes: BTreeSet<Change>,
}

/// A topic, or a channel of it, that came or went.
type Change = (TopicName, Option<ChannelName>);

/// How patient a peer's task is.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// For connecting, for one write and for each answer.
    io_timeout: Duration,
    ping_interval: Duration,
    shortest_backoff: Duration,
    longest_backoff: Duration,
    /// Between attempts that news give rise to.
    shortest_gap: Duration,
}

impl LookupHandle {
    /// Starts talking to the nsqlookupds at `addresses` (`host:port` for TCP), from tasks on the current
    /// runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(settings: Settings, catalog: impl Catalog, addresses: &[String]) -> Self {
        Self::start_with(settings, catalog, addresses, TIMING)
    }

    fn start_with(
        settings: Settings,
        catalog: impl Catalog,
        addresses: &[String],
        timing: Timing,
    ) -> Self {
        let lookup = Lookup {
            shared: Arc::new(Shared {
                settings,
                catalog: Box::new(catalog),
                timing,
            }),
            runtime: runtime::Handle::current(),
            peers: Mutex::default(),
        };
        let handle = Self {
            lookup: Arc::new(lookup),
        };
        handle.set_addresses(addresses);
        handle
    }

    /// A topic was created or deleted.
    pub fn topic_changed(&self, topic: &TopicName) {
        self.tell(&(topic.clone(), None));
    }

    /// A channel was created or deleted. When a topic is deleted, each of its channels is, too.
    pub fn channel_changed(&self, topic: &TopicName, channel: &ChannelName) {
        self.tell(&(topic.clone(), Some(channel.clone())));
    }

    /// Talks to these nsqlookupds from now on. Connections to those that stay are kept, others are closed;
    /// an address given twice counts once.
    pub fn set_addresses(&self, addresses: &[String]) {
        let mut peers = self.peers();
        peers.retain(|peer| {
            let stays = addresses.contains(&peer.state.address);
            if !stays {
                tracing::info!("LOOKUP({}): removing peer", peer.state.address);
            }
            stays
        });
        for address in addresses {
            if peers.iter().any(|peer| peer.state.address == *address) {
                continue;
            }
            tracing::info!("LOOKUP({address}): adding peer");
            let state = Arc::new(PeerState {
                address: address.clone(),
                inbox: Mutex::default(),
                wake: Notify::new(),
                http_address: Mutex::default(),
            });
            let run = task::run(Arc::clone(&state), Arc::clone(&self.lookup.shared));
            let task = self.lookup.runtime.spawn(run).abort_handle();
            peers.push(Peer { state, task });
        }
    }

    /// The addresses it talks to.
    pub fn addresses(&self) -> Vec<String> {
        let peers = self.peers();
        peers
            .iter()
            .map(|peer| peer.state.address.clone())
            .collect()
    }

    /// The channels `topic` has at other nsqds, without ephemeral ones, by name. Asks all nsqlookupds at
    /// once and waits for all of them, within the limits of the client. Failures are logged;
    /// the answer is then that of the others.
    pub async fn channels_of(&self, topic: &TopicName) -> Discovery {
        let addresses: BTreeSet<String> = {
            let peers = self.peers();
            if peers.is_empty() {
                return Discovery::default();
            }
            let known = peers.iter().filter_map(|peer| peer.state.http_address());
            known.collect()
        };
        let client = self.lookup.shared.settings.discovery.clone();
        discovery::ask_all(&self.lookup.runtime, addresses, topic, client).await
    }

    fn tell(&self, change: &Change) {
        for peer in self.peers().iter() {
            peer.state.push(change.clone());
        }
    }

    fn peers(&self) -> MutexGuard<'_, Vec<Peer>> {
        self.lookup
            .peers
            .lock()
            .expect("nothing panics while it is held")
    }
}

impl fmt::Debug for LookupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupHandle")
            .field("addresses", &self.addresses())
            .finish_non_exhaustive()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PeerState {
    fn push(&self, change: Change) {
        let mut inbox = self.inbox();
        if inbox.is_open {
            inbox.changes.insert(change);
        }
        drop(inbox);
        // While disconnected too: it is a reason to try again now.
        self.wake.notify_one();
    }

    /// Takes up to `limit` changes. A topic's channels come before the topic: the other way round,
    /// nsqlookupd warns of every channel of a deleted topic.
    fn take(&self, limit: usize) -> Vec<Change> {
        let mut inbox = self.inbox();
        std::iter::from_fn(|| inbox.changes.pop_last())
            .take(limit)
            .collect()
    }

    /// From here on changes are kept, and what came before is in the registrations asked for next.
    fn open_inbox(&self) {
        *self.inbox() = Inbox {
            is_open: true,
            changes: BTreeSet::new(),
        };
    }

    fn close_inbox(&self) {
        *self.inbox() = Inbox::default();
    }

    fn http_address(&self) -> Option<String> {
        self.http_address
            .lock()
            .expect("nothing panics while it is held")
            .clone()
    }

    fn set_http_address(&self, address: Option<String>) {
        *self
            .http_address
            .lock()
            .expect("nothing panics while it is held") = address;
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().expect("nothing panics while it is held")
    }
}

const TIMING: Timing = Timing {
    // Upstream's, for every read and write.
    io_timeout: Duration::from_secs(1),
    ping_interval: Duration::from_secs(15),
    shortest_backoff: Duration::from_millis(250),
    // Upstream tries again with each ping.
    longest_backoff: Duration::from_secs(15),
    shortest_gap: Duration::from_millis(100),
};
