//! Runs nsqd, from its settings to a clean end.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{join, join_all};
use nsq_core::broker::OpenError;
use nsq_core::metadata::MetadataError;
use nsq_core::{Broker, SafeOnce, Settings as CoreSettings, StoreError};
use nsq_daemon::data_path::{DataPathLock, LockError};
use nsq_daemon::listen::ListenError;
use nsq_daemon::signals::UserSignal;
use nsq_daemon::supervisor::{self, Watchdog};
use nsq_daemon::version;
use nsq_queue::LogOptions;
use nsq_queue::probe::ProbeError;
use nsq_server::Server;
use tokio::runtime::Handle;

use crate::accept::Entrance;
use crate::admission::Admission;
use crate::auth::Authorizer;
use crate::background::Background;
use crate::client_table::ClientTable;
use crate::cluster::ClusterNode;
use crate::cluster::folders;
use crate::cluster::platform::{Platform, Process};
use crate::cluster::start::ClusterStartError;
use crate::connection::Services;
use crate::drain::Drain;
use crate::hooks::ServerHooks;
use crate::http_servers::HttpServer;
use crate::notified::{watch_for_changes, watch_for_order};
use crate::nsqd::{Cluster, Nsqd, Ports, Started};
use crate::registration::Registration;
use crate::scrapes::Scrapes;
use crate::settings::Settings;
use crate::sockets::Sockets;
use crate::statsd::Statsd;
use crate::sync_runner::SyncRunner;
use crate::topics::TopicMaker;
use crate::upkeep::{BrokerTasks, Upkeep};
use crate::workers::{Workers, worker_count};
use crate::{clock, data_path};

/// How long publishes may take to be answered at shutdown, and clients to take the answers.
const LEAVING: Duration = Duration::from_secs(5);
/// How long connections may take to close that are not waited for any longer.
const CLOSING: Duration = Duration::from_secs(1);

/// Why nsqd could not start. `Display` is upstream's message.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data path is not there, or another nsqd has it.
    #[error("failed to instantiate nsqd - failed to lock data-path: {0} ({advice})", advice = .0.advice())]
    DataPath(#[from] LockError),
    /// The data path's file system has not what nsqd needs.
    #[error("failed to instantiate nsqd - {0} ({advice})", advice = data_path::advice(.0))]
    FileSystem(#[from] ProbeError),
    /// An address cannot be listened on.
    #[error("failed to instantiate nsqd - {0}")]
    Listen(#[from] ListenError),
    /// What an earlier run left cannot be opened.
    #[error("failed to load metadata - {0}{advice}", advice = advice(.0))]
    Open(#[from] OpenError),
    /// `nsqd.dat` cannot be written.
    #[error("failed to persist metadata - {0}")]
    Persist(#[from] MetadataError),
    /// This nsqd cannot be a node of a cluster.
    #[error("failed to instantiate nsqd - {0}")]
    Cluster(#[from] ClusterStartError),
    /// A thread, a runtime or a socket could not be had.
    #[error("failed to instantiate nsqd - {0}")]
    System(#[from] io::Error),
}

/// What an operator can do about a data path that cannot be opened, where there is something.
fn advice(error: &OpenError) -> &'static str {
    match error {
        OpenError::Metadata(MetadataError::Parse { .. }) => {
            " (to start without it, move the file away: topics with messages are still found, and nothing is paused)"
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
    let data_path = data_path::of(&settings);
    // Before anything is opened: it must never end the process.
    let order_signal = UserSignal::catch()?;
    let _lock = DataPathLock::acquire(&data_path)?;
    data_path::prepare(&data_path)?;
    settings.log_notices();
    tracing::info!("{}", version::line("nsqd"));
    tracing::info!("ID: {}", settings.node_id);
    let mut sockets = Sockets::bind(&settings)?;
    if settings.cluster().is_none() {
        sockets.listen()?;
    }
    let ports = sockets.ports();
    settings.fill_in_ports(ports.tcp.unwrap_or(0), ports.http.unwrap_or(0));
    warn_of_hidden_ports(&settings);

    let (nsqd, broker_tasks, node) = open(settings, data_path, ports, Arc::new(Process)).await?;
    let authorizer = Authorizer::new(&nsqd.settings, Handle::current());
    let workers = Workers::start(worker_count())?;
    let background = Background::start(nsqd.upkeep.timers(), &nsqd.sync_runner, &nsqd.server);
    let statsd = Statsd::start(&nsqd.settings, &nsqd.server);
    let shutdown = shutdown.shared();
    if let Some(node) = &node {
        tokio::select! {
            () = node.ready_for_clients() => {}
            () = shutdown.clone() => {}
        }
        sockets.listen()?;
    }
    nsqd.registration.start(&nsqd);
    let http_servers = sockets.http_servers(&nsqd)?;
    let reload = watch_for_changes(&nsqd, authorizer.clone())?;
    let watchdog = Watchdog::start(workers.answering());
    supervisor::ready();
    let order = watch_for_order(&nsqd, order_signal);
    let entrance = Arc::new(Entrance {
        gate: Arc::clone(&nsqd.admission.gates.tcp),
        clients: Arc::clone(&nsqd.clients),
        services: Arc::new(Services {
            server: Arc::clone(&nsqd.server),
            topics: nsqd.topics.clone(),
            acceptor: nsqd.settings.acceptor().cloned(),
            authorizer,
        }),
    });
    let drained_or_told = async {
        tokio::select! {
            () = shutdown => {}
            () = nsqd.drain.run() => {}
        }
    };
    entrance.run(&workers, sockets.tcp, drained_or_told).await?;

    supervisor::stopping();
    leave(&nsqd, node.as_ref(), http_servers).await;
    order.abort();
    drop((reload, watchdog));
    close(&nsqd, broker_tasks, &background, statsd).await?;
    if let Some(node) = node {
        node.stop().await;
    }
    drop(workers);
    tracing::info!("NSQ: bye");
    Ok(())
}

/// Opens what an earlier run left, and makes all the parts of nsqd.
pub(crate) async fn open(
    settings: Settings,
    data_path: PathBuf,
    ports: Ports,
    platform: Arc<dyn Platform>,
) -> Result<(Arc<Nsqd>, BrokerTasks, Option<ClusterNode>), StartError> {
    let settings = Arc::new(settings);
    let node = find_cluster(&settings, &data_path, &platform).await?;
    let admission = Arc::new(Admission::new(&settings));
    let registration = Arc::new(Registration::default());
    let sync_runner = Arc::new(SyncRunner::default());
    let upkeep = Upkeep::new(
        Arc::clone(&admission),
        Arc::clone(&registration),
        Arc::clone(&sync_runner),
        settings.sync_timeout,
    );
    let upkeep = upkeep.on(platform.blocking());
    let hooks = upkeep.hooks();
    let core = core_settings(&settings, data_path);
    let broker = if node.is_some() {
        Broker::in_memory(core, Arc::clone(&hooks) as _)
    } else {
        let hooks = Arc::clone(&hooks);
        // Opening reads and checks files: for a large folder that takes a while.
        tokio::task::spawn_blocking(move || Broker::open(core, hooks, clock::now()))
            .await
            .map_err(io::Error::other)??
    };
    let broker = Arc::new(broker);
    admission.begin();
    broker.save_metadata()?;
    let server_hooks = ServerHooks {
        admission: Arc::clone(&admission),
        sync_runner: Arc::clone(&sync_runner),
    };
    let server_hooks = Arc::new(server_hooks);
    let (server, cluster) = match &node {
        None => {
            let server = Server::new(settings.server(), Arc::clone(&broker), server_hooks);
            (server, None)
        }
        Some(node) => {
            let control = node.control();
            let router = Arc::new(control.router().clone());
            let local = Arc::clone(&broker);
            let mut server = Server::clustered(settings.server(), local, router, server_hooks);
            server.fetch_with(Arc::clone(control.consuming().fetcher()));
            let cluster = Cluster {
                ops: Arc::clone(control) as _,
                catalogue: control.catalogue(),
            };
            (server, Some(cluster))
        }
    };
    let topics = TopicMaker::new(
        Arc::clone(&broker),
        cluster.clone(),
        Arc::clone(&admission),
        Arc::clone(&registration),
        Handle::current(),
    );
    let drain = Drain::new(
        Arc::clone(&settings),
        Arc::clone(&broker),
        Arc::clone(&registration),
    );
    let server = Arc::new(server);
    let upkeep = Arc::new(upkeep);
    let broker_tasks = match &node {
        None => upkeep.start(&server, &broker, &hooks),
        Some(node) => {
            node.begin(&server, &registration, &upkeep);
            upkeep.start_ephemeral(&server, &broker)
        }
    };
    let nsqd = Nsqd {
        settings,
        broker,
        server,
        topics,
        clients: Arc::new(ClientTable::new()),
        registration,
        admission,
        sync_runner,
        drain: Arc::new(drain),
        upkeep,
        cluster,
        scrapes: Scrapes::default(),
        ports,
        started: Started {
            unix_seconds: clock::unix_nanos() / 1_000_000_000,
            instant: Instant::now(),
        },
    };
    Ok((Arc::new(nsqd), broker_tasks, node))
}

/// What makes this nsqd a node of a cluster; `None` for a single node.
async fn find_cluster(
    settings: &Arc<Settings>,
    data_path: &Path,
    platform: &Arc<dyn Platform>,
) -> Result<Option<ClusterNode>, StartError> {
    if settings.cluster().is_some() {
        let node = ClusterNode::prepare(settings, data_path, platform);
        return Ok(Some(node.await?));
    }
    let unix_seconds = clock::unix_nanos() / 1_000_000_000;
    if let Some(aside) = folders::set_aside(data_path, unix_seconds)? {
        tracing::warn!(
            "cluster: --cluster-peer is not given, so this nsqd has left its cluster: it serves the messages of its own shard, \
             and what it knew of the cluster is in {}",
            aside.display()
        );
    }
    Ok(None)
}

/// Hands over what this node leads, answers what clients have sent, and lets them go. Publishes are taken meanwhile: in a cluster
/// they go to the next leader.
pub(crate) async fn leave(nsqd: &Nsqd, node: Option<&ClusterNode>, http_servers: Vec<HttpServer>) {
    if let Some(node) = node {
        node.hand_over().await;
    }
    tracing::info!("NSQ: closing clients");
    nsqd.clients.dismiss_all();
    let http_servers = join_all(http_servers.into_iter().map(HttpServer::stop));
    let left = join(nsqd.clients.all_gone(), http_servers);
    if tokio::time::timeout(LEAVING, left).await.is_err() {
        tracing::warn!("{} clients did not leave in time", nsqd.clients.count());
    }
    nsqd.server.exit();
    nsqd.clients.close_all();
    // What is left now is not waited for.
    let _ = tokio::time::timeout(CLOSING, nsqd.clients.all_gone()).await;
}

/// Closes the broker, once no client is left.
pub(crate) async fn close(
    nsqd: &Nsqd,
    broker_tasks: BrokerTasks,
    background: &Background,
    statsd: Option<Statsd>,
) -> io::Result<()> {
    let broker = Arc::clone(&nsqd.broker);
    if let Err(error) = broker.save_metadata() {
        tracing::error!("failed to persist metadata - {error}");
    }
    tracing::info!("NSQ: closing topics");
    drop(broker_tasks);
    background.stop();
    if let Some(statsd) = statsd {
        statsd.close().await;
    }
    // What is left to do blocks on the disk, and nothing else is left to be served.
    let closing = nsqd.upkeep.work(move || broker.close(clock::now()));
    let closed = closing.await;
    tracing::info!("NSQ: stopping subsystems");
    closed.ok_or_else(|| io::Error::other("closing the topics has failed"))
}

pub(crate) fn core_settings(settings: &Settings, data_path: PathBuf) -> CoreSettings {
    let max_segment_bytes = u32::try_from(settings.max_bytes_per_file).unwrap_or(u32::MAX);
    let options = LogOptions::default();
    CoreSettings {
        data_path,
        node_id: u16::try_from(settings.node_id).unwrap_or_default(),
        mem_queue_size: u64::try_from(settings.mem_queue_size).unwrap_or_default(),
        max_msg_timeout: settings.max_msg_timeout,
        max_req_timeout: settings.max_req_timeout,
        max_msg_size: u64::try_from(settings.max_msg_size).unwrap_or(u64::MAX),
        safe_once: if settings.sync_publish {
            SafeOnce::Synced
        } else {
            SafeOnce::Appended
        },
        sync_every: u64::try_from(settings.sync_every)
            .unwrap_or(u64::MAX)
            .max(1),
        max_free_segment_bytes: u64::try_from(settings.max_free_segment_bytes).unwrap_or_default(),
        log_options: LogOptions {
            max_segment_bytes: max_segment_bytes
                .clamp(options.first_segment_bytes, options.max_segment_bytes),
            ..options
        },
        percentiles: settings.percentiles().map(Arc::new),
        is_replicated: false,
    }
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
