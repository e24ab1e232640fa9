//! The connections to other nodes: made when they are needed, and made again when they break.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::connection::Connection;
use super::handshake::{self, Lane, Wanted};
use super::{Security, Shared};
use crate::NodeId;
use crate::codec::{Answer, Request};
use crate::network::CallError;

/// After a failure, the next try waits for this long, and longer each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

/// The links to all nodes.
pub(crate) struct Links {
    shared: Arc<Shared>,
    links: Mutex<HashMap<Target, Arc<Link>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Target {
    node: NodeId,
    address: String,
    lane: Lane,
}

impl Target {
    /// The error with the node's name.
    fn name_in(&self, error: CallError) -> CallError {
        match error {
            CallError::NotSent(why) => CallError::NotSent(format!("{self}: {why}")),
            CallError::Unreachable(why) => CallError::Unreachable(format!("{self}: {why}")),
            other => other,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            NodeId(0) => f.write_str(&self.address),
            node => write!(f, "node {node} at {}", self.address),
        }
    }
}

/// The way to one node, with a connection or without.
struct Link {
    target: Target,
    /// Locked while a connection is made.
    state: tokio::sync::Mutex<State>,
    /// The same connection, for those who need not make one.
    current: Mutex<Option<Arc<Connection>>>,
}

#[derive(Default)]
struct State {
    failures: u32,
    /// When the last try failed, and why.
    failed: Option<(Instant, String)>,
}

impl Links {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            links: Mutex::default(),
        }
    }

    pub(crate) async fn call(
        &self,
        node: NodeId,
        address: String,
        request: Request,
        timeout: Option<Duration>,
    ) -> Result<Answer, CallError> {
        let lane = match request {
            Request::Chunk { .. } | Request::Checkpoint { .. } => Lane::Bulk,
            _ => Lane::Quick,
        };
        let link = self.link(Target {
            node,
            address,
            lane,
        });
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut is_first = true;
        loop {
            let connected = link.connected(&self.shared);
            let connection = match deadline {
                None => connected.await,
                Some(deadline) => tokio::time::timeout_at(deadline, connected)
                    .await
                    .unwrap_or_else(|_| Err(format!("{}: no connection in time", link.target))),
            };
            let connection = connection.map_err(CallError::NotSent)?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let limits = &self.shared.limits;
            match connection.call(&request, left, limits).await {
                // The connection ended before the request left, as one does that was not used for long.
                Err(CallError::NotSent(_)) if is_first && connection.is_closed() => {
                    is_first = false;
                }
                Err(CallError::TimedOut(_)) => {
                    return Err(CallError::TimedOut(timeout.unwrap_or_default()));
                }
                outcome => return outcome.map_err(|error| link.target.name_in(error)),
            }
        }
    }

    fn link(&self, target: Target) -> Arc<Link> {
        let mut links = self.links();
        let link = links.entry(target).or_insert_with_key(|target| {
            Arc::new(Link {
                target: target.clone(),
                state: tokio::sync::Mutex::default(),
                current: Mutex::default(),
            })
        });
        Arc::clone(link)
    }

    /// Closes all connections, those with requests that wait once these are answered.
    pub(crate) fn retire(&self) {
        for (_, link) in self.links().drain() {
            if let Some(connection) = link.current().take() {
                connection.retire();
            }
        }
    }

    fn links(&self) -> MutexGuard<'_, HashMap<Target, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn current(&self) -> MutexGuard<'_, Option<Arc<Connection>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Option<Arc<Connection>> {
        let current = self.current().clone();
        current.filter(|connection| !connection.is_closed())
    }

    /// The connection, made if there is none. The error is why there is none.
    async fn connected(&self, shared: &Arc<Shared>) -> Result<Arc<Connection>, String> {
        if let Some(connection) = self.open() {
            return Ok(connection);
        }
        let mut state = self.state.lock().await;
        if let Some(connection) = self.open() {
            return Ok(connection);
        }
        if let Some((at, why)) = &state.failed
            && at.elapsed() < backoff(state.failures)
            && !shared.has_called_since(self.target.node, *at)
        {
            return Err(why.clone());
        }
        let limit = shared.limits.handshake_timeout;
        // A task of its own: a caller that gives up must not end what others wait for.
        let connecting = shared
            .runtime
            .spawn(connect(self.target.clone(), Arc::clone(shared)));
        let connected = match tokio::time::timeout(limit, connecting).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(_)) => Err("connecting was given up".to_owned()),
            Err(_) => Err(format!("no connection within {limit:?}")),
        };
        match connected {
            Ok(connection) => {
                if state.failures > 0 {
                    tracing::info!("cluster: {} is reachable again", self.target.address);
                }
                *state = State::default();
                *self.current() = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(why) => {
                let why = format!("{}: {why}", self.target);
                let is_news = state.failed.as_ref().is_none_or(|(_, known)| *known != why);
                if is_news {
                    tracing::warn!("cluster: no connection to {why}");
                }
                state.failures += 1;
                state.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }
}

fn backoff(failures: u32) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(LAST_BACKOFF)
}

async fn connect(target: Target, shared: Arc<Shared>) -> Result<Arc<Connection>, String> {
    let limit = shared.limits.connect_timeout;
    // A new try gets through sooner than the system's repetitions, which grow further and further apart.
    let stream = tokio::time::timeout(limit, TcpStream::connect(&target.address)).await;
    let stream =
        stream.unwrap_or_else(|_| Err(io::Error::other(format!("no answer within {limit:?}"))));
    let prepared = stream.and_then(|stream| super::prepare(&stream).map(|()| stream));
    let stream = prepared.map_err(|error| error.to_string())?;
    match &shared.security {
        Security::MutualTls { connector, .. } => {
            let stream = connector.connect(&target.address, stream).await;
            let stream =
                stream.map_err(|error| format!("TLS: {error} (--cluster-tls-root-ca-file)"))?;
            greet(stream, &target, &shared).await
        }
        Security::Loopback | Security::Secret(_) => greet(stream, &target, &shared).await,
    }
}

async fn greet<S>(
    mut stream: S,
    target: &Target,
    shared: &Arc<Shared>,
) -> Result<Arc<Connection>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let wanted = Wanted {
        node: (target.node != NodeId::default()).then_some(target.node),
        lane: target.lane,
    };
    let own = shared.introduction();
    let agreed = handshake::call(&mut stream, &shared.security, own, &wanted).await;
    let agreed = agreed.map_err(|error| error.to_string())?;
    Ok(Connection::start(stream, agreed, shared))
}
