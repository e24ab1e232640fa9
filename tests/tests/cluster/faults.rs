//! Nodes that are killed, lost, stopped and restarted under load.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nsq_tests::Cluster;
use rustix::process::Signal;

use crate::traffic::Traffic;

/// Runs traffic on all nodes of a cluster while `faults` does something to them, until all of it has arrived.
#[track_caller]
pub(crate) fn under_load(
    what: &str,
    cluster: &mut Cluster,
    faults: impl FnOnce(&mut Cluster, &Traffic),
) -> Traffic {
    let addresses = cluster.nodes().iter().map(|node| node.tcp());
    let traffic = Traffic::new("orders", addresses.collect());
    under_this_load(what, cluster, traffic, faults)
}

/// As [`under_load`], with this traffic.
#[track_caller]
pub(crate) fn under_this_load(
    what: &str,
    cluster: &mut Cluster,
    traffic: Traffic,
    faults: impl FnOnce(&mut Cluster, &Traffic),
) -> Traffic {
    thread::scope(|scope| {
        traffic.start(scope);
        traffic.wait_for_publishes(200);
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            faults(cluster, &traffic);
            traffic.wait_for_publishes(200);
        }));
        traffic.finish();
        if let Err(cause) = failed {
            std::panic::resume_unwind(cause);
        }
    });
    traffic.check(what);
    traffic
}

#[test]
fn a_node_that_is_lost_with_its_disk_takes_no_message_with_it_and_comes_back_empty() {
    let mut cluster = Cluster::start(3, &[]);
    under_load("a node lost", &mut cluster, |cluster, traffic| {
        cluster.lose(0);
        traffic.wait_for_publishes(500);
        cluster[0].start_again();
        cluster.wait_until_ok();
    });
}

#[test]
fn each_node_is_killed_in_turn_under_load() {
    let mut cluster = Cluster::start(3, &[]);
    under_load("each node killed", &mut cluster, |cluster, traffic| {
        for node in 0..3 {
            cluster[node].kill9();
            traffic.wait_for_publishes(300);
            cluster[node].start_again();
            cluster.wait_until_ok();
        }
    });
}

#[test]
fn a_rolling_restart_under_load_loses_nothing() {
    let mut cluster = Cluster::start(3, &[]);
    let traffic = under_load("rolling restart", &mut cluster, |cluster, traffic| {
        for node in 0..3 {
            assert!(cluster[node].terminate().success());
            traffic.wait_for_publishes(100);
            cluster[node].start_again();
            cluster.wait_until_ok();
        }
    });
    assert!(
        traffic.longest_publish() < Duration::from_secs(10),
        "a publish took {:?}",
        traffic.longest_publish()
    );
}

#[test]
fn a_node_that_is_stopped_is_replaced_as_leader_and_goes_on_later() {
    let mut cluster = Cluster::start(3, &[]);
    under_load("a node stopped", &mut cluster, |cluster, traffic| {
        cluster[1].notify(Signal::STOP);
        traffic.wait_for_publishes(300);
        // A minute in a long run.
        let seconds = std::env::var("CLUSTER_STOP_SECONDS");
        let seconds = seconds.map_or(0, |text| text.parse().expect("it is a number"));
        thread::sleep(Duration::from_secs(seconds));
        cluster[1].notify(Signal::CONT);
        cluster.wait_until_ok();
    });
}

/// An operator's mistake, such as a restored snapshot of a machine: the node has forgotten what it acknowledged.
#[test]
fn a_node_that_returns_with_an_older_copy_of_its_disk_does_not_stop_the_others() {
    let mut cluster = Cluster::start(3, &[]);
    under_load(
        "an older copy of a disk",
        &mut cluster,
        |cluster, traffic| {
            let older = tempfile::tempdir().expect("a temporary folder can be made");
            cluster[2].kill9();
            copy(
                &format!("{}/.", cluster[2].folder().display()),
                older.path(),
            );
            cluster[2].start_again();
            cluster.wait_until_ok();
            traffic.wait_for_publishes(300);
            cluster.lose(2);
            copy(
                &format!("{}/.", older.path().display()),
                cluster[2].folder(),
            );
            cluster[2].start_again();
            traffic.wait_for_publishes(300);
            cluster.wait_until_ok();
        },
    );
}

pub(crate) fn copy(from: &str, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "{from}");
}

#[test]
fn without_a_majority_publishes_are_refused_and_everything_resumes_when_one_node_returns() {
    let mut cluster = Cluster::start(3, &["--cluster-publish-timeout=1s"]);
    under_load("two of three gone", &mut cluster, |cluster, traffic| {
        cluster[0].kill9();
        cluster[1].kill9();
        let reply = cluster[2].post("/pub?topic=orders", b"nobody takes this");
        assert_eq!(reply.status, 503, "{}", reply.text());
        cluster.wait_for_state(2, "no majority");
        cluster[0].start_again();
        traffic.wait_for_publishes(300);
        cluster[1].start_again();
        cluster.wait_until_ok();
    });
}

#[test]
fn all_nodes_killed_at_once_lose_nothing() {
    let mut cluster = Cluster::start(3, &[]);
    under_load("all killed at once", &mut cluster, |cluster, _| {
        for node in cluster.nodes_mut() {
            node.kill9();
        }
        for node in cluster.nodes_mut() {
            node.start_again();
        }
        cluster.wait_until_ok();
    });
}
