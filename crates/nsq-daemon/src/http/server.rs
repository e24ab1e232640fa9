//! Accepts connections and speaks HTTP/1 on them until told to stop.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nsq_transport::tls::{self, Acceptor};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::listen::{self, UnixSocket};

use super::stream::{GuardedStream, Phase};
use super::{Remote, Router};

/// Where connections come from.
pub trait Listener: Send {
    /// What bytes are read from and written to.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// What is left to do before the first request, such as a TLS handshake. It runs in the connection's
    /// own task, so that a slow client holds up nobody.
    type Incoming: Future<Output = io::Result<Self::Stream>> + Send + 'static;

    /// The next connection.
    ///
    /// # Errors
    /// What the system says, such as too many open files; the server tries again.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Incoming, Remote)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    type Incoming = std::future::Ready<io::Result<TcpStream>>;

    async fn accept(&mut self) -> io::Result<(Self::Incoming, Remote)> {
        let (stream, remote) = poll_fn(|cx| listen::Accept::poll_accept(self, cx)).await?;
        let remote = Remote::Tcp(remote);
        Ok((std::future::ready(Ok(stream)), remote))
    }
}

/// TCP connections that begin with a TLS handshake.
#[derive(Debug)]
pub struct TlsListener {
    tcp: TcpListener,
    acceptor: Acceptor,
}

impl TlsListener {
    /// Has `acceptor` shake hands with all that `tcp` accepts.
    pub fn new(tcp: TcpListener, acceptor: Acceptor) -> Self {
        Self { tcp, acceptor }
    }
}

impl Listener for TlsListener {
    type Stream = tls::Stream;
    type Incoming = Pin<Box<dyn Future<Output = io::Result<tls::Stream>> + Send>>;

    async fn accept(&mut self) -> io::Result<(Self::Incoming, Remote)> {
        let (incoming, remote) = Listener::accept(&mut self.tcp).await?;
        let acceptor = self.acceptor.clone();
        let handshake = async move { acceptor.accept(incoming.await?).await };
        Ok((Box::pin(handshake), remote))
    }
}

impl Listener for UnixSocket {
    type Stream = UnixStream;
    type Incoming = std::future::Ready<io::Result<UnixStream>>;

    async fn accept(&mut self) -> io::Result<(Self::Incoming, Remote)> {
        let (stream, _) = poll_fn(|cx| listen::Accept::poll_accept(self, cx)).await?;
        Ok((std::future::ready(Ok(stream)), Remote::Unix))
    }
}

/// Serves `router` on `listener` until `shutdown` is done; then accepts no more, closes idle connections,
/// and lets running requests finish, for five seconds at most.
pub async fn serve<L, S>(
    mut listener: L,
    router: Arc<Router<S>>,
    shutdown: impl Future<Output = ()>,
) where
    L: Listener,
    S: Send + Sync + 'static,
{
    let mut shutdown = pin!(shutdown);
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut backoff = Duration::ZERO;
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept_after(&mut listener, backoff) => accepted,
        };
        match accepted {
            Ok((incoming, remote)) => {
                backoff = Duration::ZERO;
                let (router, mut closed) = (Arc::clone(&router), closed.clone());
                connections.spawn(async move {
                    let incoming = tokio::select! {
                        incoming = incoming => incoming,
                        _ = closed.wait_for(|closing| *closing) => return,
                    };
                    match incoming {
                        Ok(stream) => serve_connection(stream, remote, router, closed).await,
                        Err(error) => tracing::warn!("http: handshake with {remote} - {error}"),
                    }
                });
            }
            Err(error) => {
                backoff = (backoff * 2).clamp(SHORTEST_BACKOFF, LONGEST_BACKOFF);
                tracing::warn!("http: Accept error: {error}; retrying in {backoff:?}");
            }
        }
    }
    drop(listener);
    closing.send_replace(true);
    let drained = timeout(DRAIN_LIMIT, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!("http: {} requests cut off", connections.len());
    }
}

async fn accept_after<L: Listener>(
    listener: &mut L,
    backoff: Duration,
) -> io::Result<(L::Incoming, Remote)> {
    if !backoff.is_zero() {
        tokio::time::sleep(backoff).await;
    }
    listener.accept().await
}

pub(super) async fn serve_connection<T, S>(
    stream: T,
    remote: Remote,
    router: Arc<Router<S>>,
    mut closing: watch::Receiver<bool>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Send + Sync + 'static,
{
    let phase = Arc::new(Phase::default());
    let service = service_fn(|request| {
        let (router, remote, phase) = (&router, remote.clone(), &phase);
        phase.answering.store(true, Ordering::Relaxed);
        phase.head_count.fetch_add(1, Ordering::Relaxed);
        async move {
            let reply = router.answer(request, remote).await;
            phase.answering.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(reply.into_response())
        }
    });
    let io = TokioIo::new(GuardedStream::new(stream, Arc::clone(&phase)));
    let mut connection = pin!(
        http1::Builder::new()
            // Go's spelling, for whoever reads headers with grep.
            .title_case_headers(true)
            // No `pipeline_flush`: it holds answers back while unparsed bytes are left, so the 400 for
            // garbage would never leave.
            .half_close(true)
            .serve_connection(io, service)
    );
    tokio::select! {
        // A client that breaks off, or talks something else and was told 400, is its own affair.
        _ = &mut connection => return,
        _ = closing.wait_for(|closing| *closing) => {}
    }
    phase.closing.store(true, Ordering::Relaxed);
    let limit = if phase.answering.load(Ordering::Relaxed) {
        DRAIN_LIMIT
    } else {
        FLUSH_LIMIT
    };
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limit, connection).await;
}

/// How long a running request may hold up the exit.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// How long a connection without a request, perhaps in the middle of a head, may hold up the exit.
const FLUSH_LIMIT: Duration = Duration::from_millis(250);

/// Between attempts to accept, doubling, while the system has no file handle to spare.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(5);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
