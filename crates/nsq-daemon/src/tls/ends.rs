//! The two ends of a TLS connection, ready to shake hands.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Authorities, Identity, Stream};
use crate::listen::split_host_port;

/// The end that is called. Clones share everything.
#[derive(Debug, Clone)]
pub struct Acceptor(Arc<ServerConfig>);

/// The end that calls. Clones share everything, the sessions to resume included.
#[derive(Debug, Clone)]
pub struct Connector(Arc<ClientConfig>);

impl Acceptor {
    /// One that shows `identity`. With `client_authorities`, a client must show a certificate which one of
    /// them vouches for; else none is asked for.
    pub fn new(identity: Identity, client_authorities: Option<Authorities>) -> Self {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring can do all of them");
        let builder = match client_authorities {
            None => builder.with_no_client_auth(),
            Some(Authorities(roots)) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = verifier.build().expect("there is an authority");
                builder.with_client_cert_verifier(verifier)
            }
        };
        let identity = SingleCertAndKey::from(identity.0);
        Self(Arc::new(builder.with_cert_resolver(Arc::new(identity))))
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// What made the handshake fail, or that it took too long.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<Stream> {
        let handshake = TlsAcceptor::from(Arc::clone(&self.0)).accept(tcp);
        match timeout(HANDSHAKE_TIMEOUT, handshake.into_fallible()).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream.into()))),
            Ok(Err((error, tcp))) => {
                let _ = timeout(FAREWELL_TIMEOUT, see_off(tcp)).await;
                Err(error)
            }
            Err(_) => {
                let text = format!("no TLS handshake within {HANDSHAKE_TIMEOUT:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }
}

/// Lets a refused client read why: to close while something it sent is unread would reset the connection
/// and take the alert with it.
async fn see_off(mut tcp: TcpStream) -> io::Result<()> {
    tcp.shutdown().await?;
    let mut rest = tcp.take(FAREWELL_BYTES);
    let mut unread = [0; 1024];
    while rest.read(&mut unread).await? > 0 {}
    Ok(())
}

impl Connector {
    /// One that takes servers which one of `authorities` vouches for, and shows `identity` if asked.
    pub fn new(authorities: Authorities, identity: Option<Identity>) -> Self {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring can do all of them")
            .with_root_certificates(authorities.0);
        Self(Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(Identity(pair)) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
            }
        }))
    }

    /// Shakes hands with the server at the other end of `tcp`, whose certificate must be for the host, name or
    /// IP, of `address` (`host:port`). The caller bounds the time.
    ///
    /// # Errors
    /// What made the handshake fail.
    pub async fn connect(&self, address: &str, tcp: TcpStream) -> io::Result<Stream> {
        let invalid = |why: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidInput, why.to_string())
        };
        let (host, _) = split_host_port(address).map_err(|error| invalid(&error))?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| invalid(&error))?;
        let handshake = TlsConnector::from(Arc::clone(&self.0)).connect(name, tcp);
        Ok(Stream::Tls(Box::new(handshake.await?.into())))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Longer than any honest client takes on a busy machine: one that says nothing more is let go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// More than a client sends before it has an answer.
const FAREWELL_BYTES: u64 = 64 * 1024;
