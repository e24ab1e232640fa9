//! Clients in nsqd's own zone or region come first, where nsqd was told so.

use nsq_tests::{Nsqd, PATIENCE, RawClient, wait_until};
use serde_json::{Value, json};

const AWARE: &str = "--enable-experiment=topology-aware-consumption";
const PLACE: [&str; 2] = ["--topology-region=r", "--topology-zone=z"];

/// A subscriber with this ready count, in effect, that says it is here.
#[track_caller]
fn join(nsqd: &Nsqd, id: &str, [region, zone]: [&str; 2], ready_count: u32) -> RawClient {
    let mut client = nsqd.connect();
    client.identify(&json!({
        "client_id": id,
        "topology_region": region,
        "topology_zone": zone,
    }));
    client.subscribe("t", "c");
    client.send_line(&format!("RDY {ready_count}"));
    wait_until("the ready count is in effect", PATIENCE, || {
        let channel = nsqd.channel("t", "c");
        let clients = channel["clients"].as_array().cloned().unwrap_or_default();
        let mut clients = clients.iter();
        clients.any(|client| client["client_id"] == id && client["ready_count"] == ready_count)
    });
    client
}

/// How many messages each client holds, in the order in which they came.
fn held(nsqd: &Nsqd) -> Vec<i64> {
    let channel = nsqd.channel("t", "c");
    let clients = channel["clients"].as_array().expect("there are clients");
    let held = clients
        .iter()
        .map(|client| client["in_flight_count"].as_i64());
    held.map(Option::unwrap_or_default).collect()
}

#[track_caller]
fn wait_for_held(nsqd: &Nsqd, wanted: &[i64]) {
    let mut last = Vec::new();
    let total: i64 = wanted.iter().sum();
    wait_until("all is delivered", PATIENCE, || {
        last = held(nsqd);
        last.iter().sum::<i64>() == total
    });
    assert_eq!(last, wanted);
}

#[test]
fn the_zone_comes_first_then_the_region_then_everybody() {
    let nsqd = Nsqd::start(&[AWARE, PLACE[0], PLACE[1]]);
    let _far = join(&nsqd, "far", ["other", "other"], 10);
    let _silent = nsqd.subscribe("t", "c", 0);
    let _region = join(&nsqd, "region", ["r", "other"], 2);
    let _first = join(&nsqd, "first", ["r", "z"], 10);
    let mut second = join(&nsqd, "second", ["r", "z"], 10);
    let mut publisher = nsqd.connect();
    for _ in 0..20 {
        publisher.publish("t", "m");
    }
    wait_for_held(&nsqd, &[0, 0, 0, 10, 10]);
    publisher.publish_many("t", &["m"; 5]);
    wait_for_held(&nsqd, &[3, 0, 2, 10, 10]);
    let channel = nsqd.channel("t", "c");
    assert_eq!(channel["zone_local_msg_count"], 20);
    assert_eq!(channel["region_local_msg_count"], 2);
    assert_eq!(channel["global_msg_count"], 3);
    // Room again nearby: that is where the next ones go.
    for _ in 0..4 {
        let message = second.expect_message();
        second.finish(&message);
    }
    wait_for_held(&nsqd, &[3, 0, 2, 10, 6]);
    publisher.publish_many("t", &["m"; 4]);
    wait_for_held(&nsqd, &[3, 0, 2, 10, 10]);
}

#[test]
fn without_the_experiment_all_clients_are_equal() {
    let nsqd = Nsqd::start(&PLACE);
    let _far = join(&nsqd, "far", ["other", "other"], 10);
    let _near = join(&nsqd, "near", ["r", "z"], 10);
    nsqd.connect().publish_many("t", &["m"; 10]);
    wait_for_held(&nsqd, &[5, 5]);
    let channel = nsqd.channel("t", "c");
    assert_eq!(channel["global_msg_count"], 10);
    assert_eq!(channel["zone_local_msg_count"], Value::Null);
}
