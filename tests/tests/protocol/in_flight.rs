//! Messages that a client holds: FIN, REQ, TOUCH, timeouts, and clients that leave.

use std::time::{Duration, Instant};

use nsq_tests::{Delivery, Frame, Nsqd, PATIENCE, RawClient};
use serde_json::json;

/// A subscriber that may hold a message for a second.
fn hasty_subscriber(nsqd: &Nsqd, ready_count: u32) -> RawClient {
    let mut client = nsqd.connect();
    client.identify(&json!({"msg_timeout": 1000}));
    client.subscribe("t", "c");
    client.send_line(&format!("RDY {ready_count}"));
    client
}

fn published_and_held(nsqd: &Nsqd, client: &mut RawClient) -> Delivery {
    nsqd.connect().publish("t", "x");
    client.expect_body("x")
}

#[test]
fn a_message_comes_again_when_its_client_does_not_answer() {
    let nsqd = Nsqd::start(&[]);
    let mut client = hasty_subscriber(&nsqd, 1);
    let first = published_and_held(&nsqd, &mut client);
    let start = Instant::now();
    let second = client.expect_body("x");
    assert!(
        start.elapsed() > Duration::from_millis(950),
        "after {:?}",
        start.elapsed()
    );
    assert_eq!((first.attempts, second.attempts), (1, 2));
    assert_eq!(
        (first.id, first.timestamp_nanos),
        (second.id, second.timestamp_nanos)
    );
    nsqd.wait_for_channel(
        "t",
        "c",
        &[
            ("timeout_count", 1),
            ("requeue_count", 0),
            ("in_flight_count", 1),
        ],
    );
}

#[test]
fn finishing_after_the_timeout_is_too_late_but_not_fatal() {
    let nsqd = Nsqd::start(&[]);
    let mut client = hasty_subscriber(&nsqd, 1);
    let message = published_and_held(&nsqd, &mut client);
    client.send_line("RDY 0");
    nsqd.wait_for_channel(
        "t",
        "c",
        &[
            ("timeout_count", 1),
            ("requeue_count", 0),
            ("depth", 1),
            ("in_flight_count", 0),
        ],
    );
    client.finish(&message);
    client.expect_error(&format!(
        "E_FIN_FAILED FIN {} failed ID not in flight",
        message.id
    ));
    client.send_line("RDY 1");
    assert_eq!(client.expect_body("x").attempts, 2);
}

#[test]
fn a_client_that_leaves_gives_nothing_back_at_once() {
    let nsqd = Nsqd::start(&[]);
    let mut leaver = hasty_subscriber(&nsqd, 1);
    published_and_held(&nsqd, &mut leaver);
    let start = Instant::now();
    drop(leaver);
    let mut heir = nsqd.subscribe("t", "c", 1);
    nsqd.wait_for_channel(
        "t",
        "c",
        &[("client_count", 1), ("in_flight_count", 1), ("depth", 0)],
    );
    let message = heir.expect_body("x");
    assert!(
        start.elapsed() > Duration::from_millis(950),
        "after {:?}",
        start.elapsed()
    );
    assert_eq!(message.attempts, 2);
    nsqd.wait_for_channel("t", "c", &[("timeout_count", 1), ("requeue_count", 0)]);
}

#[test]
fn only_its_holder_may_answer_for_a_message() {
    let nsqd = Nsqd::start(&[]);
    let mut holder = nsqd.subscribe("t", "c", 1);
    let message = published_and_held(&nsqd, &mut holder);
    let mut other = nsqd.subscribe("t", "c", 1);
    for (command, code, delay) in [
        ("FIN", "E_FIN_FAILED", ""),
        ("REQ", "E_REQ_FAILED", " 0"),
        ("TOUCH", "E_TOUCH_FAILED", ""),
    ] {
        other.send_line(&format!("{command} {}{delay}", message.id));
        other.expect_error(&format!(
            "{code} {command} {} failed client does not own message",
            message.id
        ));
    }
    holder.finish(&message);
    nsqd.wait_for_channel("t", "c", &[("in_flight_count", 0), ("depth", 0)]);
    holder.finish(&message);
    holder.expect_error(&format!(
        "E_FIN_FAILED FIN {} failed ID not in flight",
        message.id
    ));
}

#[test]
fn a_requeue_without_delay_comes_back_with_one_more_attempt() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 1);
    let mut message = published_and_held(&nsqd, &mut client);
    for attempts in 2..=6 {
        client.send_line(&format!("REQ {} 0", message.id));
        message = client.expect_body("x");
        assert_eq!(message.attempts, attempts);
    }
    client.finish(&message);
    nsqd.wait_for_channel(
        "t",
        "c",
        &[
            ("requeue_count", 5),
            ("timeout_count", 0),
            ("in_flight_count", 0),
        ],
    );
    let client_stats = &nsqd.channel("t", "c")["clients"][0];
    assert_eq!(client_stats["requeue_count"], 5);
    assert_eq!(client_stats["finish_count"], 1);
    assert_eq!(client_stats["message_count"], 6);
}

#[test]
fn a_requeue_with_delay_waits_and_does_not_count_as_held() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 1);
    let message = published_and_held(&nsqd, &mut client);
    let start = Instant::now();
    client.send_line(&format!("REQ {} 700", message.id));
    nsqd.wait_for_channel(
        "t",
        "c",
        &[("deferred_count", 1), ("in_flight_count", 0), ("depth", 0)],
    );
    nsqd.connect().publish("t", "y");
    let other = client.expect_body("y");
    client.finish(&other);
    assert_eq!(client.expect_body("x").attempts, 2);
    assert!(
        start.elapsed() >= Duration::from_millis(700),
        "after {:?}",
        start.elapsed()
    );
}

#[test]
fn a_requeue_beyond_the_longest_delay_is_clamped() {
    let nsqd = Nsqd::start(&["--max-req-timeout=500ms"]);
    let mut client = nsqd.subscribe("t", "c", 1);
    let message = published_and_held(&nsqd, &mut client);
    let start = Instant::now();
    client.send_line(&format!("REQ {} 3600001", message.id));
    assert_eq!(client.expect_body("x").attempts, 2);
    assert!(
        start.elapsed() >= Duration::from_millis(500),
        "after {:?}",
        start.elapsed()
    );
    client.send_with_body("DPUB t 501", b"y");
    client.expect_error("E_INVALID DPUB timeout 501 out of range 0-500");
}

#[test]
fn touching_helps_until_the_longest_timeout() {
    let nsqd = Nsqd::start(&["--max-msg-timeout=2500ms"]);
    let mut client = hasty_subscriber(&nsqd, 1);
    let message = published_and_held(&nsqd, &mut client);
    let start = Instant::now();
    let again = loop {
        match client.next_frame(Duration::from_millis(300)) {
            Ok(Frame::Message(again)) => break again,
            Ok(frame) => panic!("{frame:?} after {:?}", start.elapsed()),
            Err(_) => client.send_line(&format!("TOUCH {}", message.id)),
        }
        assert!(start.elapsed() < PATIENCE, "touched for ever");
    };
    assert_eq!(again.attempts, 2);
    assert!(
        start.elapsed() > Duration::from_millis(2450),
        "after {:?}",
        start.elapsed()
    );
    nsqd.wait_for_channel("t", "c", &[("timeout_count", 1)]);
}

#[test]
fn a_closing_client_finishes_its_messages() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 3);
    nsqd.connect().publish_many("t", &["a", "b", "c"]);
    let held: Vec<_> = (0..3).map(|_| client.expect_message()).collect();
    client.send_line("CLS");
    client.expect_response("CLOSE_WAIT");
    client.send_line("RDY nonsense");
    client.finish(&held[0]);
    client.send_line(&format!("REQ {} 0", held[1].id));
    client.send_line(&format!("TOUCH {}", held[2].id));
    nsqd.wait_for_channel(
        "t",
        "c",
        &[("in_flight_count", 1), ("depth", 1), ("client_count", 1)],
    );
    assert_eq!(nsqd.channel("t", "c")["clients"][0]["state"], 4);
    client.expect_silence();
    client.send_line("CLS");
    client.expect_error("E_INVALID cannot CLS in current state");
    client.expect_closed();
}

#[test]
fn emptying_a_channel_frees_its_clients() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 1);
    let mut producer = nsqd.connect();
    producer.publish_many("t", &["a", "b"]);
    producer.send_with_body("DPUB t 60000", b"later");
    producer.expect_ok();
    let held = client.expect_message();
    nsqd.wait_for_channel(
        "t",
        "c",
        &[("deferred_count", 1), ("depth", 1), ("in_flight_count", 1)],
    );
    nsqd.order("/channel/empty?topic=t&channel=c");
    nsqd.wait_for_channel(
        "t",
        "c",
        &[("deferred_count", 0), ("depth", 0), ("in_flight_count", 0)],
    );
    producer.publish("t", "after");
    let after = client.expect_body("after");
    client.finish(&held);
    client.expect_error(&format!(
        "E_FIN_FAILED FIN {} failed ID not in flight",
        held.id
    ));
    client.finish(&after);
    nsqd.wait_for_channel("t", "c", &[("in_flight_count", 0)]);
}
