//! IDENTIFY: what it accepts, what it answers.

use nsq_tests::{Nsqd, RawClient};
use serde_json::{Value, json};

/// What an nsqd without flags answers, in this order.
const DEFAULT_ANSWER: &str = concat!(
    r#"{"max_rdy_count":2500,"version":"1.3.0","max_msg_timeout":900000,"msg_timeout":60000,"tls_v1":false,"#,
    r#""deflate":false,"deflate_level":6,"max_deflate_level":6,"snappy":false,"sample_rate":0,"#,
    r#""auth_required":false,"output_buffer_size":16384,"output_buffer_timeout":250,"#,
    r#""topology_region":"","topology_zone":""}"#
);

fn answer_to(nsqd: &Nsqd, settings: &Value) -> Value {
    let answer = nsqd.connect().identify(settings);
    serde_json::from_str(&answer).expect("the answer is JSON")
}

#[test]
fn features_are_negotiated_on_request_only() {
    let nsqd = Nsqd::start(&[]);
    assert_eq!(
        nsqd.connect()
            .identify(&json!({"feature_negotiation": true})),
        DEFAULT_ANSWER
    );
    assert_eq!(nsqd.connect().identify(&json!({})), "OK");
    assert_eq!(
        nsqd.connect()
            .identify(&json!({"snappy": true, "deflate": true, "tls_v1": true})),
        "OK"
    );
}

#[test]
fn the_answer_tells_what_is_in_effect() {
    let nsqd = Nsqd::start(&[
        "--max-rdy-count=7",
        "--msg-timeout=90s",
        "--max-msg-timeout=5m",
    ]);
    let answer = answer_to(
        &nsqd,
        &json!({"feature_negotiation": true, "output_buffer_size": -1, "output_buffer_timeout": -1,
                "sample_rate": 42, "deflate_level": 9}),
    );
    let wanted = [
        ("max_rdy_count", 7),
        ("msg_timeout", 90_000),
        ("max_msg_timeout", 300_000),
        ("output_buffer_size", 1),
        ("output_buffer_timeout", 0),
        ("sample_rate", 42),
        ("deflate_level", 6),
    ];
    for (key, value) in wanted {
        assert_eq!(answer[key], value, "{key} in {answer}");
    }
    let answer = answer_to(
        &nsqd,
        &json!({"feature_negotiation": true, "output_buffer_size": 64, "output_buffer_timeout": 1000,
                "msg_timeout": 1000}),
    );
    assert_eq!(answer["output_buffer_size"], 64);
    assert_eq!(answer["output_buffer_timeout"], 1000);
    assert_eq!(answer["msg_timeout"], 1000);
}

#[test]
fn values_out_of_range_are_refused() {
    let nsqd = Nsqd::start(&["--max-heartbeat-interval=30s"]);
    for (settings, error) in [
        (
            json!({"heartbeat_interval": 100}),
            "heartbeat interval (100) is invalid",
        ),
        (
            json!({"heartbeat_interval": 999}),
            "heartbeat interval (999) is invalid",
        ),
        (
            json!({"heartbeat_interval": 30_001}),
            "heartbeat interval (30001) is invalid",
        ),
        (
            json!({"heartbeat_interval": -2}),
            "heartbeat interval (-2) is invalid",
        ),
        (
            json!({"output_buffer_timeout": 24}),
            "output buffer timeout (24) is invalid",
        ),
        (
            json!({"output_buffer_timeout": 30_001}),
            "output buffer timeout (30001) is invalid",
        ),
        (
            json!({"output_buffer_size": 63}),
            "output buffer size (63) is invalid",
        ),
        (
            json!({"output_buffer_size": 65_537}),
            "output buffer size (65537) is invalid",
        ),
        (json!({"sample_rate": 100}), "sample rate (100) is invalid"),
        (json!({"sample_rate": -1}), "sample rate (-1) is invalid"),
        (json!({"msg_timeout": 999}), "msg timeout (999) is invalid"),
        (json!({"msg_timeout": -1}), "msg timeout (-1) is invalid"),
        (
            json!({"msg_timeout": 900_001}),
            "msg timeout (900001) is invalid",
        ),
        // The first of several, in nsqd's order.
        (
            json!({"msg_timeout": 1, "sample_rate": 100}),
            "sample rate (100) is invalid",
        ),
    ] {
        let mut client = nsqd.connect();
        client.send_with_body("IDENTIFY", settings.to_string().as_bytes());
        client.expect_error(&format!("E_BAD_BODY IDENTIFY {error}"));
        client.expect_closed();
    }
}

#[test]
fn json_is_read_as_clients_write_it() {
    let nsqd = Nsqd::start(&[]);
    for body in [
        r#"{"Client_ID":null,"short_id":"x","sample_rate":null}"#,
        r#"{"HEARTBEAT_INTERVAL":5000,"long_id":"x","unknown":{"a":[1]}}"#,
        r#"{"sample_rate":1000,"sample_rate":5}"#,
        "null",
        " {}\n ",
    ] {
        let mut client = nsqd.connect();
        client.send_with_body("IDENTIFY", body.as_bytes());
        client.expect_ok();
    }
    for body in [
        r#"{"msg_timeout":1000.0}"#,
        r#"{"msg_timeout":"1000"}"#,
        r#"{"msg_timeout":1e3}"#,
        r#"{"client_id":5}"#,
        r#"{"feature_negotiation":1}"#,
        r#"{"sample_rate":4294967296}"#,
        "{} x",
        "[]",
        "5",
        "{",
    ] {
        let mut client = nsqd.connect();
        client.send_with_body("IDENTIFY", body.as_bytes());
        client.expect_error("E_BAD_BODY IDENTIFY failed to decode JSON body");
        client.expect_closed();
    }
}

#[test]
fn its_size_is_checked() {
    let nsqd = Nsqd::start(&["--max-body-size=1000"]);
    for (size, error) in [
        (0_i32, "invalid body size 0"),
        (-5, "invalid body size -5"),
        (1001, "body too big 1001 > 1000"),
    ] {
        let mut client = nsqd.connect();
        client.send(&[b"IDENTIFY\n".as_slice(), &size.to_be_bytes()].concat());
        client.expect_error(&format!("E_BAD_BODY IDENTIFY {error}"));
        client.expect_closed();
    }
}

#[test]
fn it_may_be_repeated_before_sub() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.connect();
    for timeout in [1000, 2000, 3000, 4000] {
        let answer = client.identify(&json!({"feature_negotiation": true, "msg_timeout": timeout}));
        let answer: Value = serde_json::from_str(&answer).expect("the answer is JSON");
        assert_eq!(answer["msg_timeout"], timeout);
    }
    client.subscribe("t", "c");
}

#[test]
fn a_compression_that_is_not_there_is_answered_with_false() {
    let both = json!({"feature_negotiation": true, "snappy": true, "deflate": true});
    let nsqd = Nsqd::start(&["--snappy=false", "--deflate=false"]);
    let answer = answer_to(&nsqd, &both);
    assert_eq!(answer["snappy"], false);
    assert_eq!(answer["deflate"], false);
}

#[test]
fn names_show_in_the_statistics() {
    let nsqd = Nsqd::start(&[]);
    let mut named = nsqd.connect();
    named.identify(&json!({"client_id": "id", "hostname": "host", "user_agent": "agent/1"}));
    named.subscribe("t", "named");
    let mut nameless = nsqd.connect();
    nameless.identify(&json!({}));
    nameless.subscribe("t", "nameless");
    let silent = nsqd.subscribe("t", "silent", 0);

    let client = |channel: &str| nsqd.channel("t", channel)["clients"][0].clone();
    assert_eq!(client("named")["client_id"], "id");
    assert_eq!(client("named")["hostname"], "host");
    assert_eq!(client("named")["user_agent"], "agent/1");
    // Left out is not the same as never identified.
    assert_eq!(client("nameless")["client_id"], "");
    assert_eq!(client("silent")["client_id"], "127.0.0.1");
    assert_eq!(client("silent")["state"], 3);
    drop::<RawClient>(silent);
}
