//! `/stats` as JSON.

use nsq_tests::Nsqd;
use serde_json::Value;

/// Every key stands in `text`, in this order.
#[track_caller]
fn check_order(text: &str, keys: &[&str]) {
    let mut rest = text;
    for key in keys {
        let at = rest
            .find(&format!("\"{key}\":"))
            .unwrap_or_else(|| panic!("no {key:?} in its place in {text}"));
        rest = &rest[at..];
    }
}

#[test]
fn a_fresh_nsqd_has_empty_lists() {
    let nsqd = Nsqd::start(&[]);
    let text = nsqd.get("/stats?format=json").text();
    let start_time = nsqd.stats()["start_time"].clone();
    let prefix = format!(
        r#"{{"version":"1.3.0","health":"OK","start_time":{start_time},"topics":[],"memory":{{"heap_objects":"#
    );
    assert!(text.starts_with(&prefix), "{text}");
    assert!(text.ends_with(r#"},"producers":null}"#), "{text}");
    let short = nsqd
        .get("/stats?format=json&include_mem=false&include_clients=0")
        .text();
    assert_eq!(
        short,
        format!(
            r#"{{"version":"1.3.0","health":"OK","start_time":{start_time},"topics":[],"producers":null}}"#
        )
    );
}

#[test]
fn keys_come_in_upstreams_order() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 1);
    client.publish("t", "x");
    client.expect_message();
    let text = nsqd.get("/stats?format=json").text();
    check_order(
        &text,
        &[
            "version",
            "health",
            "start_time",
            "topics",
            "memory",
            "producers",
        ],
    );
    let client_keys = [
        "client_id",
        "hostname",
        "version",
        "remote_address",
        "state",
        "ready_count",
        "in_flight_count",
        "message_count",
        "finish_count",
        "requeue_count",
        "connect_ts",
        "sample_rate",
        "deflate",
        "snappy",
        "user_agent",
        "topology_zone",
        "topology_region",
        "pub_counts",
        "tls",
        "tls_cipher_suite",
        "tls_version",
        "tls_negotiated_protocol",
        "tls_negotiated_protocol_is_mutual",
    ];
    let channel_keys = [
        "channel_name",
        "depth",
        "backend_depth",
        "in_flight_count",
        "deferred_count",
        "message_count",
        "requeue_count",
        "timeout_count",
        "client_count",
        "clients",
    ];
    let topic_keys = ["topics", "topic_name", "channels"];
    let after_clients = ["paused", "e2e_processing_latency", "count", "percentiles"];
    let after_channels = [
        "depth",
        "backend_depth",
        "message_count",
        "message_bytes",
        "paused",
        "e2e_processing_latency",
    ];
    let nested = [
        topic_keys.as_slice(),
        &channel_keys,
        &client_keys,
        &after_clients,
        &after_channels,
        &["memory", "gc_total_runs", "producers"],
        &client_keys,
    ]
    .concat();
    check_order(&text, &nested);
    check_order(
        &text,
        &[
            "memory",
            "heap_objects",
            "heap_idle_bytes",
            "heap_in_use_bytes",
            "heap_released_bytes",
            "gc_pause_usec_100",
            "gc_pause_usec_99",
            "gc_pause_usec_95",
            "next_gc_bytes",
            "gc_total_runs",
        ],
    );
}

#[test]
fn counts_follow_the_messages() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 2);
    nsqd.connect().publish_many("t", &["aa", "bb", "cc", "dd"]);
    let first = client.expect_message();
    client.finish(&first);
    nsqd.wait_for_channel(
        "t",
        "c",
        &[("depth", 1), ("in_flight_count", 2), ("message_count", 4)],
    );
    let topic = nsqd.topic("t");
    assert_eq!(
        (
            &topic["message_count"],
            &topic["message_bytes"],
            &topic["depth"]
        ),
        (&4.into(), &8.into(), &0.into())
    );
    let channel = &topic["channels"][0];
    assert_eq!(channel["client_count"], 1);
    // nsqadmin and nsq_stat cannot read a null here.
    for latency in [
        &topic["e2e_processing_latency"],
        &channel["e2e_processing_latency"],
    ] {
        assert_eq!(latency.to_string(), r#"{"count":0,"percentiles":null}"#);
    }
    let of_client = &channel["clients"][0];
    assert_eq!(of_client["version"], "V2");
    assert_eq!(of_client["ready_count"], 2);
    assert_eq!(of_client["finish_count"], 1);
    assert_eq!(of_client["message_count"], 3);
    assert_eq!(of_client["in_flight_count"], 2);
    assert_eq!(of_client["tls_version"], "");
    let last_finish = of_client["last_finish_ts"].as_i64();
    assert!(
        last_finish >= of_client["connect_ts"].as_i64(),
        "{of_client}"
    );
    assert_eq!(of_client.get("pub_counts"), None);
    assert_eq!(of_client.get("authed"), None);
}

#[test]
fn a_message_from_memory_counts_as_global() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 1);
    assert_eq!(nsqd.channel("t", "c").get("global_msg_count"), None);
    client.publish("t", "x");
    client.expect_message();
    nsqd.wait_for_channel("t", "c", &[("global_msg_count", 1)]);
}

#[test]
fn filters_choose_topics_and_channels() {
    let nsqd = Nsqd::start(&[]);
    let producer = &mut nsqd.connect();
    producer.publish("b", "x");
    for (topic, channel) in [("b", "two"), ("b", "one"), ("a", "one")] {
        nsqd.order(&format!("/topic/create?topic={topic}"));
        nsqd.order(&format!("/channel/create?topic={topic}&channel={channel}"));
    }
    let shown = |query: &str| -> String {
        let stats = nsqd.get(&format!("/stats?format=json{query}")).json();
        let Some(topics) = stats["topics"].as_array() else {
            return stats["topics"].to_string();
        };
        let name = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let shown: Vec<_> = topics
            .iter()
            .map(|topic| {
                let channels = topic["channels"].as_array().into_iter().flatten();
                let channels: Vec<_> = channels
                    .map(|channel| name(&channel["channel_name"]))
                    .collect();
                format!("{}[{}]", name(&topic["topic_name"]), channels.join(" "))
            })
            .collect();
        shown.join(" ")
    };
    assert_eq!(shown(""), "a[one] b[one two]");
    assert_eq!(shown("&topic=b"), "b[one two]");
    assert_eq!(shown("&topic=b&channel=two"), "b[two]");
    assert_eq!(shown("&channel=one"), "a[one] b[one]");
    assert_eq!(shown("&topic=b&channel=none"), "");
    assert_eq!(shown("&topic=none"), "null");
    assert_eq!(
        nsqd.get("/stats?format=json&topic=none").json()["producers"],
        Value::Null
    );
    assert_eq!(nsqd.stats()["producers"].as_array().map(Vec::len), Some(1));
}

#[test]
fn clients_may_be_left_out() {
    let nsqd = Nsqd::start(&[]);
    let _client = nsqd.subscribe("t", "c", 1);
    let channel = |query: &str| {
        nsqd.get(&format!("/stats?format=json{query}")).json()["topics"][0]["channels"][0].clone()
    };
    assert_eq!(channel("&include_clients=false")["clients"], Value::Null);
    assert_eq!(channel("&include_clients=false")["client_count"], 1);
    assert_eq!(
        channel("&include_clients=maybe")["clients"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    nsqd.order("/channel/create?topic=t&channel=a");
    assert_eq!(channel("")["clients"], Value::Array(vec![]));
}

#[test]
fn the_statistics_take_names_apart_from_json() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.connect();
    client.identify(&serde_json::json!({"client_id": "<a & \"b\">\u{2028}"}));
    client.subscribe("t", "c");
    let text = nsqd.get("/stats?format=json").text();
    assert!(
        text.contains(r#""client_id":"\u003ca \u0026 \"b\"\u003e\u2028""#),
        "{text}"
    );
}
