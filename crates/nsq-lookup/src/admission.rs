//! Who comes in by TCP, and how: encrypted, plain, or as it pleases them.

use std::io;

use nsq_transport::tls::{Acceptor, Stream};
use tokio::net::TcpStream;

/// What nsqlookupd's TCP door demands of a connection.
#[derive(Debug, Clone)]
pub enum Admission {
    /// Nothing, and it knows no TLS.
    Plain,
    /// TLS or not, as the connection's first byte says.
    Either(Acceptor),
    /// TLS.
    TlsOnly(Acceptor),
}

/// A connection that is not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("TLS handshake failed - {0}")]
    Handshake(#[source] io::Error),
    #[error("refused, since it does not speak TLS")]
    Plain,
    #[error("failed to read the first byte - {0}")]
    Io(#[from] io::Error),
}

impl Admission {
    /// With what it shakes hands, if it does.
    pub fn acceptor(&self) -> Option<&Acceptor> {
        match self {
            Self::Plain => None,
            Self::Either(acceptor) | Self::TlsOnly(acceptor) => Some(acceptor),
        }
    }

    /// Waits for the connection's first byte, if that matters, and shakes hands.
    pub(crate) async fn admit(&self, stream: TcpStream) -> Result<Stream, Refusal> {
        let (acceptor, is_plain_welcome) = match self {
            Self::Plain => return Ok(Stream::Plain(stream)),
            Self::Either(acceptor) => (acceptor, true),
            Self::TlsOnly(acceptor) => (acceptor, false),
        };
        let mut first = [0];
        // At the end of a connection there is none, which is for others to complain of.
        let is_tls = stream.peek(&mut first).await? == 1 && first == [TLS_HANDSHAKE];
        match (is_tls, is_plain_welcome) {
            (true, _) => acceptor.accept(stream).await.map_err(Refusal::Handshake),
            (false, true) => Ok(Stream::Plain(stream)),
            (false, false) => Err(Refusal::Plain),
        }
    }
}

/// How a TLS connection begins. The plain protocol's magic begins with a space.
const TLS_HANDSHAKE: u8 = 0x16;
