//! Asks others over HTTP and HTTPS: other daemons, authorization servers, endpoints. Everything is bounded.
//!
//! A [`Client`] keeps connections open between requests and is shared by its clones. As Go's client does
//! for upstream, it follows redirects, verifies certificates with the system's authorities unless told
//! otherwise ([`ClientOptions::tls`]), and asks no proxy: upstream's transport is built without one.

mod error;
#[cfg(test)]
mod tests;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, StatusCode};
use nsq_transport::tls::{Connector, MinVersion, Trust};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::router::POLL_HEADER;

pub use self::error::{Cause, ClientError};
pub use super::query::{query_escape, query_escape_bytes};

/// How to ask, and what an answer may cost.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// For resolving the name and connecting, TLS included. Zero is no limit.
    pub connect_timeout: Duration,
    /// For all of it, from connecting to the answer's last byte. Zero is no limit.
    pub request_timeout: Duration,
    /// How to speak TLS; `None` verifies with the system's authorities.
    pub tls: Option<Connector>,
    /// Who asks, such as `nsqd/1.3.0`.
    pub user_agent: String,
    /// The longest answer worth reading, in bytes.
    pub body_limit: usize,
}

/// A client with its idle connections. Clones share them.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    is_polling: bool,
}

#[derive(Debug)]
struct Shared {
    http: reqwest::Client,
    request_timeout: Duration,
    body_limit: usize,
}

/// What a request brings besides its URL.
#[derive(Debug, Clone)]
enum Kind {
    Get,
    Post(Option<(&'static str, Bytes)>),
}

/// What one of our daemons says on its HTTP port if it wants TLS.
#[derive(Deserialize)]
struct Forbidden {
    https_port: u16,
}

impl Client {
    /// A client without connections yet.
    ///
    /// # Panics
    /// If the user agent cannot stand in a header.
    pub fn new(options: ClientOptions) -> Self {
        let tls = options.tls.unwrap_or_else(system_tls);
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.client_config())
            .user_agent(options.user_agent)
            .redirect(Policy::custom(|attempt| {
                if attempt.previous().len() < MOST_REQUESTS {
                    attempt.follow()
                } else {
                    attempt.error(format!("stopped after {MOST_REQUESTS} redirects"))
                }
            }))
            .no_proxy()
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MOST_IDLE_PER_HOST);
        if !options.connect_timeout.is_zero() {
            builder = builder.connect_timeout(options.connect_timeout);
        }
        let http = builder
            .build()
            .expect("rustls is what it speaks, and a program's name is a header's text");
        let shared = Arc::new(Shared {
            http,
            request_timeout: options.request_timeout,
            body_limit: options.body_limit,
        });
        Self {
            shared,
            is_polling: false,
        }
    }

    /// The same client for requests that a program repeats on its own, without a user who waits: they carry
    /// [`POLL_HEADER`], and our daemons log them at DEBUG.
    #[must_use]
    pub fn polling(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            is_polling: true,
        }
    }

    /// GETs `url` from one of our daemons, or from what answers as they do, and decodes the JSON of a 200.
    ///
    /// Compat: a 403 over plain HTTP whose JSON has an `https_port` says that the daemon wants TLS; the
    /// request is then made once more, over HTTPS on that port (api_request.go, `GETV1`).
    ///
    /// # Errors
    /// [`ClientError`]; any status but 200 is one.
    pub async fn get_json<T: DeserializeOwned>(&self, url: &str) -> Result<T, ClientError> {
        self.ask_daemon(url, Kind::Get).await
    }

    /// POSTs JSON text to `url` and decodes the JSON of a 200, by the same rules as [`Client::get_json`].
    ///
    /// # Errors
    /// [`ClientError`]; any status but 200 is one.
    pub async fn post_json<T: DeserializeOwned>(
        &self,
        url: &str,
        json: Bytes,
    ) -> Result<T, ClientError> {
        let body = Some(("application/json", json));
        self.ask_daemon(url, Kind::Post(body)).await
    }

    /// POSTs nothing to `url`, as daemons are told what to do, by the same rules as [`Client::get_json`]. The
    /// body of a 200 is ignored.
    ///
    /// # Errors
    /// [`ClientError`]; any status but 200 is one.
    pub async fn order(&self, url: &str) -> Result<(), ClientError> {
        self.ask(url, Kind::Post(None)).await.map(drop)
    }

    /// POSTs `body` to `url`, by the same rules as [`Client::get_json`]. The body of a 200 is ignored.
    ///
    /// # Errors
    /// [`ClientError`]; any status but 200 is one.
    pub async fn send(
        &self,
        url: &str,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<(), ClientError> {
        let kind = Kind::Post(Some((content_type, body)));
        self.ask(url, kind).await.map(drop)
    }

    /// GETs `url`, whatever the status.
    ///
    /// # Errors
    /// [`ClientError`] if there is no answer.
    pub async fn get(&self, url: &str) -> Result<(StatusCode, Bytes), ClientError> {
        self.exchange(url, Kind::Get).await
    }

    /// POSTs `body` to `url`, whatever the status.
    ///
    /// # Errors
    /// [`ClientError`] if there is no answer.
    pub async fn post(
        &self,
        url: &str,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let kind = Kind::Post(Some((content_type, body)));
        self.exchange(url, kind).await
    }

    async fn ask_daemon<T: DeserializeOwned>(
        &self,
        url: &str,
        kind: Kind,
    ) -> Result<T, ClientError> {
        let body = self.ask(url, kind.clone()).await?;
        serde_json::from_slice(&body).map_err(|error| kind.failed(url, Cause::Json(error)))
    }

    async fn ask(&self, url: &str, kind: Kind) -> Result<Bytes, ClientError> {
        let (status, body) = self.exchange(url, kind.clone()).await?;
        let secure = match status {
            StatusCode::FORBIDDEN => secure_url(url, &body),
            _ => None,
        };
        let (url, status, body) = match &secure {
            None => (url, status, body),
            Some(secure) => {
                let (status, body) = self.exchange(secure, kind.clone()).await?;
                (secure.as_str(), status, body)
            }
        };
        if status == StatusCode::OK {
            return Ok(body);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Err(kind.failed(url, Cause::Status { status, body }))
    }

    async fn exchange(&self, url: &str, kind: Kind) -> Result<(StatusCode, Bytes), ClientError> {
        let exchange = async {
            let parsed = http_url(url)?;
            let response = match self.request(&parsed, &kind).send().await {
                // A kept connection that the other side gave up as we took it says nothing about the other
                // side: asked again, it answers. Go's client does the same.
                Err(error) if kind.is_repeatable() && broke_off(&error) => {
                    self.request(&parsed, &kind).send().await
                }
                response => response,
            };
            let response = response.map_err(|error| Cause::of(&error, &parsed))?;
            let status = response.status();
            Ok((status, self.read(response, &parsed).await?))
        };
        let limit = self.shared.request_timeout;
        let answer = if limit.is_zero() {
            exchange.await
        } else {
            let answer = timeout(limit, exchange).await;
            answer.unwrap_or(Err(Cause::Timeout(limit)))
        };
        answer.map_err(|cause| kind.failed(url, cause))
    }

    fn request(&self, url: &Url, kind: &Kind) -> RequestBuilder {
        let method = match kind {
            Kind::Get => Method::GET,
            Kind::Post(_) => Method::POST,
        };
        let request = self.shared.http.request(method, url.clone());
        let mut request = request.header(ACCEPT, "application/vnd.nsq; version=1.0");
        if self.is_polling {
            request = request.header(POLL_HEADER, "1");
        }
        match kind {
            Kind::Get => request,
            Kind::Post(None) => request.header(CONTENT_LENGTH, 0),
            Kind::Post(Some((content_type, body))) => request
                .header(CONTENT_TYPE, *content_type)
                .body(body.clone()),
        }
    }

    /// Reads an answer's body, holding no more than the limit and one piece.
    async fn read(&self, mut response: Response, url: &Url) -> Result<Bytes, Cause> {
        let limit = self.shared.body_limit;
        let announced = response.content_length().unwrap_or_default();
        if usize::try_from(announced).map_or(true, |announced| announced > limit) {
            return Err(Cause::TooBig { limit });
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| Cause::of(&error, url))?
        {
            if chunk.len() > limit - body.len() {
                return Err(Cause::TooBig { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

impl Kind {
    fn is_repeatable(&self) -> bool {
        match self {
            Self::Get => true,
            Self::Post(_) => false,
        }
    }

    fn failed(&self, url: &str, cause: Cause) -> ClientError {
        let method = match self {
            Self::Get => "Get",
            Self::Post(_) => "Post",
        };
        let url = url.to_owned();
        ClientError { method, url, cause }
    }
}

/// How to speak TLS with those whom the system's authorities vouch for, as Go does where nothing else is asked for.
pub fn system_tls() -> Connector {
    Connector::new(Trust::System, None, MinVersion::default())
}

/// Parses an address that can be asked.
fn http_url(url: &str) -> Result<Url, Cause> {
    let parsed = Url::parse(url).map_err(|error| Cause::Address(error.to_string()))?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        other => Err(Cause::Address(format!(
            "unsupported protocol scheme {other:?}"
        ))),
    }
}

/// Where `url` is to be asked instead, if the body of its 403 says so.
fn secure_url(url: &str, body: &[u8]) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    let Forbidden { https_port } = serde_json::from_slice(body).ok()?;
    if url.scheme() != "http" || https_port == 0 {
        return None;
    }
    url.set_scheme("https").ok()?;
    url.set_port(Some(https_port)).ok()?;
    Some(url.into())
}

/// Whether the connection ended before the first byte of an answer.
pub fn broke_off(error: &reqwest::Error) -> bool {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return error.is_incomplete_message() || error.is_canceled() || error.is_closed();
        }
        next = error.source();
    }
    false
}

/// Go's client gives up at the tenth redirect.
const MOST_REQUESTS: usize = 10;

/// How long a connection is kept for a next request: Go's default.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Connections to keep to one host. Questions to one daemon seldom overlap.
const MOST_IDLE_PER_HOST: usize = 4;
