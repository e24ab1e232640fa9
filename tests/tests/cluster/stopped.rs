//! A node that is not running: `--check` and `--export-to` read its replicas.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nsq_tests::{Cluster, Frame, Nsqd, PATIENCE, path_of_nsqd, wait_until};

use crate::faults::copy;
use crate::members::{self, channel, publish};

/// Runs nsqd on the data folder of a node that is not running.
pub(crate) fn run_on(node: &Nsqd, flags: &[&str]) -> Output {
    let mut command = Command::new(path_of_nsqd());
    command
        .arg(format!("--data-path={}", node.folder().display()))
        .args(flags);
    command.output().expect("nsqd can be run")
}

pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Every file with its bytes.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).expect("the file can be read");
            found.insert(path, bytes);
        }
    }
    found
}

/// Waits until all replicas have everything.
pub(crate) fn wait_until_all_have_all(cluster: &Cluster) {
    wait_until("no replica lags", members::PATIENCE, || {
        let report = cluster.report(0).unwrap_or_default();
        let shards = report["shards"].as_array().cloned().unwrap_or_default();
        let replicas = shards
            .iter()
            .filter_map(|shard| shard["replicas"].as_array());
        let mut replicas = replicas.flatten();
        report["state"] == "ok" && replicas.all(|replica| replica["lag_entries"] == 0)
    });
}

/// Finishes some messages that the node has.
pub(crate) fn finish(node: &Nsqd, topic: &str, count: usize) -> Vec<String> {
    let mut client = node.subscribe(topic, "c", 1);
    let mut finished = Vec::new();
    while finished.len() < count {
        match client.next_frame(PATIENCE) {
            Ok(Frame::Message(message)) => {
                client.finish(&message);
                finished.push(message.text());
            }
            Ok(_) => client.send_line("NOP"),
            Err(end) => panic!("{end:?}"),
        }
    }
    client.send_line("CLS");
    finished
}

fn check(node: &Nsqd) -> (Option<i32>, String) {
    let before = files(node.folder());
    let output = run_on(node, &["--check"]);
    assert!(
        files(node.folder()) == before,
        "nothing in the data path is changed"
    );
    (output.status.code(), text(&output))
}

fn export(node: &Nsqd, name: &str) -> (Option<i32>, String, PathBuf) {
    let before = files(node.folder());
    let target = node.folder().join("..").join(format!(
        "{}-{name}",
        node.folder().file_name().expect("it has a name").display()
    ));
    let flag = format!("--export-to={}", target.display());
    let output = run_on(node, &[&flag]);
    assert!(
        files(node.folder()) == before,
        "nothing in the data path is changed"
    );
    (output.status.code(), text(&output), target)
}

/// The number of the shard that node 0 owns.
fn shard_of_first(cluster: &Cluster) -> u64 {
    cluster.own_shard(0)
}

#[test]
fn the_replicas_of_a_stopped_node_are_checked_and_exported() {
    let mut cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    for at in 0..30 {
        publish(&cluster[at % 3], "orders", &format!("m {at}"));
    }
    wait_until_all_have_all(&cluster);
    let numbers = [0, 1, 2].map(|node| cluster.own_shard(node));
    assert!(cluster[2].terminate().success());

    let (code, report) = check(&cluster[2]);
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains("nothing is damaged"), "{report}");
    assert!(report.contains(": this is node "), "{report}");
    for (node, number) in numbers.into_iter().enumerate() {
        let whose = if node == 2 {
            "its own"
        } else {
            "of another node"
        };
        let head = format!("shard {number}, {whose}: last entry ");
        assert!(report.contains(&head), "{head:?} is missing: {report}");
    }
    assert_eq!(
        report.matches("channel c: 10 queued").count(),
        3,
        "{report}"
    );

    let (code, report, target) = export(&cluster[2], "exported");
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains("exported 30 messages"), "{report}");
    assert!(target.join("nsqd.dat").is_file(), "its own shard");
    for number in &numbers[..2] {
        let registry = target.join(format!("shard-{number}/nsqd.dat"));
        assert!(registry.is_file(), "shard {number}");
    }

    // A flipped bit of another node's message.
    let shard = cluster[2].folder().join(format!(
        "cluster/shard-{}/data/topics/orders.topic",
        numbers[0]
    ));
    let segment = crate::damage::file_in(&shard, "main.");
    let place = crate::damage::find(&segment, "m 12");
    crate::damage::flip_bit_at(&segment, place);
    let (code, report) = check(&cluster[2]);
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("DAMAGE"), "{report}");
    fs::remove_dir_all(target).expect("it can be removed");
}

/// The replica's data and how far they are executed are put back to an earlier state, as if it had been killed before it executed
/// the rest of its log.
#[test]
fn messages_that_are_in_the_write_ahead_log_only_are_counted_and_exported() {
    let mut cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    for at in 0..10 {
        publish(&cluster[0], "orders", &format!("early {at}"));
    }
    wait_until_all_have_all(&cluster);
    assert!(cluster[2].terminate().success());
    let shard = cluster[2]
        .folder()
        .join(format!("cluster/shard-{}", shard_of_first(&cluster)));
    let earlier = tempfile::tempdir().expect("a temporary folder can be made");
    for name in ["data", "meta"] {
        copy(&shard.join(name).display().to_string(), earlier.path());
    }
    cluster[2].start_again();
    cluster.wait_until_ok();
    channel(&cluster[0], "later");
    for at in 0..20 {
        publish(&cluster[0], "orders", &format!("late {at}"));
    }
    for at in 0..7 {
        publish(&cluster[0], "later", &format!("other {at}"));
    }
    finish(&cluster[0], "orders", 5);
    wait_until("the marks are on their way", members::PATIENCE, || {
        cluster[0].channel("orders", "c")["depth"] == 25
    });
    // What was finished is proposed a little later than messages, and before another node leads.
    assert_eq!(cluster[0].post("/cluster/stepdown", b"").status, 200);
    wait_until_all_have_all(&cluster);
    assert!(cluster[2].terminate().success());
    fs::remove_dir_all(shard.join("data")).expect("it can be removed");
    for name in ["data", "meta"] {
        copy(&earlier.path().join(name).display().to_string(), &shard);
    }

    let (code, report) = check(&cluster[2]);
    assert_eq!(code, Some(0), "{report}");
    for line in [
        "channel c: 10 queued",
        "topic orders: 20 more messages are in the write-ahead log only",
        "topic later: 7 more messages are in the write-ahead log only",
    ] {
        assert!(report.contains(line), "{line:?} is missing: {report}");
    }
    let (code, report, target) = export(&cluster[2], "replayed");
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains("later:c: 7 messages"), "{report}");
    assert!(report.contains("orders:c: 25 messages"), "{report}");
    assert!(report.contains("exported 32 messages"), "{report}");
    let left = files(&target);
    assert!(
        !left
            .keys()
            .any(|path| path.display().to_string().contains("replaying")),
        "the copy is removed"
    );
    fs::remove_dir_all(target).expect("it can be removed");
}
