//! Accepts connections and speaks HTTP/1 on them until told to stop.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nsq_transport::tls::{self, Acceptor};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::listen::{self, Denial, UnixSocket};

use super::limits::{DEFAULT_MAX_HEADERS, HttpLimits, refusal};
use super::stream::{CHUNKED, GuardedStream, Phase};
use super::{Remote, Router, StatusCode, checks};

/// Where connections come from.
pub trait Listener: Send {
    /// What bytes are read from and written to.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// What is left to do before the first request, such as a TLS handshake. It runs in the connection's
    /// own task, so that a slow client holds up no one.
    type Incoming: Future<Output = io::Result<Self::Stream>> + Send + 'static;

    /// Whether there is nothing to be done before the first request.
    const IS_PLAIN: bool;

    /// The next connection, its file handle's number, and who it is.
    ///
    /// # Errors
    /// What the system says, such as too many open files; the server tries again.
    fn accept(
        &mut self,
    ) -> impl Future<Output = io::Result<(Self::Incoming, RawFd, Remote)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    type Incoming = std::future::Ready<io::Result<TcpStream>>;

    const IS_PLAIN: bool = true;

    async fn accept(&mut self) -> io::Result<(Self::Incoming, RawFd, Remote)> {
        let (stream, remote) = poll_fn(|cx| listen::Accept::poll_accept(self, cx)).await?;
        let (socket, remote) = (stream.as_raw_fd(), Remote::Tcp(remote));
        Ok((std::future::ready(Ok(stream)), socket, remote))
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

    const IS_PLAIN: bool = false;

    async fn accept(&mut self) -> io::Result<(Self::Incoming, RawFd, Remote)> {
        let (incoming, socket, remote) = Listener::accept(&mut self.tcp).await?;
        let acceptor = self.acceptor.clone();
        let handshake = async move { acceptor.accept(incoming.await?).await };
        Ok((Box::pin(handshake), socket, remote))
    }
}

impl Listener for UnixSocket {
    type Stream = UnixStream;
    type Incoming = std::future::Ready<io::Result<UnixStream>>;

    const IS_PLAIN: bool = true;

    async fn accept(&mut self) -> io::Result<(Self::Incoming, RawFd, Remote)> {
        let (stream, _) = poll_fn(|cx| listen::Accept::poll_accept(self, cx)).await?;
        let socket = stream.as_raw_fd();
        Ok((std::future::ready(Ok(stream)), socket, Remote::Unix))
    }
}

/// Serves `router` on `listener`, within `limits`, until `shutdown` is done; then accepts no more, closes idle connections,
/// and lets running requests finish, for five seconds at most.
pub async fn serve<L, S>(
    mut listener: L,
    router: Arc<Router<S>>,
    limits: HttpLimits,
    shutdown: impl Future<Output = ()>,
) where
    L: Listener,
    S: Send + Sync + 'static,
{
    let mut shutdown = pin!(shutdown);
    let limits = Arc::new(limits);
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
            Ok((incoming, socket, remote)) => {
                backoff = Duration::ZERO;
                let admitted = match limits.gate.enter(remote.ip(), socket, &remote) {
                    Ok(admitted) => admitted,
                    Err(denial) => {
                        turn_away::<L>(incoming, &limits, &denial).await;
                        continue;
                    }
                };
                let (router, limits) = (Arc::clone(&router), Arc::clone(&limits));
                let mut closed = closed.clone();
                connections.spawn(async move {
                    let _admitted = admitted;
                    let incoming = tokio::select! {
                        incoming = incoming => incoming,
                        _ = closed.wait_for(|closing| *closing) => return,
                    };
                    match incoming {
                        Ok(stream) => {
                            serve_connection(stream, remote, router, limits, closed).await;
                        }
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
) -> io::Result<(L::Incoming, RawFd, Remote)> {
    if !backoff.is_zero() {
        tokio::time::sleep(backoff).await;
    }
    listener.accept().await
}

/// Tells a connection why it is not served; one that would have to shake hands first is just closed.
async fn turn_away<L: Listener>(incoming: L::Incoming, limits: &HttpLimits, denial: &Denial) {
    if !L::IS_PLAIN {
        return;
    }
    let Ok(stream) = incoming.await else {
        return;
    };
    let status = match denial {
        Denial::PerAddress { .. } => "429 Too Many Requests",
        Denial::Total { .. } | Denial::OpenFiles => "503 Service Unavailable",
    };
    let code = format!("TOO_MANY_CONNECTIONS: {denial}");
    limits.gate.turn_away(stream, refusal(status, &code));
}

pub(super) async fn serve_connection<T, S>(
    stream: T,
    remote: Remote,
    router: Arc<Router<S>>,
    limits: Arc<HttpLimits>,
    mut closing: watch::Receiver<bool>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Send + Sync + 'static,
{
    let phase = Arc::new(Phase::default());
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (router, remote, phase) = (&router, remote.clone(), &phase);
        let limits = Arc::clone(&limits);
        phase.answering.store(true, Ordering::Relaxed);
        let body_bytes = request.body().size_hint().exact().unwrap_or(CHUNKED);
        phase.body_bytes.store(body_bytes, Ordering::Relaxed);
        phase
            .has_whole_body
            .store(body_bytes == 0, Ordering::Relaxed);
        phase.head_count.fetch_add(1, Ordering::Relaxed);
        async move {
            let reply = match checks::refusal(&request) {
                Some(refusal) => refusal,
                None => router.answer(request, remote, limits).await,
            };
            phase.answering.store(false, Ordering::Relaxed);
            let is_cut_off = reply.status() == StatusCode::PAYLOAD_TOO_LARGE
                && !phase.has_whole_body.load(Ordering::Relaxed);
            let reply = if is_cut_off { reply.closing() } else { reply };
            Ok::<_, Infallible>(reply.into_response())
        }
    });
    let guarded = GuardedStream::new(
        stream,
        Arc::clone(&phase),
        Arc::clone(&limits),
        remote.clone(),
    );
    let io = TokioIo::new(guarded);
    let mut builder = http1::Builder::new();
    if limits.max_headers != DEFAULT_MAX_HEADERS {
        // Set, it costs every request a piece of memory of its own.
        builder.max_headers(limits.max_headers.into());
    }
    let mut connection = pin!(
        builder
            // Go's spelling, for scripts that read headers with grep.
            .title_case_headers(true)
            // No `pipeline_flush`: it holds answers back while unparsed bytes are left, so the 400 for
            // garbage would never leave.
            .half_close(true)
            .max_buf_size(limits.max_header_bytes as usize)
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
