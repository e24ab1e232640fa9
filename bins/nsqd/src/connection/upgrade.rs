//! The layers that IDENTIFY agreed on: TLS, then a compression, each answered with an `OK` through it.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use nsq_protocol::identify::{self, Negotiation};
use nsq_protocol::{CommandError, frame};
use nsq_transport::Compression;
use nsq_transport::tls::HANDSHAKE_TIMEOUT;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;

/// How an upgrade ended.
pub(super) enum Upgrade {
    /// All layers are there.
    Done,
    /// The handshake failed, and the client is told so without TLS.
    Refused,
    /// The client went, or took too long.
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Puts the layers on the stream, in [`HANDSHAKE_TIMEOUT`] at most. What came in behind the IDENTIFY belongs to
    /// the first of them.
    pub(super) async fn upgrade(&mut self, agreed: Negotiation) -> Upgrade {
        let client = Arc::clone(&self.client);
        let upgrade = async {
            let mut upgrade = Box::pin(self.put_on(agreed));
            poll_fn(|cx| {
                client.register(cx.waker());
                if client.is_closed() {
                    return Poll::Ready(Upgrade::Gone);
                }
                upgrade.as_mut().poll(cx)
            })
            .await
        };
        let outcome = tokio::time::timeout(HANDSHAKE_TIMEOUT, upgrade).await;
        outcome.unwrap_or_else(|_| {
            tracing::error!(
                "PROTOCOL(V2): [{}] - E_IDENTIFY_FAILED IDENTIFY failed i/o timeout",
                client.remote_address
            );
            Upgrade::Gone
        })
    }

    async fn put_on(&mut self, agreed: Negotiation) -> Upgrade {
        // The answer goes out before the first layer is there.
        if self.send_all().await.is_err() {
            return Upgrade::Gone;
        }
        if agreed.tls
            && let Some(acceptor) = self.nsqd.acceptor.clone()
        {
            self.log_upgrade("TLS");
            let read_ahead = std::mem::take(&mut self.inbox);
            if let Err(error) = self.stream.accept_tls(&acceptor, read_ahead).await {
                let cause = error.to_string();
                self.refuse(&CommandError::IdentifyFailed { cause });
                return Upgrade::Refused;
            }
            self.tls_missing = false;
            self.client.details().tls = self.stream.tls();
            self.outbox.extend(frame::OK);
            if self.send_all().await.is_err() {
                return Upgrade::Gone;
            }
        }
        let compression = match agreed.compression {
            identify::Compression::None => return Upgrade::Done,
            identify::Compression::Snappy => {
                self.log_upgrade("snappy");
                Compression::Snappy
            }
            identify::Compression::Deflate { level } => {
                self.log_upgrade(&format!("deflate (level {level})"));
                Compression::Deflate { level }
            }
        };
        let read_ahead = std::mem::take(&mut self.inbox);
        if self.stream.compress(compression, read_ahead).is_err() {
            return Upgrade::Gone;
        }
        self.client.details().compression = Some(compression);
        self.outbox.extend(frame::OK);
        Upgrade::Done
    }

    async fn send_all(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.outbox.poll_send(&mut self.stream, cx)).await
    }

    fn log_upgrade(&self, layer: &str) {
        tracing::info!(
            "PROTOCOL(V2): [{}] upgrading connection to {layer}",
            self.client.remote_address
        );
    }

    /// Why the stream cannot be changed as agreed; each layer is there once.
    pub(super) fn check_upgrade(&self, agreed: Negotiation) -> Result<(), CommandError> {
        let is_compressed = self.stream.compression().is_some();
        let cause = if agreed.tls && (self.stream.tls().is_some() || is_compressed) {
            "TLS must be negotiated once, and before compression"
        } else if agreed.compression != identify::Compression::None && is_compressed {
            "compression must be negotiated once"
        } else {
            return Ok(());
        };
        Err(CommandError::IdentifyFailed {
            cause: cause.to_owned(),
        })
    }
}
