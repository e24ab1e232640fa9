//! HTTPS: the same API through TLS.

use nsq_tests::{Daemon, tls_tunnel};

use crate::certificates::{connector, nsqd_with};
use crate::test_authority::Authority;

#[test]
fn https_answers_as_http_does_and_to_those_it_should() {
    let authority = Authority::new();
    let nsqd = nsqd_with(&authority, &["--tls-required"]);
    let tunnel = tls_tunnel(nsqd.https(), &connector(&authority, None));
    assert_eq!(Daemon::get_at(tunnel, "/ping").unwrap().text(), "OK");
    let stats = Daemon::get_at(tunnel, "/stats?format=json").unwrap();
    assert_eq!(stats.json()["health"], "OK");
    assert_eq!(Daemon::get_at(tunnel, "/nowhere").unwrap().status, 404);
}

#[test]
fn https_asks_for_the_same_certificates_as_tcp() {
    let authority = Authority::new();
    let root = format!("--tls-root-ca-file={}", authority.file());
    let nsqd = nsqd_with(
        &authority,
        &[&root, "--tls-client-auth-policy=require-verify"],
    );
    let without = tls_tunnel(nsqd.https(), &connector(&authority, None));
    assert!(Daemon::get_at(without, "/ping").is_err());
    let shown = authority.issue("client");
    let with = tls_tunnel(nsqd.https(), &connector(&authority, Some(&shown)));
    assert_eq!(Daemon::get_at(with, "/ping").unwrap().text(), "OK");
}

#[test]
fn without_a_certificate_there_is_no_https() {
    let nsqd = nsq_tests::Nsqd::start(&[]);
    assert!(!nsqd.log().text().contains("HTTPS"));
}
