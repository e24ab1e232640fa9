//! Clients through TLS and compression: a tunnel adds the layers, so that a test keeps talking in plain bytes.
//!
//! Only this module links code of the daemons. The tests with client libraries show that other implementations agree.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

use nsq_transport::tls::Connector;
use nsq_transport::{Compression, Transport};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, copy_bidirectional};

use crate::raw_client::RawClient;

/// The frame that follows each layer.
const OK: &[u8] = b"\0\0\0\x06\0\0\0\0OK";

/// The layers that both ends of a connection have agreed on.
#[derive(Debug, Default, Clone)]
struct Layers {
    tls: Option<Connector>,
    compression: Option<Compression>,
    /// Each layer is answered with an `OK`.
    is_negotiated: bool,
    /// Bytes of the first layer that have been read already.
    read_ahead: Vec<u8>,
}

impl RawClient {
    /// Sends IDENTIFY with these settings and adds the layers that nsqd's answer names. From then on the client's bytes go
    /// through those layers.
    ///
    /// # Errors
    /// The layers could not be added.
    #[track_caller]
    pub fn negotiate(
        mut self,
        settings: &Value,
        connector: Option<&Connector>,
    ) -> Result<(Self, Value), String> {
        let answer = self.identify(settings);
        let answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        let level = answer["deflate_level"].as_u64();
        let level = level.and_then(|level| u8::try_from(level).ok());
        let (stream, read_ahead) = self.into_parts();
        let layers = Layers {
            tls: connector.filter(|_| answer["tls_v1"] == true).cloned(),
            compression: match (&answer["snappy"], &answer["deflate"], level) {
                (Value::Bool(true), _, _) => Some(Compression::Snappy),
                (_, Value::Bool(true), Some(level)) => Some(Compression::Deflate { level }),
                _ => None,
            },
            is_negotiated: true,
            read_ahead,
        };
        let stream = tunnel_to(stream, layers)?;
        let client = Self::over(stream).map_err(|error| error.to_string())?;
        Ok((client, answer))
    }
}

/// A local address whose connections are forwarded to `address` by TLS, for HTTPS.
pub fn tls_tunnel(address: SocketAddr, connector: &Connector) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    let local = listener.local_addr().expect("it is bound");
    let layers = Layers {
        tls: Some(connector.clone()),
        ..Layers::default()
    };
    std::thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            if let Ok(far) = TcpStream::connect(address) {
                let layers = layers.clone();
                // If TLS fails, the near side sees the end of its connection.
                std::thread::spawn(move || run(near, far, layers, &mpsc::channel().0));
            }
        }
    });
    local
}

fn tunnel_to(far: TcpStream, layers: Layers) -> Result<TcpStream, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    let local = listener.local_addr().expect("it is bound");
    let client = TcpStream::connect(local).expect("it listens");
    let (near, _) = listener.accept().expect("it has just been called");
    let (ready, outcome) = mpsc::channel();
    std::thread::spawn(move || {
        if let Err(error) = run(near, far, layers, &ready) {
            // After a late failure, the near side sees the end of its connection.
            let _ = ready.send(Err(error.to_string()));
        }
    });
    outcome.recv().map_err(|error| error.to_string())??;
    Ok(client)
}

fn run(
    near: TcpStream,
    far: TcpStream,
    layers: Layers,
    ready: &mpsc::Sender<Result<(), String>>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for stream in [&near, &far] {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
        }
        let mut near = tokio::net::TcpStream::from_std(near)?;
        let address = far.peer_addr()?.to_string();
        let mut far = Transport::plain(tokio::net::TcpStream::from_std(far)?);
        let mut read_ahead = layers.read_ahead;
        if let Some(connector) = layers.tls {
            let read_ahead = std::mem::take(&mut read_ahead);
            far.connect_tls(&connector, &address, read_ahead).await?;
            if layers.is_negotiated {
                expect_ok(&mut far).await?;
            }
        }
        if let Some(compression) = layers.compression {
            far.compress(compression, read_ahead)?;
            expect_ok(&mut far).await?;
        }
        // It does not matter if no one waits for it.
        let _ = ready.send(Ok(()));
        copy_bidirectional(&mut near, &mut far).await?;
        Ok(())
    })
}

async fn expect_ok(far: &mut Transport<tokio::net::TcpStream>) -> io::Result<()> {
    let mut frame = [0; OK.len()];
    far.read_exact(&mut frame).await?;
    if frame == OK {
        return Ok(());
    }
    let shown = frame.escape_ascii();
    Err(io::Error::other(format!("{shown} in place of an OK")))
}
