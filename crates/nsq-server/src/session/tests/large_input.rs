//! Large commands, read straight into the inbox.

use nsq_protocol::encode;

use crate::Next;
use crate::session::{KEPT_INBOX_BYTES, LARGE_COMMAND_BYTES, LARGE_READ_BYTES};
use crate::testing::{TestServer, TestSession, at, publish, topic_name};

/// Two megabytes.
fn large_publish() -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::publish_many(&mut bytes, &topic_name(), vec![vec![7; 100_000]; 20]);
    bytes
}

/// Sends as nsqd reads: through its own buffer, and for a large command into the inbox.
fn send(session: &mut TestSession, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min(100_000));
        bytes = rest;
        let next = match session.session.large_input() {
            None => session.send(piece, at(1)),
            Some(inbox) => {
                assert!(inbox.capacity() - inbox.len() >= LARGE_READ_BYTES);
                inbox.extend_from_slice(piece);
                let next = session.session.handle_large_input(at(1));
                session.carry_out(next, at(1))
            }
        };
        assert_eq!(next, Next::Wait);
    }
}

#[test]
fn a_large_command_is_applied_with_those_after_it() {
    let server = TestServer::new();
    let mut publisher = server.connect(1);
    assert!(publisher.session.large_input().is_none());
    let mut bytes = large_publish();
    bytes.extend(publish("small"));
    bytes.extend(large_publish());
    send(&mut publisher, &bytes);
    assert_eq!(publisher.read(), ["OK", "OK", "OK"]);
}

#[test]
fn the_memory_of_a_large_command_serves_the_next_client_and_a_heartbeat_frees_it() {
    let server = TestServer::new();
    let mut first = server.connect(1);
    send(&mut first, &large_publish());
    assert!(first.session.inbox.capacity() <= KEPT_INBOX_BYTES);

    let mut second = server.connect(2);
    let bytes = large_publish();
    send(&mut second, &bytes[..LARGE_COMMAND_BYTES]);
    let room = second.session.large_input().unwrap().capacity();
    assert!(room >= bytes.len(), "{room}");
    send(&mut second, &bytes[LARGE_COMMAND_BYTES..]);
    assert_eq!(second.read(), ["OK"]);

    second.session.handle_timeout(at(30_000));
    assert!(server.server.spare_inboxes().take().is_none());
}

#[test]
fn the_room_for_a_large_command_grows_with_what_has_come() {
    let server = TestServer::new();
    let mut publisher = server.connect(1);
    let bytes = large_publish();
    let begun = LARGE_COMMAND_BYTES + 1;
    send(&mut publisher, &bytes[..begun]);
    let room = publisher.session.large_input().unwrap().capacity();
    assert!(room <= 2 * (begun + LARGE_READ_BYTES), "{room}");
}
