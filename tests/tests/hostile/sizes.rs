//! Sizes that are declared and not true, or true and far too large.

use std::io::Write as _;

use nsq_tests::{Daemon, Lookupd, Nsqd, RawClient};

use crate::footprint::Footprint;
use crate::neighbour::Neighbour;
use crate::sockets::{all_that_is_said, connect, crowd};

const HUGE: [u8; 4] = i32::MAX.to_be_bytes();
const NEGATIVE: [u8; 4] = (-1_i32).to_be_bytes();

#[test]
fn a_size_by_tcp_is_judged_before_a_byte_of_it_is_waited_for() {
    let nsqd = Nsqd::start(&[]);
    let before = Footprint::of(&nsqd);
    for (command, size, error) in [
        (
            "PUB t",
            HUGE,
            "E_BAD_MESSAGE PUB message too big 2147483647 > 1048576",
        ),
        (
            "PUB t",
            NEGATIVE,
            "E_BAD_MESSAGE PUB invalid message body size -1",
        ),
        (
            "DPUB t 1",
            HUGE,
            "E_BAD_MESSAGE DPUB message too big 2147483647 > 1048576",
        ),
        (
            "MPUB t",
            HUGE,
            "E_BAD_BODY MPUB body too big 2147483647 > 5242880",
        ),
        ("MPUB t", NEGATIVE, "E_BAD_BODY MPUB invalid body size -1"),
        (
            "IDENTIFY",
            HUGE,
            "E_BAD_BODY IDENTIFY body too big 2147483647 > 5242880",
        ),
        (
            "AUTH",
            HUGE,
            "E_BAD_BODY AUTH body too big 2147483647 > 5242880",
        ),
    ] {
        let mut client = nsqd.connect();
        client.send(&[command.as_bytes(), b"\n", &size].concat());
        client.expect_error(error);
        client.expect_closed();
    }
    // A count that no body of that size can have.
    let mut client = nsqd.connect();
    client.send(&[b"MPUB t\n\0\0\x01\0".as_slice(), &HUGE].concat());
    client.expect_error("E_BAD_BODY MPUB invalid message count 2147483647");
    // A line that never ends.
    let mut client = nsqd.connect();
    let _ = client.try_send(&vec![b'x'; 4 << 20]);
    client.expect_closed();
    before.check_left_alone(&nsqd, 32);
}

#[test]
fn what_is_promised_takes_no_memory_until_it_comes() {
    let nsqd = Nsqd::start(&[]);
    let neighbour = Neighbour::of(&nsqd);
    let before = Footprint::of(&nsqd);
    // Each within the limits; together 1.2 GB.
    let mut promised = crowd(nsqd.tcp(), 200, b"  V2MPUB t\n\0\x4f\xff\xff\0\0\0\x01");
    let head = "POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\nx";
    promised.extend(crowd(nsqd.http(), 200, head.as_bytes()));
    let answered = nsqd.get("/ping");
    assert_eq!(answered.text(), "OK");
    before.check_memory(&nsqd, 64);
    drop(promised);
    neighbour.leave();
    before.check_left_alone(&nsqd, 64);
}

#[test]
fn a_body_by_http_is_refused_at_its_limit() {
    let nsqd = Nsqd::start(&[]);
    let lookupd = Lookupd::start();
    let before = Footprint::of(&nsqd);
    let post = |path: &str, rest: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{rest}")
    };
    for path in ["/pub?topic=t", "/mpub?topic=t"] {
        let said = all_that_is_said(
            nsqd.http(),
            post(path, "Content-Length: 1099511627776\r\n\r\n").as_bytes(),
        );
        assert!(said.starts_with("HTTP/1.1 413 "), "{said}");
        let endless = post(path, "Transfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        let mut stream = connect(nsqd.http());
        let _ = stream.write_all(endless.as_bytes());
        // Its end is nsqd's to find.
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    }
    for (daemon, path) in [
        (&*nsqd as &Daemon, "/pub?topic=t"),
        (&lookupd, "/topic/create?topic=t"),
    ] {
        let chunk = "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx";
        let said = all_that_is_said(daemon.http(), post(path, chunk).as_bytes());
        assert!(
            said.starts_with("HTTP/1.1 4") || said.starts_with("HTTP/1.1 500 "),
            "{said}"
        );
    }
    // A batch whose count and sizes lie.
    for body in [
        &HUGE[..],
        b"\0\0\0\x01\x7f\xff\xff\xff",
        b"\0\0\0\x02\0\0\0\x01x\xff\xff\xff\xff",
    ] {
        let reply = nsqd.post("/mpub?topic=t&binary=true", body);
        assert!(
            (400..500).contains(&reply.status),
            "{} {}",
            reply.status,
            reply.text()
        );
    }
    before.check_left_alone(&nsqd, 48);
}

#[test]
fn an_introduction_of_nested_nonsense_is_refused_as_such() {
    let nsqd = Nsqd::start(&[]);
    let lookupd = Lookupd::start();
    let before = [Footprint::of(&nsqd), Footprint::of(&lookupd)];
    let nested = "[".repeat(1_000_000);
    let wide = format!("{{{}\"a\":1}}", "\"a\":[],".repeat(100_000));
    for body in [&nested, &wide] {
        let mut client = nsqd.connect();
        let _ = client.try_send(&RawClient::command("IDENTIFY", body.as_bytes()));
        let _ = client.next_frame(nsq_tests::PATIENCE);
        let bytes = [
            b"  V1".as_slice(),
            &RawClient::command("IDENTIFY", body.as_bytes()),
        ]
        .concat();
        let said = all_that_is_said(lookupd.tcp(), &bytes);
        assert!(said.contains("E_BAD_BODY IDENTIFY "), "{said}");
    }
    before[0].check_left_alone(&nsqd, 32);
    before[1].check_left_alone(&lookupd, 32);
}
