//! One node's disk that is full, while others have room.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nsq_tests::{Cluster, mount_wrapper, wait_until};

use crate::faults::under_load;
use crate::members::{PATIENCE, channel, publish};

const CLUSTER_PATIENCE: Duration = Duration::from_mins(1);

/// Mounts a small disk over the data folder, seen by the daemon alone. It has room for the segments that the logs reserve.
const SMALL_DISK: &str = "mount -t tmpfs -o size=320m tmpfs {folder} && exec \"$@\"";

/// A cluster whose first node has a small disk.
fn with_a_small_disk(flags: &[&str]) -> Option<Cluster> {
    let [unshare, option] = mount_wrapper()?;
    let mut cluster = Cluster::later(3, flags);
    cluster[0].start_again_through(&[unshare, option, "sh", "-c", SMALL_DISK, "sh"]);
    cluster[1].start_again();
    cluster[2].start_again();
    cluster.wait_until_ok();
    Some(cluster)
}

/// Fills the first node's disk; what is returned is to be removed.
fn fill(cluster: &Cluster) -> PathBuf {
    let filler = cluster[0].folder_within().join("filler");
    let file = fs::File::create(&filler).expect("there is room for a name");
    let mut file = std::io::BufWriter::with_capacity(4096, file);
    let block = vec![7; 4096];
    // Ends when the disk is full.
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
    drop(file.into_parts());
    filler
}

/// Publishes large messages to the first node until another one leads its shard, since its disk is full. Returns why it refused
/// publishes until then.
#[track_caller]
fn publish_until_led_elsewhere(cluster: &Cluster) -> HashSet<String> {
    let body = vec![b'x'; 512 * 1024];
    let mut refusals = HashSet::new();
    let shard = cluster.own_shard(0);
    wait_until("another node leads the shard", CLUSTER_PATIENCE, || {
        let reply = cluster[0].post("/pub?topic=large", &body);
        if reply.status != 200 {
            refusals.insert(reply.text().to_lowercase());
        }
        let report = cluster.report(1).unwrap_or_default();
        let shards = report["shards"].as_array().cloned().unwrap_or_default();
        shards.iter().any(|about| {
            about["shard"] == shard && about["leader"].is_u64() && about["leader"] != about["owner"]
        })
    });
    refusals
}

fn check(what: &str, flags: &[&str]) {
    let Some(mut cluster) = with_a_small_disk(flags) else {
        return;
    };
    channel(&cluster[0], "large");
    under_load(what, &mut cluster, |cluster, traffic| {
        let filler = fill(cluster);
        let refusals = publish_until_led_elsewhere(cluster);
        let is_clear =
            |why: &String| why.contains("no space left") || why.contains("leadership of shard");
        assert!(refusals.iter().all(is_clear), "{refusals:?}");
        wait_until("the others say so", PATIENCE, || {
            let report = cluster.report(1).unwrap_or_default();
            let problems = report["problems"].as_array().cloned().unwrap_or_default();
            problems.iter().any(|problem| {
                let problem = problem.as_str().unwrap_or_default();
                problem.to_lowercase().contains("no space left")
            })
        });
        // The others continue, make topics, and take what is published to the node.
        traffic.wait_for_publishes(300);
        channel(&cluster[1], "later");
        publish(&cluster[1], "later", "while a disk is full");
        fs::remove_file(filler).expect("our own file can be removed");
        cluster.wait_until_ok();
        traffic.wait_for_publishes(300);
    });
    assert!(cluster[0].terminate().success());
}

#[test]
fn a_node_whose_disk_is_full_refuses_publishes_and_goes_on_once_there_is_room() {
    check("a full disk", &[]);
}

#[test]
fn a_node_that_syncs_and_whose_disk_is_full_goes_on_once_there_is_room() {
    check("a full disk and synced publishes", &["--sync-publish"]);
}
