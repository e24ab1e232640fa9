//! The layers that IDENTIFY agreed on: TLS, then a compression, each answered with an `OK` through it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use nsq_protocol::identify::{self, Negotiation};
use nsq_server::Next;
use nsq_transport::Compression;
use nsq_transport::tls::HANDSHAKE_TIMEOUT;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::clock;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Puts the layers on the stream, in [`HANDSHAKE_TIMEOUT`] at most. What came in after the IDENTIFY belongs to
    /// the first of them.
    pub(super) async fn upgrade(&mut self, agreed: Negotiation) -> Next {
        let client = Arc::clone(&self.connected.client);
        let upgrade = async {
            let mut upgrade = Box::pin(self.put_on(agreed));
            poll_fn(|cx| {
                client.register(cx.waker());
                if client.is_closed() || client.is_dismissed() {
                    return Poll::Ready(Next::Drop);
                }
                upgrade.as_mut().poll(cx)
            })
            .await
        };
        let outcome = tokio::time::timeout(HANDSHAKE_TIMEOUT, upgrade).await;
        outcome.unwrap_or_else(|_| {
            // For the log: half a handshake leaves no way to tell the client.
            self.session.handle_upgrade_failed("i/o timeout".to_owned());
            Next::Drop
        })
    }

    async fn put_on(&mut self, agreed: Negotiation) -> Next {
        // The answer goes out before the first layer is there.
        if self.send_all().await.is_err() {
            return Next::Drop;
        }
        if agreed.tls
            && let Some(acceptor) = self.services.acceptor.clone()
        {
            self.log_upgrade("TLS");
            let read_ahead = self.session.take_input();
            if let Err(error) = self.stream.accept_tls(&acceptor, read_ahead).await {
                return self.session.handle_upgrade_failed(error.to_string());
            }
            if let Some(tls) = self.stream.tls() {
                // There is TLS only once.
                let _ = self.connected.tls.set(tls);
            }
            self.session.handle_tls();
            if self.send_all().await.is_err() {
                return Next::Drop;
            }
        }
        let compression = match agreed.compression {
            identify::Compression::None => return self.session.handle_upgraded(clock::now()),
            identify::Compression::Snappy => {
                self.log_upgrade("snappy");
                Compression::Snappy
            }
            identify::Compression::Deflate { level } => {
                self.log_upgrade(&format!("deflate (level {level})"));
                Compression::Deflate { level }
            }
        };
        let read_ahead = self.session.take_input();
        if self.stream.compress(compression, read_ahead).is_err() {
            return Next::Drop;
        }
        let _ = self.connected.compression.set(compression);
        self.session.handle_compression();
        self.session.handle_upgraded(clock::now())
    }

    fn log_upgrade(&self, layer: &str) {
        tracing::info!(
            "PROTOCOL(V2): [{}] upgrading connection to {layer}",
            self.connected.client.remote_address()
        );
    }
}
