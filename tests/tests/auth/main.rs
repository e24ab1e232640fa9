//! nsqd with an authorization server: who is let in, to what, for how long, and what clients are told.

mod commands;
mod servers;

use nsq_tests::{AuthServer, Nsqd, RawClient};
use serde_json::{Value, json};

/// Permission to do everything.
fn everything() -> Value {
    json!({"topic": ".*", "channels": [".*"], "permissions": ["subscribe", "publish"]})
}

/// An nsqd that asks these servers, with these additional flags.
fn nsqd_asking(servers: &[&AuthServer], flags: &[&str]) -> Nsqd {
    let addresses = servers
        .iter()
        .map(|server| format!("--auth-http-address={}", server.address()));
    let addresses: Vec<_> = addresses.collect();
    let mut all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    all.extend(flags);
    Nsqd::start(&all)
}

/// A client that has sent AUTH, but not seen the answer.
fn applicant(nsqd: &Nsqd) -> RawClient {
    let mut client = nsqd.connect();
    client.send_with_body("AUTH", b"secret");
    client
}

/// A client that was let in.
fn member(nsqd: &Nsqd) -> RawClient {
    let mut client = applicant(nsqd);
    client.expect_response(WELCOME);
    client
}

const WELCOME: &str =
    r#"{"identity":"\u003cwho\u003e","identity_url":"http://who","permission_count":1}"#;
const FAILED: &str = "E_AUTH_FAILED AUTH failed";
