//! TLS and compression between the load and the server.
//!
//! An extra thread for each connection adds and removes the layers, so that the load itself is the same with and without
//! them. Its cost is not part of the server's CPU time, but on a shared machine it lowers the messages a second.

use std::{
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use clap::Args;
use nsq_transport::{
    Compression, Transport,
    tls::{Connector, MinVersion, Trust},
};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, copy_bidirectional_with_sizes};

/// What to negotiate with the server.
#[derive(Debug, Default, Clone, Copy, Args)]
pub struct Layers {
    /// Connect by TLS, without checking the server's certificate.
    #[arg(long)]
    pub tls: bool,
    /// Compress with snappy.
    #[arg(long, conflicts_with = "deflate")]
    pub snappy: bool,
    /// Compress with deflate at this level, 1 to 9.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub deflate: Option<u8>,
}

impl Layers {
    /// Plain bytes.
    pub const NONE: Self = Self {
        tls: false,
        snappy: false,
        deflate: None,
    };

    /// Returns whether there are any layers.
    pub fn is_any(self) -> bool {
        self.tls || self.snappy || self.deflate.is_some()
    }

    /// Puts the layers on `far` and returns a stream that goes through them. `answer` is the server's answer to IDENTIFY;
    /// `read_ahead` are the bytes that were read after it.
    ///
    /// # Errors
    /// The server has not agreed, or the handshake failed.
    pub fn put_on(
        self,
        far: TcpStream,
        answer: &[u8],
        read_ahead: Vec<u8>,
    ) -> io::Result<TcpStream> {
        self.check(answer)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let load = TcpStream::connect(listener.local_addr()?)?;
        let (near, _) = listener.accept()?;
        for stream in [&load, &near] {
            stream.set_nodelay(true)?;
        }
        let (sender, outcome) = mpsc::channel();
        thread::Builder::new()
            .name("layers".to_owned())
            .spawn(move || {
                if let Err(error) = self.carry(near, far, read_ahead, &sender) {
                    // After the handshake no one waits for the outcome: the load sees its connection end.
                    let _ = sender.send(Err(error));
                }
            })?;
        outcome
            .recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))?;
        Ok(load)
    }

    fn check(self, answer: &[u8]) -> io::Result<()> {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        for (key, is_wanted) in [
            ("tls_v1", self.tls),
            ("snappy", self.snappy),
            ("deflate", self.deflate.is_some()),
        ] {
            if is_wanted && answer[key] != true {
                return Err(io::Error::other(format!("the server has {key} off")));
            }
        }
        Ok(())
    }

    fn carry(
        self,
        near: TcpStream,
        far: TcpStream,
        mut read_ahead: Vec<u8>,
        ready: &mpsc::Sender<io::Result<()>>,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            for stream in [&near, &far] {
                stream.set_nonblocking(true)?;
            }
            let address = far.peer_addr()?.to_string();
            let mut near = tokio::net::TcpStream::from_std(near)?;
            let mut far = Transport::plain(tokio::net::TcpStream::from_std(far)?);
            let mut ok = [0; nsq_protocol::frame::OK.len()];
            if self.tls {
                let connector = Connector::new(Trust::Anyone, None, MinVersion::Tls12);
                let read_ahead = std::mem::take(&mut read_ahead);
                far.connect_tls(&connector, &address, read_ahead).await?;
                far.read_exact(&mut ok).await?;
            }
            let compression = match self.deflate {
                Some(level) => Some(Compression::Deflate { level }),
                None => self.snappy.then_some(Compression::Snappy),
            };
            if let Some(compression) = compression {
                far.compress(compression, read_ahead)?;
                far.read_exact(&mut ok).await?;
            }
            // If the run was given up, no one waits any more.
            let _ = ready.send(Ok(()));
            copy_bidirectional_with_sizes(&mut near, &mut far, COPY_BYTES, COPY_BYTES).await?;
            Ok(())
        })
    }
}

/// The most bytes that go through in one piece.
const COPY_BYTES: usize = 256 * 1024;
