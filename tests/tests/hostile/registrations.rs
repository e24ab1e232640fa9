//! nsqlookupd, and an nsqd that registers whatever comes to its mind.

use std::io::Write as _;
use std::net::TcpStream;

use nsq_tests::{Lookupd, PATIENCE, RawClient, Start, wait_until};

use crate::footprint::Footprint;
use crate::sockets::connect;

const IDENTITY: &[u8] =
    br#"{"broadcast_address":"stranger","http_port":2,"tcp_port":1,"version":"v"}"#;

/// A node that has introduced itself.
fn node(lookupd: &Lookupd) -> TcpStream {
    let mut node = connect(lookupd.tcp());
    let introduction = RawClient::command("IDENTIFY", IDENTITY);
    node.write_all(&[b"  V1".as_slice(), &introduction].concat())
        .expect("it takes it");
    node
}

#[test]
fn a_flood_of_registrations_stops_at_the_limit_and_others_stay_found() {
    let lookupd = Lookupd::start_with(&["--max-topics=500", "--max-channels=50"]);
    let nsqd = Start::default().registering_with(&[lookupd.tcp()]).now();
    nsqd.order("/topic/create?topic=good");
    lookupd.wait_for_producers("good", &[nsqd.tcp()]);
    let before = Footprint::of(&lookupd);
    for round in 0..20 {
        let mut stranger = node(&lookupd);
        let lines: String = (0..1000)
            .map(|index| match index % 2 {
                0 => format!("REGISTER flood-{round}-{index}\n"),
                _ => format!("REGISTER good channel-{round}-{index}\n"),
            })
            .collect();
        // It is closed at the first line too many.
        let _ = stranger.write_all(lines.as_bytes());
    }
    wait_until("the strangers are gone", PATIENCE, || {
        lookupd.nodes().len() == 1
    });
    assert!(lookupd.topics().len() <= 500);
    assert!(lookupd.channels("good").len() <= 50);
    assert_eq!(lookupd.producers("good"), [nsqd.tcp()]);
    before.check_left_alone(&lookupd, 32);
}

#[test]
fn introductions_again_and_again_leave_nothing() {
    let lookupd = Lookupd::start();
    let before = Footprint::of(&lookupd);
    for _ in 0..500 {
        let mut stranger = node(&lookupd);
        let _ = stranger.write_all(b"REGISTER t#ephemeral c#ephemeral\nREGISTER u c\n");
    }
    wait_until("all are gone", PATIENCE, || lookupd.nodes().is_empty());
    before.check_left_alone(&lookupd, 32);
    assert!(lookupd.topics().len() <= 2);
}
