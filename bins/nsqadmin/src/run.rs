//! From settings to a running nsqadmin, and in good order out of it again.

use std::io;
use std::sync::Arc;

use nsq_daemon::listen::{self, Bound, ListenError};
use nsq_daemon::{http, version};
use tokio::net::TcpListener;

use crate::cluster::{ClientSetupError, Cluster};
use crate::history::{self, History};
use crate::nsqadmin::Nsqadmin;
use crate::settings::{PROGRAM, Settings};

/// Why nsqadmin could not start. `Display` is upstream's message.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The client's TLS cannot be had as the settings want it.
    #[error("failed to instantiate nsqadmin - {0}")]
    Client(#[from] ClientSetupError),
    /// The address cannot be listened on.
    #[error("failed to instantiate nsqadmin - {0}")]
    Listen(#[from] ListenError),
    /// A socket could not be had.
    #[error("failed to instantiate nsqadmin - {0}")]
    System(#[source] io::Error),
}

/// Runs nsqadmin until `shutdown` is ready. Must be called in a tokio runtime.
///
/// # Errors
/// [`RunError`].
pub async fn run(settings: Settings, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let cluster = Cluster::new(&settings)?;
    tracing::info!("{}", version::line(PROGRAM));
    let Bound { socket, address } = listen::bind(&settings.http_address)?;
    let listener = TcpListener::from_std(socket).map_err(RunError::System)?;
    let nsqadmin = Arc::new(Nsqadmin {
        cluster,
        history: History::new(&settings),
        settings,
    });
    let router = Arc::new(crate::http::router(Arc::clone(&nsqadmin)));
    let poll = tokio::spawn(history::poll(nsqadmin));
    tracing::info!("HTTP: listening on {address}");
    let shutdown = async {
        shutdown.await;
        tracing::info!("HTTP: closing {address}");
    };
    http::serve(listener, router, shutdown).await;
    poll.abort();
    Ok(())
}
