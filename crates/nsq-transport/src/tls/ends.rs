//! The two ends of a TLS connection, ready to shake hands.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion, version};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::refusal::explained;
use super::system::SystemAuthorities;
use super::unverified::Unverified;
use super::verified::{ClientVerifier, ServerVerifier};
use super::{Authorities, Identity, PemFile, Stream, TlsError};
use crate::ReadAhead;

/// How long either side may take to shake hands; as upstream's nsqd.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The end that is called. Clones share everything, also what [`Acceptor::replace`] puts there.
#[derive(Debug, Clone)]
pub struct Acceptor(Arc<Mutex<Arc<ServerConfig>>>);

/// The end that calls. Clones share everything, the sessions to resume and what [`Connector::replace`] puts there
/// included.
#[derive(Debug, Clone)]
pub struct Connector(Arc<Mutex<Arc<ClientConfig>>>);

/// Which certificate a client must show.
#[derive(Debug, Clone)]
pub enum ClientCertificate {
    /// Nothing.
    NotAsked,
    /// Some certificate, from any issuer, and its key.
    Any,
    /// A certificate from one of these, or that is one of these.
    Verified(Authorities),
}

/// Which servers are trusted.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Those with a certificate from one of the system's authorities, for the host that was called.
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR` name other authorities. They are read at the first handshake, which fails
    /// if there are none.
    System,
    /// Those with a certificate from one of these, or that is one of these, for the host that was called.
    Authorities(Authorities),
    /// Any server: the connection is safe from listeners, but not from impostors.
    Anyone,
}

/// The oldest version to speak; the newest is TLS 1.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Trust {
    /// The authorities of the file if it is given, else the system's; anyone if the certificate is not to be
    /// verified. A file that is given must be readable in either case, as upstream has it.
    ///
    /// # Errors
    /// [`TlsError`] for a file that cannot be used.
    pub fn load(root_ca: &PemFile, is_verification_skipped: bool) -> Result<Self, TlsError> {
        let trust = if root_ca.is_given() {
            Self::Authorities(Authorities::load(root_ca)?)
        } else {
            Self::System
        };
        Ok(if is_verification_skipped {
            Self::Anyone
        } else {
            trust
        })
    }
}

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12 => SINCE_TLS12,
            Self::Tls13 => SINCE_TLS13,
        }
    }
}

impl Acceptor {
    /// One that shows `identity`.
    pub fn new(identity: Identity, clients: ClientCertificate, min_version: MinVersion) -> Self {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(min_version.versions())
            .expect("ring can do all of them");
        let builder = match clients {
            ClientCertificate::NotAsked => builder.with_no_client_auth(),
            ClientCertificate::Any => {
                builder.with_client_cert_verifier(Arc::new(Unverified(provider())))
            }
            ClientCertificate::Verified(authorities) => {
                let verifier = ClientVerifier::new(authorities, provider());
                let verifier = verifier.expect("there is an authority");
                builder.with_client_cert_verifier(Arc::new(verifier))
            }
        };
        let identity = SingleCertAndKey::from(identity.0);
        let config = builder.with_cert_resolver(Arc::new(identity));
        Self(Arc::new(Mutex::new(Arc::new(config))))
    }

    /// Takes over from `other` for all handshakes that begin from now on; connections stay as they are.
    pub fn replace(&self, other: &Self) {
        let config = other.config();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shakes hands with a client, within [`HANDSHAKE_TIMEOUT`].
    ///
    /// # Errors
    /// What made the handshake fail, or that it took too long.
    pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: IO,
    ) -> io::Result<Stream<IO>> {
        let handshake = self.shake_hands(ReadAhead::new(io, Vec::new()));
        match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err((error, io))) => {
                let _ = timeout(FAREWELL_TIMEOUT, see_off(io)).await;
                Err(error)
            }
            Err(_) => {
                let text = format!("no TLS handshake within {HANDSHAKE_TIMEOUT:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }

    /// Shakes hands; on failure the stream comes back with the reason. The caller bounds the time.
    pub(crate) async fn shake_hands<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: ReadAhead<IO>,
    ) -> Result<Stream<IO>, (io::Error, ReadAhead<IO>)> {
        let handshake = TlsAcceptor::from(self.config()).accept(io);
        let stream = handshake.into_fallible().await;
        let stream = stream.map_err(|(error, io)| (explained(error), io))?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

/// Lets a refused client read why: to close while something it sent is unread would reset the connection
/// and take the alert with it.
async fn see_off(mut io: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    io.shutdown().await?;
    let mut rest = io.take(FAREWELL_BYTES);
    let mut unread = [0; 1024];
    while rest.read(&mut unread).await? > 0 {}
    Ok(())
}

impl Connector {
    /// One that believes servers as `trust` says, and shows `identity` if asked.
    pub fn new(trust: Trust, identity: Option<Identity>, min_version: MinVersion) -> Self {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(min_version.versions())
            .expect("ring can do all of them");
        let builder = match trust {
            Trust::System => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(SystemAuthorities::new(provider()))),
            Trust::Authorities(authorities) => {
                let verifier = ServerVerifier::new(authorities, provider());
                let verifier = verifier.expect("there is an authority");
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
            }
            Trust::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified(provider()))),
        };
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity(pair)) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
            }
        };
        Self(Arc::new(Mutex::new(Arc::new(config))))
    }

    /// Takes over from `other` for all handshakes that begin from now on; connections stay as they are.
    pub fn replace(&self, other: &Self) {
        let config = other.config();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// For libraries that shake hands themselves, such as HTTP clients: as it is now.
    pub fn client_config(&self) -> ClientConfig {
        ClientConfig::clone(&self.config())
    }

    fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shakes hands with the server at the other end of `io`, whose certificate must be for the host, name or
    /// IP, of `address` (`host:port`). The caller bounds the time.
    ///
    /// # Errors
    /// What made the handshake fail.
    pub async fn connect<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        address: &str,
        io: IO,
    ) -> io::Result<Stream<IO>> {
        self.shake_hands(address, ReadAhead::new(io, Vec::new()))
            .await
    }

    pub(crate) async fn shake_hands<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        address: &str,
        io: ReadAhead<IO>,
    ) -> io::Result<Stream<IO>> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let host = host_of(address)
            .ok_or_else(|| invalid(format!("address {address}: must be host:port")))?;
        let name = ServerName::try_from(host.to_owned()).map_err(|why| invalid(why.to_string()))?;
        let handshake = TlsConnector::from(self.config()).connect(name, io);
        let stream = handshake.await.map_err(explained)?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

/// The host of `host:port` or `[host]:port`.
fn host_of(address: &str) -> Option<&str> {
    let (host, _) = address.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']'),
        None => Some(host),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

static SINCE_TLS12: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
static SINCE_TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];

const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// More than a client sends before it has an answer.
const FAREWELL_BYTES: u64 = 64 * 1024;
