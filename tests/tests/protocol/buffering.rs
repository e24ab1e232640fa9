//! When messages leave nsqd: ours flushes as soon as nothing more is ready.

use std::time::{Duration, Instant};

use nsq_tests::{Frame, Nsqd, PATIENCE};
use serde_json::json;

/// The longest timeout a client may ask for: longer than any test here waits.
fn patient_settings() -> serde_json::Value {
    json!({"output_buffer_size": 65_536, "output_buffer_timeout": 30_000})
}

#[test]
fn one_message_at_a_time_is_delivered_at_once() {
    let nsqd = Nsqd::start(&[]);
    let mut producer = nsqd.connect();
    let mut consumer = nsqd.connect();
    consumer.identify(&patient_settings());
    consumer.subscribe("t", "c");
    consumer.send_line("RDY 1");
    let mut fastest = PATIENCE;
    for _ in 0..20 {
        let start = Instant::now();
        producer.publish("t", "x");
        let message = consumer.expect_message();
        fastest = fastest.min(start.elapsed());
        consumer.finish(&message);
    }
    assert!(
        fastest < Duration::from_millis(20),
        "the fastest of 20 took {fastest:?}"
    );
}

#[test]
fn a_lone_message_does_not_wait_for_the_buffer_timeout() {
    let nsqd = Nsqd::start(&[]);
    let mut producer = nsqd.connect();
    for (topic, settings) in [
        ("patient", patient_settings()),
        (
            "without_timeout",
            json!({"output_buffer_size": 65_536, "output_buffer_timeout": -1}),
        ),
    ] {
        let mut consumer = nsqd.connect();
        consumer.identify(&settings);
        consumer.subscribe(topic, "c");
        consumer.send_line("RDY 10");
        producer.publish(topic, "alone");
        consumer.expect_body("alone");
    }
}

#[test]
fn a_response_carries_buffered_messages_with_it() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.connect();
    client.identify(&patient_settings());
    client.subscribe("t", "c");
    nsqd.connect().publish_many("t", &["a", "b"]);
    client.send_line("RDY 10");
    client.send_with_body("PUB other", b"x");
    let (mut oks, mut messages) = (0, 0);
    while oks < 1 || messages < 2 {
        match client.next_frame(PATIENCE) {
            Ok(Frame::Response(text)) if text == "OK" => oks += 1,
            Ok(Frame::Message(_)) => messages += 1,
            other => panic!("{oks} responses and {messages} messages, then {other:?}"),
        }
    }
}

#[test]
fn reaching_the_ready_count_flushes() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.connect();
    client.identify(&json!({"output_buffer_timeout": -1, "output_buffer_size": 65_536}));
    client.subscribe("t", "c");
    client.send_line("RDY 2");
    nsqd.connect().publish_many("t", &["a", "b", "c"]);
    client.expect_message();
    client.expect_message();
    client.expect_silence();
}

#[test]
fn a_thousand_publishes_one_by_one_do_not_stall() {
    let nsqd = Nsqd::start(&[]);
    let mut producer = nsqd.connect();
    let mut times: Vec<_> = (0..1000)
        .map(|_| {
            let start = Instant::now();
            producer.publish("t", "x");
            start.elapsed()
        })
        .collect();
    times.sort();
    // A missing TCP_NODELAY costs 40 ms each.
    assert!(
        times[500] < Duration::from_millis(10),
        "half of them took longer than {:?}",
        times[500]
    );
}
