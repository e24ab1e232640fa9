//! TLS by rustls, for either end of a connection, from PEM files.
//!
//! ```text
//! --…-cert, --…-key ──▶ Identity ────┬─▶ Acceptor  ── accept ──▶ Stream
//! --…-ca-file ────────▶ Authorities ─┴─▶ Connector ── connect ─▶ Stream
//! ```
//!
//! Files are read and checked once, at the start: an [`Acceptor`] or [`Connector`] can no longer fail for
//! what is in them. Each side speaks TLS 1.2 and 1.3, and certificates are always verified: there is no
//! switch to do without.

mod ends;
mod pem;
mod stream;
#[cfg(test)]
pub(crate) mod test_authority;
#[cfg(test)]
mod tests;

pub use self::ends::{Acceptor, Connector};
pub use self::pem::{Authorities, Identity, PemFile, TlsError};
pub use self::stream::Stream;
