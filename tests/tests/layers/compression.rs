//! Snappy and deflate, alone and through TLS.

use nsq_tests::{Nsqd, RawClient};
use serde_json::json;

use crate::certificates::{asking_for, client_with, connector, nsqd_with};
use crate::test_authority::Authority;

const COMBINATIONS: [&[&str]; 6] = [
    &["tls_v1"],
    &["snappy"],
    &["deflate"],
    &["tls_v1", "snappy"],
    &["tls_v1", "deflate"],
    &[],
];

/// A body that is neither uniform nor random.
fn body(length: usize, seed: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from((at * at / 77 + seed) % 251).expect("less than 251"))
        .collect()
}

#[test]
fn messages_of_every_size_come_and_go_through_every_combination() {
    let authority = Authority::new();
    let nsqd = nsqd_with(&authority, &[]);
    let connector = connector(&authority, None);
    for (round, features) in COMBINATIONS.into_iter().enumerate() {
        let topic = format!("t{round}");
        let mut producer = client_with(&nsqd, features, Some(&connector));
        let mut consumer = client_with(&nsqd, features, Some(&connector));
        consumer.subscribe(&topic, "c");
        consumer.send_line("RDY 100");
        for (seed, length) in [1, 100, 16_384, 128_000, 1_048_576].into_iter().enumerate() {
            let sent = body(length, seed);
            producer.publish(&topic, &sent);
            let message = consumer.expect_message();
            assert!(message.body == sent, "{features:?} at {length} bytes");
            consumer.finish(&message);
        }
        let many: Vec<_> = (0..1000).map(|index| body(200, index)).collect();
        producer.publish_many(&topic, &many);
        for sent in &many {
            let message = consumer.expect_message();
            assert!(message.body == *sent, "{features:?}");
            consumer.finish(&message);
        }
        nsqd.wait_for_channel(&topic, "c", &[("depth", 0), ("in_flight_count", 0)]);
    }
}

#[test]
fn statistics_show_what_a_client_has_on() {
    let authority = Authority::new();
    let nsqd = nsqd_with(&authority, &[]);
    let connector = connector(&authority, None);
    for (round, features) in COMBINATIONS.into_iter().enumerate() {
        let topic = format!("t{round}");
        let mut consumer = client_with(&nsqd, features, Some(&connector));
        consumer.subscribe(&topic, "c");
        let shown = nsqd.channel(&topic, "c")["clients"][0].clone();
        let has = |feature| features.contains(&feature);
        let tls = has("tls_v1");
        assert_eq!(shown["snappy"], has("snappy"), "{shown}");
        assert_eq!(shown["deflate"], has("deflate"), "{shown}");
        assert_eq!(shown["tls"], tls, "{shown}");
        assert_eq!(shown["tls_negotiated_protocol"], "");
        assert_eq!(shown["tls_negotiated_protocol_is_mutual"], tls);
        let version = if tls { "TLS1.3" } else { "" };
        assert_eq!(shown["tls_version"], version);
        let suite = shown["tls_cipher_suite"].as_str().expect("it is text");
        assert_eq!(suite.starts_with("Unknown 486"), tls, "{suite}");
    }
}

#[test]
fn the_deflate_level_is_the_clients_up_to_the_largest_allowed() {
    for (flag, asked, level) in [
        ("--max-deflate-level=6", 9, 6),
        ("--max-deflate-level=9", 9, 9),
        ("--max-deflate-level=9", 0, 6),
        ("--max-deflate-level=3", 0, 3),
        ("--max-deflate-level=3", 1, 1),
    ] {
        let nsqd = Nsqd::start(&[flag]);
        let mut settings = asking_for(&["deflate"]);
        settings["deflate_level"] = json!(asked);
        let (mut client, answer) = nsqd.connect().negotiate(&settings, None).unwrap();
        assert_eq!(answer["deflate_level"], level, "{answer}");
        client.publish("t", body(100_000, 1));
    }
}

#[test]
fn both_at_once_are_refused_unless_nsqd_has_only_one() {
    let both = asking_for(&["snappy", "deflate"]);
    let refused = |nsqd: &Nsqd| {
        let mut client = nsqd.connect();
        client.send_with_body("IDENTIFY", both.to_string().as_bytes());
        client.expect_error("E_IDENTIFY_FAILED cannot enable both deflate and snappy compression");
        client.expect_closed();
    };
    refused(&Nsqd::start(&[]));
    for (flag, agreed, other) in [
        ("--snappy=false", "deflate", "snappy"),
        ("--deflate=false", "snappy", "deflate"),
    ] {
        let nsqd = Nsqd::start(&[flag]);
        let (mut client, answer) = nsqd.connect().negotiate(&both, None).unwrap();
        assert_eq!(
            (&answer[agreed], &answer[other]),
            (&json!(true), &json!(false))
        );
        client.publish("t", "hello");
    }
}

#[test]
fn a_layer_is_put_on_once() {
    let nsqd = Nsqd::start(&[]);
    let mut client = client_with(&nsqd, &["snappy"], None);
    // Without features it may be repeated, as usual.
    client.send_with_body("IDENTIFY", b"{}");
    client.expect_ok();
    client.send_with_body("IDENTIFY", asking_for(&["deflate"]).to_string().as_bytes());
    client.expect_error("E_IDENTIFY_FAILED IDENTIFY failed compression must be negotiated once");
    client.expect_closed();
}

/// "PUB t\n", a size of 5 and "hello" in snappy's framing format, as google's own library writes it.
const PUB_IN_SNAPPY: &[u8] =
    b"\xff\x06\x00\x00sNaPpY\x01\x13\x00\x00\x0b\xd5\xb7\x92PUB t\n\x00\x00\x00\x05hello";

#[test]
fn what_follows_identify_at_once_is_not_lost_and_a_stream_may_begin_again() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.connect();
    let mut bytes = RawClient::command("IDENTIFY", asking_for(&["snappy"]).to_string().as_bytes());
    // As pynsq does: a stream of its own for each command.
    bytes.extend(PUB_IN_SNAPPY);
    bytes.extend(PUB_IN_SNAPPY);
    client.send(&bytes);
    nsq_tests::wait_until("both messages are there", nsq_tests::PATIENCE, || {
        nsqd.topic("t")["depth"] == 2
    });
}

#[test]
fn what_is_no_such_stream_ends_the_connection_without_a_word() {
    let nsqd = Nsqd::start(&[]);
    for feature in ["snappy", "deflate"] {
        let mut client = nsqd.connect();
        client.identify(&asking_for(&[feature]));
        client.send(b"\x07NOP\nNOP\nNOP\nNOP\nNOP\n");
        // Its own OK is in the way, which is no frame as it is.
        let mut ends = false;
        nsq_tests::wait_until("the connection ends", nsq_tests::PATIENCE, || {
            ends |= client.try_send(b"NOP\n").is_err();
            ends
        });
    }
}

#[test]
fn what_unfolds_beyond_the_limits_is_refused_as_plain_bytes_are() {
    let nsqd = Nsqd::start(&["--max-msg-size=1000", "--max-body-size=5000"]);
    for feature in ["snappy", "deflate"] {
        let mut client = client_with(&nsqd, &[feature], None);
        client.send_with_body("PUB t", &[0; 1001]);
        client.expect_error("E_BAD_MESSAGE PUB message too big 1001 > 1000");
        client.expect_closed();

        let mut client = client_with(&nsqd, &[feature], None);
        client.send(b"MPUB t\n\x7f\xff\xff\xff");
        client.expect_error("E_BAD_BODY MPUB body too big 2147483647 > 5000");

        // A line that never ends, of which little is on the wire.
        let mut client = client_with(&nsqd, &[feature], None);
        let _ = client.try_send(&vec![b'A'; 8 << 20]);
        client.expect_closed();
    }
}
