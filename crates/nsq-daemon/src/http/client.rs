//! Asks another daemon over HTTP: one GET, one connection, everything bounded.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use super::query::query_escape;
use super::request::{BodyError, read_limited};

/// What a query may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For resolving the name and connecting.
    pub connect_timeout: Duration,
    /// For all of it, connecting included.
    pub total_timeout: Duration,
    /// The longest answer worth reading.
    pub body_bytes: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an `http://host...` address.
    #[error("invalid address {0:?}")]
    Address(String),
    /// The host cannot be resolved, or refuses.
    #[error("dial {host}:{port} - {source}")]
    Connect {
        /// Name or IP address.
        host: String,
        /// Port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// Connecting took too long.
    #[error("dial {host}:{port} - timeout")]
    ConnectTimeout {
        /// Name or IP address.
        host: String,
        /// Port.
        port: u16,
    },
    /// All of it took too long.
    #[error("timeout after {0:?}")]
    Timeout(Duration),
    /// The connection broke, or the answer is not HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The answer is too long, or broke off.
    #[error(transparent)]
    Body(#[from] BodyError),
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

/// GETs `url`, such as `http://127.0.0.1:4161/channels?topic=t`, and decodes the JSON of a 200.
///
/// # Errors
/// [`ClientError`]; any status but 200 is one.
pub async fn get_json<T: DeserializeOwned>(url: &str, limits: &Limits) -> Result<T, ClientError> {
    let (status, body) = get(url, limits).await?;
    if status != StatusCode::OK {
        let body = String::from_utf8_lossy(&body).into_owned();
        return Err(ClientError::Status { status, body });
    }
    Ok(serde_json::from_slice(&body)?)
}

/// GETs `url`, whatever the status.
///
/// # Errors
/// [`ClientError`], without its `Status` and `Json`.
pub async fn get(url: &str, limits: &Limits) -> Result<(StatusCode, Bytes), ClientError> {
    let bad_address = || ClientError::Address(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad_address())?;
    if uri.scheme_str() != Some("http") {
        return Err(bad_address());
    }
    let authority = uri.authority().ok_or_else(bad_address)?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let port = authority.port_u16().unwrap_or(80);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(ACCEPT, "application/vnd.nsq; version=1.0")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| bad_address())?;

    let exchange = async {
        let stream = match timeout(limits.connect_timeout, connect(&host, port)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => return Err(ClientError::Connect { host, port, source }),
            Err(_) => return Err(ClientError::ConnectTimeout { host, port }),
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let answer = async {
            let mut response = sender.send_request(request).await?;
            let status = response.status();
            let body = read_limited(response.body_mut(), limits.body_bytes).await?;
            Ok((status, body))
        };
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        // The connection moves the bytes, so it runs beside; it may end first, its answer already read.
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = &mut connection => { ended?; answer.await }
        }
    };
    match timeout(limits.total_timeout, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(ClientError::Timeout(limits.total_timeout)),
    }
}

async fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    match host.parse::<IpAddr>() {
        Ok(ip) => TcpStream::connect((ip, port)).await,
        Err(_) => TcpStream::connect((host, port)).await,
    }
}
