//! The network between the machines: requests and answers arrive late, in another order, twice, or not at all.
//!
//! What travels is bytes. A request that is lost is answered by no one; one to a machine without a process is refused, as the
//! operating system does. Calls between nodes are never doubled: TCP does not do that, and nsqd relies on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nsq_cluster::codec::{Answer, Request, Wire};
use nsq_cluster::network::{CallError, Calling, Network};
use nsq_cluster::transport::{Handler, Peer};
use nsq_cluster::{ClusterId, Member, NodeId};
use nsqd::embedded::Port;
use tokio::sync::oneshot;

use super::process;
use crate::clock;
use crate::random::Random;

type Answered = Result<Answer, CallError>;

/// The network, and what all machines share. Clones are the same.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<State>>);

struct State {
    chance: Random,
    hosts: Vec<Host>,
    /// By arrival, then in the order in which they were sent.
    packets: BTreeMap<(u64, u64), Packet>,
    packet_count: u64,
    calls: BTreeMap<u64, Call>,
    call_count: u64,
    /// When each host has heard an answer of another one last.
    heard: BTreeMap<(usize, usize), u64>,
    cut: BTreeSet<(usize, usize)>,
    weather: Weather,
    /// The end of the turn that the machines have now.
    turn_end: u64,
    digest: u64,
}

/// How bad the network and the disks are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    /// Messages that get lost, of a thousand.
    pub(super) lost: u64,
    /// Messages that come twice, of a thousand.
    pub(super) doubled: u64,
    /// Messages that take long, of a thousand.
    pub(super) late: u64,
    /// Disk operations that take long, of ten thousand.
    pub(super) stalls: u64,
}

struct Host {
    address: String,
    handler: Option<Arc<dyn Handler>>,
    cluster: Option<ClusterId>,
    node: Option<NodeId>,
    /// No one answers, not even the operating system.
    is_silent: bool,
}

/// A request under way.
struct Call {
    from: usize,
    to: usize,
    answer: oneshot::Sender<Answered>,
}

pub(super) enum Packet {
    Request {
        from: usize,
        to: usize,
        number: u64,
        wanted: NodeId,
        bytes: bytes::Bytes,
    },
    Answer {
        to: usize,
        number: u64,
        answered: Result<bytes::Bytes, CallError>,
    },
}

impl Packet {
    fn to(&self) -> usize {
        match self {
            Packet::Request { to, .. } | Packet::Answer { to, .. } => *to,
        }
    }
}

impl World {
    pub(super) fn new(chance: Random, addresses: Vec<String>) -> World {
        let host = |address| Host {
            address,
            handler: None,
            cluster: None,
            node: None,
            is_silent: false,
        };
        World(Arc::new(Mutex::new(State {
            chance,
            hosts: addresses.into_iter().map(host).collect(),
            packets: BTreeMap::new(),
            packet_count: 0,
            calls: BTreeMap::new(),
            call_count: 0,
            heard: BTreeMap::new(),
            cut: BTreeSet::new(),
            weather: Weather::default(),
            turn_end: 0,
            digest: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin_turn(&self, end: u64) {
        self.state().turn_end = end;
    }

    /// A number that differs if anything in two runs has.
    pub(super) fn digest(&self) -> u64 {
        self.state().digest
    }

    /// Adds to the number by which runs are compared.
    pub(super) fn note(&self, what: u64) {
        self.state().note(what);
    }

    // ---- faults ----

    pub(super) fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    pub(super) fn cut(&self, from: usize, to: usize) {
        self.state().cut.insert((from, to));
    }

    pub(super) fn mend(&self) {
        self.state().cut.clear();
    }

    pub(super) fn is_cut(&self) -> bool {
        !self.state().cut.is_empty()
    }

    /// How long a disk takes for a piece of work.
    pub(super) fn disk_delay(&self) -> Duration {
        let mut state = self.state();
        let stalls = state.weather.stalls;
        let chance = &mut state.chance;
        let millis = if chance.below(10_000) < stalls {
            50 + chance.below(1500)
        } else if chance.chance(20) {
            1 + chance.below(3)
        } else {
            0
        };
        Duration::from_millis(millis)
    }

    // ---- processes ----

    /// The process of a host is gone: what waits for it learns that, unless the machine is gone too.
    pub(super) fn end_process(&self, host: usize, is_silent: bool) {
        let mut state = self.state();
        let about = &mut state.hosts[host];
        about.is_silent = is_silent;
        (about.cluster, about.node) = (None, None);
        // Nothing of a dead process is dropped: that would run its destructors.
        std::mem::forget(about.handler.take());
        let ended: Vec<_> = state
            .calls
            .iter()
            .filter(|(_, call)| call.from == host)
            .map(|(number, _)| *number)
            .collect();
        for number in ended {
            std::mem::forget(state.calls.remove(&number));
        }
        if !is_silent {
            let waiting: Vec<_> = state
                .calls
                .iter()
                .filter(|(_, call)| call.to == host)
                .map(|(number, call)| (*number, call.from))
                .collect();
            for (number, to) in waiting {
                let why = CallError::Unreachable("the connection was reset".to_owned());
                state.send_answer(host, to, number, Err(why));
            }
        }
    }

    /// The machine is there again.
    pub(super) fn begin_process(&self, host: usize) {
        self.state().hosts[host].is_silent = false;
    }

    /// What arrives at a host before `end`.
    pub(super) fn arrivals(&self, host: usize, end: u64) -> Vec<(u64, Packet)> {
        let mut state = self.state();
        let due = state.packets.range(..(end, 0));
        let due: Vec<_> = due
            .filter(|(_, packet)| packet.to() == host)
            .map(|(key, _)| *key)
            .collect();
        due.into_iter()
            .filter_map(|key| Some((key.0, state.packets.remove(&key)?)))
            .collect()
    }

    /// What arrives at a machine without a process.
    pub(super) fn refuse(&self, packets: Vec<(u64, Packet)>) {
        let mut state = self.state();
        for (_, packet) in packets {
            if let Packet::Request {
                from, to, number, ..
            } = packet
                && !state.hosts[to].is_silent
            {
                let why = CallError::NotSent("connection refused".to_owned());
                state.send_answer(to, from, number, Err(why));
            }
        }
    }

    /// Gives a packet to the process that runs now.
    pub(super) async fn take_in(self, packet: Packet) {
        match packet {
            Packet::Answer {
                number, answered, ..
            } => self.settle(number, answered),
            Packet::Request {
                from,
                to,
                number,
                wanted,
                bytes,
            } => {
                let answered = self.handle(from, to, wanted, bytes).await;
                if !process::is_dead() {
                    self.state().send_answer(to, from, number, answered);
                }
            }
        }
    }

    fn settle(&self, number: u64, answered: Result<bytes::Bytes, CallError>) {
        let mut state = self.state();
        if let Some(call) = state.calls.remove(&number) {
            let now = clock::nanos();
            state.heard.insert((call.from, call.to), now);
            drop(state);
            let answered = answered
                .map(|bytes| Answer::from_bytes(bytes).expect("what was encoded is decoded"));
            let _ = call.answer.send(answered);
        }
    }

    async fn handle(
        &self,
        from: usize,
        to: usize,
        wanted: NodeId,
        bytes: bytes::Bytes,
    ) -> Result<bytes::Bytes, CallError> {
        let (handler, peer) = {
            let state = self.state();
            let (caller, here) = (&state.hosts[from], &state.hosts[to]);
            // What the handshake of the real transport checks.
            if let (Some(theirs), Some(ours)) = (caller.cluster, here.cluster)
                && theirs != ours
            {
                return Err(CallError::NotSent("it is of another cluster".to_owned()));
            }
            if wanted != NodeId::default() && here.node != Some(wanted) {
                return Err(CallError::NotSent(format!("node {wanted} is not here")));
            }
            let is_member = caller.cluster.is_some() && caller.cluster == here.cluster;
            let peer = Peer {
                node: caller.node.filter(|_| is_member),
                address: socket_address(from),
            };
            let Some(handler) = here.handler.clone() else {
                return Err(CallError::NotSent("connection refused".to_owned()));
            };
            (handler, peer)
        };
        let request = Request::from_bytes(bytes).expect("what was encoded is decoded");
        let answer = handler.handle(peer, request).await;
        Ok(answer.to_bytes())
    }

    fn forget(&self, number: u64) {
        self.state().calls.remove(&number);
    }

    /// Whether a host has heard nothing of another one for a while.
    fn is_quiet(&self, from: usize, to: usize, since: u64) -> bool {
        let state = self.state();
        state.heard.get(&(from, to)).is_none_or(|at| *at < since)
    }
}

impl State {
    fn note(&mut self, what: u64) {
        self.digest = (self.digest ^ what)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29);
    }

    /// When something that is sent now arrives; `None` if it gets lost.
    fn travel(&mut self, from: usize, to: usize) -> Option<u64> {
        let Weather { lost, late, .. } = self.weather;
        if self.cut.contains(&(from, to)) || self.chance.below(1000) < lost {
            return None;
        }
        let micros = if self.chance.below(1000) < late {
            20_000 + self.chance.below(380_000)
        } else {
            100 + self.chance.below(2_000)
        };
        Some((clock::nanos() + micros * 1000).max(self.turn_end))
    }

    fn send(&mut self, from: usize, packet: Packet) {
        let to = packet.to();
        let Some(arrival) = self.travel(from, to) else {
            return;
        };
        let size = match &packet {
            Packet::Request { bytes, .. } => bytes.len(),
            Packet::Answer { answered, .. } => answered.as_ref().map_or(0, bytes::Bytes::len),
        };
        self.note(arrival);
        self.note((size as u64) << 8 | (from as u64) << 4 | to as u64);
        self.packet_count += 1;
        self.packets.insert((arrival, self.packet_count), packet);
    }

    fn send_answer(
        &mut self,
        from: usize,
        to: usize,
        number: u64,
        answered: Result<bytes::Bytes, CallError>,
    ) {
        self.send(
            from,
            Packet::Answer {
                to,
                number,
                answered,
            },
        );
    }
}

/// How a process reaches the others.
#[derive(Clone)]
pub(super) struct SimPort {
    world: World,
    host: usize,
}

impl SimPort {
    /// Has `handler` answer the requests to the host.
    pub(super) fn open(world: &World, host: usize, handler: Arc<dyn Handler>) -> SimPort {
        let old = world.state().hosts[host].handler.replace(handler);
        assert!(old.is_none(), "a process listens once");
        SimPort {
            world: world.clone(),
            host,
        }
    }

    fn begin(&self, to: NodeId, address: &str, request: &Request) -> Option<Begun> {
        let bytes = request.to_bytes();
        let is_call = matches!(request, Request::Call { .. });
        let mut state = self.world.state();
        let from = self.host;
        let target = state
            .hosts
            .iter()
            .position(|host| host.address == address)?;
        let (sender, receiver) = oneshot::channel();
        state.call_count += 1;
        let number = state.call_count;
        let call = Call {
            from,
            to: target,
            answer: sender,
        };
        state.calls.insert(number, call);
        let doubled = state.weather.doubled;
        let count = if !is_call && state.chance.below(1000) < doubled {
            2
        } else {
            1
        };
        for _ in 0..count {
            let packet = Packet::Request {
                from,
                to: target,
                number,
                wanted: to,
                bytes: bytes.clone(),
            };
            state.send(from, packet);
        }
        Some(Begun {
            number,
            target,
            receiver,
        })
    }

    async fn finish(self, begun: Begun, limit: Duration) -> Answered {
        let Begun {
            number,
            target,
            mut receiver,
        } = begun;
        let end = tokio::time::Instant::now() + limit;
        loop {
            let pause = end.min(tokio::time::Instant::now() + SILENCE);
            match tokio::time::timeout_at(pause, &mut receiver).await {
                Ok(Ok(answered)) => return answered,
                // Its process is dead.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => {}
            }
            if tokio::time::Instant::now() >= end {
                self.world.forget(number);
                return Err(CallError::TimedOut(limit));
            }
            let silence = u64::try_from(SILENCE.as_nanos()).unwrap_or(u64::MAX);
            let since = clock::nanos().saturating_sub(silence);
            if self.world.is_quiet(self.host, target, since) {
                self.world.forget(number);
                let why = "no answer came for 2s, the connection was given up".to_owned();
                return Err(CallError::Unreachable(why));
            }
        }
    }
}

/// A request that was sent.
struct Begun {
    number: u64,
    target: usize,
    receiver: oneshot::Receiver<Answered>,
}

impl Network for SimPort {
    fn call(
        &self,
        to: NodeId,
        member: &Member,
        request: Request,
        timeout: Option<Duration>,
    ) -> Calling {
        let port = self.clone();
        let address = member.address.clone();
        Box::pin(async move {
            if process::is_dead() {
                return std::future::pending().await;
            }
            let Some(begun) = port.begin(to, &address, &request) else {
                return Err(CallError::NotSent(format!("{address} is unknown")));
            };
            port.finish(begun, timeout.unwrap_or(FOR_EVER)).await
        })
    }
}

impl Port for SimPort {
    fn introduce(&self, cluster: ClusterId, node: NodeId) {
        let mut state = self.world.state();
        let host = &mut state.hosts[self.host];
        (host.cluster, host.node) = (Some(cluster), Some(node));
    }

    fn stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.world.state().hosts[self.host].handler = None;
        Box::pin(std::future::ready(()))
    }
}

impl fmt::Debug for SimPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SimPort")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

fn socket_address(host: usize) -> SocketAddr {
    let port = u16::try_from(40_000 + host).expect("there are few hosts");
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// As the real transport's.
const SILENCE: Duration = Duration::from_secs(2);
const FOR_EVER: Duration = Duration::from_mins(1);
