//! Consumers that get messages of all nodes over one connection.

use std::thread;
use std::time::{Duration, Instant};

use nsq_tests::{Cluster, Frame, RawClient, ReadEnd, say_loudly, wait_until};

use crate::members::{channel, publish};
use crate::traffic::Traffic;

const PATIENCE: Duration = Duration::from_secs(30);

/// The next `count` messages, which are finished, as text.
#[track_caller]
fn consume(client: &mut RawClient, count: usize) -> Vec<String> {
    let messages = (0..count).map(|_| {
        let message = next(client);
        client.finish(&message);
        message.text()
    });
    messages.collect()
}

#[track_caller]
fn next(client: &mut RawClient) -> nsq_tests::Delivery {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match client.next_frame(left) {
            Ok(Frame::Message(message)) => return message,
            Ok(Frame::Response(_)) => client.send(b"NOP\n"),
            other => panic!("not a message: {other:?}"),
        }
    }
}

/// Messages in flight and deferred in all shards.
fn unfinished(cluster: &Cluster, topic: &str) -> (u64, u64, u64) {
    let sum = |key: &str| {
        let of = |node: &nsq_tests::Nsqd| node.channel(topic, "c")[key].as_u64().unwrap_or(0);
        cluster.nodes().iter().map(of).sum()
    };
    (sum("depth"), sum("in_flight_count"), sum("deferred_count"))
}

#[track_caller]
fn wait_for(cluster: &Cluster, topic: &str, wanted: (u64, u64, u64)) {
    wait_until(&format!("{topic} has {wanted:?}"), PATIENCE, || {
        unfinished(cluster, topic) == wanted
    });
}

#[test]
fn a_consumer_of_one_node_gets_what_is_published_on_any_and_finishes_it_there() {
    let cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    let mut consumer = cluster[0].subscribe("orders", "c", 1);
    let mut wanted = Vec::new();
    for number in 0..60 {
        let body = number.to_string();
        publish(&cluster[number % 3], "orders", &body);
        wanted.push(body);
    }
    let mut got = consume(&mut consumer, 60);
    got.sort_by_key(|body| body.parse::<u32>().expect("a number"));
    assert_eq!(got, wanted);
    wait_for(&cluster, "orders", (0, 0, 0));

    // It is counted once, at its own node.
    let clients = |node: usize| cluster[node].channel("orders", "c")["client_count"].as_u64();
    let counts: Vec<_> = (0..3).map(clients).collect();
    assert_eq!(counts, [Some(1), Some(0), Some(0)]);
    let shown = cluster[0].channel("orders", "c");
    let client = &shown["clients"][0];
    assert_eq!(client["message_count"], 60, "{shown:#}");
    assert_eq!(client["finish_count"], 60, "{shown:#}");
}

#[test]
fn a_message_of_another_node_is_given_back_touched_and_times_out() {
    let cluster = Cluster::start(3, &["--msg-timeout=4s"]);
    channel(&cluster[0], "orders");
    let mut consumer = cluster[0].subscribe("orders", "c", 1);
    publish(&cluster[1], "orders", "a");
    let message = next(&mut consumer);
    assert_eq!(message.attempts, 1);
    consumer.send_line(&format!("REQ {} 0", message.id));
    let message = next(&mut consumer);
    assert_eq!(message.attempts, 2);

    let deferred = Instant::now();
    consumer.send_line(&format!("REQ {} 500", message.id));
    wait_for(&cluster, "orders", (0, 0, 1));
    let message = next(&mut consumer);
    assert!(deferred.elapsed() >= Duration::from_millis(450));
    assert_eq!(message.attempts, 3);

    let held = Instant::now();
    for _ in 0..3 {
        thread::sleep(Duration::from_secs(2));
        consumer.send_line(&format!("TOUCH {}", message.id));
    }
    let again = next(&mut consumer);
    assert!(
        held.elapsed() >= Duration::from_millis(9800),
        "it was touched"
    );
    assert_eq!((again.attempts, &again.id), (4, &message.id));
    consumer.finish(&again);
    wait_for(&cluster, "orders", (0, 0, 0));
    consumer.finish(&again);
    consumer.expect_error(&format!(
        "E_FIN_FAILED FIN {} failed ID not in flight",
        again.id
    ));
}

#[test]
fn a_paused_shard_gives_nothing_to_consumers_of_other_nodes() {
    let cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    let mut consumer = cluster[0].subscribe("orders", "c", 5);
    // Each shard makes the channel by itself.
    cluster[1].wait_for_channel("orders", "c", &[("depth", 0)]);
    cluster[1].order("/channel/pause?topic=orders&channel=c");
    publish(&cluster[1], "orders", "paused");
    publish(&cluster[2], "orders", "not paused");
    assert_eq!(consume(&mut consumer, 1), ["not paused"]);
    assert_eq!(
        consumer.next_frame(Duration::from_millis(500)),
        Err(ReadEnd::Silence)
    );
    cluster[1].order("/channel/unpause?topic=orders&channel=c");
    assert_eq!(consume(&mut consumer, 1), ["paused"]);
}

#[test]
fn messages_of_a_slow_consumer_do_not_wait_for_it_at_its_node() {
    let cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    let mut slow = cluster[0].subscribe("orders", "c", 1);
    for node in [1, 2] {
        publish(&cluster[node], "orders", "first");
    }
    // It holds one, and the other message is for another consumer.
    let held = next(&mut slow);
    let mut other = cluster[0].subscribe("orders", "c", 1);
    let message = next(&mut other);
    assert_eq!(message.attempts, 1, "it has not reached the slow one");
    other.finish(&message);
    slow.finish(&held);
    wait_for(&cluster, "orders", (0, 0, 0));
}

#[test]
fn an_ephemeral_channel_gets_messages_of_all_nodes_and_goes_with_its_last_client() {
    let cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    let mut consumer = cluster[0].subscribe("orders", "short#ephemeral", 5);
    let has_it = |node: &nsq_tests::Nsqd| !node.channel("orders", "short#ephemeral").is_null();
    wait_until("all nodes have the channel", PATIENCE, || {
        cluster.nodes().iter().all(has_it)
    });
    for node in cluster.nodes() {
        publish(node, "orders", "to all");
    }
    assert_eq!(consume(&mut consumer, 3), ["to all"; 3]);
    drop(consumer);
    wait_until("no node has the channel", PATIENCE, || {
        !cluster.nodes().iter().any(has_it)
    });
}

/// Traffic with publishers on all nodes and one consumer, at the first one, that may hold one message.
#[track_caller]
fn with_one_consumer(
    what: &str,
    cluster: &mut Cluster,
    consumer_at: usize,
    fault: impl FnOnce(&mut Cluster, &Traffic),
) {
    let addresses = cluster.nodes().iter().map(|node| node.tcp());
    let traffic = Traffic::new("orders", addresses.collect()).with_one_consumer(consumer_at, 1);
    thread::scope(|scope| {
        traffic.start(scope);
        traffic.wait_for_publishes(200);
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            fault(cluster, &traffic);
            traffic.wait_for_publishes(300);
        }));
        traffic.finish();
        if let Err(cause) = failed {
            std::panic::resume_unwind(cause);
        }
    });
    traffic.check(what);
    assert!(
        traffic.longest_silence() < Duration::from_secs(15),
        "nothing was delivered for {:?}",
        traffic.longest_silence()
    );
}

#[test]
fn a_consumer_of_one_message_goes_on_when_a_node_that_feeds_it_is_killed() {
    let mut cluster = Cluster::start(3, &[]);
    with_one_consumer(
        "a feeding node killed",
        &mut cluster,
        0,
        |cluster, traffic| {
            cluster[1].kill9();
            traffic.wait_for_publishes(500);
            cluster[1].start_again();
            cluster.wait_until_ok();
        },
    );
}

#[test]
fn a_consumer_of_one_message_goes_on_at_another_node_when_its_own_is_killed() {
    let mut cluster = Cluster::start(3, &[]);
    with_one_consumer(
        "its own node killed",
        &mut cluster,
        0,
        |cluster, traffic| {
            cluster[0].kill9();
            traffic.wait_for_publishes(500);
            cluster[0].start_again();
            cluster.wait_until_ok();
        },
    );
}

#[test]
fn what_the_consumers_of_a_killed_node_had_is_delivered_by_others() {
    let mut cluster = Cluster::start(3, &["--msg-timeout=5m"]);
    channel(&cluster[0], "orders");
    let mut consumer = cluster[0].subscribe("orders", "c", 10);
    for node in [1, 2] {
        publish(&cluster[node], "orders", "held");
    }
    for _ in 0..2 {
        next(&mut consumer);
    }
    let killed = Instant::now();
    cluster[0].kill9();
    let mut other = cluster[1].subscribe("orders", "c", 10);
    assert_eq!(consume(&mut other, 2), ["held"; 2]);
    say_loudly(&format!(
        "what a killed node's consumer had came again after {:?}",
        killed.elapsed()
    ));
    assert!(killed.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_consumer_of_one_message_goes_on_through_a_rolling_restart() {
    let mut cluster = Cluster::start(3, &[]);
    with_one_consumer("rolling restart", &mut cluster, 0, |cluster, traffic| {
        for node in 0..3 {
            assert!(cluster[node].terminate().success());
            traffic.wait_for_publishes(100);
            cluster[node].start_again();
            cluster.wait_until_ok();
        }
    });
}
