//! Requests and answers between nodes over TCP.
//!
//! ```text
//! call ─▶ Links ─▶ Link (one per peer and lane) ─▶ Connection ═══ TCP ═══▶ incoming ─▶ Handler
//!                                                      ▲                                 │
//!                                                      └────────── answers ◀─────────────┘
//! ```
//! A node connects to each peer twice: once for what keeps elections and publishes alive, and once for the files of
//! checkpoints, so that a large transfer never delays a heartbeat. Many requests are under way on one connection; answers come
//! in any order.
//!
//! Every connection begins with a handshake in which both sides prove that they belong to the cluster. Nothing
//! else is accepted before. Every frame carries a checksum; where the nodes share a secret, it is encrypted with keys that are
//! the connection's own.

mod connection;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handshake;
mod incoming;
mod links;
mod outgoing;
mod refusals;
mod seal;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use nsq_transport::tls::{Acceptor, Connector};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::codec::{Answer, Request};
use crate::directory::MAX_MEMBERS;
use crate::identity::ClusterId;
use crate::network::{Calling, Network};
use crate::{Member, NodeId};

pub use self::handshake::RECOVERED;
use self::links::Links;

/// Answers the requests of other nodes.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request. Requests of one connection are begun in the order in which the other node sent them: what this does
    /// until it first waits happens in that order. It continues when the connection breaks.
    fn handle(&self, from: Peer, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send>>;
}

/// The node at the other end of a connection. It has proved that it belongs to the cluster, or that it may join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number; `None` while it is no member yet. Then it may only ask about the directory.
    pub node: Option<NodeId>,
    /// Where it connected from.
    pub address: SocketAddr,
}

/// How the nodes of a cluster know one another.
#[derive(Clone)]
pub enum Security {
    /// They do not: only for addresses of the loopback interface.
    Loopback,
    /// They share a secret.
    Secret(Vec<u8>),
    /// Each has a certificate of the cluster's authority.
    MutualTls {
        /// For connections that others make.
        acceptor: Acceptor,
        /// For connections to others.
        connector: Connector,
    },
}

impl Security {
    /// As it is named in the handshake.
    fn kind(&self) -> u8 {
        match self {
            Self::Loopback => 0,
            Self::Secret(_) => 1,
            Self::MutualTls { .. } => 2,
        }
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A secret is in no log.
        out.write_str(match self {
            Self::Loopback => "Loopback",
            Self::Secret(_) => "Secret",
            Self::MutualTls { .. } => "MutualTls",
        })
    }
}

/// Sizes, counts and times.
#[derive(Clone, Debug)]
pub struct TransportLimits {
    /// The most bytes of one request or answer.
    pub max_frame_bytes: usize,
    /// The most bytes that wait to be sent on one connection. More is refused.
    pub max_waiting_bytes: usize,
    /// The most requests of one connection that are being answered at a time.
    pub max_requests: usize,
    /// The most bytes of requests of one connection that are being answered at a time, and of their answers. More is not read
    /// before some have left.
    pub max_connection_bytes: usize,
    /// The same for all connections together.
    pub max_handled_bytes: usize,
    /// The most connections of others.
    pub max_connections: usize,
    /// The most connections of others that have not proved who they are.
    pub max_handshakes: usize,
    /// How long the operating system may take to connect.
    pub connect_timeout: Duration,
    /// How long connecting and the handshake may take.
    pub handshake_timeout: Duration,
    /// A connection on which requests wait and no answer has come for this long is given up.
    pub silence: Duration,
    /// A connection without a request for this long is closed.
    pub idle: Duration,
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 64 << 20,
            max_waiting_bytes: 64 << 20,
            max_requests: 1024,
            max_connection_bytes: 64 << 20,
            max_handled_bytes: 256 << 20,
            max_connections: 1024,
            max_handshakes: 256,
            connect_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(5),
            silence: Duration::from_secs(2),
            idle: Duration::from_mins(1),
        }
    }
}

/// What a transport is made of.
pub struct TransportOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How the nodes know one another.
    pub security: Security,
    /// Answers requests.
    pub handler: Arc<dyn Handler>,
    /// The clusters that this node's was [recovered](crate::identity::former_clusters) from.
    pub former: Vec<ClusterId>,
    /// Sizes and times.
    pub limits: TransportLimits,
}

/// Why there is no transport.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address cannot be listened on.
    #[error("--cluster-address={address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Nothing would keep strangers out.
    #[error(
        "--cluster-address={0} is not an address of the loopback interface, so the nodes need --cluster-secret-file, or \
         --cluster-tls-cert with its key and authority"
    )]
    Unprotected(SocketAddr),
    /// A secret that can be guessed keeps no stranger out.
    #[error(
        "--cluster-secret-file: a secret of {0} bytes is too short, it must have at least {MIN_SECRET_BYTES}"
    )]
    ShortSecret(usize),
}

/// Who this node is, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Introduction {
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) node: Option<NodeId>,
}

/// What both directions share.
pub(crate) struct Shared {
    pub(crate) security: Security,
    pub(crate) limits: TransportLimits,
    introduction: RwLock<Introduction>,
    pub(crate) former: Vec<ClusterId>,
    /// When each member has connected last.
    callers: Mutex<HashMap<NodeId, Instant>>,
    /// Turns true when everything is to end.
    stopping: watch::Sender<bool>,
    /// Where all connections run, also those that a call from another runtime makes.
    pub(crate) runtime: Handle,
}

impl Shared {
    pub(crate) fn introduction(&self) -> Introduction {
        *self
            .introduction
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note_caller(&self, node: NodeId) {
        let callers = self.callers.lock();
        let mut callers = callers.unwrap_or_else(PoisonError::into_inner);
        // Without a secret, a caller may claim to be any node.
        if callers.len() < MAX_MEMBERS || callers.contains_key(&node) {
            callers.insert(node, Instant::now());
        }
    }

    /// Whether a member has connected since then: it runs, so there is no reason to wait with connecting to it.
    pub(crate) fn has_called_since(&self, node: NodeId, since: Instant) -> bool {
        let callers = self.callers.lock();
        let callers = callers.unwrap_or_else(PoisonError::into_inner);
        callers.get(&node).is_some_and(|at| *at > since)
    }

    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }
}

/// A node's connections to the others, and of the others to it. Clones share them.
#[derive(Clone)]
pub struct Transport {
    shared: Arc<Shared>,
    links: Arc<Links>,
    address: SocketAddr,
}

impl Transport {
    /// Listens, and answers other nodes from now on. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`TransportError`] when the address cannot be listened on, or is not to be.
    pub fn start(options: TransportOptions) -> Result<Self, TransportError> {
        let TransportOptions {
            listen,
            security,
            handler,
            former,
            limits,
        } = options;
        if matches!(security, Security::Loopback) && !listen.ip().is_loopback() {
            return Err(TransportError::Unprotected(listen));
        }
        if let Security::Secret(secret) = &security
            && secret.len() < MIN_SECRET_BYTES
        {
            return Err(TransportError::ShortSecret(secret.len()));
        }
        let failed = |source| TransportError::Listen {
            address: listen,
            source,
        };
        let listener = bind(listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            security,
            limits,
            introduction: RwLock::default(),
            former,
            callers: Mutex::default(),
            stopping: watch::Sender::new(false),
            runtime: Handle::current(),
        });
        tokio::spawn(incoming::listen(listener, Arc::clone(&shared), handler));
        Ok(Self {
            links: Arc::new(Links::new(Arc::clone(&shared))),
            shared,
            address,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says who this node is: from now on it is a member. Connections to others that were made before are closed once the
    /// requests on them are answered.
    pub fn introduce(&self, cluster: ClusterId, node: NodeId) {
        let introduction = Introduction {
            cluster: Some(cluster),
            node: Some(node),
        };
        let mut known = self
            .shared
            .introduction
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let is_news = *known != introduction;
        *known = introduction;
        drop(known);
        if is_news {
            self.links.retire();
        }
    }

    /// Closes everything, and listens no more.
    pub async fn stop(&self) {
        self.shared.stopping.send_replace(true);
        self.links.retire();
        // The tasks have a moment to see it.
        tokio::task::yield_now().await;
    }
}

impl Network for Transport {
    fn call(
        &self,
        to: NodeId,
        member: &Member,
        request: Request,
        timeout: Option<Duration>,
    ) -> Calling {
        let links = Arc::clone(&self.links);
        let address = member.address.clone();
        Box::pin(async move { links.call(to, address, request, timeout).await })
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Transport")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Has a connection send small requests at once, and break when the other end has vanished.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(15)))
}

/// The shortest secret.
const MIN_SECRET_BYTES: usize = 16;

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
