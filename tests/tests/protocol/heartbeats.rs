//! Heartbeats, and what happens to a client that does not answer them.

use std::time::{Duration, Instant};

use nsq_tests::{Frame, Nsqd, PATIENCE, RawClient, ReadEnd};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

fn heartbeat() -> Frame {
    Frame::Response("_heartbeat_".into())
}

fn with_heartbeats_every_second(nsqd: &Nsqd) -> RawClient {
    let mut client = nsqd.connect();
    assert_eq!(client.identify(&json!({"heartbeat_interval": 1000})), "OK");
    client
}

#[test]
fn a_silent_client_is_dropped_after_two_intervals() {
    let nsqd = Nsqd::start(&[]);
    let mut client = with_heartbeats_every_second(&nsqd);
    let start = Instant::now();
    let mut heartbeats = 0;
    loop {
        match client.next_frame(PATIENCE) {
            Ok(Frame::Response(text)) if text == "_heartbeat_" => heartbeats += 1,
            Err(ReadEnd::Closed) => break,
            other => panic!("neither a heartbeat nor the end: {other:?}"),
        }
    }
    let lived = start.elapsed();
    assert!((1..=2).contains(&heartbeats), "{heartbeats} heartbeats");
    assert!(
        lived > SECOND * 19 / 10 && lived < SECOND * 4,
        "dropped after {lived:?}"
    );
}

#[test]
fn any_command_answers_a_heartbeat() {
    let nsqd = Nsqd::start(&[]);
    let mut client = with_heartbeats_every_second(&nsqd);
    client.subscribe("t", "c");
    for _ in 0..4 {
        assert_eq!(client.next_frame(PATIENCE), Ok(heartbeat()));
        client.send(b"RDY 0\n");
    }
}

#[test]
fn disabled_heartbeats_forbid_sub_and_let_a_producer_be_silent() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.connect();
    client.identify(&json!({"heartbeat_interval": -1}));
    assert_eq!(client.next_frame(SECOND * 3), Err(ReadEnd::Silence));
    client.publish("t", "x");
    client.send_line("SUB t c");
    client.expect_error("E_INVALID cannot SUB with heartbeats disabled");
    client.expect_closed();
}

#[test]
fn a_body_that_dribbles_in_does_not_keep_the_connection() {
    let nsqd = Nsqd::start(&[]);
    let mut client = with_heartbeats_every_second(&nsqd);
    client.send(b"PUB t\n\0\0\x03\xe8");
    let start = Instant::now();
    loop {
        // A byte now and then; a reset in between is the end as well.
        let sent = client.try_send(b"x");
        match client.next_frame(Duration::from_millis(100)) {
            Err(ReadEnd::Closed) => break,
            _ if sent.is_err() => break,
            Err(ReadEnd::Silence) | Ok(_) => {}
        }
        assert!(start.elapsed() < SECOND * 6, "it is still connected");
    }
    assert_eq!(nsqd.topic("t")["depth"], serde_json::Value::Null);
}

#[test]
fn heartbeats_go_on_under_traffic() {
    let nsqd = Nsqd::start(&[]);
    let mut client = with_heartbeats_every_second(&nsqd);
    let start = Instant::now();
    let mut heartbeats = 0;
    while start.elapsed() < SECOND * 5 / 2 {
        client.send_with_body("PUB t", b"x");
        loop {
            match client.next_frame(PATIENCE) {
                Ok(Frame::Response(text)) if text == "OK" => break,
                frame => assert_eq!(frame, Ok(heartbeat())),
            }
            heartbeats += 1;
        }
    }
    assert!(heartbeats >= 2, "{heartbeats} heartbeats");
}
