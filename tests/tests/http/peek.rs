//! Looking at messages without taking them.

use nsq_tests::{Nsqd, PATIENCE, wait_until};
use serde_json::{Value, json};

#[track_caller]
fn peek(nsqd: &Nsqd, query: &str) -> Value {
    let reply = nsqd.get(&format!("/channel/peek?topic=t&channel=c{query}"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn list<'a>(seen: &'a Value, name: &str, key: &str) -> Vec<&'a Value> {
    let entries = seen[name].as_array().expect("a list");
    entries.iter().map(|entry| &entry[key]).collect()
}

#[test]
fn queued_held_and_deferred_messages_are_shown_and_left_alone() {
    let nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    let mut publisher = nsqd.connect();
    publisher.publish("t", "held");
    publisher.publish("t", [0xff, 0xfe]);
    publisher.publish("t", "x".repeat(10_000));
    publisher.send_with_body("DPUB t 3600000", b"later");
    publisher.expect_ok();
    let mut holder = nsqd.connect();
    holder.identify(&json!({ "client_id": "me", "hostname": "here", "msg_timeout": 50_000 }));
    holder.subscribe("t", "c");
    holder.send_line("RDY 1");
    let held = holder.expect_body("held");

    let before = nsqd.stats()["topics"].clone();
    let seen = peek(&nsqd, "");
    assert_eq!(
        (&seen["topic"], &seen["channel"]),
        (&json!("t"), &json!("c"))
    );
    assert_eq!(seen["queued_total"], 2);
    assert_eq!(seen["in_flight_total"], 1);
    assert_eq!(seen["deferred_total"], 1);
    assert_eq!(list(&seen, "queued", "body")[0], "//4=");
    assert_eq!(list(&seen, "queued", "attempts"), [0, 0]);
    assert_eq!(list(&seen, "queued", "body_size"), [2, 10_000]);
    assert_eq!(list(&seen, "queued", "truncated"), [false, true]);
    let body = seen["queued"][1]["body"].as_str().expect("text");
    assert_eq!(body.len(), 4096_usize.div_ceil(3) * 4);

    let in_flight = &seen["in_flight"][0];
    assert_eq!(in_flight["id"], held.id);
    assert_eq!(in_flight["timestamp"], held.timestamp_nanos);
    assert_eq!(in_flight["attempts"], 1);
    assert_eq!(in_flight["body"], "aGVsZA==");
    let client = &in_flight["client"];
    assert_eq!(
        (&client["client_id"], &client["hostname"]),
        (&json!("me"), &json!("here"))
    );
    let address = client["remote_address"].as_str().expect("an address");
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let time = |key: &str| in_flight[key].as_i64().expect("a time");
    // The delivery is known to the millisecond, rounded up.
    let held_for = time("due_at") - time("delivered_at");
    assert!(
        (49_999_000_000..=50_000_000_000).contains(&held_for),
        "{held_for}"
    );
    assert!(time("delivered_at") > held.timestamp_nanos - 100_000_000);

    let deferred = &seen["deferred"][0];
    let due_at = deferred["due_at"].as_i64().expect("a time");
    let published = deferred["timestamp"].as_i64().expect("a time");
    // What the wall clock will show then is told by the monotonic one, and the two do not go quite alike.
    let delay = due_at - published;
    assert!((delay - 3_600_000_000_000).abs() < 100_000_000, "{delay}");
    assert_eq!(deferred["body"], "bGF0ZXI=");

    let less = peek(&nsqd, "&count=1&max_body=1");
    assert_eq!(list(&less, "queued", "body"), ["/w=="]);
    assert_eq!(less["queued_total"], 2);
    let none = peek(&nsqd, "&count=0");
    assert_eq!(none["queued"], json!([]));

    let without_times = |mut topics: Value| {
        let clients = topics[0]["channels"][0]["clients"].take();
        topics[0]["channels"][0]["oldest_message_age"].take();
        (topics, clients[0]["in_flight_count"].clone())
    };
    let after = nsqd.stats()["topics"].clone();
    assert_eq!(without_times(after), without_times(before));
    holder.send_line(&format!("FIN {}", held.id));
    holder.expect_body([0xff, 0xfe]);
}

#[test]
fn a_message_whose_holder_has_gone_shows_no_client() {
    let nsqd = Nsqd::start(&[]);
    nsqd.connect().publish("t", "left");
    let mut holder = nsqd.subscribe("t", "c", 1);
    holder.expect_body("left");
    assert_ne!(peek(&nsqd, "")["in_flight"][0]["client"], Value::Null);
    drop(holder);
    wait_until("the client is gone", PATIENCE, || {
        let seen = peek(&nsqd, "");
        assert_eq!(seen["in_flight_total"], 1);
        seen["in_flight"][0]["client"].is_null()
    });
}

#[test]
fn a_topic_shows_what_no_channel_has() {
    let nsqd = Nsqd::start(&[]);
    nsqd.connect().publish("t", "a");
    let seen = nsqd.get("/topic/peek?topic=t").json();
    assert_eq!(list(&seen, "queued", "body"), ["YQ=="]);
    assert_eq!(
        (&seen["topic"], &seen["queued_total"]),
        (&json!("t"), &json!(1))
    );
    assert_eq!(
        (&seen["deferred"], &seen["deferred_total"]),
        (&json!([]), &json!(0))
    );
    nsqd.order("/channel/create?topic=t&channel=c");
    assert_eq!(nsqd.get("/topic/peek?topic=t").json()["queued"], json!([]));
    assert_eq!(list(&peek(&nsqd, ""), "queued", "body"), ["YQ=="]);
}

#[test]
fn bad_arguments_are_refused_by_name() {
    let nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=t");
    for (path, status, message) in [
        ("/channel/peek", 400, "MISSING_ARG_TOPIC"),
        ("/channel/peek?topic=t!", 400, "INVALID_ARG_TOPIC"),
        ("/channel/peek?topic=t", 400, "MISSING_ARG_CHANNEL"),
        (
            "/channel/peek?topic=t&channel=c!",
            400,
            "INVALID_ARG_CHANNEL",
        ),
        ("/channel/peek?topic=u&channel=c", 404, "TOPIC_NOT_FOUND"),
        ("/channel/peek?topic=t&channel=c", 404, "CHANNEL_NOT_FOUND"),
        (
            "/channel/peek?topic=t&channel=c&count=201",
            400,
            "INVALID_ARG_COUNT",
        ),
        (
            "/channel/peek?topic=t&channel=c&max_body=x",
            400,
            "INVALID_ARG_MAX_BODY",
        ),
        ("/topic/peek", 400, "MISSING_ARG_TOPIC"),
        ("/topic/peek?topic=t!", 400, "INVALID_TOPIC"),
        ("/topic/peek?topic=u", 404, "TOPIC_NOT_FOUND"),
        ("/topic/peek?topic=t&count=-1", 400, "INVALID_ARG_COUNT"),
    ] {
        let reply = nsqd.get(path);
        let wanted = json!({ "message": message });
        assert_eq!((reply.status, reply.json()), (status, wanted), "{path}");
    }
    assert_eq!(
        nsqd.post("/channel/peek?topic=t&channel=c", b"").status,
        405
    );
}

#[test]
fn peeking_can_be_switched_off() {
    let nsqd = Nsqd::start(&["--enable-peek=false"]);
    nsqd.connect().publish("t", "secret");
    nsqd.order("/channel/create?topic=t&channel=c");
    for path in ["/channel/peek?topic=t&channel=c", "/topic/peek?topic=t"] {
        let reply = nsqd.get(path);
        assert_eq!(reply.status, 403);
        let message = reply.json()["message"].as_str().map(str::to_owned);
        assert!(message.is_some_and(|text| text.contains("--enable-peek=false")));
    }
}
