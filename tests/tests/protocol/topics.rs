//! Topics and channels as their clients feel them: pause, delete, ephemeral ones.

use nsq_tests::{Nsqd, PATIENCE, wait_until};
use serde_json::{Value, json};

#[test]
fn a_paused_topic_accepts_and_holds_also_over_a_restart() {
    let mut nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 5);
    nsqd.order("/topic/pause?topic=t");
    nsqd.connect().publish("t", "held");
    client.expect_silence();
    assert_eq!(nsqd.topic("t")["depth"], 1);
    assert_eq!(nsqd.topic("t")["paused"], true);

    assert!(nsqd.terminate().success());
    nsqd.start_again();
    assert_eq!(nsqd.topic("t")["depth"], 1);
    assert_eq!(nsqd.topic("t")["paused"], true);
    let mut client = nsqd.subscribe("t", "c", 5);
    client.expect_silence();
    nsqd.order("/topic/unpause?topic=t");
    client.expect_body("held");
}

#[test]
fn a_paused_channel_gets_messages_and_delivers_none() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 5);
    nsqd.connect().publish("t", "before");
    let before = client.expect_body("before");
    nsqd.order("/channel/pause?topic=t&channel=c");
    nsqd.connect().publish("t", "during");
    nsqd.wait_for_channel("t", "c", &[("depth", 1), ("in_flight_count", 1)]);
    client.expect_silence();
    client.finish(&before);
    nsqd.wait_for_channel("t", "c", &[("in_flight_count", 0)]);
    nsqd.order("/channel/unpause?topic=t&channel=c");
    client.expect_body("during");
}

#[test]
fn a_channel_made_on_a_paused_topic_gets_the_whole_backlog() {
    let nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/topic/pause?topic=t");
    nsqd.connect().publish_many("t", &["a", "b"]);
    let mut one = nsqd.subscribe("t", "one", 5);
    let mut two = nsqd.subscribe("t", "two", 5);
    one.expect_silence();
    nsqd.order("/topic/unpause?topic=t");
    for client in [&mut one, &mut two] {
        client.expect_message();
        client.expect_message();
    }
}

#[test]
fn deleting_disconnects_subscribers_without_a_word() {
    let nsqd = Nsqd::start(&[]);
    let mut of_channel = nsqd.subscribe("t", "c1", 1);
    let mut of_topic = nsqd.subscribe("t", "c2", 1);
    let mut producer = nsqd.connect();
    producer.publish("t", "x");
    of_channel.expect_body("x");
    of_topic.expect_body("x");

    nsqd.order("/channel/delete?topic=t&channel=c1");
    assert_eq!(nsqd.channel("t", "c1"), Value::Null);
    of_channel.expect_closed();
    of_topic.expect_silence();
    nsqd.order("/topic/delete?topic=t");
    assert_eq!(nsqd.topic("t"), Value::Null);
    of_topic.expect_closed();

    // A producer stays, and its next publish creates the topic again.
    producer.publish("t", "y");
    assert_eq!(nsqd.topic("t")["message_count"], 1);
    assert_eq!(nsqd.topic("t")["channels"], Value::Array(vec![]));
}

#[test]
fn publishing_while_the_topic_is_deleted_is_done_or_refused() {
    let nsqd = Nsqd::start(&[]);
    let (tcp, done) = (nsqd.tcp(), std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100 {
                nsqd.post("/topic/delete?topic=t", b"");
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let mut client = nsq_tests::RawClient::connect(tcp);
            for _ in 0..50 {
                client.send_with_body("PUB t", b"x");
                match client.next_frame(PATIENCE) {
                    Ok(nsq_tests::Frame::Response(text)) if text == "OK" => {}
                    Ok(nsq_tests::Frame::Error(text)) => {
                        assert_eq!(text, "E_PUB_FAILED PUB failed exiting");
                        break;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    });
}

#[test]
fn an_ephemeral_channel_goes_with_its_last_client() {
    let nsqd = Nsqd::start(&[]);
    let one = nsqd.subscribe("t", "c#ephemeral", 1);
    let two = nsqd.subscribe("t", "c#ephemeral", 1);
    drop(one);
    nsqd.wait_for_channel("t", "c#ephemeral", &[("client_count", 1)]);
    drop(two);
    wait_until("the channel is gone", PATIENCE, || {
        nsqd.channel("t", "c#ephemeral") == Value::Null
    });
    assert_ne!(nsqd.topic("t"), Value::Null);
}

#[test]
fn an_ephemeral_topic_goes_with_its_last_channel() {
    let nsqd = Nsqd::start(&[]);
    let ephemeral = nsqd.subscribe("t#ephemeral", "c#ephemeral", 1);
    let lasting = nsqd.subscribe("t2#ephemeral", "c", 1);
    nsqd.order("/channel/create?topic=t%23ephemeral&channel=waiting%23ephemeral");
    drop(ephemeral);
    drop(lasting);
    wait_until("the channel is gone", PATIENCE, || {
        nsqd.channel("t#ephemeral", "c#ephemeral") == Value::Null
    });
    // One without a client stays until a first one has come and gone, and keeps its topic.
    assert_ne!(
        nsqd.channel("t#ephemeral", "waiting#ephemeral"),
        Value::Null
    );
    drop(nsqd.subscribe("t#ephemeral", "waiting#ephemeral", 1));
    wait_until("the topic is gone", PATIENCE, || {
        nsqd.topic("t#ephemeral") == Value::Null
    });
    nsqd.wait_for_channel("t2#ephemeral", "c", &[("client_count", 0)]);
}

#[test]
fn ephemeral_ones_are_not_remembered() {
    let mut nsqd = Nsqd::start(&[]);
    nsqd.connect().publish("t#ephemeral", "x");
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c%23ephemeral");
    nsqd.order("/channel/create?topic=t&channel=c");
    assert!(nsqd.terminate().success());
    nsqd.start_again();
    assert_eq!(nsqd.topic("t#ephemeral"), Value::Null);
    assert_eq!(nsqd.channel("t", "c#ephemeral"), Value::Null);
    assert_ne!(nsqd.channel("t", "c"), Value::Null);
}

#[test]
fn subscribing_never_joins_a_dying_channel() {
    let nsqd = Nsqd::start(&[]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..150 {
                    let mut client = nsqd.connect();
                    client.subscribe("t#ephemeral", "c#ephemeral");
                }
            });
        }
    });
    wait_until("the topic is gone", PATIENCE, || {
        nsqd.topic("t#ephemeral") == Value::Null
    });
    let mut client = nsqd.subscribe("t#ephemeral", "c#ephemeral", 1);
    client.publish("t#ephemeral", "x");
    client.expect_body("x");
}

#[test]
fn the_last_to_publish_shows_as_a_producer() {
    let nsqd = Nsqd::start(&[]);
    let mut producer = nsqd.connect();
    let idle = nsqd.connect();
    producer.publish("one", "x");
    producer.publish("one", "y");
    producer.publish("two", "z");
    let producers = nsqd.stats()["producers"].clone();
    assert_eq!(producers.as_array().map(Vec::len), Some(1), "{producers}");
    // Compat: one topic of those it published to, or the one asked for.
    assert_eq!(
        producers[0]["pub_counts"].as_array().map(Vec::len),
        Some(1),
        "{producers}"
    );
    assert_eq!(
        producers[0]["all_pub_counts"],
        json!([{"topic": "one", "count": 2}, {"topic": "two", "count": 1}])
    );
    let of_one = nsqd.get("/stats?format=json&topic=one").json();
    assert_eq!(of_one["producers"][0]["pub_counts"][0]["count"], 2);
    assert_eq!(of_one["producers"][0].get("all_pub_counts"), None);
    drop(idle);
}
