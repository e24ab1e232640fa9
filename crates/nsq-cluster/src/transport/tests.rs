//! Transports on loopback sockets.

mod access;
mod load;
pub(crate) mod proxy;

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{
    Handler, Peer, Security, Transport, TransportError, TransportLimits, TransportOptions,
};
use crate::codec::{Answer, Refusal, Request};
use crate::identity::ClusterId;
use crate::network::{CallError, Network as _};
use crate::{GroupId, Member, NodeId};

/// Answers with the question and the caller's number; a question that begins with `s` is answered slowly, one with `n` never.
struct Echo;

impl Handler for Echo {
    fn handle(&self, from: Peer, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        Box::pin(async move {
            let Request::Call { body, .. } = request else {
                return Answer::Refused(Refusal::NoSuchGroup);
            };
            match body.first() {
                Some(b's') => tokio::time::sleep(Duration::from_millis(300)).await,
                Some(b'n') => std::future::pending().await,
                _ => {}
            }
            let node = from.node.map_or(0, |node| node.0);
            Answer::Call([&node.to_le_bytes(), &body[..]].concat().into())
        })
    }
}

/// Never answers, and counts.
#[derive(Default)]
struct Counting {
    started: AtomicUsize,
}

impl Handler for Counting {
    fn handle(&self, _: Peer, _: Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        self.started.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn start(security: Security, node: Option<u64>) -> Transport {
    start_limited(security, node, TransportLimits::default())
}

fn start_limited(security: Security, node: Option<u64>, limits: TransportLimits) -> Transport {
    start_with(security, node, limits, Arc::new(Echo))
}

fn start_with(
    security: Security,
    node: Option<u64>,
    limits: TransportLimits,
    handler: Arc<dyn Handler>,
) -> Transport {
    let options = TransportOptions {
        listen: loopback(),
        security,
        handler,
        former: Vec::new(),
        limits,
    };
    let transport = Transport::start(options).unwrap();
    if let Some(node) = node {
        transport.introduce(ClusterId(7), NodeId(node));
    }
    transport
}

fn secret(text: &str) -> Security {
    Security::Secret(text.as_bytes().to_vec())
}

fn member(transport: &Transport) -> Member {
    Member {
        address: transport.address().to_string(),
    }
}

async fn ask_of(
    group: GroupId,
    from: &Transport,
    to: (u64, &Member),
    body: &[u8],
    timeout: Duration,
) -> Result<Answer, CallError> {
    let body = Bytes::copy_from_slice(body);
    let request = Request::Call { group, body };
    from.call(NodeId(to.0), to.1, request, Some(timeout)).await
}

async fn ask(from: &Transport, to: (u64, &Member), body: &[u8]) -> Result<Answer, CallError> {
    ask_of(GroupId::DIRECTORY, from, to, body, Duration::from_secs(5)).await
}

fn echo(node: u64, body: &[u8]) -> Answer {
    Answer::Call([&node.to_le_bytes(), body].concat().into())
}

#[track_caller]
fn check_refused(outcome: Result<Answer, CallError>, words: &str) {
    match outcome {
        Err(CallError::NotSent(why)) => assert!(why.contains(words), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nodes_without_protection_and_with_a_secret_reach_each_other() {
    for security in [Security::Loopback, secret("a secret of enough bytes")] {
        let (one, two) = (start(security.clone(), Some(1)), start(security, Some(2)));
        let large = vec![b'x'; 3 << 20];
        for body in [&b"hello"[..], b"", &large] {
            let answer = ask(&one, (2, &member(&two)), body).await;
            assert_eq!(answer, Ok(echo(1, body)));
        }
    }
}

#[tokio::test]
async fn many_requests_are_under_way_at_once() {
    let (one, two) = (
        start(Security::Loopback, Some(1)),
        start(Security::Loopback, Some(2)),
    );
    let member = member(&two);
    // The first is answered last.
    let slow = ask(&one, (2, &member), b"slow");
    let quick = async {
        for _ in 0..50 {
            ask(&one, (2, &member), b"quick").await.unwrap();
        }
        std::time::Instant::now()
    };
    let (slow, _) = tokio::join!(async { (slow.await, std::time::Instant::now()) }, quick);
    assert_eq!(slow.0, Ok(echo(1, b"slow")));
}

#[tokio::test]
async fn what_is_not_answered_in_time_is_an_error_and_its_end_too() {
    let limits = TransportLimits {
        silence: Duration::from_millis(50),
        ..TransportLimits::default()
    };
    let one = start_limited(Security::Loopback, Some(1), limits);
    let two = start(Security::Loopback, Some(2));
    let to = member(&two);
    let limit = Duration::from_millis(100);
    let group = GroupId::DIRECTORY;
    let outcome = ask_of(group, &one, (2, &to), b"never", limit).await;
    assert_eq!(outcome, Err(CallError::TimedOut(limit)));
    // On a new connection it works again.
    assert_eq!(ask(&one, (2, &to), b"hello").await, Ok(echo(1, b"hello")));
    let waiting = ask_of(group, &one, (2, &to), b"never", Duration::from_mins(1));
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        two.stop().await;
    };
    let (outcome, ()) = tokio::join!(waiting, stopping);
    assert!(
        matches!(outcome, Err(CallError::Unreachable(_))),
        "{outcome:?}"
    );
    tokio::time::timeout(Duration::from_secs(5), async {
        // Once the port is closed, nothing is sent.
        while !matches!(
            ask(&one, (2, &to), b"hello").await,
            Err(CallError::NotSent(_))
        ) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn strangers_may_only_ask_about_the_directory() {
    let (stranger, node) = (
        start(Security::Loopback, None),
        start(Security::Loopback, Some(2)),
    );
    let to = member(&node);
    assert_eq!(
        ask(&stranger, (0, &to), b"join").await,
        Ok(echo(0, b"join"))
    );
    let limit = Duration::from_secs(5);
    let outcome = ask_of(GroupId(3), &stranger, (0, &to), b"publish", limit).await;
    let Ok(Answer::Refused(refusal)) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(
        refusal.to_string().contains("no member of this cluster"),
        "{refusal}"
    );
    // Once it has a number, it is a member.
    stranger.introduce(ClusterId(7), NodeId(9));
    let outcome = ask_of(GroupId(3), &stranger, (2, &to), b"publish", limit).await;
    assert_eq!(outcome, Ok(echo(9, b"publish")));
}

#[tokio::test]
async fn a_wrong_secret_a_foreign_cluster_and_another_node_are_named() {
    let node = start(secret("the right secret of the cluster"), Some(2));
    let to = member(&node);
    let other = start(secret("another secret of some cluster"), Some(1));
    check_refused(ask(&other, (2, &to), b"x").await, "--cluster-secret-file");
    let open = start(Security::Loopback, Some(1));
    check_refused(
        ask(&open, (2, &to), b"x").await,
        "it uses --cluster-secret-file",
    );
    let foreign = start(secret("the right secret of the cluster"), None);
    foreign.introduce(ClusterId(8), NodeId(1));
    check_refused(ask(&foreign, (2, &to), b"x").await, "--cluster-peer");
    let friend = start(secret("the right secret of the cluster"), Some(1));
    let outcome = ask(&friend, (3, &to), b"x").await;
    check_refused(outcome, "node 3 is not here, but node 2");
    assert_eq!(ask(&friend, (2, &to), b"x").await, Ok(echo(1, b"x")));
}

#[tokio::test]
async fn something_else_than_an_nsqd_is_named_and_nothing_at_all_too() {
    let one = start(Security::Loopback, Some(1));
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let to = Member {
        address: listener.local_addr().unwrap().to_string(),
    };
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        drop(stream);
    });
    check_refused(
        ask(&one, (2, &to), b"x").await,
        "no nsqd of a cluster answers there",
    );
    serving.await.unwrap();
    let nobody = Member {
        address: "127.0.0.1:1".to_owned(),
    };
    check_refused(ask(&one, (3, &nobody), b"x").await, "refused");
}

#[tokio::test]
async fn garbage_ends_its_own_connection_and_no_other() {
    let limits = TransportLimits {
        handshake_timeout: Duration::from_millis(200),
        ..TransportLimits::default()
    };
    let node = start_limited(secret("the secret of this cluster"), Some(2), limits);
    let friend = start(secret("the secret of this cluster"), Some(1));
    let to = member(&node);
    assert_eq!(ask(&friend, (2, &to), b"x").await, Ok(echo(1, b"x")));
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xFF; 4000],
        b"nsqclust",
        b"nsqclust\x09\x09\x01\x00................................................................",
        b"",
    ] {
        let mut stream = TcpStream::connect(node.address()).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        // Closed, at the latest when the time for a handshake is over.
        let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
        let _ = end.await.expect("the connection is closed");
    }
    assert_eq!(ask(&friend, (2, &to), b"y").await, Ok(echo(1, b"y")));
}

#[tokio::test]
async fn without_protection_only_loopback_is_listened_on() {
    let options = TransportOptions {
        listen: (Ipv4Addr::UNSPECIFIED, 0).into(),
        security: Security::Loopback,
        handler: Arc::new(Echo),
        former: Vec::new(),
        limits: TransportLimits::default(),
    };
    let error = Transport::start(options).unwrap_err();
    assert!(matches!(error, TransportError::Unprotected(_)));
    assert!(
        error.to_string().contains("--cluster-secret-file"),
        "{error}"
    );
}

#[tokio::test]
async fn more_than_may_wait_to_be_sent_is_refused() {
    let limits = TransportLimits {
        max_waiting_bytes: 1 << 20,
        ..TransportLimits::default()
    };
    let one = start_limited(Security::Loopback, Some(1), limits);
    // It accepts, shakes hands, and then reads nothing.
    let silent = start(Security::Loopback, Some(2));
    let to = member(&silent);
    ask(&one, (2, &to), b"x").await.unwrap();
    let large = vec![b'n'; 2 << 20];
    let limit = Duration::from_millis(500);
    let calls = (0..20).map(|_| ask_of(GroupId::DIRECTORY, &one, (2, &to), &large, limit));
    let outcomes = futures_util::future::join_all(calls).await;
    let refused = |outcome: &&Result<Answer, CallError>| matches!(outcome, Err(CallError::NotSent(why)) if why.contains("wait to be sent"));
    assert!(outcomes.iter().filter(refused).count() > 0, "{outcomes:?}");
}

/// A node that was away for long is called as soon as it is back: the tries grow apart, and its own call says that it runs.
#[tokio::test]
async fn a_node_that_calls_is_called_without_waiting_for_the_next_try() {
    let here = start(Security::Loopback, Some(1));
    let back = start(Security::Loopback, Some(2));
    let there = member(&back);
    let address = back.address();
    back.stop().await;
    drop(back);
    let since = std::time::Instant::now();
    // Until the tries are far apart.
    while since.elapsed() < Duration::from_millis(800) {
        let _ = ask(&here, (2, &there), b"x").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let back = loop {
        let options = TransportOptions {
            listen: address,
            security: Security::Loopback,
            handler: Arc::new(Echo),
            former: Vec::new(),
            limits: TransportLimits::default(),
        };
        match Transport::start(options) {
            Ok(back) => break back,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    back.introduce(ClusterId(7), NodeId(2));
    assert_eq!(
        ask(&back, (1, &member(&here)), b"x").await,
        Ok(echo(2, b"x"))
    );
    assert_eq!(ask(&here, (2, &there), b"x").await, Ok(echo(1, b"x")));
}
