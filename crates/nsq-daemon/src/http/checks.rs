//! What Go's server refuses before it looks for a handler, and hyper does not.

use hyper::header::{self, HeaderMap};
use hyper::{Request, StatusCode};

use super::Reply;

/// The answer to a request that no handler sees. The connection ends with it.
///
/// Compat: net/http, `readRequest` and `serve`. In Go the status line has the reason too, and a missing host is refused.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<Reply> {
    if let Some(wrong) = wrong_host(request) {
        let text = format!("400 Bad Request{wrong}");
        return Some(Reply::plain(StatusCode::BAD_REQUEST, text).closing());
    }
    let expected = request.headers().get(header::EXPECT)?;
    let is_known = expected.is_empty() || expected.as_bytes().eq_ignore_ascii_case(b"100-continue");
    (!is_known).then(|| Reply::nothing(StatusCode::EXPECTATION_FAILED).closing())
}

fn wrong_host<B>(request: &Request<B>) -> Option<&'static str> {
    let mut hosts = HeaderMap::get_all(request.headers(), header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Some(""),
        (Some(host), None) if !host.as_bytes().iter().all(|&byte| may_be_in_host(byte)) => {
            Some(": malformed Host header")
        }
        _ => None,
    }
}

/// Compat: more than a host name can have (golang.org/x/net/http/httpguts, `validHostByte`).
fn may_be_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&byte)
}
