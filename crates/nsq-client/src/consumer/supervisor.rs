//! The task that makes a consumer's connections, keeps them, and ends them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nsq_protocol::encode;
use reqwest::Url;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;
use super::discovery::Discovery;
use super::event::ConsumerEvent;
use super::ready::ConnectionId;
use super::shared::Shared;
use crate::connect::Connected;
use crate::error::{ConnectError, SetupError};
use crate::lookup::Lookup;
use crate::wire::Answer;

/// What a consumer's handle wants done.
pub(crate) enum Command {
    /// Make this connection, and keep it. Without a reply, keep trying.
    Connect(Arc<str>, Option<Reply<ConnectError>>),
    Disconnect(Arc<str>, Reply<SetupError>),
    /// Ask this nsqlookupd as well. Answered after the first question, if this begins them.
    AddLookup(Lookup, oneshot::Sender<()>),
    RemoveLookup(Url, Reply<SetupError>),
    /// Let nsqds send no more, wait this long for what is in flight, and end.
    Stop(Duration, oneshot::Sender<()>),
}

type Reply<E> = oneshot::Sender<Result<(), E>>;

pub(super) struct Supervisor {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedReceiver<Command>,
    nsqds: HashMap<Arc<str>, Nsqd>,
    discovery: Discovery,
    dials: JoinSet<Dialled>,
    connections: JoinSet<Ended>,
    last_id: u64,
    stop: Option<Stop>,
}

/// An nsqd with a connection, or that is to be connected.
#[derive(Debug, Default)]
struct Nsqd {
    /// Someone named its address, so it is tried again when it is lost.
    is_named: bool,
    link: Link,
}

#[derive(Debug, Default)]
enum Link {
    #[default]
    None,
    /// When to try.
    Lost(Instant),
    Dialling,
    Connected(ConnectionId),
}

struct Dialled {
    address: Arc<str>,
    result: Result<Connected, ConnectError>,
    reply: Option<Reply<ConnectError>>,
}

struct Ended {
    connection: Arc<Connection>,
    error: Option<ConnectError>,
}

struct Stop {
    /// When to wait no longer for what is in flight.
    deadline: Instant,
    /// Waits no longer.
    is_forced: bool,
    replies: Vec<oneshot::Sender<()>>,
}

impl Supervisor {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: mpsc::UnboundedReceiver<Command>,
        discovery: Discovery,
    ) -> Self {
        Self {
            shared,
            commands,
            nsqds: HashMap::new(),
            discovery,
            dials: JoinSet::new(),
            connections: JoinSet::new(),
            last_id: 0,
            stop: None,
        }
    }

    /// Runs until the consumer is stopped or its handle dropped.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut has_handle = true;
        while !self.is_over() {
            let deadline = self.deadline();
            tokio::select! {
                command = self.commands.recv(), if has_handle => {
                    if let Some(command) = command {
                        self.obey(command);
                    } else {
                        has_handle = false;
                        self.begin_stop(Duration::ZERO, None);
                    }
                }
                Some(dialled) = self.dials.join_next() => {
                    // One that was cut off has nothing to say.
                    if let Ok(dialled) = dialled {
                        self.dialled(dialled);
                    }
                }
                Some(ended) = self.connections.join_next() => {
                    if let Ok(ended) = ended {
                        self.ended(&ended);
                    }
                }
                addresses = self.discovery.next(&shared), if self.stop.is_none() => {
                    for address in addresses {
                        self.discovered(&address);
                    }
                }
                () = shared.sooner.notified() => {}
                () = sleep_until(deadline) => self.handle_timeout(),
            }
        }
        shared.inbox.close();
        for reply in self.stop.into_iter().flat_map(|stop| stop.replies) {
            // Who asked may have gone.
            let _ = reply.send(());
        }
    }

    fn is_over(&self) -> bool {
        self.stop.is_some() && self.connections.is_empty()
    }

    fn deadline(&self) -> Instant {
        let mut deadline = Instant::from_std(self.shared.deadline());
        for nsqd in self.nsqds.values() {
            if let Link::Lost(at) = nsqd.link {
                deadline = deadline.min(at);
            }
        }
        if let Some(stop) = &self.stop {
            deadline = deadline.min(stop.deadline);
        }
        deadline
    }

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        self.shared.handle_timeout();
        let is_due = |nsqd: &Nsqd| matches!(nsqd.link, Link::Lost(at) if at <= now);
        let nsqds = self.nsqds.iter();
        let due: Vec<_> = nsqds
            .filter(|(_, nsqd)| is_due(nsqd))
            .map(|(address, _)| Arc::clone(address))
            .collect();
        for address in due {
            self.dial(&address, None);
        }
        if self.stop.as_ref().is_some_and(|stop| stop.deadline <= now) {
            self.force_stop();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Connect(address, reply) => {
                let nsqd = self.nsqds.entry(Arc::clone(&address)).or_default();
                nsqd.is_named = true;
                let is_busy = matches!(nsqd.link, Link::Dialling | Link::Connected(_));
                if self.stop.is_some() {
                    answer(reply, Err(ConnectError::Stopped));
                } else if is_busy {
                    answer(reply, Err(ConnectError::AlreadyConnected));
                } else {
                    self.dial(&address, reply);
                }
            }
            Command::Disconnect(address, reply) => {
                answer(Some(reply), self.disconnect(&address));
            }
            Command::AddLookup(lookup, reply) => self.discovery.add(lookup, reply),
            Command::RemoveLookup(url, reply) => {
                answer(Some(reply), self.discovery.remove(&url));
            }
            Command::Stop(patience, reply) => self.begin_stop(patience, Some(reply)),
        }
    }

    fn dial(&mut self, address: &Arc<str>, reply: Option<Reply<ConnectError>>) {
        tracing::info!("{} ({address}) connecting to nsqd", self.shared.label);
        self.nsqds.entry(Arc::clone(address)).or_default().link = Link::Dialling;
        let shared = Arc::clone(&self.shared);
        let address = Arc::clone(address);
        self.dials.spawn(async move {
            let result = subscribe(&address, &shared).await;
            Dialled {
                address,
                result,
                reply,
            }
        });
    }

    fn dialled(&mut self, dialled: Dialled) {
        let Dialled {
            address,
            result,
            reply,
        } = dialled;
        let Some(nsqd) = self.nsqds.get_mut(&address) else {
            // No one wants it any more.
            answer(reply, Err(ConnectError::Stopped));
            return;
        };
        if self.stop.is_some() {
            answer(reply, Err(ConnectError::Stopped));
            return;
        }
        if matches!(nsqd.link, Link::Connected(_)) {
            // It was disconnected and wanted again, and another attempt was faster.
            answer(reply, Err(ConnectError::AlreadyConnected));
            return;
        }
        match result {
            Ok(connected) => {
                self.last_id += 1;
                let id = ConnectionId(self.last_id);
                nsqd.link = Link::Connected(id);
                self.connected(id, &address, connected);
                answer(reply, Ok(()));
            }
            Err(error) => {
                let label = &self.shared.label;
                tracing::error!("{label} ({address}) error connecting to nsqd - {error}");
                let event = ConsumerEvent::ConnectFailed {
                    address: &address,
                    error: &error,
                };
                self.shared.tell(&event);
                let is_kept = nsqd.is_named && reply.is_none();
                if is_kept && self.discovery.is_empty() {
                    self.lose(&address);
                } else {
                    self.nsqds.remove(&address);
                    self.hurry_if_alone();
                }
                answer(reply, Err(error));
            }
        }
    }

    fn connected(&mut self, id: ConnectionId, address: &Arc<str>, connected: Connected) {
        let Connected {
            wire,
            max_rdy_count,
            message_timeout,
            authorized,
            cluster_nodes: _,
        } = connected;
        let label = &self.shared.label;
        if let Some(who) = authorized {
            tracing::info!(
                "{label} ({address}) Auth accepted. Identity: {:?} {} Permissions: {}",
                who.identity,
                who.identity_url,
                who.permission_count
            );
        }
        let max_in_flight = self.shared.max_in_flight();
        if max_rdy_count < max_in_flight {
            tracing::warn!(
                "{label} ({address}) max RDY count {max_rdy_count} < consumer max in flight {max_in_flight}, truncation possible"
            );
        }
        let connection = Connection::new(
            id,
            Arc::clone(address),
            Arc::clone(&self.shared),
            max_rdy_count,
            message_timeout,
        );
        let connection = Arc::new(connection);
        self.shared.connected(&connection, max_rdy_count);
        self.discovery.calm_down();
        self.shared.tell(&ConsumerEvent::Connected { address });
        self.connections.spawn(async move {
            let error = connection.run(wire).await;
            Ended { connection, error }
        });
    }

    fn ended(&mut self, ended: &Ended) {
        let Ended { connection, error } = ended;
        let (label, address) = (&self.shared.label, connection.address());
        if let Some(error) = error {
            tracing::error!("{label} ({address}) IO error - {error}");
        } else {
            tracing::info!("{label} ({address}) clean close complete");
        }
        let left = self.shared.forget(connection);
        tracing::warn!("{label} there are {left} connections left alive");
        let error = error.as_ref();
        self.shared
            .tell(&ConsumerEvent::Disconnected { address, error });
        let Some(nsqd) = self.nsqds.get(address) else {
            return;
        };
        // It may have been disconnected and connected again meanwhile.
        if !matches!(nsqd.link, Link::Connected(id) if id == connection.id()) {
            return;
        }
        if !self.discovery.is_empty() {
            self.nsqds.remove(address);
            self.discovery.ask_soon();
            self.hurry_if_alone();
        } else if nsqd.is_named && self.stop.is_none() {
            let address = Arc::from(address);
            self.lose(&address);
        } else {
            self.nsqds.remove(address);
        }
    }

    /// Messages wait while no nsqd is connected or being connected, so an nsqlookupd is asked again soon.
    fn hurry_if_alone(&mut self) {
        let is_used = |nsqd: &Nsqd| matches!(nsqd.link, Link::Connected(_) | Link::Dialling);
        if !self.nsqds.values().any(is_used) {
            self.discovery.hurry(&self.shared);
        }
    }

    /// Tries an nsqd again after a while.
    fn lose(&mut self, address: &Arc<str>) {
        let interval = self.shared.dialer.config.lookupd_poll_interval;
        tracing::info!(
            "{} ({address}) re-connecting in {}",
            self.shared.label,
            nsq_protocol::go_duration::GoDuration::from(interval)
        );
        if let Some(nsqd) = self.nsqds.get_mut(address) {
            nsqd.link = Link::Lost(Instant::now() + interval);
        }
    }

    fn discovered(&mut self, address: &str) {
        if !self.nsqds.contains_key(address) {
            self.dial(&Arc::from(address), None);
        }
    }

    fn disconnect(&mut self, address: &str) -> Result<(), SetupError> {
        let nsqd = self.nsqds.remove(address).ok_or(SetupError::NotConnected)?;
        if let Link::Connected(id) = nsqd.link {
            for connection in self.shared.connections() {
                if connection.id() == id {
                    self.leave(&connection);
                }
            }
        }
        Ok(())
    }

    /// Has an nsqd send no more; the connection ends with the last answer.
    fn leave(&self, connection: &Connection) {
        self.shared.disconnected(connection);
        connection.send_close();
    }

    fn begin_stop(&mut self, patience: Duration, reply: Option<oneshot::Sender<()>>) {
        let deadline = Instant::now() + patience;
        match &mut self.stop {
            Some(stop) => {
                stop.deadline = stop.deadline.min(deadline);
                stop.replies.extend(reply);
            }
            none => {
                tracing::info!("{} stopping...", self.shared.label);
                *none = Some(Stop {
                    deadline,
                    is_forced: false,
                    replies: reply.into_iter().collect(),
                });
                self.dials.abort_all();
                self.nsqds
                    .retain(|_, nsqd| matches!(nsqd.link, Link::Connected(_)));
                for connection in self.shared.connections() {
                    self.leave(&connection);
                }
            }
        }
    }

    /// Gives back what no one has taken, and ends all connections; then ends those that do not end.
    fn force_stop(&mut self) {
        let Some(stop) = &mut self.stop else {
            return;
        };
        if stop.is_forced {
            self.connections.abort_all();
            // Nothing is left to wait for.
            stop.deadline += FAR;
            return;
        }
        stop.is_forced = true;
        stop.deadline = Instant::now() + self.shared.dialer.config.write_timeout;
        self.shared.inbox.close();
        for message in self.shared.inbox.take_all() {
            message.hand_back();
        }
        for connection in self.shared.connections() {
            connection.close();
        }
    }
}

async fn subscribe(address: &str, shared: &Shared) -> Result<Connected, ConnectError> {
    let mut connected = shared.dialer.connect(address).await?;
    let mut command = Vec::new();
    encode::subscribe(&mut command, &shared.topic, &shared.channel);
    connected.wire.send(&command).await?;
    match connected.wire.answer().await? {
        Answer::Response(body) if body == b"OK" => Ok(connected),
        Answer::Error(text) => Err(ConnectError::Subscribe { text }),
        answer @ Answer::Response(_) => Err(answer.unexpected("SUB")),
    }
}

/// Who asked may have gone.
fn answer<E>(reply: Option<Reply<E>>, result: Result<(), E>) {
    if let Some(reply) = reply {
        let _ = reply.send(result);
    }
}

const FAR: Duration = Duration::from_hours(24);
