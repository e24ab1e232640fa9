//! IDENTIFY: what a client asks for, what it gets, and what nsqd answers.
//!
//! [`IdentifyRequest::parse`] reads the JSON, [`IdentifyRequest::validate`] makes settings of its
//! numbers, [`IdentifyRequest::negotiate`] agrees on the layers of the connection. A value that
//! fails ends the connection, so nothing is ever half applied.

mod negotiation;
mod request;
mod settings;

pub use negotiation::{Compression, Negotiation, ServerFeatures};
pub use request::IdentifyRequest;
pub use settings::{ClientSettings, IdentifyLimits};
