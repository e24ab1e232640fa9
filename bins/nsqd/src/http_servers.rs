//! The HTTP servers, plain and by TLS.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use nsq_daemon::http::{self as daemon_http, HttpLimits, Listener, Router, TlsListener};
use nsq_daemon::listen::{AnyBound, Bound};
use nsq_transport::tls::Acceptor;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::http;
use crate::nsqd::Nsqd;
use crate::settings::TlsRequired;

/// Runs an HTTP server until dropped.
pub(crate) struct HttpServer {
    stop: watch::Sender<()>,
    serving: JoinHandle<()>,
}

/// Serves plain HTTP.
pub(crate) fn start_http(nsqd: &Arc<Nsqd>, bound: AnyBound) -> io::Result<HttpServer> {
    let mut router = http::router(Arc::clone(nsqd));
    if nsqd.settings.tls_required == TlsRequired::Yes {
        router = router.refuse_all(http::tls_required(nsqd.ports.https));
    }
    let limits = nsqd.admission.http_limits(&nsqd.settings);
    Ok(match bound {
        AnyBound::Tcp(Bound { socket, address }) => {
            let listener = TcpListener::from_std(socket)?;
            HttpServer::start("HTTP", address, listener, router, limits)
        }
        AnyBound::Unix(bound) => {
            let path = bound.path.clone();
            HttpServer::start("HTTP", path, bound.into_listener()?, router, limits)
        }
    })
}

/// Serves HTTP by TLS.
pub(crate) fn start_https(
    nsqd: &Arc<Nsqd>,
    bound: Bound,
    acceptor: Acceptor,
) -> io::Result<HttpServer> {
    let Bound { socket, address } = bound;
    let listener = TlsListener::new(TcpListener::from_std(socket)?, acceptor);
    let router = http::router(Arc::clone(nsqd));
    let limits = nsqd.admission.http_limits(&nsqd.settings);
    Ok(HttpServer::start(
        "HTTPS", address, listener, router, limits,
    ))
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
        let serving = tokio::spawn(async move {
            let shutdown = async {
                // The sender never sends: its end is the sign.
                let _ = stopped.changed().await;
            };
            daemon_http::serve(listener, Arc::new(router), limits, shutdown).await;
            tracing::info!("{name}: closing {address}");
        });
        Self { stop, serving }
    }

    /// Accepts no more, and completes once every request that came is answered, or that takes too long.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        // A panic of it is reported where it happens.
        let _ = self.serving.await;
    }
}
