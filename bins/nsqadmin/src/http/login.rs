//! `POST /login` and `POST /logout`, as the login page's forms send them.
//!
//! Login takes the fields `user`, `password` and `next`, the path to go to. A right password leads there with a
//! session; anything else back to `/login?error=wrong` or `error=wait`, `next` kept.

use std::sync::Arc;

use nsq_daemon::http::client::query_escape;
use nsq_daemon::http::{ApiError, HeaderMap, Query, Reply, Request, header};

use crate::Nsqadmin;
use crate::access::{Refusal, see_other};
use crate::settings::Settings;

pub(super) async fn log_in(
    nsqadmin: Arc<Nsqadmin>,
    mut request: Request,
) -> Result<Reply, ApiError> {
    let Some(login) = nsqadmin.access.login() else {
        return Err(ApiError::not_found("NOT_FOUND"));
    };
    let form = read_form(&mut request).await?;
    let field = |name: &str| form.first(name).unwrap_or_default();
    let settings = &nsqadmin.settings;
    let next = next_path(settings, field("next"));
    let user = field("user");
    let refused = match login.check(request.remote(), user, field("password")).await {
        Ok(()) => {
            let secure = is_https(request.headers());
            let cookie = login.begin(user, &settings.base_path, secure);
            let cookie = cookie.ok_or(ApiError::internal("INTERNAL_ERROR"))?;
            tracing::info!("HTTP: {user:?} logs in from {}", request.remote());
            return Ok(see_other(&next).with_header(header::SET_COOKIE, cookie));
        }
        Err(Refusal::Wrong) => "wrong",
        Err(Refusal::TooMany) => "wait",
    };
    let again = format!(
        "{}?error={refused}&next={}",
        settings.path("/login"),
        query_escape(&next)
    );
    Ok(see_other(&again))
}

pub(super) async fn log_out(nsqadmin: Arc<Nsqadmin>, request: Request) -> Result<Reply, ApiError> {
    let Some(login) = nsqadmin.access.login() else {
        return Err(ApiError::not_found("NOT_FOUND"));
    };
    let viewer = nsqadmin.access.viewer(&request);
    let settings = &nsqadmin.settings;
    let cookie = login.end(&viewer, &settings.base_path, is_https(request.headers()));
    let cookie = cookie.ok_or(ApiError::internal("INTERNAL_ERROR"))?;
    Ok(see_other(&settings.path("/login")).with_header(header::SET_COOKIE, cookie))
}

async fn read_form(request: &mut Request) -> Result<Query, ApiError> {
    let bad = || ApiError::bad_request("INVALID_BODY");
    let body = request.read_body(LONGEST_FORM_BYTES).await;
    let body = body.map_err(|_| bad())?;
    let body = std::str::from_utf8(&body).map_err(|_| bad())?;
    Query::parse(body).map_err(|_| bad())
}

/// A path of ours to continue with, and no other site's: browsers take `//host` and `/\host` for one.
fn next_path(settings: &Settings, next: &str) -> String {
    let index = settings.path("/");
    let is_path = next.starts_with('/')
        && !next[1..].starts_with(['/', '\\'])
        && next.bytes().all(|byte| byte.is_ascii_graphic());
    let is_ours = index == "/"
        || next
            .strip_prefix(&index)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    if is_path && is_ours {
        next.to_owned()
    } else {
        index
    }
}

/// Whether the browser came by HTTPS, by what the proxy that ended it says.
fn is_https(headers: &HeaderMap) -> bool {
    ["x-forwarded-proto", "x-scheme"].iter().any(|name| {
        let value = headers.get(*name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.eq_ignore_ascii_case("https"))
    })
}

const LONGEST_FORM_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn a_login_leads_to_paths_of_ours_only() {
        let settings = |base: &str| {
            let args = ["--nsqd-http-address=127.0.0.1:1", base].map(OsString::from);
            Settings::load(args).unwrap()
        };
        let root = settings("--base-path=/");
        for next in ["/", "/topics/a%23ephemeral?t=1h", "/nodes"] {
            assert_eq!(next_path(&root, next), next);
        }
        for next in [
            "",
            "//evil.example",
            "/\\evil.example",
            "http://evil.example",
            "nodes",
            "/a\r\nSet-Cookie: x",
            "/\t/evil.example",
        ] {
            assert_eq!(next_path(&root, next), "/", "{next:?}");
        }
        let below = settings("--base-path=/nsq");
        assert_eq!(next_path(&below, "/nsq/nodes"), "/nsq/nodes");
        assert_eq!(next_path(&below, "/nsq?t=1h"), "/nsq?t=1h");
        assert_eq!(next_path(&below, "/nsqx"), "/nsq");
        assert_eq!(next_path(&below, "/other"), "/nsq");
    }
}
