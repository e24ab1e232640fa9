//! Runs nsqlookupd, from its settings to a clean end.
//!
//! HTTP has a runtime of its own: when a whole cluster registers at once, a thousand connections have
//! something to say at any moment, and a lookup would wait for all of them. Between threads the
//! operating system is fair.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use nsq_daemon::listen::{self, Bound, Gates, ListenError};
use nsq_daemon::node_id::hostname;
use nsq_daemon::reload::{Configured, ReloadWatch};
use nsq_daemon::supervisor::{self, Watchdog};
use nsq_daemon::{http, http_limits, version};
use nsq_lookup::registry::Visibility;
use nsq_lookup::{
    Admission, FIRST_COMMAND_TIMEOUT, Introduction, LookupLimits, Lookupd, MAX_CHANNELS,
    MAX_TOPICS, Registry, api, server,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admission::{self, AdmissionError};
use crate::settings::{PROGRAM, Settings};

/// Why nsqlookupd could not start or continue. `Display` is upstream's message.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// TLS cannot be had as the settings want it.
    #[error("failed to instantiate nsqlookupd - {0}")]
    Tls(#[from] AdmissionError),
    /// An address cannot be listened on.
    ///
    /// Compat: upstream's own text here is a format string gone wrong (`%!(EXTRA ...)`); ours is what it
    /// meant.
    #[error("failed to instantiate nsqlookupd - {0}")]
    Listen(#[from] ListenError),
    /// A thread, a runtime or a socket could not be had.
    #[error("failed to instantiate nsqlookupd - {0}")]
    System(#[source] io::Error),
    /// The TCP listener can accept no more.
    #[error("listener.Accept() error - {0}")]
    Accept(#[source] io::Error),
}

/// Runs nsqlookupd until `shutdown` is ready. Must be called in a tokio runtime. `args` is what `settings` were
/// loaded from, to be read again on SIGHUP.
///
/// # Errors
/// [`RunError`].
pub async fn run(
    settings: Settings,
    args: Vec<OsString>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    tracing::info!("{}", version::line(PROGRAM));
    let admission = admission::load(&settings)?;
    let Bound {
        socket,
        address: tcp_address,
    } = listen::bind(&settings.tcp_address).map_err(|error| error.of_flag("tcp-address"))?;
    let tcp = TcpListener::from_std(socket).map_err(RunError::System)?;
    let Bound {
        socket,
        address: http_address,
    } = listen::bind(&settings.http_address).map_err(|error| error.of_flag("http-address"))?;
    let http_runtime = HttpRuntime::start()?;
    let registry = Registry::new(Visibility {
        inactive_producer_timeout: settings.inactive_producer_timeout,
        tombstone_lifetime: settings.tombstone_lifetime,
    });
    let introduction = Introduction {
        broadcast_address: settings.broadcast_address.clone(),
        hostname: hostname(),
        http_port: http_address.port(),
        tcp_port: tcp_address.port(),
        version: version::VERSION,
    };
    let limits = limits(&settings);
    let http_limits = limits.http.clone();
    let lookupd = Arc::new(Lookupd::new(registry, introduction, limits));

    tracing::info!("TCP: listening on {tcp_address}");
    tracing::info!("HTTP: listening on {http_address}");
    let (stop, mut stopped) = watch::channel(());
    let router = Arc::new(api::router(Arc::clone(&lookupd)));
    let http_server = http_runtime.spawn(async move {
        let listener = TcpListener::from_std(socket).map_err(RunError::System)?;
        // Nothing is ever sent: the end of the sender is the sign.
        let shutdown = async { drop(stopped.changed().await) };
        http::serve(listener, router, http_limits, shutdown).await;
        tracing::info!("HTTP: closing {http_address}");
        Ok::<_, RunError>(())
    });
    let reload = watch_for_changes(settings, args, &admission)?;
    // The one thread that reads registrations runs this as well.
    let watchdog = Watchdog::start(|| std::future::ready(()));
    supervisor::ready();
    // HTTP ends with TCP, whether that was told to or failed.
    let shutdown = async {
        shutdown.await;
        supervisor::stopping();
        tracing::info!("TCP: closing {tcp_address}");
        drop(stop);
    };
    let outcome = server::serve(tcp, lookupd, admission, shutdown).await;
    drop((reload, watchdog));
    http_server
        .await
        .map_err(|error| RunError::System(error.into()))??;
    outcome.map_err(RunError::Accept)
}

/// What others may take, as the settings have it.
fn limits(settings: &Settings) -> LookupLimits {
    let gates = Gates::new(
        &settings.max_connections,
        &settings.max_http_connections,
        &settings.max_connections_per_address,
        &[MAX_TOPICS, MAX_CHANNELS, FIRST_COMMAND_TIMEOUT],
    );
    LookupLimits {
        http: http_limits!(gates, settings),
        gate: gates.tcp,
        refusals: gates.refusals,
        first_command_timeout: settings.first_command_timeout,
        max_topics: settings.max_topics.clone(),
        max_channels: settings.max_channels.clone(),
    }
}

/// Reads config file and certificates again at each SIGHUP. With neither the signal keeps its default.
fn watch_for_changes(
    settings: Settings,
    args: Vec<OsString>,
    admission: &Admission,
) -> Result<Option<ReloadWatch>, RunError> {
    if admission.acceptor().is_none() && settings.config.is_empty() {
        return Ok(None);
    }
    let admission = admission.clone();
    let configured = Configured::of(&settings);
    let watch = ReloadWatch::start(move || {
        configured.adopt_if(&settings, Settings::load(args.clone()));
        match admission::reload(&settings, &admission) {
            Ok(true) => tracing::info!("TLS: certificates read again"),
            Ok(false) => {}
            Err(error) => tracing::error!("TLS: the certificates did not change - {error}"),
        }
    });
    watch.map(Some).map_err(RunError::System)
}

/// The threads that answer HTTP.
struct HttpRuntime(Option<Runtime>);

impl HttpRuntime {
    fn start() -> Result<Self, RunError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("http")
            .enable_all()
            .build();
        Ok(Self(Some(runtime.map_err(RunError::System)?)))
    }

    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let runtime = self.0.as_ref().expect("it is taken by drop alone");
        runtime.spawn(task)
    }
}

impl Drop for HttpRuntime {
    /// A runtime that is dropped waits for its threads, which another runtime's task must not.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
