//! From settings to a running nsqd, and in good order out of it again.

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nsq_core::broker::OpenError;
use nsq_core::metadata::MetadataError;
use nsq_core::{Broker, Settings as CoreSettings, StoreError};
use nsq_daemon::data_path::{DataPathLock, LockError};
use nsq_daemon::http::{HttpLimits, Listener, Router, TlsListener};
use nsq_daemon::listen::{self, Admitted, AnyBound, Bound, Gate, ListenError};
use nsq_daemon::reload::ReloadWatch;
use nsq_daemon::signals::UserSignal;
use nsq_daemon::supervisor::{self, Watchdog};
use nsq_daemon::{http as daemon_http, version};
use nsq_protocol::{CommandError, frame};
use nsq_queue::LogOptions;
use nsq_transport::tls::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admission::Admission;
use crate::connection::Connection;
use crate::drain::target::Address;
use crate::nsqd::{Notes, Nsqd, Ports};
use crate::settings::{Settings, TlsRequired};
use crate::statsd::Statsd;
use crate::workers::Workers;
use crate::{clock, drain, http, registration};

/// How long clients may take to leave at shutdown.
const LEAVING: Duration = Duration::from_secs(5);

/// Why nsqd could not start. `Display` is upstream's message.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data path is not there, or another nsqd has it.
    #[error("failed to instantiate nsqd - failed to lock data-path: {0} ({advice})", advice = .0.advice())]
    DataPath(#[from] LockError),
    /// An address cannot be listened on.
    #[error("failed to instantiate nsqd - {0}")]
    Listen(#[from] ListenError),
    /// What an earlier run left cannot be opened.
    #[error("failed to load metadata - {0}{advice}", advice = advice(.0))]
    Open(#[from] OpenError),
    /// `nsqd.dat` cannot be written.
    #[error("failed to persist metadata - {0}")]
    Persist(#[from] MetadataError),
    /// A thread, a runtime or a socket could not be had.
    #[error("failed to instantiate nsqd - {0}")]
    System(#[from] io::Error),
}

/// What an operator can do about a data path that cannot be opened, where there is something.
fn advice(error: &OpenError) -> &'static str {
    match error {
        OpenError::Metadata(MetadataError::Parse { .. }) => {
            " (to start without it, move the file away: what has messages is found all the same, and nothing is paused)"
        }
        OpenError::Store(StoreError::Io { source, .. })
            if matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            " (--data-path: this user must be able to write there)"
        }
        OpenError::Metadata(_) | OpenError::Store(_) | OpenError::Import(_) => "",
    }
}

/// Runs nsqd until `shutdown` is ready. Must be called in a tokio runtime.
///
/// # Errors
/// [`StartError`] when it cannot start; afterwards there is none.
pub async fn run(
    mut settings: Settings,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let data_path = data_path(&settings);
    // Before anything is opened: it must never end the process.
    let order_signal = UserSignal::catch()?;
    let _lock = DataPathLock::acquire(&data_path)?;
    settings.log_notices();
    tracing::info!("{}", version::line("nsqd"));
    tracing::info!("ID: {}", settings.node_id);
    let tcp =
        listen::bind_any(&settings.tcp_address).map_err(|error| error.of_flag("tcp-address"))?;
    let http = match settings.http_address.as_str() {
        "" => None,
        address => Some(listen::bind_any(address).map_err(|error| error.of_flag("http-address"))?),
    };
    let https = match (settings.acceptor(), settings.https_address.as_str()) {
        (None, _) | (_, "") => None,
        (Some(acceptor), address) => {
            let bound = listen::bind(address).map_err(|error| error.of_flag("https-address"))?;
            Some((bound, acceptor.clone()))
        }
    };
    let ports = Ports {
        tcp: tcp.port(),
        http: http.as_ref().map_or(Some(0), AnyBound::port),
        https: https.as_ref().map_or(0, |(bound, _)| bound.address.port()),
    };
    settings.fill_in_ports(ports.tcp.unwrap_or(0), ports.http.unwrap_or(0));
    warn_of_hidden_ports(&settings);

    let notes = Arc::new(Notes::new(Admission::new(&settings)));
    let broker = {
        let core = core_settings(&settings, data_path);
        let notes = Arc::clone(&notes);
        // Opening reads and checks files: for a large folder that takes a while.
        tokio::task::spawn_blocking(move || Broker::open(core, notes, clock::now()))
            .await
            .map_err(io::Error::other)??
    };
    notes.admission.begin();
    broker.save_metadata()?;
    let nsqd = Arc::new(Nsqd::new(settings, Arc::new(broker), notes, &ports));
    let workers = Workers::start(std::thread::available_parallelism().map_or(1, usize::from))?;
    let upkeep = start_upkeep(&nsqd);
    let statsd = Statsd::start(&nsqd);
    let lookup = registration::start(&nsqd.settings, &nsqd.broker);
    // Nothing else sets it.
    let _ = nsqd.notes.lookup.set(lookup);
    let http_servers = [start_http(&nsqd, http)?, start_https(&nsqd, https)?];
    let reload = watch_for_changes(&nsqd)?;
    let watchdog = Watchdog::start(workers.answering());
    supervisor::ready();
    let order = watch_for_order(&nsqd, order_signal);
    let drained_or_told = async {
        tokio::select! {
            () = shutdown => {}
            () = drain::run(&nsqd) => {}
        }
    };
    accept(&nsqd, &workers, tcp, drained_or_told).await?;

    supervisor::stopping();
    tracing::info!("NSQ: closing clients");
    nsqd.close_clients();
    let left = tokio::time::timeout(LEAVING, nsqd.all_gone()).await;
    if left.is_err() {
        tracing::warn!("{} clients did not leave in time", nsqd.all_clients().len());
    }
    drop(http_servers);
    order.abort();
    drop((reload, watchdog));
    if let Err(error) = nsqd.broker.save_metadata() {
        tracing::error!("failed to persist metadata - {error}");
    }
    tracing::info!("NSQ: closing topics");
    upkeep.abort_all();
    if let Some(statsd) = statsd {
        statsd.close().await;
    }
    let broker = Arc::clone(&nsqd.broker);
    // What is left to do blocks on the disk, and nothing else is left to be served.
    let closed = tokio::task::spawn_blocking(move || broker.close(clock::now())).await;
    tracing::info!("NSQ: stopping subsystems");
    drop(workers);
    closed.map_err(io::Error::other)?;
    tracing::info!("NSQ: bye");
    Ok(())
}

pub(crate) fn data_path(settings: &Settings) -> PathBuf {
    let path = settings.data_path.as_str();
    PathBuf::from(if path.is_empty() { "." } else { path })
}

fn core_settings(settings: &Settings, data_path: PathBuf) -> CoreSettings {
    let max_segment_bytes = u32::try_from(settings.max_bytes_per_file).unwrap_or(u32::MAX);
    let options = LogOptions::default();
    CoreSettings {
        data_path,
        node_id: u16::try_from(settings.node_id).unwrap_or_default(),
        mem_queue_size: u64::try_from(settings.mem_queue_size).unwrap_or_default(),
        max_msg_timeout: settings.max_msg_timeout,
        max_msg_size: u64::try_from(settings.max_msg_size).unwrap_or(u64::MAX),
        sync_every: u64::try_from(settings.sync_every)
            .unwrap_or(u64::MAX)
            .max(1),
        log_options: LogOptions {
            max_segment_bytes: max_segment_bytes
                .clamp(options.first_segment_bytes, options.max_segment_bytes),
            ..options
        },
        percentiles: settings.percentiles().map(Arc::new),
    }
}

async fn accept(
    nsqd: &Arc<Nsqd>,
    workers: &Workers,
    bound: AnyBound,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let gate = &nsqd.notes.admission.tcp;
    // A socket moves to its worker's runtime by way of the standard library's.
    let (outcome, address) = match bound {
        AnyBound::Tcp(Bound { socket, address }) => {
            let listener = TcpListener::from_std(socket)?;
            tracing::info!("TCP: listening on {address}");
            let serve = |stream: TcpStream, peer: SocketAddr| {
                let Some((stream, admitted)) = admit(gate, stream, Some(peer.ip()), &peer) else {
                    return;
                };
                let Ok(stream) = stream.into_std() else {
                    return;
                };
                let (name, ip) = (peer.to_string(), peer.ip().to_string());
                let stream = || TcpStream::from_std(stream);
                workers.spawn(welcome(Arc::clone(nsqd), stream, admitted, name, ip));
            };
            let outcome = listen::accept_loop(listener, shutdown, serve).await;
            (outcome, address.to_string())
        }
        AnyBound::Unix(bound) => {
            let path = bound.path.clone();
            let listener = bound.into_listener()?;
            tracing::info!("TCP: listening on {path}");
            let serve = |stream: UnixStream, peer: String| {
                let Some((stream, admitted)) = admit(gate, stream, None, &peer) else {
                    return;
                };
                let Ok(stream) = stream.into_std() else {
                    return;
                };
                let stream = || UnixStream::from_std(stream);
                let nsqd = Arc::clone(nsqd);
                workers.spawn(welcome(nsqd, stream, admitted, peer, String::new()));
            };
            (listen::accept_loop(listener, shutdown, serve).await, path)
        }
    };
    tracing::info!("TCP: closing {address}");
    Ok(outcome?)
}

/// Lets a connection in, or tells it why not.
fn admit<S>(
    gate: &Arc<Gate>,
    stream: S,
    ip: Option<IpAddr>,
    peer: &dyn Display,
) -> Option<(S, Admitted)>
where
    S: AsRawFd + AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match gate.enter(ip, stream.as_raw_fd(), peer) {
        Ok(admitted) => Some((stream, admitted)),
        Err(denial) => {
            let cause = denial.to_string();
            let mut answer = Vec::new();
            frame::write_error(&mut answer, &CommandError::TooManyConnections { cause });
            gate.turn_away(stream, answer);
            None
        }
    }
}

/// Serves a client whose connection comes from `address`, and from `ip` if it has one.
async fn welcome<S: AsyncRead + AsyncWrite + Unpin>(
    nsqd: Arc<Nsqd>,
    stream: impl FnOnce() -> io::Result<S>,
    _admitted: Admitted,
    address: String,
    ip: String,
) {
    let Ok(stream) = stream() else {
        return;
    };
    tracing::info!("TCP: new client({address})");
    let client = nsqd.add_client(address, ip);
    Connection::new(stream, client, nsqd).run().await;
}

/// nsqlookupd takes no nsqd without ports, and a unix socket has none.
fn warn_of_hidden_ports(settings: &Settings) {
    if settings.nsqlookupd_tcp_addresses.current().is_empty() {
        return;
    }
    for (port, flag) in [
        (settings.broadcast_tcp_port, "broadcast-tcp-port"),
        (settings.broadcast_http_port, "broadcast-http-port"),
    ] {
        if port == 0 {
            tracing::warn!("nsqlookupd refuses an nsqd without ports: --{flag} must be given");
        }
    }
}

/// Runs the HTTP server until dropped.
struct HttpServer {
    _stop: watch::Sender<()>,
}

fn start_http(nsqd: &Arc<Nsqd>, bound: Option<AnyBound>) -> Result<Option<HttpServer>, StartError> {
    let Some(bound) = bound else {
        return Ok(None);
    };
    let mut router = http::router(Arc::clone(nsqd));
    if nsqd.settings.tls_required == TlsRequired::Yes {
        router = router.refuse_all(http::tls_required(nsqd.https_port));
    }
    let limits = nsqd.notes.admission.http_limits(&nsqd.settings);
    Ok(Some(match bound {
        AnyBound::Tcp(Bound { socket, address }) => {
            let listener = TcpListener::from_std(socket)?;
            HttpServer::start("HTTP", address, listener, router, limits)
        }
        AnyBound::Unix(bound) => {
            let path = bound.path.clone();
            HttpServer::start("HTTP", path, bound.into_listener()?, router, limits)
        }
    }))
}

fn start_https(
    nsqd: &Arc<Nsqd>,
    bound: Option<(Bound, Acceptor)>,
) -> Result<Option<HttpServer>, StartError> {
    let Some((Bound { socket, address }, acceptor)) = bound else {
        return Ok(None);
    };
    let listener = TlsListener::new(TcpListener::from_std(socket)?, acceptor);
    let router = http::router(Arc::clone(nsqd));
    let limits = nsqd.notes.admission.http_limits(&nsqd.settings);
    let server = HttpServer::start("HTTPS", address, listener, router, limits);
    Ok(Some(server))
}

impl HttpServer {
    fn start<L>(
        name: &'static str,
        address: impl Display + Send + 'static,
        listener: L,
        router: Router<Nsqd>,
        limits: HttpLimits,
    ) -> Self
    where
        L: Listener + 'static,
    {
        tracing::info!("{name}: listening on {address}");
        let (stop, mut stopped) = watch::channel(());
        tokio::spawn(async move {
            let shutdown = async {
                // The sender never sends: its end is the sign.
                let _ = stopped.changed().await;
            };
            daemon_http::serve(listener, Arc::new(router), limits, shutdown).await;
            tracing::info!("{name}: closing {address}");
        });
        Self { _stop: stop }
    }
}

/// Reads config file and certificates again at each SIGHUP. With neither the signal keeps its default.
fn watch_for_changes(nsqd: &Arc<Nsqd>) -> io::Result<Option<ReloadWatch>> {
    if !nsqd.settings.can_reload() {
        return Ok(None);
    }
    let nsqd = Arc::clone(nsqd);
    let reload = move || {
        nsqd.settings.reload();
        if let Some(authorizer) = &nsqd.authorizer {
            authorizer.renew_tls(&nsqd.settings);
        }
        nsqd.settings_changed();
    };
    ReloadWatch::start(reload).map(Some)
}

/// Begins to drain at each SIGUSR1, as `POST /drain` does.
fn watch_for_order(nsqd: &Arc<Nsqd>, mut signal: UserSignal) -> JoinHandle<()> {
    let nsqd = Arc::clone(nsqd);
    tokio::spawn(async move {
        loop {
            signal.received().await;
            let to = Some(nsqd.settings.drain_to.as_str()).filter(|to| !to.is_empty());
            // It was checked with the other settings.
            let to = to.and_then(|to| Address::parse(to).ok());
            if let Err(error) = drain::begin(&nsqd, to).await {
                tracing::error!("SIGUSR1: cannot drain: {error}");
            }
        }
    })
}

/// The tasks that run beside the connections.
struct Upkeep(Vec<tokio::task::JoinHandle<()>>);

impl Upkeep {
    fn abort_all(&self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

fn start_upkeep(nsqd: &Arc<Nsqd>) -> Upkeep {
    let timers = Arc::clone(&nsqd.notes);
    let syncer = (Arc::clone(&nsqd.notes), Arc::clone(&nsqd.broker));
    Upkeep(vec![
        tokio::spawn(async move { timers.timers.run().await }),
        tokio::spawn(async move { syncer.0.syncer.run(&syncer.1).await }),
        tokio::spawn(save_registry(Arc::clone(nsqd))),
        tokio::spawn(maintain(Arc::clone(nsqd))),
    ])
}

/// Writes `nsqd.dat` after each change, and changes that come meanwhile together.
async fn save_registry(nsqd: Arc<Nsqd>) {
    loop {
        nsqd.notes.registry_changed.notified().await;
        let broker = Arc::clone(&nsqd.broker);
        let started = std::time::Instant::now();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || broker.save_metadata()).await {
            tracing::error!("failed to persist metadata - {error}");
        }
        // With many topics a write takes long: it must not take all of the disk's time.
        tokio::time::sleep(started.elapsed()).await;
    }
}

/// Syncs and tidies up every `--sync-timeout` what was used since.
async fn maintain(nsqd: Arc<Nsqd>) {
    let mut tick = tokio::time::interval(nsqd.settings.sync_timeout);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tick.tick().await;
        let nsqd_here = Arc::clone(&nsqd);
        let topics = tokio::task::spawn_blocking(move || {
            let now = clock::now();
            let used: Vec<_> = nsqd_here
                .broker
                .topics()
                .into_iter()
                .filter(|topic| topic.maintain(now))
                .collect();
            used
        });
        for topic in topics.await.unwrap_or_default() {
            nsqd.notes.syncer.ask(&topic);
        }
    }
}
