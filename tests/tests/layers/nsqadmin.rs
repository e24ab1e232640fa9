//! nsqadmin in front of an nsqd that answers by HTTPS only.

use nsq_tests::Admin;
use serde_json::{Value, json};

use crate::certificates::nsqd_with;
use crate::test_authority::Authority;

#[test]
fn nsqadmin_shows_its_certificate_to_an_nsqd_that_asks_for_one() {
    let authority = Authority::new();
    let root = format!("--tls-root-ca-file={}", authority.file());
    let flags = [
        root.as_str(),
        "--tls-client-auth-policy=require-verify",
        "--broadcast-address=127.0.0.1",
    ];
    let nsqd = nsqd_with(&authority, &flags);
    let shown = authority.issue("nsqadmin");
    let trust = format!("--http-client-tls-root-ca-file={}", authority.file());
    let cert = format!("--http-client-tls-cert={}", shown.cert);
    let key = format!("--http-client-tls-key={}", shown.key);

    let admin = Admin::of_nsqds(&[&nsqd], &[&trust, &cert, &key]);
    let create = json!({"topic": "t", "channel": "c"});
    let created = admin.tell("POST", "/api/topics", &create);
    assert_eq!(created, (200, String::new()));
    assert_eq!(admin.json("/api/topics/t/c")["channel_name"], "c");
    let node = format!("/api/nodes/{}", nsqd.http());
    assert_eq!(admin.json(&node)["topics"][0]["topic_name"], "t");

    let any = Admin::of_nsqds(
        &[&nsqd],
        &["--http-client-tls-insecure-skip-verify", &cert, &key],
    );
    assert_eq!(any.json("/api/topics")["topics"], json!(["t"]));

    // nsqadmin is refused without its own certificate, and it refuses an nsqd whose certificate it does not trust.
    for flags in [&[trust.as_str()][..], &[&cert, &key]] {
        let refused = Admin::of_nsqds(&[&nsqd], flags);
        let (status, message) = refused.tell("GET", "/api/topics", &Value::Null);
        assert_eq!(status, 502);
        assert!(
            message.starts_with("UPSTREAM_ERROR: failed to query any nsqd: Get \"https://"),
            "{message}"
        );
    }
}
