//! Letting clients in: each connection is admitted or turned away, and goes to a worker.

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nsq_daemon::listen::{self, Admitted, AnyBound, Bound, Gate};
use nsq_protocol::{CommandError, frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::client_table::ClientTable;
use crate::connection::{Connection, Services};
use crate::workers::Workers;

/// Lets clients in.
pub(crate) struct Entrance {
    pub(crate) gate: Arc<Gate>,
    pub(crate) clients: Arc<ClientTable>,
    pub(crate) services: Arc<Services>,
}

impl Entrance {
    /// Serves clients of `bound` on `workers` until `shutdown` is ready.
    ///
    /// # Errors
    /// When the socket can accept no more, ever.
    pub(crate) async fn run(
        self: &Arc<Self>,
        workers: &Workers,
        bound: AnyBound,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        // A socket moves to its worker's runtime by way of the standard library's.
        let (outcome, address) = match bound {
            AnyBound::Tcp(Bound { socket, address }) => {
                let listener = TcpListener::from_std(socket)?;
                tracing::info!("TCP: listening on {address}");
                let serve = |stream: TcpStream, peer: SocketAddr| {
                    if let Some((stream, admitted)) = self.admit(stream, Some(peer.ip()), &peer)
                        && let Ok(stream) = stream.into_std()
                    {
                        let (name, ip) = (peer.to_string(), peer.ip().to_string());
                        let stream = || TcpStream::from_std(stream);
                        workers.spawn(Arc::clone(self).welcome(stream, admitted, name, ip));
                    }
                };
                let outcome = listen::accept_loop(listener, shutdown, serve).await;
                (outcome, address.to_string())
            }
            AnyBound::Unix(bound) => {
                let path = bound.path.clone();
                let listener = bound.into_listener()?;
                tracing::info!("TCP: listening on {path}");
                let serve = |stream: UnixStream, peer: String| {
                    if let Some((stream, admitted)) = self.admit(stream, None, &peer)
                        && let Ok(stream) = stream.into_std()
                    {
                        let stream = || UnixStream::from_std(stream);
                        let entrance = Arc::clone(self);
                        workers.spawn(entrance.welcome(stream, admitted, peer, String::new()));
                    }
                };
                (listen::accept_loop(listener, shutdown, serve).await, path)
            }
        };
        tracing::info!("TCP: closing {address}");
        outcome
    }

    /// Lets a connection in, or tells the client why not.
    fn admit<S>(&self, stream: S, ip: Option<IpAddr>, peer: &dyn Display) -> Option<(S, Admitted)>
    where
        S: AsRawFd + AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self.gate.enter(ip, stream.as_raw_fd(), peer) {
            Ok(admitted) => Some((stream, admitted)),
            Err(denial) => {
                let cause = denial.to_string();
                let mut answer = Vec::new();
                frame::write_error(&mut answer, &CommandError::TooManyConnections { cause });
                self.gate.turn_away(stream, answer);
                None
            }
        }
    }

    /// Serves a client whose connection comes from `address`, and from `ip` if it has one.
    async fn welcome<S: AsyncRead + AsyncWrite + Unpin>(
        self: Arc<Self>,
        stream: impl FnOnce() -> io::Result<S>,
        _admitted: Admitted,
        address: String,
        ip: String,
    ) {
        let Ok(stream) = stream() else {
            return;
        };
        tracing::info!("TCP: new client({address})");
        serve(
            stream,
            &self.clients,
            Arc::clone(&self.services),
            address,
            ip,
        )
        .await;
    }
}

/// Serves a client that was let in, to the end of its connection.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    clients: &ClientTable,
    services: Arc<Services>,
    address: String,
    ip: String,
) {
    let connected = clients.add(address, ip);
    let id = connected.client.id();
    let connection = Connection::new(stream, connected, services);
    connection.run(|| clients.remove(id)).await;
}
