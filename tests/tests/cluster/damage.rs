//! Files of a replica that are damaged while its node does not run: the node receives everything again by itself.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nsq_tests::{Cluster, Frame, wait_until};

use crate::members::{PATIENCE, channel, consume, publish};

/// Flips a bit in the middle of a file.
fn flip_bit(path: &Path) {
    let mut bytes = fs::read(path).expect("the file can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("the file can be written");
}

fn cut_short(path: &Path) {
    let bytes = fs::read(path).expect("the file can be read");
    fs::write(path, &bytes[..bytes.len() / 2]).expect("the file can be written");
}

/// The segment in a folder whose name begins like this, the last of several.
pub(crate) fn file_in(folder: &Path, beginning: &str) -> PathBuf {
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let paths = entries.map(|entry| entry.expect("the folder can be listed").path());
    let mut paths: Vec<_> = paths
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            let is_segment = path.extension().is_some_and(|extension| extension == "log");
            is_segment && name.is_some_and(|name| name.starts_with(beginning))
        })
        .collect();
    paths.sort();
    paths.pop().expect("there is such a file")
}

/// Where the bytes of a segment end that were ever written.
fn written_end(path: &Path) -> u64 {
    let bytes = fs::read(path).expect("the file can be read");
    let last = bytes.iter().rposition(|byte| *byte != 0);
    last.map_or(0, |last| last as u64 + 1)
}

/// Overwrites the last written bytes of a segment by zeros.
fn zero_tail(path: &Path, count: u64) {
    let end = written_end(path);
    let file = fs::File::options().write(true).open(path);
    let file = file.expect("the file can be opened");
    let zeros = vec![0; usize::try_from(count).expect("it is small")];
    file.write_all_at(&zeros, end - count)
        .expect("the file can be written");
}

/// Flips a bit of a file without a change of its length, also under a process that has it open.
pub(crate) fn flip_bit_at(path: &Path, place: u64) {
    let file = fs::File::options().read(true).write(true).open(path);
    let file = file.expect("the file can be opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, place)
        .expect("the file can be read");
    file.write_all_at(&[byte[0] ^ 1], place)
        .expect("the file can be written");
}

/// Where a text stands in a file.
pub(crate) fn find(path: &Path, text: &str) -> u64 {
    let bytes = fs::read(path).expect("the file can be read");
    let mut windows = bytes.windows(text.len());
    let place = windows.position(|window| window == text.as_bytes());
    place.expect("the text is in the file") as u64
}

/// The segment that holds the messages of a node's own shard.
fn segment(folder: &Path) -> PathBuf {
    file_in(&folder.join("topics/orders.topic"), "main.")
}

/// Waits until the node ends by itself, and starts it again, as its supervisor would.
#[track_caller]
fn expect_restart(cluster: &mut Cluster, node: usize) {
    let status = cluster[node].wait_for_exit_within(PATIENCE);
    assert_eq!(status.code(), Some(1));
    let log = cluster[node].log().text();
    assert!(log.contains("so that its supervisor can start it again"));
    cluster[node].start_again();
    cluster[node].wait_for_line("has set its replicas aside");
    cluster.wait_until_ok();
}

/// Consumes from the first node until this message comes. What was finished a moment before a kill may come again.
#[track_caller]
fn expect(cluster: &Cluster, body: &str) {
    let mut client = cluster[0].subscribe("orders", "c", 1);
    loop {
        match client.next_frame(PATIENCE) {
            Ok(Frame::Message(message)) => {
                client.finish(&message);
                if message.text() == body {
                    return;
                }
            }
            Ok(_) => client.send_line("NOP"),
            Err(end) => panic!("{body:?} never came: {end:?}"),
        }
    }
}

/// Damages a file of the first node, and expects the node to come back with everything.
#[track_caller]
fn check(cluster: &mut Cluster, what: &str, damage: impl FnOnce(&Path)) {
    publish(&cluster[0], "orders", what);
    cluster.wait_until_ok();
    cluster[0].kill9();
    damage(cluster[0].folder());
    cluster[0].start_again();
    cluster[0].wait_for_line("has set its replicas aside");
    cluster.wait_until_ok();
    expect(cluster, what);
    let report = cluster.report(1).expect("node 1 answers");
    let members = report["members"].as_array().expect("there are members");
    let aside = members
        .iter()
        .filter_map(|member| member["set_aside"].as_array());
    assert!(aside.flatten().count() > 0, "{what}: {report:#}");
}

#[test]
fn a_damaged_replica_is_received_again_without_a_command() {
    let mut cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    check(&mut cluster, "how far a shard has come", |folder| {
        flip_bit(&folder.join("cluster/shard-2/meta"));
    });
    check(&mut cluster, "the members of a shard", |folder| {
        cut_short(&folder.join("cluster/shard-3/raft/members"));
    });
    check(&mut cluster, "the vote", |folder| {
        flip_bit(&folder.join("cluster/shard-1/wal/vote"));
    });
    check(&mut cluster, "the directory", |folder| {
        flip_bit(&folder.join("cluster/directory/state/state"));
    });
    check(&mut cluster, "the list of topics", |folder| {
        cut_short(&folder.join("nsqd.dat"));
    });
}

#[test]
fn a_damaged_log_is_received_again_without_a_command() {
    let mut cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    let log = |folder: &Path| file_in(&folder.join("cluster/shard-1/wal"), "wal-");
    check(&mut cluster, "a bit of the log", |folder| {
        let path = log(folder);
        flip_bit_at(&path, find(&path, "orders"));
    });
    check(&mut cluster, "the end of the log", |folder| {
        zero_tail(&log(folder), 60);
    });
    check(&mut cluster, "half of the log", |folder| {
        let path = log(folder);
        let file = fs::File::options().write(true).open(&path);
        let cut = file.and_then(|file| file.set_len(written_end(&path) / 2));
        cut.expect("the file can be cut");
    });
    check(&mut cluster, "the whole log", |folder| {
        fs::remove_file(log(folder)).expect("the file can be removed");
    });
}

#[test]
fn a_node_whose_identity_is_damaged_is_still_the_same_node() {
    let mut cluster = Cluster::start(3, &[]);
    let id = |cluster: &Cluster| cluster.report(0).map(|report| report["node"]["id"].clone());
    let before = id(&cluster);
    cluster[0].kill9();
    cut_short(&cluster[0].folder().join("cluster/identity"));
    cluster[0].start_again();
    cluster.wait_until_ok();
    assert_eq!(id(&cluster), before);
}

#[test]
fn damaged_nodes_without_which_there_is_no_majority_remove_nothing() {
    let mut cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    publish(&cluster[0], "orders", "kept");
    cluster.wait_until_ok();
    let mut whole = Vec::new();
    for node in [0, 1] {
        cluster[node].kill9();
        let path = cluster[node].folder().join("cluster/shard-1/meta");
        whole.push((path.clone(), fs::read(&path).expect("the file can be read")));
        flip_bit(&path);
    }
    for node in [0, 1] {
        cluster[node].start_again();
    }
    for node in [0, 1] {
        cluster[node].wait_for_line("removes nothing");
        cluster[node].kill9();
    }
    // The disk works again.
    for (path, bytes) in whole {
        fs::write(path, bytes).expect("the file can be written");
    }
    for node in [0, 1] {
        cluster[node].start_again();
    }
    cluster.wait_until_ok();
    wait_until("the message is there", PATIENCE, || {
        cluster[0].channel("orders", "c")["depth"] == 1
    });
    consume(&[&cluster[0]], "orders", "kept");
}

#[test]
fn a_message_that_is_damaged_at_its_leader_is_delivered_all_the_same() {
    let mut cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    publish(&cluster[0], "orders", "first");
    publish(&cluster[0], "orders", "damaged");
    publish(&cluster[0], "orders", "third");
    cluster.wait_until_ok();
    let path = segment(cluster[0].folder());
    flip_bit_at(&path, find(&path, "damaged"));
    consume(&[&cluster[0]], "orders", "first");
    expect_restart(&mut cluster, 0);
    expect(&cluster, "damaged");
}

#[test]
fn a_topic_whose_last_messages_are_gone_is_led_by_another_node_and_received_again() {
    let mut cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    publish(&cluster[0], "orders", "first");
    publish(&cluster[0], "orders", "last");
    cluster.wait_until_ok();
    assert!(cluster[0].terminate().success());
    let path = segment(cluster[0].folder());
    zero_tail(&path, written_end(&path) - find(&path, "last"));
    cluster[0].start_again();
    expect_restart(&mut cluster, 0);
    expect(&cluster, "last");
}

#[test]
fn a_log_that_is_damaged_while_its_node_runs_ends_the_process_and_is_received_again() {
    let mut cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    publish(&cluster[0], "orders", "damaged");
    cluster.wait_until_ok();
    cluster[2].kill9();
    // The first ones may be on their way to node 2 already, and the last ones are kept in memory: one between is read from
    // the file.
    let body = |number: u32| format!("{number:0100}{}", "x".repeat(900_000));
    for number in 0..16 {
        publish(&cluster[0], "orders", &body(number));
    }
    let shard = cluster.own_shard(0);
    let folder = cluster[0]
        .folder()
        .join(format!("cluster/shard-{shard}/wal"));
    let path = file_in(&folder, "wal-");
    flip_bit_at(&path, find(&path, &body(8)[..100]));
    cluster[2].start_again();
    expect_restart(&mut cluster, 0);
    expect(&cluster, "damaged");
}
