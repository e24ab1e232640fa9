//! Runs nsqadmin, from its settings to a clean end.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use nsq_daemon::http::header::HeaderValue;
use nsq_daemon::listen::{self, Bound, Gates, ListenError};
use nsq_daemon::reload::{Configured, ReloadWatch};
use nsq_daemon::supervisor::{self, Watchdog};
use nsq_daemon::{http, http_limits, version};
use tokio::net::TcpListener;

use crate::access::{Access, LoginError};
use crate::cidr::NotACidr;
use crate::cluster::{ClientSetupError, Cluster};
use crate::finish_rates::FinishRates;
use crate::graphite::{Graphite, GraphiteError};
use crate::history::{self, History};
use crate::notify::{Delivery, Notifier};
use crate::nsqadmin::Nsqadmin;
use crate::pages::Notices;
use crate::replication::Replication;
use crate::settings::{PROGRAM, Settings};
use crate::watch::Watch;

/// Why nsqadmin could not start. `Display` is upstream's message.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The client's TLS cannot be had as the settings want it.
    #[error("failed to instantiate nsqadmin - {0}")]
    Client(#[from] ClientSetupError),
    /// Graphite's address cannot be used.
    #[error("failed to instantiate nsqadmin - {0}")]
    Graphite(#[from] GraphiteError),
    /// A `--login-user` that cannot be used.
    #[error("failed to instantiate nsqadmin - {0}")]
    Login(#[from] LoginError),
    /// No range of addresses.
    #[error(
        "failed to instantiate nsqadmin - failed to parse --allow-config-from-cidr ({range}) - {why}"
    )]
    ConfigReaders {
        /// As given.
        range: String,
        /// What is wrong.
        why: NotACidr,
    },
    /// The address cannot be listened on.
    #[error("failed to instantiate nsqadmin - {0}")]
    Listen(#[from] ListenError),
    /// A socket could not be had.
    #[error("failed to instantiate nsqadmin - {0}")]
    System(#[source] io::Error),
}

/// Runs nsqadmin until `shutdown` is ready. Must be called in a tokio runtime. `args` is what `settings` were loaded
/// from, to be read again on SIGHUP.
///
/// # Errors
/// [`RunError`].
pub async fn run(
    settings: Settings,
    args: Vec<OsString>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let (nsqadmin, delivery) = assemble(settings)?;
    tracing::info!("{}", version::line(PROGRAM));
    let Bound { socket, address } = listen::bind(&nsqadmin.settings.http_address)
        .map_err(|error| error.of_flag("http-address"))?;
    let listener = TcpListener::from_std(socket).map_err(RunError::System)?;
    let delivery = delivery.map(|delivery| tokio::spawn(delivery.run()));
    let nsqadmin = Arc::new(nsqadmin);
    let router = Arc::new(crate::http::router(Arc::clone(&nsqadmin)));
    let limits = nsqadmin.http_limits.clone();
    let reload = watch_for_changes(&nsqadmin, args)?;
    let poll = tokio::spawn(history::poll(nsqadmin));
    tracing::info!("HTTP: listening on {address}");
    let watchdog = Watchdog::start(|| std::future::ready(()));
    supervisor::ready();
    let shutdown = async {
        shutdown.await;
        supervisor::stopping();
        tracing::info!("HTTP: closing {address}");
    };
    http::serve(listener, router, limits, shutdown).await;
    drop((reload, watchdog));
    poll.abort();
    if let Some(delivery) = delivery {
        delivery.abort();
    }
    Ok(())
}

/// Reads the config file again at each SIGHUP. Without one the signal keeps its default.
fn watch_for_changes(
    nsqadmin: &Arc<Nsqadmin>,
    args: Vec<OsString>,
) -> Result<Option<ReloadWatch>, RunError> {
    if nsqadmin.settings.config.is_empty() {
        return Ok(None);
    }
    let configured = Configured::of(&nsqadmin.settings);
    let nsqadmin = Arc::clone(nsqadmin);
    let watch = ReloadWatch::start(move || {
        configured.adopt_if(&nsqadmin.settings, Settings::load(args.clone()));
    });
    watch.map(Some).map_err(RunError::System)
}

/// All parts of an nsqadmin, and what carries its notices out once it is run.
pub(crate) fn assemble(settings: Settings) -> Result<(Nsqadmin, Option<Delivery>), RunError> {
    let cluster = Cluster::new(&settings)?;
    let graphite = Graphite::new(&settings)?;
    let access = Access::new(&settings)?;
    let config_readers = match settings.allow_config_from_cidr.as_str() {
        "" => None,
        range => Some(range.parse().map_err(|why| RunError::ConfigReaders {
            range: range.to_owned(),
            why,
        })?),
    };
    let (notifier, delivery) = Notifier::new(&settings);
    let gates = Gates::of_http(
        &settings.max_http_connections,
        &settings.max_connections_per_address,
    );
    let nsqadmin = Nsqadmin {
        security_policy: security_policy(&settings),
        access,
        cluster,
        config_readers,
        graphite,
        notifier,
        requests: Arc::default(),
        http_limits: http_limits!(gates, settings),
        history: History::new(&settings),
        finish_rates: FinishRates::default(),
        watch: Watch::default(),
        replication: Replication::default(),
        notices: Notices::default(),
        settings,
    };
    Ok((nsqadmin, delivery))
}

/// What a browser may load for a page, and where from: only from here, and graphite's images.
fn security_policy(settings: &Settings) -> HeaderValue {
    let graphite = reqwest::Url::parse(&settings.graphite_url).ok();
    let graphite = graphite
        .filter(|_| !settings.proxy_graphite)
        .map_or(String::new(), |url| {
            format!(" {}", url.origin().ascii_serialization())
        });
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:{graphite}; \
         font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}
