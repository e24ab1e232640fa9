//! A stretch of wire between two nodes that can be cut, and that can damage a byte.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a node.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    is_cut: watch::Sender<bool>,
}

impl Proxy {
    /// Passes connections on to `target`. The byte `damaged` of each connection, counted from 0, arrives as another one.
    pub(crate) async fn start(target: SocketAddr, damaged: Option<usize>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_cut = watch::Sender::new(false);
        let cut = is_cut.subscribe();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, target, cut.clone(), damaged));
            }
        });
        Self { address, is_cut }
    }

    /// Breaks all connections, and lets no new one through.
    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn carry(
    stream: TcpStream,
    target: SocketAddr,
    mut cut: watch::Receiver<bool>,
    damaged: Option<usize>,
) {
    let Ok(other) = TcpStream::connect(target).await else {
        return;
    };
    let (stream, other) = (stream.into_split(), other.into_split());
    tokio::select! {
        () = copy(stream.0, other.1, damaged) => {}
        () = copy(other.0, stream.1, None) => {}
        _ = cut.wait_for(|is_cut| *is_cut) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, damaged: Option<usize>) {
    let mut buffer = vec![0; 64 << 10];
    let mut at = 0;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if let Some(damaged) = damaged
            && (at..at + read).contains(&damaged)
        {
            buffer[damaged - at] ^= 1;
        }
        at += read;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
