//! HTTP as nsqd, nsqlookupd and nsqadmin speak it.
//!
//! ```text
//! socket ─▶ server ─▶ router ─▶ handler(state, Request) ─▶ Result<Reply, ApiError> ─▶ socket
//! ```
//!
//! A daemon builds a [`Router`] over its shared state and hands it to [`serve`] with a listener. Requests
//! are bounded before they are held: the head by [`HttpLimits`], the body by [`Request::read_body`].

pub mod client;
pub mod json;

mod checks;
mod chunks;
mod counts;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../../../tests/fuzz/bodies/http.rs"]
pub mod fuzz;
mod head;
mod input;
mod limits;
mod path;
mod query;
mod reply;
mod request;
mod router;
mod server;
mod stream;
#[cfg(test)]
mod tests;

pub use hyper::{HeaderMap, Method, StatusCode, header};

pub use counts::RequestCounts;
pub use limits::{
    BODY_TIMEOUT, DEFAULT_BODY_TIMEOUT, DEFAULT_HEADER_TIMEOUT, DEFAULT_IDLE_TIMEOUT,
    DEFAULT_MAX_HEADER_BYTES, DEFAULT_MAX_HEADERS, HEADER_TIMEOUT, HttpLimits, MAX_HEADER_BYTES,
    MAX_HEADERS,
};
pub use query::{BadQuery, Query};
pub use reply::{ApiError, Reply};
pub use request::{BodyError, Remote, Request};
pub use router::{POLL_HEADER, Router};
pub use server::{Listener, TlsListener, serve};
