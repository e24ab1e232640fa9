//! Who gets which message, and when not.

use std::time::{Duration, Instant};

use nsq_tests::{Frame, Nsqd, PATIENCE, RawClient, wait_until};
use serde_json::json;

#[test]
fn the_ready_count_is_a_ceiling_that_stays() {
    let nsqd = Nsqd::start(&[]);
    let bodies: Vec<_> = (0..100).map(|index| index.to_string()).collect();
    nsqd.connect().publish_many("t", &bodies);
    let mut client = nsqd.subscribe("t", "c", 3);
    let mut held: Vec<_> = (0..3).map(|_| client.expect_message()).collect();
    client.expect_silence();
    for _ in 3..100 {
        client.finish(&held.remove(0));
        held.push(client.expect_message());
    }
    for message in &held {
        client.finish(message);
    }
    client.expect_silence();
    nsqd.wait_for_channel(
        "t",
        "c",
        &[("depth", 0), ("in_flight_count", 0), ("message_count", 100)],
    );
}

#[test]
fn lowering_the_ready_count_takes_nothing_back() {
    let nsqd = Nsqd::start(&[]);
    nsqd.connect().publish_many("t", &["a", "b", "c"]);
    let mut client = nsqd.subscribe("t", "c", 2);
    let first = client.expect_message();
    let second = client.expect_message();
    client.send_line("RDY 0");
    client.finish(&first);
    client.finish(&second);
    client.expect_silence();
    client.send_line("RDY 1");
    client.expect_message();
}

#[test]
fn a_message_carries_its_time_and_a_hexadecimal_id() {
    let nsqd = Nsqd::start(&[]);
    let before = std::time::SystemTime::now();
    let mut client = nsqd.subscribe("t", "c", 5);
    nsqd.connect().publish_many("t", &["a", "b"]);
    let first = client.expect_message();
    let second = client.expect_message();
    let since_epoch = |time: std::time::SystemTime| {
        time.duration_since(std::time::UNIX_EPOCH)
            .expect("it is past 1970")
            .as_nanos()
    };
    let published = u128::try_from(first.timestamp_nanos).expect("it is past 1970");
    // Upstream's clock and ours are one; a microsecond of rounding is allowed.
    assert!(published + 1000 >= since_epoch(before));
    assert!(published <= since_epoch(std::time::SystemTime::now()));
    for message in [&first, &second] {
        assert_eq!(message.attempts, 1);
        let is_hex =
            |character: char| character.is_ascii_digit() || ('a'..='f').contains(&character);
        assert!(
            message.id.len() == 16 && message.id.chars().all(is_hex),
            "id {}",
            message.id
        );
    }
    assert_ne!(first.id, second.id);
}

#[test]
fn every_channel_gets_its_own_copy() {
    let nsqd = Nsqd::start(&[]);
    let mut one = nsqd.subscribe("t", "one", 1);
    let mut two = nsqd.subscribe("t", "two", 1);
    nsqd.connect().publish("t", "x");
    let (in_one, in_two) = (one.expect_body("x"), two.expect_body("x"));
    assert_eq!(in_one.id, in_two.id);
    assert_eq!(in_one.timestamp_nanos, in_two.timestamp_nanos);
    one.send_line(&format!("REQ {} 0", in_one.id));
    assert_eq!(one.expect_message().attempts, 2);
    two.finish(&in_two);
    nsqd.wait_for_channel("t", "two", &[("in_flight_count", 0), ("requeue_count", 0)]);
}

#[test]
fn the_first_channel_inherits_the_backlog_and_later_ones_do_not() {
    let nsqd = Nsqd::start(&[]);
    nsqd.connect().publish_many("t", &["a", "b", "c"]);
    let mut first = nsqd.subscribe("t", "first", 10);
    for _ in 0..3 {
        first.expect_message();
    }
    let mut second = nsqd.subscribe("t", "second", 10);
    second.expect_silence();
    assert_eq!(nsqd.channel("t", "second")["message_count"], 0);
    nsqd.connect().publish("t", "d");
    first.expect_body("d");
    second.expect_body("d");
}

#[test]
fn after_the_last_channel_messages_wait_in_the_topic_again() {
    let nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=old");
    nsqd.order("/channel/delete?topic=t&channel=old");
    nsqd.connect().publish_many("t", &["a", "b"]);
    wait_until("the topic keeps both", PATIENCE, || {
        nsqd.topic("t")["depth"] == 2
    });
    let mut new = nsqd.subscribe("t", "new", 10);
    new.expect_message();
    new.expect_message();
}

#[test]
fn messages_spread_over_ready_consumers() {
    let nsqd = Nsqd::start(&[]);
    let mut one = nsqd.subscribe("t", "c", 1);
    let mut two = nsqd.subscribe("t", "c", 1);
    nsqd.connect().publish_many("t", &["a", "b", "c"]);
    let first = one.expect_message();
    let second = two.expect_message();
    assert_ne!(first.id, second.id);
    one.expect_silence();
    two.finish(&second);
    assert_ne!(two.expect_message().id, second.id);
}

#[test]
fn a_sample_rate_consumes_what_it_leaves_out() {
    let nsqd = Nsqd::start(&[]);
    for (rate, wanted) in [(42, 760..=960), (99, 2000..=2000)] {
        let topic = format!("t{rate}");
        let bodies: Vec<_> = (0..2000).map(|index| index.to_string()).collect();
        nsqd.connect().publish_many(&topic, &bodies);
        let mut client = nsqd.connect();
        client.identify(&json!({"sample_rate": rate}));
        client.subscribe(&topic, "c");
        client.send_line("RDY 2500");
        nsqd.wait_for_channel(&topic, "c", &[("depth", 0), ("message_count", 2000)]);
        let kept = nsqd.channel(&topic, "c")["in_flight_count"]
            .as_i64()
            .expect("a number");
        assert!(wanted.contains(&kept), "{kept} of 2000 kept at rate {rate}");
    }
}

#[test]
fn a_deferred_message_is_never_early_and_counts_apart() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 5);
    let start = Instant::now();
    client.send_with_body("DPUB t 600", b"later");
    client.expect_ok();
    nsqd.wait_for_channel(
        "t",
        "c",
        &[("deferred_count", 1), ("depth", 0), ("message_count", 1)],
    );
    client.publish("t", "now");
    client.expect_body("now");
    let message = client.expect_body("later");
    assert!(
        start.elapsed() >= Duration::from_millis(600),
        "came after {:?}",
        start.elapsed()
    );
    assert_eq!(message.attempts, 1);
    nsqd.wait_for_channel("t", "c", &[("deferred_count", 0), ("in_flight_count", 2)]);
}

#[test]
fn a_deferral_counts_from_publishing() {
    let nsqd = Nsqd::start(&[]);
    let mut clock = nsqd.subscribe("clock", "c", 1);
    let start = Instant::now();
    let mut producer = nsqd.connect();
    for (command, body) in [("DPUB t 2000", "later"), ("DPUB clock 1500", "now")] {
        producer.send_with_body(command, body.as_bytes());
        producer.expect_ok();
    }
    // The first channel comes when most of the time is over.
    clock.expect_body("now");
    let mut client = nsqd.subscribe("t", "c", 1);
    let subscribed = Instant::now();
    client.expect_body("later");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(2), "early: {waited:?}");
    let waited = subscribed.elapsed();
    assert!(
        waited < Duration::from_millis(1500),
        "counted from the channel: {waited:?}"
    );
}

#[test]
fn dpub_with_no_delay_is_a_publish_and_an_hour_is_the_most() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 2);
    client.send_with_body("DPUB t 0", b"at once");
    let mut frames = [client.next_frame(PATIENCE), client.next_frame(PATIENCE)]
        .map(|frame| frame.expect("a frame"));
    frames.sort_by_key(|frame| matches!(frame, Frame::Message(_)));
    assert_eq!(frames[0], Frame::Response("OK".into()));
    assert!(matches!(&frames[1], Frame::Message(message) if message.body == b"at once"));
    client.send_with_body("DPUB t 3600000", b"in an hour");
    client.expect_ok();
    client.send_with_body("DPUB t 3600001", b"too late");
    client.expect_error("E_INVALID DPUB timeout 3600001 out of range 0-3600000");
}

#[test]
fn without_a_memory_queue_order_is_kept() {
    let nsqd = Nsqd::start(&["--mem-queue-size=0"]);
    let mut producer = nsqd.connect();
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    for index in 0..1000 {
        producer.publish("t", index.to_string());
    }
    wait_until("all are on disk", PATIENCE, || {
        let channel = nsqd.channel("t", "c");
        channel["depth"] == 1000 && channel["backend_depth"] == 1000
    });
    let mut client: RawClient = nsqd.subscribe("t", "c", 1);
    for index in 0..1000 {
        let message = client.expect_body(index.to_string());
        client.finish(&message);
    }
}

#[test]
fn a_consumer_that_requeues_everything_meets_every_message_before_one_comes_again() {
    for channel in ["c", "c#ephemeral"] {
        let nsqd = Nsqd::start(&[]);
        let mut client = nsqd.subscribe("t", channel, 1);
        let bodies: Vec<_> = (0..100).map(|index| index.to_string()).collect();
        nsqd.connect().publish_many("t", &bodies);
        for body in &bodies {
            let message = client.expect_body(body);
            assert_eq!(message.attempts, 1);
            client.send_line(&format!("REQ {} 0", message.id));
        }
        assert_eq!(client.expect_body("0").attempts, 2);
    }
}

#[test]
fn a_deep_backlog_holds_a_requeued_message_for_no_more_than_the_memory_queue() {
    let nsqd = Nsqd::start(&["--mem-queue-size=10"]);
    let mut client = nsqd.subscribe("t", "c", 1);
    let bodies: Vec<_> = (0..100).map(|index| index.to_string()).collect();
    nsqd.connect().publish_many("t", &bodies);
    let first = client.expect_body("0");
    client.send_line(&format!("REQ {} 0", first.id));
    for body in &bodies[1..=10] {
        let message = client.expect_body(body);
        client.finish(&message);
    }
    assert_eq!(client.expect_body("0").attempts, 2);
}

#[test]
fn an_ephemeral_channel_that_nobody_reads_keeps_its_bound() {
    let nsqd = Nsqd::start(&["--mem-queue-size=5"]);
    // It stays as long as it has a client.
    let _idle = nsqd.subscribe("t", "c#ephemeral", 0);
    let mut producer = nsqd.connect();
    let bodies: Vec<_> = (0..1000).map(|index| index.to_string()).collect();
    for _ in 0..20 {
        producer.publish_many("t", &bodies);
    }
    let channel = nsqd.channel("t", "c#ephemeral");
    assert_eq!(
        (&channel["depth"], &channel["message_count"]),
        (&json!(5), &json!(20_000))
    );
}
