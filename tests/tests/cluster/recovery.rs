//! The majority of a cluster is lost for good, and one command has the node that is left continue.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use nsq_tests::{Cluster, Frame, Nsqd, PATIENCE};
use serde_json::Value;

use crate::members::{self, channel, consume, publish};
use crate::stopped::{files, finish, run_on, text, wait_until_all_have_all};

/// The id of the cluster, as the command asks for it.
fn id_of(node: &Nsqd) -> String {
    let before = files(node.folder());
    let output = run_on(node, &["--cluster-recover=show"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(files(node.folder()) == before, "nothing is changed");
    let id = said.rsplit("--cluster-recover=").next().unwrap_or_default();
    let id: String = id.chars().take_while(char::is_ascii_hexdigit).collect();
    assert_eq!(id.len(), 32, "{said}");
    id
}

/// Recovers a node that is not running, and starts it.
pub(crate) fn recover(node: &mut Nsqd) -> String {
    let id = id_of(node);
    let output = run_on(node, &[&format!("--cluster-recover={id}")]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    node.start_again();
    let deadline = Instant::now() + members::PATIENCE;
    loop {
        let report = node.try_request("GET", "/cluster", b"");
        let report = report.map(|reply| reply.json()).unwrap_or_default();
        let shards = report["shards"].as_array().cloned().unwrap_or_default();
        let is_led = |shard: &Value| shard["leader"].is_u64();
        let is_new = report["cluster_id"].is_string() && report["cluster_id"] != id.as_str();
        if report["state"] == "under-replicated"
            && is_new
            && !shards.is_empty()
            && shards.iter().all(is_led)
        {
            return said;
        }
        assert!(
            Instant::now() <= deadline,
            "it does not lead all it has: {report:#}\n{}",
            node.log().tail()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Receives and finishes messages until all of these came.
fn receive_all(node: &Nsqd, topic: &str, mut wanted: HashSet<String>) {
    let mut client = node.subscribe(topic, "c", 50);
    while !wanted.is_empty() {
        match client.next_frame(PATIENCE) {
            Ok(Frame::Message(message)) => {
                client.finish(&message);
                wanted.remove(&message.text());
            }
            Ok(_) => client.send_line("NOP"),
            Err(end) => panic!(
                "{end:?}, and {} messages did not come: {wanted:?}",
                wanted.len()
            ),
        }
    }
}

#[test]
fn the_last_node_goes_on_after_the_majority_is_lost_and_new_nodes_become_full_replicas() {
    let mut cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    let mut wanted = HashSet::new();
    for at in 0..90 {
        let body = format!("m {at}");
        publish(&cluster[at % 3], "orders", &body);
        wanted.insert(body);
    }
    for body in finish(&cluster[1], "orders", 10) {
        wanted.remove(&body);
    }
    wait_until_all_have_all(&cluster);
    cluster[2].kill9();
    cluster.lose(0);
    cluster.lose(1);

    let said = recover(&mut cluster[2]);
    assert_eq!(said.matches("is given up").count(), 2, "{said}");
    assert_eq!(said.matches("is kept up to entry").count(), 3, "{said}");
    assert!(!said.contains("LOST"), "{said}");
    receive_all(&cluster[2], "orders", wanted);

    // The lost nodes begin again, empty, with the flags that they had.
    cluster[0].start_again();
    cluster[1].start_again();
    cluster.wait_until_ok();
    wait_until_all_have_all(&cluster);
    let report = cluster.report(0).expect("it answers");
    let shards = report["shards"].as_array().cloned().unwrap_or_default();
    assert_eq!(shards.len(), 3, "one for each node: {report}");
    for shard in &shards {
        let replicas = shard["replicas"].as_array().map_or(0, Vec::len);
        assert_eq!(replicas, 3, "{report}");
    }
    publish(&cluster[2], "orders", "of the new cluster");
    cluster.lose(2);
    consume(&[&cluster[0], &cluster[1]], "orders", "of the new cluster");
}

#[test]
fn nodes_of_the_lost_majority_that_come_back_serve_nothing_until_they_begin_again() {
    let mut cluster = Cluster::start(3, &["--cluster-publish-timeout=1s"]);
    channel(&cluster[0], "orders");
    publish(&cluster[0], "orders", "kept");
    wait_until_all_have_all(&cluster);
    for node in 0..3 {
        cluster[node].kill9();
    }
    recover(&mut cluster[2]);
    // Together they would be a majority of the old cluster.
    for node in 0..2 {
        cluster[node].start_again();
    }
    for node in 0..2 {
        cluster[node].wait_for_line("was recovered without it");
        let reply = cluster[node].post("/pub?topic=orders", b"nobody takes this");
        assert_eq!(reply.status, 503, "{}", reply.text());
    }
    let members = |cluster: &Cluster| {
        let report = cluster.report(2).unwrap_or_default();
        report["members"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(members(&cluster), 1, "they did not join");
    for node in 0..2 {
        cluster.lose(node);
        cluster[node].start_again();
    }
    consume(&[&cluster[2]], "orders", "kept");
    cluster.wait_until_ok();
    assert_eq!(members(&cluster), 3);
}

#[test]
fn a_recovery_that_was_interrupted_is_done_again_before_the_node_starts() {
    let mut cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    publish(&cluster[0], "orders", "kept");
    wait_until_all_have_all(&cluster);
    for node in 0..3 {
        cluster[node].kill9();
    }
    let id = id_of(&cluster[2]);
    // The identity, which is stored last, cannot be written.
    let in_the_way = cluster[2].folder().join("cluster/identity.copy.new");
    fs::create_dir(&in_the_way).expect("it can be made");
    let flag = format!("--cluster-recover={id}");
    let output = run_on(&cluster[2], &[&flag]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let (status, log) = cluster[2].start_in_vain();
    assert!(!status.success());
    assert!(log.contains("--cluster-recover was interrupted"), "{log}");
    assert!(log.contains(&flag), "{log}");
    fs::remove_dir(&in_the_way).expect("it can be removed");
    recover(&mut cluster[2]);
    consume(&[&cluster[2]], "orders", "kept");
}

#[test]
fn a_single_nsqd_and_a_damaged_directory_are_not_recovered() {
    let mut single = Nsqd::start(&[]);
    assert!(single.terminate().success());
    let output = run_on(&single, &["--cluster-recover=show"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("is not the data path of a node of a cluster"));

    let mut cluster = Cluster::start(3, &[]);
    cluster[0].kill9();
    let id = id_of(&cluster[0]);
    let vote = cluster[0].folder().join("cluster/directory/wal/vote");
    fs::write(vote, "x").expect("it can be written");
    let before = files(cluster[0].folder());
    let output = run_on(&cluster[0], &[&format!("--cluster-recover={id}")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("the directory is damaged"),
        "{}",
        text(&output)
    );
    assert!(files(cluster[0].folder()) == before, "nothing is changed");
}
