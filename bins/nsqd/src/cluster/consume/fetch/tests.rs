//! The way from a consumer's node to a leader.

use nsq_cluster::NodeId;
use tokio::time::timeout;

use super::*;
use crate::cluster::consume::codec::Call;
use crate::cluster::consume::tests::nodes::TestNode;

#[test]
fn a_clock_that_was_set_back_does_not_make_an_opening_an_earlier_one() {
    assert_eq!(next_opening(0, 500), 500);
    assert_eq!(next_opening(500, 100), 501);
    assert_eq!(next_opening(501, -1), 502);
    assert_eq!(next_opening(502, 600), 600);
}

#[test]
fn a_node_that_has_answered_is_called_again_soon() {
    let mut pauses = Pauses::default();
    for _ in 0..10 {
        pauses.next(false);
    }
    assert_eq!(pauses.next(false), LAST_PAUSE);
    assert_eq!(pauses.next(true), FIRST_PAUSE);
    assert_eq!(pauses.next(false), 2 * FIRST_PAUSE);
}

/// The next call to the leader.
async fn next_orders(node: &TestNode) -> Orders {
    let body = timeout(TOO_LONG, node.next_call()).await.unwrap();
    match Call::from_bytes(body).unwrap() {
        Call::Orders(orders) => orders,
        Call::Events(events) => panic!("{events:?}"),
    }
}

#[tokio::test]
async fn orders_do_not_wait_for_answers_that_are_lost() {
    let fetcher = Arc::<Fetcher>::default();
    let node = TestNode::new(Some(&fetcher));
    let (_stop, is_over) = watch::channel(false);
    let link = Link {
        node: node.this_node(),
        peer: NodeId(2),
        member: Member {
            address: "n2:4152".to_owned(),
        },
        source: fetcher.add_source(2),
        is_over,
        is_answered: false,
    };
    tokio::spawn(link.run());
    let mut consumers = Vec::new();
    let mut calls = Vec::new();
    // No call is ever answered.
    for id in 1..=3 {
        consumers.push(node.consumer(id));
        calls.push(next_orders(&node).await);
    }
    let last = calls.last().unwrap();
    assert_eq!(last.opening, calls[0].opening);
    assert_eq!(last.number, 2);
    assert!(
        matches!(last.list[..], [Order::Subscribe { .. }, ..]),
        "{last:?}"
    );
}

/// A call that does not come within this time never comes.
const TOO_LONG: Duration = Duration::from_secs(10);
