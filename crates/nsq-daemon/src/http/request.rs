//! What a handler is given.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::http::Extensions;
use hyper::{HeaderMap, Method, Uri};
use tokio::time::timeout;

use super::limits::HttpLimits;
use super::{ApiError, Query};

/// One request, its body still on the socket.
#[derive(Debug)]
pub struct Request {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) remote: Remote,
    pub(super) path_params: Vec<(Box<str>, String)>,
    pub(super) extensions: Extensions,
    pub(super) body: Incoming,
    pub(super) limits: Arc<HttpLimits>,
}

impl Request {
    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path as sent, escapes and all.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// What the route's `:name` or `*name` matched, unescaped; empty if the route has none of that name.
    pub fn path_param(&self, name: &str) -> &str {
        self.path_params
            .iter()
            .find(|(key, _)| &**key == name)
            .map_or("", |(_, value)| value)
    }

    /// What follows the `?`, empty without one.
    pub fn raw_query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    /// The parsed query.
    ///
    /// # Errors
    /// 400 `INVALID_REQUEST`.
    pub fn query(&self) -> Result<Query, ApiError> {
        Query::parse(self.raw_query()).map_err(|_| ApiError::bad_request("INVALID_REQUEST"))
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// What a guard left for the handler, by type.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Where a guard leaves something.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Who asks.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The body's length in bytes if the client said so.
    pub fn content_length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Reads the body, of `limit_bytes` at most. A body announced to be longer is refused unread, and a
    /// client that waits for `100 Continue` never sends it.
    ///
    /// # Errors
    /// [`BodyError`].
    pub async fn read_body(&mut self, limit_bytes: usize) -> Result<Bytes, BodyError> {
        let read = read_limited(&mut self.body, limit_bytes);
        match in_time(self.limits.body_timeout, read).await {
            Some(read) => read,
            None => Err(BodyError::Late(self.limits.body_is_late(&self.remote))),
        }
    }

    /// Reads the body to its end and forgets it.
    ///
    /// # Errors
    /// 400 `INVALID_REQUEST` when the client goes away or its chunks make no sense, 408 when it takes too long.
    pub async fn discard_body(&mut self) -> Result<(), ApiError> {
        let body = &mut self.body;
        let read = async {
            while let Some(frame) = body.frame().await {
                frame.map_err(|_| ApiError::bad_request("INVALID_REQUEST"))?;
            }
            Ok(())
        };
        let read = in_time(self.limits.body_timeout, read).await;
        read.unwrap_or_else(|| Err(self.limits.body_is_late(&self.remote)))
    }
}

/// A body that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the caller allows.
    #[error("body is longer than {limit_bytes} bytes")]
    TooBig {
        /// What the caller allows.
        limit_bytes: usize,
    },
    /// The connection broke, or the chunked encoding is wrong.
    #[error("failed to read body - {0}")]
    Read(#[from] hyper::Error),
    /// It did not come in time; what to answer.
    #[error("{}", .0.code)]
    Late(ApiError),
}

/// The other end of a connection, as the access log writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// `ip:port`.
    Tcp(SocketAddr),
    /// A unix socket, which has no address worth a word; Go writes `@`.
    Unix,
}

impl Remote {
    /// The address without the port, if there is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("@"),
        }
    }
}

/// The result of `work`, or `None` when it takes longer than `limit`, if that is not zero.
async fn in_time<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    if limit.is_zero() {
        return Some(work.await);
    }
    timeout(limit, work).await.ok()
}

/// Collects `body`, holding no more than `limit_bytes` and one frame.
pub(super) async fn read_limited(
    body: &mut Incoming,
    limit_bytes: usize,
) -> Result<Bytes, BodyError> {
    let too_big = BodyError::TooBig { limit_bytes };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit_bytes {
        return Err(too_big);
    }
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else {
            continue; // Trailers.
        };
        if chunk.len() > limit_bytes - collected.len() {
            return Err(too_big);
        }
        if collected.is_empty() {
            if body.is_end_stream() {
                return Ok(chunk);
            }
            // An announced length is a claim until the bytes come: reserve little on its word.
            collected.reserve(announced.min(FIRST_RESERVATION_BYTES));
        }
        collected.extend_from_slice(&chunk);
    }
    Ok(collected.freeze())
}

/// One size of buffer that most bodies fit, and that a liar may well have.
const FIRST_RESERVATION_BYTES: usize = 64 * 1024;
