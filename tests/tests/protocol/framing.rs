//! Commands in any chunks, several at once, and the end of a connection.

use nsq_tests::{Nsqd, RawClient};
use serde_json::json;

fn a_whole_session() -> Vec<u8> {
    let settings = json!({"client_id": "x", "heartbeat_interval": 5000}).to_string();
    [
        b"  V2".to_vec(),
        RawClient::command("IDENTIFY", settings.as_bytes()),
        b"SUB t c\nRDY 5\n".to_vec(),
        RawClient::command("PUB t", b"one"),
        RawClient::multi_publish("t", &["two", "three"]),
        b"NOP\r\n".to_vec(),
    ]
    .concat()
}

#[track_caller]
fn check_session(mut client: RawClient) {
    let (mut oks, mut bodies) = (0, vec![]);
    while oks < 4 || bodies.len() < 3 {
        match client.next_frame(nsq_tests::PATIENCE) {
            Ok(nsq_tests::Frame::Response(text)) if text == "OK" => oks += 1,
            Ok(nsq_tests::Frame::Message(message)) => {
                bodies.push(message.text());
                client.finish(&message);
            }
            other => panic!("{oks} OKs and {bodies:?}, then {other:?}"),
        }
    }
    bodies.sort();
    assert_eq!(bodies, ["one", "three", "two"]);
    client.expect_silence();
}

#[test]
fn a_session_may_come_in_one_segment() {
    let nsqd = Nsqd::start(&[]);
    let mut client = RawClient::connect_silently(nsqd.tcp());
    client.send(&a_whole_session());
    check_session(client);
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
}

#[test]
fn a_session_may_come_byte_by_byte() {
    let nsqd = Nsqd::start(&[]);
    let mut client = RawClient::connect_silently(nsqd.tcp());
    for byte in a_whole_session() {
        client.send(&[byte]);
    }
    check_session(client);
}

#[test]
fn hundreds_of_publishes_in_one_write_are_answered_in_order() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.connect();
    let mut burst = vec![];
    for index in 0..500 {
        burst.extend(RawClient::command("PUB t", format!("{index}").as_bytes()));
    }
    burst.extend(b"BOGUS\n");
    client.send(&burst);
    for _ in 0..500 {
        client.expect_ok();
    }
    client.expect_error("E_INVALID invalid command BOGUS");
    client.expect_closed();
    assert_eq!(nsqd.topic("t")["depth"], 500);
}

#[test]
fn what_came_before_a_half_close_counts() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 1);
    client.publish("t", "x");
    let message = client.expect_message();
    client.send(
        &[
            format!("FIN {}\n", message.id).into_bytes(),
            RawClient::command("PUB t2", b"y"),
        ]
        .concat(),
    );
    client.close_sending_half();
    client.expect_ok();
    client.expect_closed();
    nsqd.wait_for_channel(
        "t",
        "c",
        &[("in_flight_count", 0), ("depth", 0), ("client_count", 0)],
    );
    assert_eq!(nsqd.topic("t2")["depth"], 1);
}

#[test]
fn numbers_are_digits_and_nothing_is_zero() {
    let nsqd = Nsqd::start(&[]);
    let mut producer = nsqd.connect();
    producer.publish_many("t", &["a", "b"]);
    let mut client = nsqd.connect();
    client.subscribe("t", "c");
    // An empty number is 0; no number at all is 1; 2^64 wraps to 0.
    client.send(b"RDY \nRDY 18446744073709551616\nNOP\n");
    client.expect_silence();
    client.send(b"RDY\n");
    client.expect_message();
    client.expect_silence();
}

#[test]
fn surplus_parameters_are_ignored() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.connect();
    client.send(b"NOP NOP NOP\n");
    client.send_with_body("PUB t and more", b"x");
    client.expect_ok();
    client.send(b"SUB t c and more\nRDY 1 and more\n");
    client.expect_ok();
    let message = client.expect_body("x");
    client.send_line(&format!("FIN {} and more", message.id));
    nsqd.wait_for_channel("t", "c", &[("in_flight_count", 0), ("depth", 0)]);
}

#[test]
fn names_are_64_long_at_most_with_their_suffix() {
    let nsqd = Nsqd::start(&[]);
    for (length, suffix, accepted) in [
        (64, "", true),
        (65, "", false),
        (54, "#ephemeral", true),
        (55, "#ephemeral", false),
        (0, "#ephemeral", false),
    ] {
        let name = "n".repeat(length) + suffix;
        let mut client = nsqd.connect();
        client.send_with_body(&format!("PUB {name}"), b"x");
        if accepted {
            client.expect_ok();
        } else {
            client.expect_error(&format!(
                "E_BAD_TOPIC PUB topic name \"{name}\" is not valid"
            ));
        }
    }
}
