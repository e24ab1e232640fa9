//! What each node of a cluster shows of it, and what operators do to topics and channels there.

use std::time::Duration;

use nsq_tests::{Cluster, Exposition, Nsqd, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// `topic:channel,channel` of each topic that the node shows.
fn shown(node: &Nsqd) -> Vec<String> {
    let stats = node.stats();
    let names = |list: &Value, key: &str| -> Vec<String> {
        let list = list.as_array().expect("a list");
        let names = list
            .iter()
            .map(|each| each[key].as_str().expect("names are text"));
        names.map(str::to_owned).collect()
    };
    let topics = stats["topics"].as_array().expect("a list of topics");
    let topics = topics.iter().map(|topic| {
        let channels = names(&topic["channels"], "channel_name");
        let topic = topic["topic_name"].as_str().expect("names are text");
        format!("{topic}:{}", channels.join(","))
    });
    topics.collect()
}

#[track_caller]
fn wait_until_all_show(cluster: &Cluster, wanted: &[&str]) {
    wait_until(&format!("all nodes show {wanted:?}"), PATIENCE, || {
        cluster.nodes().iter().all(|node| shown(node) == wanted)
    });
}

fn metrics(node: &Nsqd) -> Exposition {
    Exposition::of(&node.get("/metrics"))
}

#[track_caller]
fn check(node: &Nsqd, path: &str, status: u16) {
    let reply = node.post(path, b"");
    assert_eq!(reply.status, status, "{path}: {}", reply.text());
}

#[test]
fn topics_and_channels_are_made_and_deleted_in_the_whole_cluster_and_paused_where_it_is_asked_for()
{
    let cluster = Cluster::start(3, &[]);
    check(&cluster[0], "/topic/create?topic=t", 200);
    wait_until_all_show(&cluster, &["t:"]);
    check(&cluster[1], "/channel/create?topic=t&channel=c", 200);
    check(&cluster[1], "/topic/create?topic=mine%23ephemeral", 200);
    wait_until("the channel is on all nodes", PATIENCE, || {
        [0, 2].iter().all(|&node| shown(&cluster[node]) == ["t:c"])
    });
    assert_eq!(shown(&cluster[1]), ["mine#ephemeral:", "t:c"]);
    check(&cluster[1], "/topic/delete?topic=mine%23ephemeral", 200);

    check(&cluster[2], "/channel/pause?topic=t&channel=c", 200);
    check(&cluster[2], "/topic/pause?topic=t", 200);
    for node in 0..3 {
        let topic = cluster[node].topic("t");
        assert_eq!(topic["paused"], node == 2, "{topic}");
        assert_eq!(topic["channels"][0]["paused"], node == 2, "{topic}");
    }
    check(&cluster[2], "/channel/unpause?topic=t&channel=c", 200);
    assert_eq!(cluster[2].channel("t", "c")["paused"], false);
    check(&cluster[0], "/channel/pause?topic=t&channel=none", 404);
    check(&cluster[0], "/topic/pause?topic=none", 404);

    // Deleted by two nodes, as nsqadmin does it: the second one finds it done.
    for node in 0..3 {
        check(&cluster[node], "/channel/delete?topic=t&channel=c", 200);
    }
    wait_until_all_show(&cluster, &["t:"]);
    for node in 0..3 {
        check(&cluster[node], "/topic/delete?topic=t", 200);
    }
    wait_until_all_show(&cluster, &[]);
    check(&cluster[0], "/topic/delete?topic=never", 404);
}

#[test]
fn a_node_that_leads_two_shards_shows_their_sums_and_each_client_once() {
    let mut cluster = Cluster::start(3, &[]);
    check(&cluster[1], "/topic/create?topic=t", 200);
    check(&cluster[1], "/channel/create?topic=t&channel=c", 200);
    wait_until_all_show(&cluster, &["t:c"]);
    assert_eq!(cluster[1].post("/pub?topic=t", b"of node 1").status, 200);
    cluster[1].kill9();
    let mut heir = 0;
    wait_until("another node leads both shards", PATIENCE, || {
        let found = [0, 2].into_iter().find(|&node| {
            let led = metrics(&cluster[node]).value("nsqd_cluster_shards_led");
            led > 1.5 && cluster[node].channel("t", "c")["depth"] == 1
        });
        heir = found.unwrap_or(0);
        found.is_some()
    });
    let node = &cluster[heir];
    assert_eq!(node.post("/pub?topic=t", b"of the heir").status, 200);
    let mut consumer = node.subscribe("t", "c", 5);
    let first = consumer.expect_message();
    let second = consumer.expect_message();
    assert_ne!(first.id, second.id);
    consumer.finish(&first);
    node.wait_for_channel("t", "c", &[("in_flight_count", 1), ("depth", 0)]);
    let channel = node.channel("t", "c");
    assert_eq!(channel["client_count"], 1, "{channel}");
    let clients = channel["clients"].as_array().expect("a list of clients");
    assert_eq!(clients.len(), 1, "{channel}");
    for (figure, wanted) in [
        ("ready_count", 5),
        ("in_flight_count", 1),
        ("message_count", 2),
        ("finish_count", 1),
    ] {
        assert_eq!(clients[0][figure], wanted, "{figure} of {channel}");
    }
    consumer.finish(&second);
    node.wait_for_channel("t", "c", &[("in_flight_count", 0)]);

    let before = metrics(&cluster[heir]);
    let delivered = r#"nsqd_channel_delivered_messages_total{topic="t",channel="c"}"#;
    assert!((before.value(delivered) - 2.0).abs() < 0.1);
    cluster[1].start_again();
    cluster.wait_until_ok();
    let after = metrics(&cluster[heir]);
    for counter in [
        delivered,
        "nsqd_all_channels_delivered_messages_total",
        "nsqd_all_channels_finished_messages_total",
        "nsqd_all_topics_published_messages_total",
    ] {
        let (before, after) = (before.value(counter), after.value(counter));
        assert!(after >= before, "{counter}: {after} after {before}");
    }
}

#[test]
fn a_node_neither_drains_nor_takes_what_another_nsqd_drains() {
    let cluster = Cluster::start(3, &[]);
    let reply = cluster[0].post("/drain", b"");
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("/cluster/remove"), "{}", reply.text());
    let alone = Nsqd::start(&[]);
    let reply = alone.post(&format!("/drain?to={}", cluster[0].http()), b"");
    assert_eq!(reply.status, 400, "{}", reply.text());
    let why = "is a node of a cluster, which adopts no messages";
    assert!(reply.text().contains(why), "{}", reply.text());
    assert_eq!(alone.get("/drain").json()["draining"], false);
}

#[test]
fn a_limit_of_topics_counts_those_of_the_whole_cluster() {
    let cluster = Cluster::start(3, &["--max-topics=1", "--max-channels=1"]);
    assert_eq!(cluster[0].post("/pub?topic=t", b"body").status, 200);
    wait_until_all_show(&cluster, &["t:"]);
    check(&cluster[1], "/topic/create?topic=u", 429);
    assert_eq!(cluster[2].post("/pub?topic=u", b"body").status, 429);
    check(&cluster[2], "/topic/create?topic=t", 200);
    check(&cluster[2], "/channel/create?topic=t&channel=c", 200);
    wait_until_all_show(&cluster, &["t:c"]);
    check(&cluster[0], "/channel/create?topic=t&channel=d", 429);
    check(&cluster[0], "/channel/create?topic=t&channel=c", 200);
}
