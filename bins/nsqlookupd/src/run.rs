//! From settings to a running nsqlookupd, and in good order out of it again.

use std::io;
use std::sync::Arc;

use nsq_daemon::listen::{self, Bound, ListenError};
use nsq_daemon::node_id::hostname;
use nsq_daemon::{http, version};
use nsq_lookup::registry::Visibility;
use nsq_lookup::{Introduction, Lookupd, Registry, api, server};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::settings::{PROGRAM, Settings};

/// Why nsqlookupd could not start, or not go on. `Display` is upstream's message.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address cannot be listened on.
    ///
    /// Compat: upstream's own text here is a format string gone wrong (`%!(EXTRA ...)`); ours is what it
    /// meant.
    #[error("failed to instantiate nsqlookupd - {0}")]
    Listen(#[from] ListenError),
    /// A bound socket cannot be used.
    #[error("failed to instantiate nsqlookupd - {0}")]
    Socket(#[source] io::Error),
    /// The TCP listener can accept no more.
    #[error("listener.Accept() error - {0}")]
    Accept(#[source] io::Error),
}

/// Runs nsqlookupd until `shutdown` is ready. Must be called in a tokio runtime.
///
/// # Errors
/// [`RunError`].
pub async fn run(settings: Settings, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    tracing::info!("{}", version::line(PROGRAM));
    let (tcp, tcp_address) = bind(&settings.tcp_address)?;
    let (http, http_address) = bind(&settings.http_address)?;
    let registry = Registry::new(Visibility {
        inactive_producer_timeout: settings.inactive_producer_timeout,
        tombstone_lifetime: settings.tombstone_lifetime,
    });
    let introduction = Introduction {
        broadcast_address: settings.broadcast_address,
        hostname: hostname(),
        http_port: http_address.port(),
        tcp_port: tcp_address.port(),
        version: version::VERSION,
    };
    let lookupd = Arc::new(Lookupd::new(registry, introduction));

    tracing::info!("TCP: listening on {tcp_address}");
    tracing::info!("HTTP: listening on {http_address}");
    let (stop, mut stopped) = watch::channel(());
    let router = Arc::new(api::router(Arc::clone(&lookupd)));
    let http_server = tokio::spawn(async move {
        // Nothing is ever sent: the end of the sender is the sign.
        let shutdown = async { drop(stopped.changed().await) };
        http::serve(http, router, shutdown).await;
        tracing::info!("HTTP: closing {http_address}");
    });
    // HTTP ends with TCP, whether that was told to or failed.
    let shutdown = async {
        shutdown.await;
        tracing::info!("TCP: closing {tcp_address}");
        drop(stop);
    };
    let outcome = server::serve(tcp, lookupd, shutdown).await;
    http_server
        .await
        .map_err(|error| RunError::Accept(error.into()))?;
    outcome.map_err(RunError::Accept)
}

fn bind(address: &str) -> Result<(TcpListener, std::net::SocketAddr), RunError> {
    let Bound { socket, address } = listen::bind(address)?;
    let listener = TcpListener::from_std(socket).map_err(RunError::Socket)?;
    Ok((listener, address))
}
