//! `/pub` and `/mpub`.

use std::time::{Duration, Instant};

use nsq_tests::Nsqd;

/// Posts each body and wants this status and message; `""` stands for `OK`.
#[track_caller]
fn check(nsqd: &Nsqd, cases: &[(&str, &[u8], u16, &str)]) {
    for (path, body, status, message) in cases {
        let reply = nsqd.post(path, body);
        let wanted = if message.is_empty() {
            "OK".to_string()
        } else {
            format!(r#"{{"message":"{message}"}}"#)
        };
        assert_eq!(
            (reply.status, reply.text()),
            (*status, wanted),
            "POST {path} with {} bytes",
            body.len()
        );
    }
}

fn batch(bodies: &[&[u8]]) -> Vec<u8> {
    let size = |count: usize| u32::try_from(count).expect("it is small").to_be_bytes();
    let mut batch = size(bodies.len()).to_vec();
    for body in bodies {
        batch.extend(size(body.len()));
        batch.extend(*body);
    }
    batch
}

#[test]
fn a_publish_is_checked_body_first() {
    let nsqd = Nsqd::start(&["--max-msg-size=100"]);
    check(
        &nsqd,
        &[
            ("/pub?topic=t", b"x", 200, ""),
            ("/pub?topic=t", &[b'x'; 100], 200, ""),
            ("/pub?topic=t", &[b'x'; 101], 413, "MSG_TOO_BIG"),
            ("/pub", &[b'x'; 101], 413, "MSG_TOO_BIG"),
            ("/pub?topic=t", b"", 400, "MSG_EMPTY"),
            ("/pub", b"", 400, "MSG_EMPTY"),
            ("/pub", b"x", 400, "MISSING_ARG_TOPIC"),
            ("/pub?topic=", b"x", 400, "INVALID_TOPIC"),
            ("/pub?topic=t!", b"x", 400, "INVALID_TOPIC"),
            ("/pub?topic=t%23ephemeral", b"x", 200, ""),
            ("/pub?topic=t;", b"x", 400, "INVALID_REQUEST"),
        ],
    );
    assert_eq!(nsqd.topic("t")["depth"], 2);
    assert_eq!(nsqd.topic("t")["message_bytes"], 101);
}

#[test]
fn a_deferred_publish_waits() {
    let nsqd = Nsqd::start(&["--max-req-timeout=10s"]);
    check(
        &nsqd,
        &[
            ("/pub?topic=t&defer=x", b"x", 400, "INVALID_DEFER"),
            ("/pub?topic=t&defer=", b"x", 400, "INVALID_DEFER"),
            ("/pub?topic=t&defer=-1", b"x", 400, "INVALID_DEFER"),
            ("/pub?topic=t&defer=10001", b"x", 400, "INVALID_DEFER"),
        ],
    );
    // The topic was still made.
    assert_eq!(nsqd.topic("t")["depth"], 0);
    let mut client = nsqd.subscribe("t", "c", 5);
    let start = Instant::now();
    check(
        &nsqd,
        &[
            ("/pub?topic=t&defer=500", b"later", 200, ""),
            ("/pub?topic=t&defer=0", b"now", 200, ""),
        ],
    );
    client.expect_body("now");
    client.expect_body("later");
    assert!(
        start.elapsed() >= Duration::from_millis(500),
        "after {:?}",
        start.elapsed()
    );
}

#[test]
fn lines_become_messages() {
    let nsqd = Nsqd::start(&["--max-msg-size=100", "--max-body-size=1000"]);
    check(
        &nsqd,
        &[
            ("/mpub?topic=t", b"one\n\ntwo\r\n\nthree", 200, ""),
            ("/mpub?topic=t&binary=false", b"four\n", 200, ""),
            ("/mpub?topic=t&binary=0&defer=5000", b"five\n", 200, ""),
            ("/mpub?topic=t", b"", 200, ""),
            ("/mpub?topic=t", b"\n\n", 200, ""),
            ("/mpub", b"x", 400, "MISSING_ARG_TOPIC"),
            ("/mpub", b"", 400, "MISSING_ARG_TOPIC"),
            ("/mpub?topic=t!", b"x", 400, "INVALID_TOPIC"),
            (
                "/mpub?topic=t",
                &[b"fine\n".as_slice(), &[b'x'; 101]].concat(),
                413,
                "MSG_TOO_BIG",
            ),
            ("/mpub?topic=t", &[b'\n'; 1001], 413, "BODY_TOO_BIG"),
        ],
    );
    let mut client = nsqd.subscribe("t", "c", 10);
    let mut bodies: Vec<_> = (0..5).map(|_| client.expect_message().text()).collect();
    bodies.sort();
    assert_eq!(bodies, ["five", "four", "one", "three", "two\r"]);
    client.expect_silence();
}

#[test]
fn a_binary_batch_is_taken_whole_or_not_at_all() {
    let nsqd = Nsqd::start(&["--max-msg-size=100", "--max-body-size=1000"]);
    let good = batch(&[b"one\n", b"two"]);
    check(
        &nsqd,
        &[
            ("/mpub?topic=t&binary=true", &good, 200, ""),
            ("/mpub?topic=t&binary=1", &good, 200, ""),
            ("/mpub?topic=t&binary=foo", &good, 200, ""),
            (
                "/mpub?topic=t&binary=",
                &[good.clone(), b"surplus".to_vec()].concat(),
                200,
                "",
            ),
            ("/mpub?topic=t&binary=true", b"", 413, "BAD_BODY"),
            ("/mpub?topic=t&binary=true", &batch(&[]), 413, "BAD_BODY"),
            (
                "/mpub?topic=t&binary=true",
                &200_u32.to_be_bytes(),
                413,
                "BAD_BODY",
            ),
            (
                "/mpub?topic=t&binary=true",
                &batch(&[b"fine", b""]),
                413,
                "BAD_MESSAGE",
            ),
            (
                "/mpub?topic=t&binary=true",
                &batch(&[b"fine", &[b'x'; 101]]),
                413,
                "BAD_MESSAGE",
            ),
            (
                "/mpub?topic=t&binary=true",
                &good[..good.len() - 1],
                413,
                "BAD_MESSAGE",
            ),
            ("/mpub?topic=t&binary=true", &[0; 1001], 413, "BODY_TOO_BIG"),
        ],
    );
    assert_eq!(nsqd.topic("t")["depth"], 8);
}

#[test]
fn a_hundred_kilobytes_are_no_matter() {
    let nsqd = Nsqd::start(&[]);
    let body = "0123456789".repeat(10_000);
    check(&nsqd, &[("/pub?topic=t", body.as_bytes(), 200, "")]);
    nsqd.subscribe("t", "c", 1).expect_body(&body);
}
