//! Everything that turns a byte stream into another one: TLS, and the compressions that nsqd's clients negotiate.
//!
//! ```text
//! commands, frames
//!        │  snappy or deflate   [`Compression`]
//!        │  TLS                 [`tls`]
//!        ▼
//!     a socket
//! ```
//!
//! A [`Transport`] begins as the socket it was made of, and puts one layer after the other on itself in the middle of
//! the conversation, as IDENTIFY's answer says. Both ends do the same, but for who begins the TLS handshake.
//!
//! No layer takes memory by what the other side declares: a compressed stream is unpacked only into the buffer of
//! who reads, however far the rest would unfold.

mod compressed;
mod deflate;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../../../tests/fuzz/bodies/transport.rs"]
pub mod fuzz;
mod read_ahead;
mod snappy;
pub mod tls;
mod transport;

pub use compressed::Compression;
pub use read_ahead::ReadAhead;
pub use transport::Transport;
