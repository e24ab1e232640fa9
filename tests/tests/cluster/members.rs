//! Nodes that join, leave, come back as something else, and are removed.

use std::time::Duration;

use nsq_tests::{Cluster, Nsqd, wait_until};
use serde_json::Value;

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Publishes a message, for as long as the node needs to be able to.
#[track_caller]
pub(crate) fn publish(node: &Nsqd, topic: &str, body: &str) {
    wait_until(&format!("{body:?} is published"), PATIENCE, || {
        let reply = node.try_request("POST", &format!("/pub?topic={topic}"), body.as_bytes());
        reply.is_ok_and(|reply| reply.status == 200)
    });
}

/// Consumes one message of the channel `c`, which some of these nodes has.
#[track_caller]
pub(crate) fn consume(nodes: &[&Nsqd], topic: &str, body: &str) {
    let has_one = |node: &&Nsqd| node.channel(topic, "c")["depth"].as_u64() > Some(0);
    let mut holder = None;
    wait_until(&format!("a node offers {body:?}"), PATIENCE, || {
        holder = nodes.iter().copied().find(has_one);
        holder.is_some()
    });
    let mut client = holder.expect("there is one").subscribe(topic, "c", 1);
    let delivery = client.expect_body(body);
    client.finish(&delivery);
}

pub(crate) fn channel(node: &Nsqd, topic: &str) {
    node.order(&format!("/topic/create?topic={topic}"));
    node.order(&format!("/channel/create?topic={topic}&channel=c"));
}

fn member_count(node: &Nsqd) -> usize {
    let report = node.try_request("GET", "/cluster", b"");
    let report = report.map(|reply| reply.json()).unwrap_or_default();
    report["members"].as_array().map_or(0, Vec::len)
}

#[test]
fn the_messages_of_a_single_nsqd_survive_its_loss_once_it_is_in_a_cluster() {
    let mut cluster = Cluster::later(3, &[]);
    let flags = cluster.flags(0);
    cluster[0].start_again_with(&[]);
    channel(&cluster[0], "orders");
    publish(&cluster[0], "orders", "from before");
    assert!(cluster[0].terminate().success());

    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    cluster[0].start_again_with(&flags);
    cluster[1].start_again();
    cluster[2].start_again();
    cluster.wait_until_ok();
    cluster.lose(0);
    consume(&[&cluster[1], &cluster[2]], "orders", "from before");
}

#[test]
fn a_node_without_its_flags_is_a_single_nsqd_again_and_with_them_joins_as_a_new_member() {
    let mut cluster = Cluster::start(3, &[]);
    let flags = cluster.flags(0);
    channel(&cluster[0], "orders");
    publish(&cluster[0], "orders", "of the cluster");
    cluster.wait_until_ok();
    assert!(cluster[0].terminate().success());

    cluster[0].start_again_with(&["--broadcast-address=127.0.0.1"]);
    cluster[0].wait_for_line("has left its cluster");
    consume(&[&cluster[0]], "orders", "of the cluster");
    publish(&cluster[0], "orders", "alone");
    assert!(cluster[0].terminate().success());

    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    cluster[0].start_again_with(&flags);
    cluster[0].wait_for_line("what this node has accepted");
    cluster.wait_until_ok();
    let kept = std::fs::read_dir(cluster[0].folder()).expect("the folder can be listed");
    let names = kept.map(|entry| entry.expect("it can be listed").file_name());
    let mut names = names.filter_map(|name| name.into_string().ok());
    assert!(
        names.any(|name| name.starts_with("alone.")),
        "what the single nsqd accepted is kept"
    );
}

#[test]
fn a_fourth_node_joins_and_takes_the_place_of_one_that_is_removed() {
    let mut cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    publish(&cluster[0], "orders", "kept");
    let mut fourth = cluster.newcomer(&[]);
    fourth.start_again();
    wait_until("the fourth node is a member", PATIENCE, || {
        member_count(&cluster[1]) == 4
    });
    publish(&fourth, "others", "through the fourth");
    // While a shard has only two voters, it needs both.
    wait_until(
        "the fourth node's shard has all its voters",
        PATIENCE,
        || {
            let report = cluster.report(1).unwrap_or_default();
            let shards = report["shards"].as_array();
            report["state"] == "ok"
                && shards
                    .is_some_and(|shards| shards.len() == 4 && shards.iter().all(has_three_voters))
        },
    );

    cluster[0].kill9();
    let address = cluster.cluster_address(0);
    let removed = cluster[1].post(&format!("/cluster/remove?node={address}"), b"");
    assert_eq!(removed.status, 200, "{}", removed.text());
    wait_until("the others have its replicas", PATIENCE, || {
        cluster.report(1).is_some_and(|report| {
            report["state"] == "ok" && shard_count(&report) == 4 && member_count(&fourth) == 3
        })
    });
    consume(&[&cluster[1], &cluster[2], &fourth], "orders", "kept");
    wait_until("the shard without an owner goes", PATIENCE, || {
        cluster
            .report(1)
            .is_some_and(|report| shard_count(&report) == 3)
    });

    // It was away when it was removed.
    cluster[0].start_again();
    cluster[0].wait_for_line("was removed from the cluster for good");
}

fn has_three_voters(shard: &Value) -> bool {
    let replicas = shard["replicas"].as_array();
    let votes = |replica: &&Value| replica["role"] == "voter" || replica["role"] == "leader";
    replicas.is_some_and(|replicas| replicas.iter().filter(votes).count() == 3)
}

fn shard_count(report: &Value) -> usize {
    report["shards"].as_array().map_or(0, Vec::len)
}

#[test]
fn what_an_upstream_nsqd_left_is_imported_before_its_data_path_is_replicated() {
    let mut cluster = Cluster::later(3, &[]);
    let body = b"from upstream";
    let length = u32::try_from(26 + body.len()).expect("it is short");
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(1_600_000_000_000_000_000_i64.to_be_bytes());
    bytes.extend(1_u16.to_be_bytes());
    bytes.extend(b"0d0c0b0a09080706");
    bytes.extend(body);
    let end = bytes.len();
    let write = |queue: &str, name: &str, bytes: &[u8]| {
        let name = format!("{queue}.diskqueue.{name}.dat");
        let written = std::fs::write(cluster[0].folder().join(name), bytes);
        written.expect("the folder can be written");
    };
    write("orders:c", "000000", &bytes);
    write("orders:c", "meta", format!("1\n0,0\n0,{end}\n").as_bytes());
    for node in 0..3 {
        cluster[node].start_again();
    }
    cluster.wait_until_ok();
    cluster.lose(0);
    consume(&[&cluster[1], &cluster[2]], "orders", "from upstream");
}

/// Two processes with one number could give one vote twice.
#[test]
fn a_process_with_a_copy_of_a_running_nodes_data_ends() {
    let cluster = Cluster::start(3, &[]);
    let mut copy = cluster.newcomer(&[]);
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(format!("{}/.", cluster[0].folder().display()))
        .arg(copy.folder())
        .status();
    assert!(copied.is_ok_and(|status| status.success()));
    copy.start_blindly();
    assert_eq!(copy.wait_for_exit().code(), Some(1));
    let log = copy.log().text();
    assert!(log.contains("has a copy of its data path"), "{log}");
    cluster.wait_until_ok();
}
