//! A leader whose way to a consumer's node is lost.

use nsq_core::ChannelCell;
use nsq_protocol::{ChannelName, TopicName};
use nsq_server::feed::{Act, Order, Wanted};
use tokio::time::timeout;

use super::*;
use crate::cluster::consume::codec::{Answer as Answered, Events};
use crate::cluster::consume::tests::nodes::TestNode;

const PEER: NodeId = NodeId(2);

fn orders(opening: u64, number: u64, list: Vec<Order>) -> Orders {
    Orders {
        opening,
        number,
        is_last: false,
        list,
    }
}

fn subscribe() -> Order {
    let wanted = Wanted {
        topic: TopicName::parse("t").unwrap(),
        channel: ChannelName::parse("c").unwrap(),
        msg_timeout: Duration::from_mins(1),
        sample_rate: 0,
    };
    Order::Subscribe {
        subscription: 1,
        wanted: Box::new(wanted),
        ready_count: 10,
    }
}

fn task(node: &TestNode) -> Task {
    Task {
        node: node.this_node(),
        server: Arc::clone(&node.server),
        peer: PEER,
        opened: None,
        consumer_count: Arc::default(),
        counted: 0,
        calls: FuturesUnordered::new(),
    }
}

/// The messages that wait, and those in flight.
fn counts(channel: &Arc<ChannelCell>) -> (u64, usize) {
    let channel = channel.lock();
    (channel.depth(), channel.in_flight_count())
}

/// The leader has handed a message to a node, then missed orders of it, and this was so long ago.
fn lost(node: &TestNode, age: Duration) -> (Task, Order) {
    let mut task = task(node);
    let answer = task.carry_out(orders(5, 0, vec![subscribe()]));
    let Ok(Answered::Events(Events { list, .. })) = Answered::from_bytes(answer) else {
        panic!("a message is handed out");
    };
    let [nsq_server::feed::Event::Message { id, .. }] = &list[..] else {
        panic!("{list:?}");
    };
    let finish = Order::Message {
        subscription: 1,
        id: *id,
        act: Act::Finish,
    };
    assert_eq!(task.carry_out(orders(5, 2, Vec::new())), UNKNOWN_OPENING);
    let opened = task.opened.as_mut().unwrap();
    opened.heard -= age;
    opened.broken.as_mut().unwrap().0 -= age;
    (task, finish)
}

const MORE_THAN_GRACE: Duration = GRACE.saturating_add(Duration::from_millis(100));

#[test]
fn what_a_node_has_is_held_while_it_still_speaks() {
    let node = TestNode::new(None);
    let channel = node.lead_with_a_message();
    let (mut task, finish) = lost(&node, MORE_THAN_GRACE);
    // It does not know yet.
    assert_eq!(task.carry_out(orders(5, 3, Vec::new())), UNKNOWN_OPENING);
    task.look();
    assert_eq!(counts(&channel), (0, 1));
    task.carry_out(orders(6, 0, vec![finish, subscribe()]));
    assert_eq!(counts(&channel), (0, 0));
}

#[test]
fn what_a_node_has_is_requeued_once_it_is_silent() {
    let node = TestNode::new(None);
    let channel = node.lead_with_a_message();
    let (mut task, _) = lost(&node, MORE_THAN_GRACE);
    task.look();
    assert_eq!(counts(&channel), (1, 0));
}

/// The other node speaks more often than the leader looks.
#[tokio::test]
async fn what_a_node_has_is_requeued_at_last_if_it_speaks_and_does_not_begin_again() {
    let node = TestNode::new(None);
    let channel = node.lead_with_a_message();
    let (task, _) = lost(&node, Duration::ZERO);
    let (sender, inbox) = mpsc::unbounded_channel();
    tokio::spawn(task.run(inbox));
    let speaking = async {
        for number in 3.. {
            let (answer, answered) = oneshot::channel();
            let orders = orders(5, number, Vec::new());
            sender.send(Incoming { orders, answer }).ok().unwrap();
            assert_eq!(answered.await.unwrap(), UNKNOWN_OPENING);
            if counts(&channel) == (1, 0) {
                break;
            }
            tokio::time::sleep(LOOK / 10).await;
        }
    };
    timeout(SILENCE * 4, speaking).await.unwrap();
}
