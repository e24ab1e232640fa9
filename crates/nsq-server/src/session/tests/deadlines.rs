//! Heartbeats, and clients that are silent.

use crate::Next;
use crate::testing::{TestServer, at};

const LAST_LOOK: u64 = 10;

#[test]
fn heartbeats_go_out_at_their_interval() {
    let server = TestServer::new();
    let mut client = server.connect(1);
    client.send(b"NOP\n", at(0));
    assert_eq!(client.session.next_deadline(), at(30_000).tick);
    assert_eq!(client.session.handle_timeout(at(29_999)), Next::Wait);
    assert!(client.read().is_empty());
    assert_eq!(client.session.handle_timeout(at(30_000)), Next::Wait);
    assert_eq!(client.read(), ["_heartbeat_"]);
    client.send(b"NOP\n", at(30_001));
    assert_eq!(client.session.next_deadline(), at(60_000).tick);
}

#[test]
fn a_silent_client_is_given_up_after_a_last_look_at_its_socket() {
    let server = TestServer::new();
    let mut client = server.connect(1);
    client.send(b"NOP\n", at(0));
    client.session.handle_timeout(at(30_000));
    assert_eq!(client.session.handle_timeout(at(60_000)), Next::Wait);
    assert_eq!(client.session.next_deadline(), at(60_000 + LAST_LOOK).tick);
    let next = client.session.handle_timeout(at(60_000 + LAST_LOOK));
    assert_eq!(next, Next::Drop);
}

#[test]
fn a_client_whose_command_is_found_at_the_last_look_stays() {
    let server = TestServer::new();
    let mut client = server.connect(1);
    client.send(b"NOP\n", at(0));
    client.session.handle_timeout(at(30_000));
    client.session.handle_timeout(at(60_000));
    client.send(b"NOP\n", at(60_001));
    let next = client.session.handle_timeout(at(60_000 + LAST_LOOK));
    assert_eq!(next, Next::Wait);
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let server = TestServer::new();
    let mut client = server.connect(1);
    client.send(b"NOP\n", at(0));
    client.session.handle_timeout(at(30_000));
    client.session.outbox().handle_blocked(at(30_000).tick);
    for millis in [40_000, 50_000, 59_999] {
        client.send(b"NOP\n", at(millis));
    }
    assert_eq!(client.session.handle_timeout(at(60_000)), Next::Wait);
    let next = client.session.handle_timeout(at(60_000 + LAST_LOOK));
    assert_eq!(next, Next::Drop);
}

#[test]
fn a_client_that_never_says_anything_is_refused() {
    let server = TestServer::new();
    let mut client = server.connect(1);
    client.session.handle_timeout(at(30_000));
    client.session.handle_timeout(at(60_000));
    let next = client.session.handle_timeout(at(60_000 + LAST_LOOK));
    assert_eq!(next, Next::Close);
    let answers = client.read();
    let last = answers.last().unwrap();
    assert!(
        last.ends_with("no command within 1m0s (--first-command-timeout)"),
        "{last}"
    );
    assert_eq!(*server.notes.silent.lock().unwrap(), ["client 1"]);
}
