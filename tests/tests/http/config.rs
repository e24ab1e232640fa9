//! `/config`: options read and changed while nsqd runs; and `/info`.

use nsq_tests::{Lookupd, Nsqd};

#[track_caller]
fn check(nsqd: &Nsqd, option: &str, value: &str) {
    let reply = nsqd.get(&format!("/config/{option}"));
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (200, value),
        "{option}"
    );
}

#[test]
fn defaults_are_as_documented() {
    let nsqd = Nsqd::start(&[]);
    for (option, value) in [
        ("max_msg_size", "1048576"),
        ("max_body_size", "5242880"),
        ("mem_queue_size", "10000"),
        ("max_rdy_count", "2500"),
        ("msg_timeout", "60000000000"),
        ("max_msg_timeout", "900000000000"),
        ("max_req_timeout", "3600000000000"),
        ("max_heartbeat_interval", "60000000000"),
        ("sync_every", "2500"),
        ("sync_timeout", "2000000000"),
        ("max_bytes_per_file", "104857600"),
        ("log_level", "2"),
        ("tls_required", "0"),
        ("tls_min_version", "769"),
        ("deflate", "true"),
        ("snappy", "true"),
        ("max_deflate_level", "6"),
        ("nsqlookupd_tcp_addresses", "[]"),
        ("e2e_processing_latency_percentiles", "[]"),
        ("auth_http_addresses", "[]"),
        ("tls_cert", ""),
        ("max_channel_consumers", "0"),
    ] {
        check(&nsqd, option, value);
    }
    for unknown in ["node_id", "lookupd_tcp_address", "msg-timeout", "nothing"] {
        let reply = nsqd.get(&format!("/config/{unknown}"));
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (400, r#"{"message":"INVALID_OPTION"}"#),
            "{unknown}"
        );
    }
}

#[test]
fn flags_show_in_their_config_form() {
    let nsqd = Nsqd::start(&[
        "-max-msg-size",
        "1000",
        "--msg-timeout=1m30s",
        "--snappy=false",
        "--node-id=7",
    ]);
    check(&nsqd, "max_msg_size", "1000");
    check(&nsqd, "msg_timeout", "90000000000");
    check(&nsqd, "snappy", "false");
    check(&nsqd, "id", "7");
    check(&nsqd, "tcp_address", "127.0.0.1:0");
    let folder = nsqd
        .folder()
        .to_str()
        .expect("temporary paths are text")
        .to_string();
    check(&nsqd, "data_path", &folder);
    let text = nsqd.get("/config/data_path");
    assert_eq!(
        text.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
}

#[test]
fn the_log_level_is_a_bare_word() {
    let nsqd = Nsqd::start(&[]);
    for (word, answer) in [
        ("debug", "1"),
        ("FATAL", "5"),
        ("Warn", "3"),
        ("info", "2"),
        ("error", "4"),
    ] {
        let reply = nsqd.request("PUT", "/config/log_level", word.as_bytes());
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (200, answer),
            "{word}"
        );
        check(&nsqd, "log_level", answer);
    }
    for (word, status, message) in [
        ("\"info\"", 400, "INVALID_VALUE"),
        ("info\n", 400, "INVALID_VALUE"),
        ("loud", 400, "INVALID_VALUE"),
        ("", 413, "INVALID_VALUE"),
    ] {
        let reply = nsqd.request("PUT", "/config/log_level", word.as_bytes());
        assert_eq!(
            (reply.status, reply.text()),
            (status, format!(r#"{{"message":"{message}"}}"#)),
            "{word:?}"
        );
    }
    check(&nsqd, "log_level", "4");
}

#[test]
fn the_lookup_addresses_are_a_list() {
    let nsqd = Nsqd::start(&[]);
    let path = "/config/nsqlookupd_tcp_addresses";
    // No one listens there; nsqd continues trying.
    let addresses = r#"["127.0.0.1:1","127.0.0.1:2"]"#;
    let reply = nsqd.request("PUT", path, addresses.as_bytes());
    assert_eq!((reply.status, reply.text().as_str()), (200, addresses));
    check(&nsqd, "nsqlookupd_tcp_addresses", addresses);
    for body in ["127.0.0.1:1", "[1]", "{}", "["] {
        let reply = nsqd.request("PUT", path, body.as_bytes());
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (400, r#"{"message":"INVALID_VALUE"}"#),
            "{body}"
        );
    }
    let reply = nsqd.request("PUT", path, b"[]");
    assert_eq!((reply.status, reply.text().as_str()), (200, "[]"));
}

#[test]
fn nothing_else_can_be_set() {
    let nsqd = Nsqd::start(&["--max-msg-size=100"]);
    for (option, body, status, message) in [
        ("max_msg_size", "5".to_string(), 400, "INVALID_OPTION"),
        ("nothing", "5".to_string(), 400, "INVALID_OPTION"),
        ("nothing", String::new(), 413, "INVALID_VALUE"),
        ("log_level", "x".repeat(101), 413, "INVALID_VALUE"),
    ] {
        let reply = nsqd.request("PUT", &format!("/config/{option}"), body.as_bytes());
        assert_eq!(
            (reply.status, reply.text()),
            (status, format!(r#"{{"message":"{message}"}}"#)),
            "{option}"
        );
    }
    check(&nsqd, "max_msg_size", "100");
}

#[test]
fn info_tells_where_and_what_it_is() {
    let nsqd = Nsqd::start(&["--broadcast-address=example.test"]);
    let reply = nsqd.get("/info");
    let text = reply.text();
    let positions: Vec<_> = [
        "version",
        "broadcast_address",
        "hostname",
        "http_port",
        "tcp_port",
        "start_time",
        "max_heartbeat_interval",
        "max_output_buffer_size",
        "max_output_buffer_timeout",
        "max_deflate_level",
        "topology_zone",
        "topology_region",
        "build",
    ]
    .map(|key| {
        text.find(&format!("\"{key}\":"))
            .unwrap_or_else(|| panic!("no {key} in {text}"))
    })
    .into();
    assert!(positions.is_sorted(), "another order in {text}");
    let info = reply.json();
    assert_eq!(info["version"], "1.3.0");
    assert_eq!(info["broadcast_address"], "example.test");
    assert_eq!(info["http_port"], nsqd.http().port());
    assert_eq!(info["tcp_port"], nsqd.tcp().port());
    // Here in nanoseconds, in IDENTIFY's answer in milliseconds.
    assert_eq!(info["max_heartbeat_interval"], 60_000_000_000_u64);
    assert_eq!(info["max_output_buffer_timeout"], 30_000_000_000_u64);
    assert_eq!(info["max_output_buffer_size"], 65_536);
    let build = info["build"].as_str().expect("it is text");
    assert!(build.contains(", commit "), "{build}");
    let lookupd = Lookupd::start().get("/info").json();
    assert_eq!(
        (&lookupd["version"], &lookupd["build"]),
        (&info["version"], &info["build"])
    );
}
