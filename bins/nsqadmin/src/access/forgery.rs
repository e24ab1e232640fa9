//! Requests that another site made a browser send.
//!
//! A browser says where a request comes from, in `Sec-Fetch-Site` where the connection is safe and in `Origin`
//! everywhere; what it says no page can forge. Scripts say neither, and no browser sends them against their will.

use nsq_daemon::http::{ApiError, HeaderMap, Method, Request, StatusCode, header};

/// Refuses a request that changes something and comes from another site.
pub(super) fn refuse(request: &Request) -> Result<(), ApiError> {
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method())
        || is_from_here(request.headers())
    {
        return Ok(());
    }
    tracing::warn!(
        "HTTP: {} {} from another site, by {}, is refused",
        request.method(),
        request.path(),
        request.remote()
    );
    Err(ApiError::new(StatusCode::FORBIDDEN, "CROSS_SITE_REQUEST"))
}

/// Whether the browser says the request comes from one of our pages, or there is none.
///
/// `Origin` must name the host the browser asked: `Host`, or what a proxy in front calls `X-Forwarded-Host` (the
/// first, if there were several). No page of another site can add that header to a request unasked.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    if let Some(site) = text("sec-fetch-site") {
        return ["same-origin", "none"].contains(&site);
    }
    let Some(origin) = text(header::ORIGIN.as_str()) else {
        return true;
    };
    let Some((scheme, origin_host)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let forwarded = text("x-forwarded-host")
        .and_then(|hosts| hosts.split(',').next())
        .map(str::trim);
    [text(header::HOST.as_str()), forwarded]
        .into_iter()
        .flatten()
        .any(|host| {
            let host = host.strip_suffix(default_port).unwrap_or(host);
            !host.is_empty() && host.eq_ignore_ascii_case(origin_host)
        })
}

#[cfg(test)]
mod tests {
    use nsq_daemon::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn check(from_here: bool, headers: &[(&'static str, &'static str)]) {
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        assert_eq!(is_from_here(&map), from_here, "{headers:?}");
    }

    #[test]
    fn scripts_send_neither_header_and_pass() {
        check(true, &[]);
        check(true, &[("host", "admin:4171")]);
    }

    #[test]
    fn browsers_pass_with_their_own_pages_only() {
        let host = ("host", "admin.example:4171");
        check(true, &[host, ("sec-fetch-site", "same-origin")]);
        check(true, &[host, ("sec-fetch-site", "none")]);
        check(false, &[host, ("sec-fetch-site", "cross-site")]);
        check(false, &[host, ("sec-fetch-site", "same-site")]);
        let same = ("origin", "http://admin.example:4171");
        check(true, &[host, same]);
        check(false, &[host, same, ("sec-fetch-site", "cross-site")]);
        for other in [
            "http://evil.example",
            "http://admin.example",
            "http://admin.example:4172",
            "http://admin.example:4171.evil.example",
            "null",
            "",
            "file://admin.example:4171",
        ] {
            check(false, &[host, ("origin", other)]);
        }
        check(true, &[("host", "Admin:80"), ("origin", "http://admin")]);
        check(true, &[("host", "admin"), ("origin", "https://admin")]);
        check(false, &[("host", ""), ("origin", "http://")]);
    }

    #[test]
    fn a_proxy_may_say_which_host_was_asked() {
        let inner = ("host", "127.0.0.1:4171");
        let origin = ("origin", "https://nsq.example");
        check(false, &[inner, origin]);
        check(true, &[inner, origin, ("x-forwarded-host", "nsq.example")]);
        check(
            true,
            &[inner, origin, ("x-forwarded-host", "nsq.example, inner")],
        );
        check(false, &[inner, origin, ("x-forwarded-host", "other")]);
    }
}
