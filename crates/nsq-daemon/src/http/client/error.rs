//! Why there is no answer.

use std::error::Error;
use std::io;
use std::time::Duration;

use hyper::StatusCode;
use nsq_transport::tls;
use reqwest::Url;
use tokio_rustls::rustls;

use crate::os_error::plain_text;

/// A request without the answer it was made for, as Go's client words it: `Get "http://...": why`.
#[derive(Debug, thiserror::Error)]
#[error("{method} {url:?}: {cause}")]
pub struct ClientError {
    /// `Get` or `Post`.
    pub method: &'static str,
    /// As asked for. It may hold a secret: who logs for others to read, logs only the cause.
    pub url: String,
    /// What happened.
    pub cause: Cause,
}

/// What went wrong. `Display` says nothing of the URL's path and query.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// Not an `http://host...` or `https://host...` address.
    #[error("invalid address: {0}")]
    Address(String),
    /// The host cannot be resolved, or refuses.
    #[error("dial tcp {address}: {why}")]
    Connect {
        /// `host:port`.
        address: String,
        /// What the system says.
        why: String,
    },
    /// No TLS with the host: usually its certificate could not be verified.
    #[error("tls: {0}")]
    Tls(String),
    /// All of it took too long.
    #[error("timeout after {0:?}")]
    Timeout(Duration),
    /// Redirected again and again.
    #[error("{0}")]
    Redirect(String),
    /// The connection broke, or the answer is not HTTP.
    #[error("{0}")]
    Http(String),
    /// The answer is too long.
    #[error("body is longer than {limit} bytes")]
    TooBig {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Any status but 200.
    #[error("got response {status} {body:?}")]
    Status {
        /// The status.
        status: StatusCode,
        /// The body, bytes that are no UTF-8 replaced.
        body: String,
    },
    /// The body is not the JSON that was expected.
    #[error("failed to decode response - {0}")]
    Json(#[from] serde_json::Error),
}

impl Cause {
    /// What `error` is about, at `url` or where that led to.
    pub fn of(error: &reqwest::Error, url: &Url) -> Self {
        let chain = || std::iter::successors(error.source(), |error| within(*error));
        let innermost = chain().last().map_or(String::new(), ToString::to_string);
        if error.is_redirect() {
            return Self::Redirect(innermost);
        }
        if let Some(error) = chain().find_map(|link| link.downcast_ref::<rustls::Error>()) {
            return Self::Tls(tls::explain(error));
        }
        let system = chain().find_map(|link| link.downcast_ref::<io::Error>());
        if !error.is_connect() {
            return Self::Http(system.map_or(innermost, plain_text));
        }
        let url = error.url().unwrap_or(url);
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let why = match system {
            _ if error.is_timeout() => "i/o timeout".to_owned(),
            Some(system) if system.raw_os_error().is_some() => {
                format!("connect: {}", plain_text(system))
            }
            _ => innermost,
        };
        let address = format!("{host}:{port}");
        Self::Connect { address, why }
    }
}

/// What `error` wraps. An I/O error's own `source` would lead past the error that it is made of.
fn within<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}
