//! Peers that are slow or silent, and requests that take long.

use std::sync::atomic::Ordering;

use super::*;

#[tokio::test]
async fn requests_that_are_not_answered_take_bounded_memory_and_those_not_sent_say_so() {
    let handler = Arc::new(Counting::default());
    let limits = TransportLimits {
        max_connection_bytes: 8 << 20,
        ..TransportLimits::default()
    };
    let two = start_with(Security::Loopback, Some(2), limits, handler.clone());
    let one = start(Security::Loopback, Some(1));
    let to = member(&two);
    let large = vec![b'n'; 4 << 20];
    let limit = Duration::from_secs(1);
    let calls = (0..14).map(|_| ask_of(GroupId::DIRECTORY, &one, (2, &to), &large, limit));
    let outcomes = futures_util::future::join_all(calls).await;
    let handled = handler.started.load(Ordering::SeqCst);
    assert!((1..=2).contains(&handled), "{handled} were begun");
    let count = |is: fn(&Result<Answer, CallError>) -> bool| {
        outcomes.iter().filter(|outcome| is(outcome)).count()
    };
    let timed_out = count(|outcome| matches!(outcome, Err(CallError::TimedOut(_))));
    let not_sent = count(|outcome| matches!(outcome, Err(CallError::NotSent(_))));
    assert_eq!(timed_out + not_sent, 14, "{outcomes:?}");
    assert!(timed_out >= handled && not_sent > 0, "{outcomes:?}");
}

#[tokio::test]
async fn a_request_may_take_longer_than_unused_connections_are_kept() {
    let limits = TransportLimits {
        idle: Duration::from_millis(50),
        ..TransportLimits::default()
    };
    let one = start_limited(Security::Loopback, Some(1), limits.clone());
    let two = start_limited(Security::Loopback, Some(2), limits);
    let to = member(&two);
    for _ in 0..2 {
        assert_eq!(ask(&one, (2, &to), b"slow").await, Ok(echo(1, b"slow")));
        // Unused for long enough to be closed.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_is_given_up() {
    let limits = TransportLimits {
        handshake_timeout: Duration::from_millis(100),
        ..TransportLimits::default()
    };
    let one = start_limited(Security::Loopback, Some(1), limits);
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let to = Member {
        address: listener.local_addr().unwrap().to_string(),
    };
    let outcome = ask(&one, (2, &to), b"x").await;
    check_refused(outcome, &format!("node 2 at {}: no connection", to.address));
}
