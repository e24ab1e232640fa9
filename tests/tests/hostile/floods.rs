//! More connections, topics and headers than any client needs.

use std::net::SocketAddr;

use nsq_tests::{Admin, Daemon, Frame, Lookupd, Nsqd, PATIENCE, Start, wait_until};

use crate::footprint::Footprint;
use crate::neighbour::Neighbour;
use crate::sockets::{all_that_is_said, connect, connect_from, crowd};

#[test]
fn connections_that_come_and_go_leave_nothing() {
    let nsqd = Nsqd::start(&[]);
    let lookupd = Lookupd::start();
    let admin = Admin::of_nsqds(&[&nsqd], &[]);
    let neighbour = Neighbour::of(&nsqd);
    let daemons: [&Daemon; 3] = [&nsqd, &lookupd, &admin];
    let before = daemons.map(Footprint::of);
    let ports = [
        nsqd.tcp(),
        nsqd.http(),
        lookupd.tcp(),
        lookupd.http(),
        admin.http(),
    ];
    for _ in 0..400 {
        for port in ports {
            drop(connect(port));
        }
    }
    neighbour.leave();
    for (daemon, before) in daemons.into_iter().zip(before) {
        before.check_left_alone(daemon, 32);
    }
}

#[test]
fn one_address_that_takes_all_it_can_leaves_the_others_alone() {
    let nsqd = Nsqd::start(&["--max-connections-per-address=20"]);
    let neighbour = Neighbour::of(&nsqd);
    let before = Footprint::of(&nsqd);
    let source: SocketAddr = "127.0.0.9:0".parse().expect("an address");
    let flood: Vec<_> = (0..300)
        .flat_map(|_| [nsqd.tcp(), nsqd.http()].map(|port| connect_from(source, port)))
        .collect();
    // Neither of its connections is refused.
    nsqd.connect().publish("t", "x");
    assert_eq!(nsqd.get("/ping").text(), "OK");
    wait_until("only its share is held", PATIENCE, || {
        Footprint::of(&nsqd).handles < before.handles + 60
    });
    drop(flood);
    neighbour.leave();
    before.check_left_alone(&nsqd, 32);
}

#[test]
fn a_flood_beyond_the_file_handles_leaves_logs_and_operators_theirs() {
    let limit = ["prlimit", "--nofile=200:200"];
    let flags = ["--max-bytes-per-file=1048576"];
    let nsqd = Start::with(&flags).through(&limit).now();
    let neighbour = Neighbour::of(&nsqd);
    let mut good = nsqd.connect();
    good.publish("large", "x");
    let before = Footprint::of(&nsqd);
    let flood = crowd(nsqd.tcp(), 400, b"  V2");
    let http_flood = crowd(nsqd.http(), 400, b"");
    // Logs continue to their next files.
    let body = vec![b'x'; 500_000];
    for _ in 0..10 {
        good.publish("large", &body);
    }
    drop(http_flood);
    wait_until(
        "an operator gets in beside the flood of TCP",
        PATIENCE,
        || {
            nsqd.try_request("GET", "/ping", b"")
                .is_ok_and(|reply| reply.text() == "OK")
        },
    );
    drop(flood);
    neighbour.leave();
    before.check_left_alone(&nsqd, 64);
}

#[test]
fn a_client_that_makes_topics_without_end_is_stopped_before_it_stops_others() {
    let limit = ["prlimit", "--nofile=200:200"];
    let nsqd = Start::with(&[]).through(&limit).now();
    let neighbour = Neighbour::of(&nsqd);
    let mut client = nsqd.connect();
    let mut made = 0;
    let why = loop {
        client.send_with_body(&format!("PUB topic-{made}"), b"x");
        match client.next_frame(PATIENCE) {
            Ok(Frame::Response(text)) if text == "OK" => made += 1,
            Ok(Frame::Error(text)) => break text,
            other => panic!("{other:?}"),
        }
        assert!(made < 400, "nothing stops it");
    };
    assert!(
        why.starts_with("E_PUB_FAILED PUB failed too few file handles are left"),
        "{why}"
    );
    for channel in 0..400 {
        let mut client = nsqd.connect();
        client.send_line(&format!("SUB good channel-{channel}"));
        match client.next_frame(PATIENCE) {
            Ok(Frame::Response(text)) if text == "OK" => {}
            Ok(Frame::Error(why)) => {
                assert!(why.contains("too few file handles are left"), "{why}");
                break;
            }
            other => panic!("{other:?}"),
        }
        assert!(channel < 399, "nothing stops it");
    }
    // The topics that the flood has made can be deleted again, which nothing prevents.
    nsqd.order("/topic/delete?topic=topic-0");
    neighbour.leave();
    assert_eq!(nsqd.get("/ping").text(), "OK");
}

#[test]
fn headers_without_end_are_refused_at_the_limit() {
    let nsqd = Nsqd::start(&[]);
    let admin = Admin::of_nsqds(&[&nsqd], &[]);
    let neighbour = Neighbour::of(&nsqd);
    let before = [Footprint::of(&nsqd), Footprint::of(&admin)];
    let many = format!(
        "GET /ping HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "A: b\r\n".repeat(10_000)
    );
    let long = format!(
        "GET /ping HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "b".repeat(1 << 20)
    );
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20));
    for request in [&many, &long, &path] {
        for address in [nsqd.http(), admin.http()] {
            for _ in 0..10 {
                let said = all_that_is_said(address, request.as_bytes());
                // Reset while it was still sending, it may have heard nothing.
                assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
            }
        }
    }
    neighbour.leave();
    before[0].check_left_alone(&nsqd, 32);
    before[1].check_left_alone(&admin, 32);
}
