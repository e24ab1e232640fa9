//! Publishes that nsqd refuses, and the state after them.

use nsq_tests::{Nsqd, RawClient};

use crate::errors::{FLAGS, body, check_fatal, line, sized};

#[test]
fn publishes_are_checked() {
    let big = [b'x'; 105];
    check_fatal(
        b"",
        0,
        &[
            (
                line("PUB"),
                "E_INVALID PUB insufficient number of parameters",
            ),
            (
                body("PUB t!", b"x"),
                r#"E_BAD_TOPIC PUB topic name "t!" is not valid"#,
            ),
            (
                body("PUB ", b"x"),
                r#"E_BAD_TOPIC PUB topic name "" is not valid"#,
            ),
            (
                sized("PUB t", 0),
                "E_BAD_MESSAGE PUB invalid message body size 0",
            ),
            (
                sized("PUB t", -1),
                "E_BAD_MESSAGE PUB invalid message body size -1",
            ),
            (
                body("PUB t", &big),
                "E_BAD_MESSAGE PUB message too big 105 > 100",
            ),
            (
                line("DPUB t"),
                "E_INVALID DPUB insufficient number of parameters",
            ),
            (
                body("DPUB t! 0", b"x"),
                r#"E_BAD_TOPIC DPUB topic name "t!" is not valid"#,
            ),
            (
                body("DPUB t x", b"x"),
                "E_INVALID DPUB could not parse timeout x",
            ),
            (
                body("DPUB t -1", b"x"),
                "E_INVALID DPUB could not parse timeout -1",
            ),
            (
                body("DPUB t 3600100", b"x"),
                "E_INVALID DPUB timeout 3600100 out of range 0-3600000",
            ),
            (
                sized("DPUB t 0", 0),
                "E_BAD_MESSAGE DPUB invalid message body size 0",
            ),
            (
                body("DPUB t 0", &big),
                "E_BAD_MESSAGE DPUB message too big 105 > 100",
            ),
        ],
    );
}

#[test]
fn multi_publishes_are_checked() {
    let many = |bodies: &[&[u8]]| RawClient::multi_publish("t", bodies);
    let big = [b'x'; 105];
    let batch = [b'x'; 1148];
    check_fatal(
        b"",
        0,
        &[
            (
                line("MPUB"),
                "E_INVALID MPUB insufficient number of parameters",
            ),
            // Sic: the code stands there twice.
            (
                body("MPUB t!", b"x"),
                r#"E_BAD_TOPIC E_BAD_TOPIC MPUB topic name "t!" is not valid"#,
            ),
            (sized("MPUB t", 0), "E_BAD_BODY MPUB invalid body size 0"),
            (sized("MPUB t", -1), "E_BAD_BODY MPUB invalid body size -1"),
            (
                body("MPUB t", &batch),
                "E_BAD_BODY MPUB body too big 1148 > 1000",
            ),
            (many(&[]), "E_BAD_BODY MPUB invalid message count 0"),
            (
                body("MPUB t", &200_u32.to_be_bytes()),
                "E_BAD_BODY MPUB invalid message count 200",
            ),
            (
                body("MPUB t", &[255; 4]),
                "E_BAD_BODY MPUB invalid message count -1",
            ),
            (
                many(&[b"a", b""]),
                "E_BAD_MESSAGE MPUB invalid message(1) body size 0",
            ),
            (
                many(&[b"a", &big]),
                "E_BAD_MESSAGE MPUB message too big 105 > 100",
            ),
        ],
    );
}

#[test]
fn bodies_that_end_early_are_refused() {
    let nsqd = Nsqd::start(&FLAGS);
    let cases: [(Vec<u8>, &str); 8] = [
        (
            b"PUB t\n\0\0".to_vec(),
            "E_BAD_MESSAGE PUB failed to read message body size",
        ),
        (
            sized("PUB t", 5),
            "E_BAD_MESSAGE PUB failed to read message body",
        ),
        (
            sized("DPUB t 1", 5),
            "E_BAD_MESSAGE DPUB failed to read message body",
        ),
        (line("MPUB t"), "E_BAD_BODY MPUB failed to read body size"),
        (
            sized("MPUB t", 50),
            "E_BAD_BODY MPUB failed to read message count",
        ),
        (
            [sized("MPUB t", 50), vec![0, 0, 0, 1]].concat(),
            "E_BAD_MESSAGE MPUB failed to read message(0) body size",
        ),
        (
            line("IDENTIFY"),
            "E_BAD_BODY IDENTIFY failed to read body size",
        ),
        (
            sized("IDENTIFY", 5),
            "E_BAD_BODY IDENTIFY failed to read body",
        ),
    ];
    for (bytes, error) in cases {
        let mut client = nsqd.connect();
        client.send(&bytes);
        client.close_sending_half();
        client.expect_error(error);
        client.expect_closed();
    }
    let accepted = nsqd.topic("t")["message_count"].as_i64();
    assert_eq!(accepted.unwrap_or_default(), 0);
}

#[test]
fn the_error_arrives_although_the_body_is_left_unread() {
    let nsqd = Nsqd::start(&["--max-msg-size=100000"]);
    let command = RawClient::command("PUB t", &vec![b'x'; 100_001]);
    for _ in 0..300 {
        let mut client = nsqd.connect();
        client.send(&command);
        client.expect_error("E_BAD_MESSAGE PUB message too big 100001 > 100000");
        client.expect_closed();
    }
}

#[test]
fn a_refused_multi_publish_leaves_its_topic_and_nothing_in_it() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.connect();
    client.send(&RawClient::multi_publish("fresh", &["a", "b", ""]));
    client.expect_error("E_BAD_MESSAGE MPUB invalid message(2) body size 0");
    assert_eq!(nsqd.topic("fresh")["depth"], 0);
    assert_eq!(nsqd.topic("fresh")["message_count"], 0);
}
