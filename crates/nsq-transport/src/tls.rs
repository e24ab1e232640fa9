//! TLS by rustls, for either end of a connection, from PEM files.
//!
//! ```text
//! --…-cert, --…-key ──▶ Identity ────┬─▶ Acceptor  ── accept ──▶ Stream
//! --…-ca-file ────────▶ Authorities ─┴─▶ Connector ── connect ─▶ Stream
//! ```
//!
//! Without a file, a [`Connector`] can go by the system's authorities ([`Trust::System`]).
//!
//! Files are read and checked once, at the start: an [`Acceptor`] or [`Connector`] can no longer fail for
//! what is in them. To read them again is to make another one and have it take over. Each side speaks TLS 1.2 and 1.3.

mod certificate;
mod ends;
mod pem;
mod refusal;
mod session;
mod stream;
mod system;
#[cfg(test)]
pub(crate) mod test_authority;
#[cfg(test)]
mod tests;
mod unverified;
mod verified;

pub use self::ends::{
    Acceptor, ClientCertificate, Connector, HANDSHAKE_TIMEOUT, MinVersion, Trust,
};
pub use self::pem::{Authorities, Identity, PemFile, TlsError};
pub use self::refusal::explain;
pub use self::session::Session;
pub use self::stream::Stream;
