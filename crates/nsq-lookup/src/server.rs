//! nsqlookupd's TCP door: nsqds come in, say what they have, and ping.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use nsq_daemon::go_duration::GoDuration;
use nsq_daemon::http::json;
use nsq_daemon::listen::accept_loop;
use nsq_daemon::os_error;
use nsq_protocol::{ChannelName, TopicName};
use nsq_transport::tls::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::registry::{NodeId, Removed};
use crate::session::{Command, ProtocolError, Session};
use crate::wire::{self, MAGIC_V1};
use crate::{Admission, FIRST_COMMAND_TIMEOUT, Full, Lookupd, Node};

/// Serves connections until `shutdown` is done; then closes them all and returns when they are gone.
///
/// # Errors
/// That of a listener which can accept no more, ever. Connections are closed then, too.
pub async fn serve(
    listener: TcpListener,
    lookupd: Arc<Lookupd>,
    admission: Admission,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let admission = Arc::new(admission);
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    let outcome = accept_loop(listener, shutdown, |stream, remote| {
        while connections.try_join_next().is_some() {}
        let gate = &lookupd.limits().gate;
        let admitted = match gate.enter(Some(remote.ip()), stream.as_raw_fd(), remote) {
            Ok(admitted) => admitted,
            Err(denial) => {
                let mut answer = BytesMut::new();
                let text = format!("E_TOO_MANY_CONNECTIONS {denial}");
                wire::put_sized(&mut answer, text.as_bytes());
                gate.turn_away(stream, answer);
                return;
            }
        };
        let lookupd = Arc::clone(&lookupd);
        let admission = Arc::clone(&admission);
        let mut closed = closed.clone();
        connections.spawn(async move {
            let _admitted = admitted;
            let _open = lookupd.connection_opened();
            tracing::info!("TCP: new client({remote})");
            let deadline = Deadline::of(lookupd.limits().first_command_timeout);
            let ready = tokio::select! {
                ready = until(deadline, async { Ok(admission.admit(stream).await) }) => ready,
                _ = closed.wait_for(|closing| *closing) => return,
            };
            match ready {
                Ok(Ok(stream)) => {
                    let connection = Connection::new(lookupd, stream, remote, deadline);
                    connection.run(closed).await;
                }
                Ok(Err(refusal)) => tracing::error!("client({remote}) - {refusal}"),
                Err(end) => note_end(&lookupd, remote, &end),
            }
        });
    })
    .await;
    closing.send_replace(true);
    while connections.join_next().await.is_some() {}
    outcome
}

/// One nsqd, or any other client.
struct Connection {
    lookupd: Arc<Lookupd>,
    stream: Stream,
    remote: SocketAddr,
    node: Option<NodeId>,
    /// By when the first command must be there; `None` once it was.
    deadline: Option<Deadline>,
}

/// A moment, and how long was given until then.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: tokio::time::Instant,
    limit: Duration,
}

impl Deadline {
    /// After `limit` from now, unless that is zero.
    fn of(limit: Duration) -> Option<Self> {
        let at = tokio::time::Instant::now() + limit;
        (!limit.is_zero()).then_some(Self { at, limit })
    }
}

/// How a conversation ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("EOF")]
    Eof,
    #[error("{}", io_cause(.0))]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("no command within {} (--{FIRST_COMMAND_TIMEOUT})", GoDuration::from(*.0))]
    Silence(Duration),
}

impl Connection {
    fn new(
        lookupd: Arc<Lookupd>,
        stream: Stream,
        remote: SocketAddr,
        deadline: Option<Deadline>,
    ) -> Self {
        Self {
            lookupd,
            stream,
            remote,
            node: None,
            deadline,
        }
    }

    async fn run(mut self, mut closing: watch::Receiver<bool>) {
        let remote = self.remote;
        let end = tokio::select! {
            end = self.converse() => end,
            _ = closing.wait_for(|closing| *closing) => None,
        };
        self.forget_node().await;
        if let Some(end) = end {
            note_end(&self.lookupd, remote, &end);
        }
    }

    /// `None` if it was no nsqd at all.
    async fn converse(&mut self) -> Option<End> {
        let remote = self.remote;
        let mut magic = [0; MAGIC_V1.len()];
        let mut read = 0;
        while read < magic.len() {
            let end = match until(self.deadline, self.stream.read(&mut magic[read..])).await {
                Ok(0) if read == 0 => End::Eof,
                Ok(0) => End::Io(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    read += count;
                    continue;
                }
                Err(end @ End::Silence(_)) => return Some(self.tell_silence(end).await),
                Err(end) => end,
            };
            tracing::error!("failed to read protocol version - {end}");
            return None;
        }
        let text = magic.escape_ascii();
        tracing::info!("CLIENT({remote}): desired protocol magic '{text}'");
        if magic != MAGIC_V1 {
            let mut answer = BytesMut::new();
            wire::put_sized(&mut answer, b"E_BAD_PROTOCOL");
            // The client may not even read.
            let _ = self.write(&answer).await;
            tracing::error!("client({remote}) bad protocol magic '{text}'");
            return None;
        }
        let end = self.exchange().await;
        tracing::info!("PROTOCOL(V1): [{remote}] exiting ioloop");
        Some(end)
    }

    async fn exchange(&mut self) -> End {
        let mut session = Session::new(self.remote.to_string());
        let mut input = BytesMut::new();
        let mut answers = BytesMut::new();
        loop {
            let result = self.answer_all(&mut session, &mut input, &mut answers);
            let written = self.write(&answers).await;
            answers.clear();
            if let Err(error) = result {
                return End::Protocol(error);
            }
            if let Err(error) = written {
                return End::Io(error);
            }
            input.reserve(READ_BYTES);
            match until(self.deadline, self.stream.read_buf(&mut input)).await {
                Ok(0) => {
                    let Err(error) = session.end() else {
                        return End::Eof;
                    };
                    self.refuse(&error, &mut answers);
                    let _ = self.write(&answers).await;
                    return End::Protocol(error);
                }
                Ok(_) => {}
                Err(end @ End::Silence(_)) => return self.tell_silence(end).await,
                Err(end) => return end,
            }
        }
    }

    /// Answers that the first command did not come in time, as far as the other side listens.
    async fn tell_silence(&mut self, end: End) -> End {
        let mut answer = BytesMut::new();
        wire::put_sized(&mut answer, format!("E_TIMEOUT {end}").as_bytes());
        let _ = tokio::time::timeout(TELLING_LIMIT, self.write(&answer)).await;
        end
    }

    async fn write(&mut self, answers: &[u8]) -> io::Result<()> {
        self.stream.write_all(answers).await?;
        self.stream.flush().await
    }

    /// Carries out every complete command in `input`, one answer each.
    fn answer_all(
        &mut self,
        session: &mut Session,
        input: &mut BytesMut,
        answers: &mut BytesMut,
    ) -> Result<(), ProtocolError> {
        loop {
            match session.next_command(input) {
                Ok(Some(command)) => {
                    if let Err(full) = self.apply(command, answers) {
                        let error = ProtocolError::Full(full);
                        self.refuse(&error, answers);
                        return Err(error);
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.refuse(&error, answers);
                    return Err(error);
                }
            }
        }
    }

    fn refuse(&self, error: &ProtocolError, answers: &mut BytesMut) {
        let remote = self.remote;
        let cause = std::error::Error::source(error).map(|cause| format!(" - {cause}"));
        tracing::error!("[{remote}] - {error}{}", cause.unwrap_or_default());
        wire::put_sized(answers, error.to_string().as_bytes());
    }

    fn apply(&mut self, command: Command, answers: &mut BytesMut) -> Result<(), Full> {
        self.deadline = None;
        match command {
            Command::Ping => {
                // A client that has not identified itself has nothing to keep alive, and is answered too.
                if let Some(id) = self.node {
                    let silence = self.lookupd.registry().ping(id, Instant::now());
                    let silence = GoDuration::from(silence);
                    tracing::info!("CLIENT({}): pinged (last ping {silence})", self.remote);
                }
            }
            Command::Identify(node) => {
                self.identify(*node);
                let introduction = json::to_vec(self.lookupd.introduction())
                    .expect("texts and numbers are always JSON");
                wire::put_sized(answers, &introduction);
                return Ok(());
            }
            Command::Register(topic, channel) => self.register(&topic, channel.as_ref())?,
            Command::Unregister(topic, Some(channel)) => {
                let id = self.identified();
                let removed = self
                    .lookupd
                    .registry()
                    .unregister_channel(id, &topic, &channel);
                if removed {
                    self.log_db("UNREGISTER", "channel", topic.as_str(), channel.as_str());
                }
            }
            Command::Unregister(topic, None) => {
                let id = self.identified();
                let removed = self.lookupd.registry().unregister_topic(id, &topic);
                for channel in &removed.channels {
                    // A channel's own UNREGISTER should have come first.
                    tracing::warn!(
                        "client({}) unexpected UNREGISTER category:channel key:{topic} subkey:{channel}",
                        self.remote
                    );
                }
                if removed.was_on_topic {
                    self.log_db("UNREGISTER", "topic", topic.as_str(), "");
                }
            }
        }
        wire::put_sized(answers, wire::OK);
        Ok(())
    }

    fn identify(&mut self, node: Node) {
        tracing::info!(
            "CLIENT({}): IDENTIFY Address:{} TCP:{} HTTP:{} Version:{}",
            self.remote,
            node.broadcast_address,
            node.tcp_port,
            node.http_port,
            node.version
        );
        let id = self.lookupd.registry().connect(node, Instant::now());
        self.node = Some(id);
        self.log_db("REGISTER", "client", "", "");
    }

    fn register(&self, topic: &TopicName, channel: Option<&ChannelName>) -> Result<(), Full> {
        let id = self.identified();
        let mut registry = self.lookupd.registry();
        self.lookupd.limits().check(&registry, topic, channel)?;
        let added = registry.register(id, topic, channel);
        drop(registry);
        if let Some(channel) = channel.filter(|_| added.channel) {
            self.log_db("REGISTER", "channel", topic.as_str(), channel.as_str());
        }
        if added.topic {
            self.log_db("REGISTER", "topic", topic.as_str(), "");
        }
        Ok(())
    }

    /// Takes the node out of the registry, a page at a time: an nsqd may have very many topics.
    async fn forget_node(&self) {
        let Some(id) = self.node else {
            return;
        };
        loop {
            let page = self.lookupd.registry().disconnect(id, PAGE_SIZE);
            let Some(page) = page else {
                break;
            };
            for Removed {
                topic,
                was_on_topic,
                channels,
            } in &page
            {
                for channel in channels {
                    self.log_db("UNREGISTER", "channel", topic.as_str(), channel.as_str());
                }
                if *was_on_topic {
                    self.log_db("UNREGISTER", "topic", topic.as_str(), "");
                }
            }
            tokio::task::yield_now().await;
        }
        self.log_db("UNREGISTER", "client", "", "");
    }

    fn identified(&self) -> NodeId {
        self.node
            .expect("the session lets nobody register before IDENTIFY")
    }

    fn log_db(&self, verb: &str, category: &str, key: &str, subkey: &str) {
        let remote = self.remote;
        tracing::info!("DB: client({remote}) {verb} category:{category} key:{key} subkey:{subkey}");
    }
}

/// What `read` reads, unless the deadline passes first.
async fn until<T>(
    deadline: Option<Deadline>,
    read: impl Future<Output = io::Result<T>>,
) -> Result<T, End> {
    match deadline {
        None => Ok(read.await?),
        Some(Deadline { at, limit }) => Ok(timeout_at(at, read)
            .await
            .map_err(|_| End::Silence(limit))??),
    }
}

/// An I/O error in Go's words.
fn io_cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof if error.get_ref().is_none() => "unexpected EOF".to_owned(),
        _ => os_error::plain_text(error),
    }
}

/// Logs how a conversation ended.
fn note_end(lookupd: &Lookupd, remote: SocketAddr, end: &End) {
    if let End::Silence(_) = end {
        let what = format_args!("client({remote}) - {end}");
        lookupd.limits().refusals.note(FIRST_COMMAND_TIMEOUT, what);
    } else {
        tracing::error!("client({remote}) - {end}");
    }
}

/// How long one who said nothing may take to hear why that is the end.
const TELLING_LIMIT: Duration = Duration::from_secs(1);

/// A few commands' worth, and most of a line from the longest names.
const READ_BYTES: usize = 512;

/// Topics left per hold of the registry's lock: well under a millisecond.
const PAGE_SIZE: usize = 256;
