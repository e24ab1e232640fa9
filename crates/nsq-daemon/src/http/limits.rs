//! What a client of the HTTP server may take of it.

use std::sync::Arc;
use std::time::Duration;

use crate::go_duration::GoDuration;
use crate::listen::Gate;
use crate::refusals::Refusals;

use super::ApiError;

/// The limits of one daemon's HTTP; several listeners may share them.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// How many connections there may be.
    pub gate: Arc<Gate>,
    /// What counts those that were refused.
    pub refusals: Arc<Refusals>,
    /// How long a request's head may take, from its first byte, or from the connection's begin; zero is no limit.
    pub header_timeout: Duration,
    /// How long its body may take; zero is no limit.
    pub body_timeout: Duration,
    /// How long a connection may be idle between two requests; zero is no limit.
    pub idle_timeout: Duration,
    /// The longest head, request line included, in bytes; 8192 at least.
    pub max_header_bytes: u32,
    /// The most headers of a request.
    pub max_headers: u16,
}

/// The flags of the limits, for those who are refused.
pub const HEADER_TIMEOUT: &str = "http-header-timeout";
/// The flag of [`HttpLimits::body_timeout`].
pub const BODY_TIMEOUT: &str = "http-body-timeout";
/// The flag of [`HttpLimits::max_header_bytes`].
pub const MAX_HEADER_BYTES: &str = "http-max-header-bytes";
/// The flag of [`HttpLimits::max_headers`].
pub const MAX_HEADERS: &str = "http-max-headers";

impl HttpLimits {
    /// The daemons' defaults, with these two.
    pub fn new(gate: Arc<Gate>, refusals: Arc<Refusals>) -> Self {
        Self {
            gate,
            refusals,
            header_timeout: DEFAULT_HEADER_TIMEOUT,
            body_timeout: DEFAULT_BODY_TIMEOUT,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            max_header_bytes: DEFAULT_MAX_HEADER_BYTES,
            max_headers: DEFAULT_MAX_HEADERS,
        }
    }

    /// Why no one could be served within these, as flag, value and rule.
    pub fn wrong(
        max_header_bytes: u32,
        max_headers: u16,
    ) -> Option<(&'static str, String, &'static str)> {
        if max_header_bytes < LEAST_HEADER_BYTES {
            let rule = "must be at least 8192, which is read at once";
            return Some((MAX_HEADER_BYTES, max_header_bytes.to_string(), rule));
        }
        (max_headers == 0).then(|| (MAX_HEADERS, "0".to_owned(), "must be more than 0"))
    }

    /// Notes that a body did not come in time, and is the answer.
    pub(super) fn body_is_late(&self, remote: &super::Remote) -> ApiError {
        let limit = GoDuration::from(self.body_timeout);
        self.refusals.note(
            BODY_TIMEOUT,
            format_args!(
                "http: client({remote}) - no whole body within {limit} (--{BODY_TIMEOUT})"
            ),
        );
        let text = format!("REQUEST_TIMEOUT: no whole body within {limit} (--{BODY_TIMEOUT})");
        ApiError::new(hyper::StatusCode::REQUEST_TIMEOUT, text)
    }

    /// What a head that took too long is answered.
    pub(super) fn late_head(&self) -> Vec<u8> {
        let limit = GoDuration::from(self.header_timeout);
        refusal(
            "408 Request Timeout",
            &format!("REQUEST_TIMEOUT: no whole head within {limit} (--{HEADER_TIMEOUT})"),
        )
    }

    /// What a head that is too large is answered.
    pub(super) fn large_head(&self) -> Vec<u8> {
        let (bytes, count) = (self.max_header_bytes, self.max_headers);
        refusal(
            "431 Request Header Fields Too Large",
            &format!(
                "HEADERS_TOO_LARGE: more than {bytes} bytes (--{MAX_HEADER_BYTES}) or {count} headers (--{MAX_HEADERS})"
            ),
        )
    }
}

impl Default for HttpLimits {
    /// Everyone comes in.
    fn default() -> Self {
        Self::new(Gate::open_to_all(), Arc::default())
    }
}

/// An answer to someone who is not served, in upstream's form of errors, as bytes: it ends the connection.
pub(super) fn refusal(status: &str, code: &str) -> Vec<u8> {
    let body = format!("{{\"message\":\"{code}\"}}");
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\nX-Nsq-Content-Type: nsq; version=1.0\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Generous for a slow link, an end for one who sends a byte a minute.
pub const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_mins(1);
/// The largest body nsqd takes by default, over a line of 150 kbit/s.
pub const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_mins(5);
/// No pool of connections keeps them that long.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_hours(1);
/// Several times what proxies and other servers let through.
pub const DEFAULT_MAX_HEADER_BYTES: u32 = 128 << 10;
/// What hyper reads at a time.
const LEAST_HEADER_BYTES: u32 = 8192;
/// As many as hyper has room for without asking for memory.
pub const DEFAULT_MAX_HEADERS: u16 = 100;
