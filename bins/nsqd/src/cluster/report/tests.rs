//! Reports made from what nodes say.

use std::time::Duration;

use nsq_cluster::ClusterId;
use nsq_cluster::directory::{Change, MemberInfo};
use serde_json::{Value, json};

use super::*;

const SHARD: u64 = 1;

/// Three members, and the first one's shard with a replica on each.
fn directory() -> Directory {
    let info = |node: u64| MemberInfo {
        address: format!("n{node}:4152"),
        broadcast_address: format!("n{node}"),
        tcp_port: 4150,
        http_port: 4151,
        version: "1.3.0".to_owned(),
        entry_format: 1,
        joined: 0,
    };
    let nodes = [1, 2, 3].map(NodeId);
    let mut directory = Directory::default();
    let cluster = ClusterId(0xfeed);
    let members = nodes.into_iter().map(|node| (node, info(node.0))).collect();
    for change in [
        Change::Found { cluster, members },
        Change::CreateShard { owner: NodeId(1) },
        Change::PlaceShard {
            shard: SHARD,
            replicas: nodes.to_vec(),
        },
        Change::RecordVoters {
            shard: SHARD,
            voters: [NodeId(1)].into(),
        },
    ] {
        directory.apply(&change);
    }
    directory
}

fn follower(group: u64) -> GroupStatus {
    GroupStatus {
        group,
        role: "follower".to_owned(),
        term: 3,
        leader: Some(1),
        voters: vec![1, 2, 3],
        last: Some(99),
        ..GroupStatus::default()
    }
}

/// A leader whose followers have everything.
fn leader(group: u64) -> GroupStatus {
    GroupStatus {
        role: "leader".to_owned(),
        held_by: BTreeMap::from([(1, Some(99)), (2, Some(99)), (3, Some(99))]),
        purged: Some(49),
        log_bytes: 5000,
        majority_heard_millis: Some(100),
        ..follower(group)
    }
}

fn at(seconds: u64) -> Tick {
    Tick::from_nanos(seconds * 1_000_000_000)
}

fn heard(status: NodeStatus, seconds: u64) -> Heard {
    Heard {
        at: at(seconds),
        status: Arc::new(status),
    }
}

/// A cluster in which all is well, as node 1 sees it. Node 1 leads everything.
fn sound() -> Snapshot {
    let of = |status: fn(u64) -> GroupStatus| NodeStatus {
        is_stepping_down: false,
        groups: vec![status(0), status(SHARD)],
        ..NodeStatus::default()
    };
    Snapshot {
        node: Some(NodeId(1)),
        address: "n1:4152".to_owned(),
        directory: Arc::new(directory()),
        own: of(leader),
        heard: BTreeMap::from([
            (NodeId(2), heard(of(follower), 99)),
            (NodeId(3), heard(of(follower), 99)),
        ]),
        now: at(100),
        replicas: 3,
    }
}

fn check(snapshot: &Snapshot, state: State, problems: &[&str]) -> Value {
    let report = Report::of(snapshot);
    assert_eq!(
        (report.state, &*report.problems),
        (
            state,
            &problems.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
        )
    );
    serde_json::to_value(report).unwrap()
}

#[test]
fn a_sound_cluster_is_ok() {
    let report = check(&sound(), State::Ok, &[]);
    assert_eq!(report["state"], "ok");
    assert_eq!(report["cluster_id"], "0000000000000000000000000000feed");
    assert_eq!(report["node"], json!({"id": 1, "address": "n1:4152"}));
    assert_eq!(report["members"].as_array().unwrap().len(), 3);
    assert_eq!(report["members"][1]["is_alive"], true);
    assert_eq!(report["members"][0]["shard"], SHARD);
    assert_eq!(report["directory"]["leader"], 1);
    let shard = &report["shards"][0];
    assert_eq!(
        (&shard["leader"], &shard["term"], &shard["owner"]),
        (&json!(1), &json!(3), &json!(1))
    );
    assert_eq!(
        shard["replicas"][1],
        json!({"node": 2, "role": "voter", "is_alive": true, "is_catching_up": false, "lag_entries": 0, "lag_bytes": 0})
    );
}

#[test]
fn a_follower_knows_of_the_leader_what_the_leader_says() {
    let mut snapshot = sound();
    let own = std::mem::take(&mut snapshot.own);
    snapshot.node = Some(NodeId(2));
    snapshot.own = Arc::unwrap_or_clone(snapshot.heard.remove(&NodeId(2)).unwrap().status);
    snapshot.heard.insert(NodeId(1), heard(own, 100));
    let report = check(&snapshot, State::Ok, &[]);
    assert_eq!(report["shards"][0]["leader"], 1);
}

#[test]
fn a_member_that_is_away_leaves_its_shards_under_replicated() {
    let mut snapshot = sound();
    snapshot.heard.get_mut(&NodeId(3)).unwrap().at = at(90);
    let away = "node 3 at n3:4152 has not answered for 10s";
    let few = "shard 1 of node 1 has 2 of 3 replicas";
    let report = check(&snapshot, State::UnderReplicated, &[away, few]);
    assert_eq!(report["state"], "under-replicated");
    assert_eq!(report["shards"][0]["is_under_replicated"], true);
    assert_eq!(report["members"][2]["seconds_since_heard"], 10);
    snapshot.heard.remove(&NodeId(3));
    let away = "node 3 at n3:4152 has not answered since this nsqd was started";
    check(&snapshot, State::UnderReplicated, &[away, few]);
}

#[test]
fn a_replica_that_is_behind_is_shown_with_its_lag() {
    let mut snapshot = sound();
    let shard = &mut snapshot.own.groups[1];
    shard.held_by.insert(2, Some(89));
    shard.held_by.insert(3, Some(9));
    let few = "shard 1 of node 1 has 2 of 3 replicas";
    let report = check(&snapshot, State::UnderReplicated, &[few]);
    let replicas = &report["shards"][0]["replicas"];
    // Entries 50 to 99 take 5000 bytes.
    assert_eq!(
        (&replicas[1]["lag_entries"], &replicas[1]["lag_bytes"]),
        (&json!(10), &json!(1000))
    );
    assert_eq!(replicas[1]["is_catching_up"], false);
    assert_eq!(
        (&replicas[2]["lag_entries"], &replicas[2]["is_catching_up"]),
        (&json!(90), &json!(true))
    );
}

#[test]
fn a_learner_and_a_planned_replica_do_not_count() {
    let mut snapshot = sound();
    let shard = &mut snapshot.own.groups[1];
    shard.voters = vec![1];
    shard.learners = vec![2];
    let few = "shard 1 of node 1 has 1 of 3 replicas";
    let report = check(&snapshot, State::UnderReplicated, &[few]);
    let replicas = &report["shards"][0]["replicas"];
    let roles = [0, 1, 2].map(|at: usize| replicas[at]["role"].as_str().unwrap());
    assert_eq!(roles, ["leader", "learner", "planned"]);
}

#[test]
fn a_leader_that_has_lost_the_majority_is_none() {
    let mut snapshot = sound();
    for status in &mut snapshot.own.groups {
        status.majority_heard_millis = Some(5000);
    }
    snapshot.heard.clear();
    let problems = check_state(&snapshot, State::NoMajority);
    assert!(
        problems
            .iter()
            .any(|text| text.contains("the directory has no leader")),
        "{problems:?}"
    );
    let shard =
        "shard 1 of node 1 has no leader: its messages are not delivered, and publishes to it fail";
    assert!(problems.contains(&shard.to_owned()), "{problems:?}");
}

fn check_state(snapshot: &Snapshot, state: State) -> Vec<String> {
    let report = Report::of(snapshot);
    assert_eq!(report.state, state);
    report.problems
}

#[test]
fn a_node_without_a_cluster_is_forming() {
    let snapshot = Snapshot {
        node: None,
        directory: Arc::default(),
        own: NodeStatus::default(),
        heard: BTreeMap::new(),
        ..sound()
    };
    let problems = check_state(&snapshot, State::Forming);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let report = serde_json::to_value(Report::of(&snapshot)).unwrap();
    assert_eq!(
        (&report["state"], &report["cluster_id"]),
        (&json!("forming"), &Value::Null)
    );
}

#[test]
fn a_disk_that_refuses_is_a_problem() {
    let mut snapshot = sound();
    snapshot.own.groups[1].trouble = Some("No space left on device".to_owned());
    check(
        &snapshot,
        State::Ok,
        &["node 1, log of shard 1: No space left on device"],
    );
}

#[test]
fn the_status_of_another_version_is_read_as_far_as_it_is_known() {
    let text = br#"{"groups":[{"group":1,"role":"leader","later":true}],"more":1}"#;
    let status: NodeStatus = serde_json::from_slice(text).unwrap();
    assert!(status.groups[0].is_leader());
    let own = sound().own;
    assert_eq!(
        serde_json::from_slice::<NodeStatus>(&own.to_bytes()).unwrap(),
        own
    );
    assert!(sound().heard[&NodeId(2)].is_alive(at(99).after(Duration::from_millis(2999))));
    assert!(!sound().heard[&NodeId(2)].is_alive(at(102)));
}
