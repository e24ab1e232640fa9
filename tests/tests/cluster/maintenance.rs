//! Planned maintenance: a node that steps down, and nodes that are restarted one after the other.

use std::time::{Duration, Instant};

use nsq_tests::{Cluster, say_loudly, wait_until};
use serde_json::Value;

use crate::faults::{under_load, under_this_load};
use crate::traffic::Traffic;

const PATIENCE: Duration = Duration::from_secs(30);

/// The shards that a node leads, as the node `asked` says.
fn led_by(cluster: &Cluster, node: usize, asked: usize) -> Option<usize> {
    let report = cluster.report(asked)?;
    let address = cluster.cluster_address(node).to_string();
    let members = report["members"].as_array()?;
    let id = &members
        .iter()
        .find(|member| member["address"] == *address)?["id"];
    let shards = report["shards"].as_array()?;
    Some(shards.iter().filter(|shard| shard["leader"] == *id).count())
}

fn is_stepping_down(report: &Value, address: &str) -> bool {
    let members = report["members"].as_array().cloned().unwrap_or_default();
    members
        .iter()
        .any(|member| member["address"] == address && member["is_stepping_down"] == true)
}

#[test]
fn a_node_that_steps_down_leads_nothing_until_it_resumes() {
    let mut cluster = Cluster::start(3, &[]);
    under_load("stepping down", &mut cluster, |cluster, traffic| {
        let address = cluster.cluster_address(0).to_string();
        let reply = cluster[0].post("/cluster/stepdown", b"");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let leading = reply.json();
        assert_eq!(leading["is_stepping_down"], true);
        assert_eq!(leading["shards"], Value::Array(Vec::new()), "{leading}");
        assert_eq!(leading["directory"], false);
        wait_until("others know", PATIENCE, || {
            let report = cluster.report(1).unwrap_or_default();
            is_stepping_down(&report, &address) && led_by(cluster, 0, 1) == Some(0)
        });
        // Longer than the others would take to give the shard back.
        let until = Instant::now() + Duration::from_secs(8);
        while Instant::now() < until {
            traffic.wait_for_publishes(50);
            assert_eq!(led_by(cluster, 0, 0), Some(0), "nothing comes back");
        }
        let metrics = cluster[0].get("/metrics").text();
        assert!(metrics.contains("nsqd_cluster_stepped_down 1"));

        let reply = cluster[0].post("/cluster/resume", b"");
        assert_eq!(reply.json()["is_stepping_down"], false);
        cluster.wait_until_ok();
    });
}

#[test]
fn the_last_node_that_could_lead_goes_on_although_it_is_stepping_down() {
    let mut cluster = Cluster::start(3, &[]);
    for node in 0..3 {
        assert_eq!(cluster[node].post("/cluster/stepdown", b"").status, 200);
    }
    under_load("all stepped down", &mut cluster, |_, traffic| {
        traffic.wait_for_publishes(200);
    });
    for node in 0..3 {
        assert_eq!(cluster[node].post("/cluster/resume", b"").status, 200);
    }
    cluster.wait_until_ok();
}

#[test]
fn a_planned_restart_costs_publishers_a_moment() {
    let mut cluster = Cluster::start(3, &[]);
    let traffic = under_load("planned restarts", &mut cluster, |cluster, traffic| {
        for node in 0..3 {
            assert_eq!(cluster[node].post("/cluster/stepdown", b"").status, 200);
            traffic.wait_for_publishes(200);
            assert!(cluster[node].terminate().success());
            traffic.wait_for_publishes(100);
            cluster[node].start_again();
            cluster.wait_until_ok();
        }
    });
    say_loudly(&format!(
        "planned restarts of all nodes: the longest publish took {:?}",
        traffic.longest_publish()
    ));
    assert!(traffic.longest_publish() < Duration::from_secs(5));
}

/// A publisher that comes back at once does better with another node than with one that can only hold what it publishes.
#[test]
fn a_node_that_starts_takes_clients_once_it_knows_where_their_publishes_go() {
    let mut cluster = Cluster::start(3, &[]);
    for node in 0..3 {
        let report = cluster.report(node).unwrap_or_default();
        let address = cluster.cluster_address(node).to_string();
        let members = report["members"].as_array().cloned().unwrap_or_default();
        let member = members.iter().find(|member| member["address"] == *address);
        let shard = member.expect("the node is a member")["shard"].clone();
        assert!(cluster[node].terminate().success());
        cluster[node].start_again();
        let log = cluster[node].log().text();
        let place = |parts: &[&str]| {
            let mut lines = log.lines();
            lines.position(|line| parts.iter().all(|part| line.contains(part)))
        };
        let known = place(&[&format!("shard {shard}: "), "leads in term"]);
        assert!(
            known.is_some() && known < place(&["TCP: listening on"]),
            "{log}"
        );
        assert!(known < place(&["HTTP: listening on"]), "{log}");
        cluster.wait_until_ok();
    }
}

/// What a node has taken when it is told to stop is answered before its connections close: a message without an answer was never
/// taken, so a publisher may publish it again.
#[test]
fn a_planned_stop_answers_every_publish_that_the_node_has_taken() {
    let mut cluster = Cluster::start(3, &[]);
    let addresses = cluster.nodes().iter().map(|node| node.tcp());
    let traffic = Traffic::new("orders", addresses.collect());
    let traffic = traffic.with_publishers(12).with_single_tries();
    let what = "publishes that are tried once";
    let traffic = under_this_load(what, &mut cluster, traffic, |cluster, traffic| {
        for node in 0..3 {
            assert!(cluster[node].terminate().success());
            traffic.wait_for_publishes(100);
            cluster[node].start_again();
            cluster.wait_until_ok();
        }
    });
    let (unanswered, taken) = traffic.unanswered();
    say_loudly(&format!(
        "planned stops: {unanswered} publishes met the end of their connection, {taken} of them were taken"
    ));
    assert_eq!(taken, 0, "of {unanswered} without an answer");
    assert_eq!(traffic.refusals(), Vec::<String>::new());
}

/// The shard that a node leads follows a creation a moment after the node has learned of it.
#[test]
fn a_new_topic_can_be_paused_at_once_on_every_node_that_knows_it() {
    let cluster = Cluster::start(3, &[]);
    for number in 0..30 {
        let topic = format!("t{number}");
        cluster[0].order(&format!("/topic/create?topic={topic}"));
        for node in 0..3 {
            wait_until("the node knows the topic", PATIENCE, || {
                let reply = cluster[node].post(&format!("/topic/pause?topic={topic}"), b"");
                assert_ne!(reply.status, 503, "{}", reply.text());
                reply.status == 200
            });
        }
    }
}
