//! What other nodes send, which is values of the codec and connections, and the files in which a replica keeps the members
//! of its group.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use nsq_replay::Input;

use crate::codec::{Answer, Entry, Manifest, Membership, Request, Vote, Wire};
use crate::raft::{FormerMembers, Members};

/// A value of the crate's codec, by the first byte. What decodes is encoded to bytes that mean the same.
pub fn nodes(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let rest = Bytes::copy_from_slice(input.rest());
    match kind % 8 {
        0 => again::<Request>(rest),
        1 => again::<Answer>(rest),
        2 => again::<Entry>(rest),
        3 => again::<Manifest>(rest),
        4 => again::<Membership>(rest),
        5 => again::<Vote>(rest),
        6 => again::<Members>(rest),
        _ => again::<FormerMembers>(rest),
    }
}

fn again<T: Wire + PartialEq + std::fmt::Debug>(bytes: Bytes) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(T::from_bytes(value.to_bytes()), Ok(value));
    }
}

/// A connection to the cluster's port. With an even first byte the rest are frames: they are read whole or not at all, within the
/// limit. With an odd one they are a handshake: without the secret it never succeeds.
pub fn connection(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let stream = input.rest();
    if kind.is_multiple_of(2) {
        let frames = at_once(crate::transport::fuzzing::frames(stream, 1000));
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        assert!(bytes <= stream.len());
        assert!(frames.iter().all(|frame| frame.len() <= 1000));
    } else {
        let is_let_in = at_once(crate::transport::fuzzing::handshake(stream, kind & 2 != 0));
        assert!(!is_let_in || kind & 2 == 0);
    }
}

/// The outcome of something that never waits.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(work).poll(&mut context) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("all bytes are there, and still it waits"),
    }
}

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn values_of_the_corpus() {
        replay("nodes", super::nodes);
    }

    #[test]
    fn connections_of_the_corpus() {
        replay("connection", super::connection);
    }
}
