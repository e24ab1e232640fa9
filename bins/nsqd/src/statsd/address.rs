//! From the name of a statsd to a socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// A `host:port` that is looked up again for each socket, since the answer may change.
pub(super) struct Address {
    name: String,
    /// A question that was not answered in time. Nothing can interrupt it, so the next one waits for its answer rather
    /// than that threads pile up at a silent name server.
    asked: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
}

impl Address {
    pub(super) fn new(name: &str) -> Address {
        Address {
            name: name.to_owned(),
            asked: None,
        }
    }

    /// A socket whose other end it is. May be dropped half-way.
    pub(super) async fn connect(&mut self) -> io::Result<UdpSocket> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no address for this name");
        for address in self.resolve().await? {
            match connect_to(address).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn resolve(&mut self) -> io::Result<Vec<SocketAddr>> {
        let name = self.name.clone();
        let asked = self.asked.get_or_insert_with(|| {
            tokio::task::spawn_blocking(move || Ok(name.to_socket_addrs()?.collect()))
        });
        let answer = asked.await;
        self.asked = None;
        answer.map_err(io::Error::other)?
    }
}

async fn connect_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}
