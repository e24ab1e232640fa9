//! Options of the client on command lines: TLS, compression and AUTH on both sides of nsq_to_nsq.

use nsq_tests::{AuthServer, Nsqd, Tool};
use serde_json::{Value, json};

use crate::messages::{publish, take};
use crate::test_authority::Authority;

/// An nsqd that talks only to those who speak TLS and know the secret. Publishing over HTTP needs neither.
fn strict_nsqd(authority: &Authority, auth_server: &AuthServer) -> Nsqd {
    let issued = authority.issue("127.0.0.1");
    let flags = [
        format!("--tls-cert={}", issued.cert),
        format!("--tls-key={}", issued.key),
        "--https-address=127.0.0.1:0".to_owned(),
        "--tls-required=tcp-https".to_owned(),
        format!("--auth-http-address={}", auth_server.address()),
    ];
    Nsqd::start(&flags.each_ref().map(String::as_str))
}

#[test]
fn nsq_to_nsq_speaks_tls_and_snappy_and_authenticates_on_both_sides() {
    let authority = Authority::new();
    let everything =
        json!({"topic": ".*", "channels": [".*"], "permissions": ["subscribe", "publish"]});
    let auth_server = AuthServer::granting(&everything);
    let [from, to] = [(); 2].map(|()| strict_nsqd(&authority, &auth_server));
    for nsqd in [&from, &to] {
        nsqd.order("/topic/create?topic=t");
        nsqd.order("/channel/create?topic=t&channel=c");
    }
    publish(&from, "t", &["one", "two"]);
    let mut flags = vec![
        "--topic=t".to_owned(),
        "--channel=c".to_owned(),
        format!("--nsqd-tcp-address={}", from.tcp()),
        format!("--destination-nsqd-tcp-address={}", to.tcp()),
    ];
    for side in ["consumer", "producer"] {
        for option in [
            "tls_v1",
            &format!("tls_root_ca_file,{}", authority.file()),
            "tls-min-version,tls1.2",
            "snappy",
            "auth_secret,opensesame",
        ] {
            flags.push(format!("--{side}-opt={option}"));
        }
    }
    let mut tool = Tool::start("nsq_to_nsq", &flags);
    from.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    to.wait_for_channel("t", "c", &[("depth", 2)]);
    let consumer = &from.channel("t", "c")["clients"][0];
    let producer = &to.stats()["producers"][0];
    for client in [consumer, producer] {
        for layer in ["tls", "snappy", "authed"] {
            assert_eq!(client[layer], true, "{layer} in {client}");
        }
        assert_eq!(client["deflate"], Value::Bool(false), "{client}");
        assert_eq!(client["auth_identity"], "<who>", "{client}");
    }
    let asked = auth_server.questions();
    assert!(
        asked
            .iter()
            .all(|question| question.line.contains("secret=opensesame"))
    );
    assert_eq!(tool.terminate().code(), Some(0));
}

#[test]
fn tls_options_without_tls_are_no_secret() {
    let (from, to) = (Nsqd::start(&[]), Nsqd::start(&[]));
    publish(&from, "t", &["one"]);
    let flags = [
        "--topic=t".to_owned(),
        "--channel=c".to_owned(),
        format!("--nsqd-tcp-address={}", from.tcp()),
        format!("--destination-nsqd-tcp-address={}", to.tcp()),
        "--producer-opt=tls_insecure_skip_verify".to_owned(),
    ];
    let mut tool = Tool::start("nsq_to_nsq", &flags);
    assert_eq!(take(&to, "t", "check", 1), ["one"]);
    let warning = "TLS options without tls_v1: connections to nsqd are not encrypted";
    tool.wait_for_line(warning);
    assert_eq!(tool.terminate().code(), Some(0));
    assert_eq!(tool.log().text().matches(warning).count(), 1);
}

#[test]
fn options_that_do_not_hold_together_end_it_with_a_reason() {
    let base = [
        "--topic=t",
        "--nsqd-tcp-address=127.0.0.1:1",
        "--destination-nsqd-tcp-address=127.0.0.1:1",
    ];
    for (option, code, text) in [
        ("--consumer-opt=bogus,1", 2, "invalid option bogus"),
        (
            "--producer-opt=sample_rate,100",
            2,
            "invalid sample_rate ! 100 > 99",
        ),
        (
            "--producer-opt=heartbeat_interval,2m",
            1,
            "HeartbeatInterval 2m0s must be less than",
        ),
    ] {
        let mut tool = Tool::start("nsq_to_nsq", &[&base[..], &[option]].concat());
        assert_eq!(tool.wait_for_exit().code(), Some(code), "{option}");
        tool.wait_for_line(text);
    }
}
