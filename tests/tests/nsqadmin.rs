//! nsqadmin with a cluster: what it shows and what it does.

use nsq_tests::{Admin, Lookupd, Nsqd, Start};
use serde_json::{Value, json};

/// Two nsqds that report to one nsqlookupd, and a topic with a channel on both.
struct Cluster {
    lookupd: Lookupd,
    first: Nsqd,
    second: Nsqd,
}

impl Cluster {
    #[track_caller]
    fn start() -> Self {
        let lookupd = Lookupd::start();
        let start = || Start::default().registering_with(&[lookupd.tcp()]).now();
        let (first, second) = (start(), start());
        for nsqd in [&first, &second] {
            nsqd.order("/topic/create?topic=alpha");
            nsqd.order("/channel/create?topic=alpha&channel=c1");
        }
        first.order("/channel/create?topic=alpha&channel=only%23ephemeral");
        lookupd.wait_for_producers("alpha", &[first.tcp(), second.tcp()]);
        lookupd.wait_for_channels("alpha", &["c1", "only#ephemeral"]);
        Self {
            lookupd,
            first,
            second,
        }
    }

    #[track_caller]
    fn admin(&self, flags: &[&str]) -> Admin {
        Admin::of_lookupds(&[&self.lookupd], flags)
    }

    fn publish(&self, counts: [i64; 2]) {
        for (nsqd, count) in [&self.first, &self.second].into_iter().zip(counts) {
            for _ in 0..count {
                assert_eq!(nsqd.post("/pub?topic=alpha", b"hello").status, 200);
            }
        }
        self.first
            .wait_for_channel("alpha", "c1", &[("message_count", counts[0])]);
        self.second
            .wait_for_channel("alpha", "c1", &[("message_count", counts[1])]);
    }
}

fn names(list: &Value, key: &str) -> Vec<String> {
    let list = list.as_array().expect("there is a list");
    let names = list
        .iter()
        .map(|entry| entry[key].as_str().expect("a name"));
    names.map(str::to_owned).collect()
}

const DONE: (u16, &str) = (200, "");

#[track_caller]
fn check(answer: &(u16, String), wanted: (u16, &str)) {
    assert_eq!((answer.0, answer.1.as_str()), wanted);
}

#[test]
fn topics_channels_and_nodes_are_summed_and_each_node_keeps_its_numbers() {
    let cluster = Cluster::start();
    cluster.publish([3, 2]);
    let mut client = cluster.second.subscribe("alpha", "c1", 1);
    cluster
        .second
        .wait_for_channel("alpha", "c1", &[("in_flight_count", 1)]);
    let admin = cluster.admin(&[]);
    let nodes = [&cluster.first, &cluster.second].map(|nsqd| nsqd.http().to_string());

    assert_eq!(
        admin.get("/api/topics").text(),
        r#"{"topics":["alpha"],"message":""}"#
    );

    let topic = admin.json("/api/topics/alpha");
    assert_eq!(topic["node"], "*");
    assert_eq!(topic["message_count"], 5);
    assert_eq!(topic["message"], "");
    assert_eq!(topic["nodes"].as_array().unwrap().len(), 2);
    assert_eq!(
        names(&topic["channels"], "channel_name"),
        ["c1", "only#ephemeral"]
    );
    let sum = &topic["channels"][0];
    assert_eq!(sum["node"], "*");
    assert_eq!(sum["message_count"], 5);
    assert_eq!(sum["nodes"].as_array().unwrap().len(), 2);
    // A channel on one node has a sum like any other, and the parts are not the sum.
    assert_eq!(topic["channels"][1]["node"], "*");
    assert_eq!(
        names(&topic["channels"][1]["nodes"], "node"),
        [nodes[0].clone()]
    );
    for part in topic["nodes"].as_array().unwrap() {
        let count = if part["node"] == nodes[0] { 3 } else { 2 };
        assert_eq!(part["message_count"], count);
        assert_eq!(part["channels"][0]["message_count"], count);
        assert_eq!(part["channels"][0]["node"], part["node"]);
        assert_eq!(part["nodes"], Value::Null);
    }

    let channel = admin.json("/api/topics/alpha/c1");
    assert_eq!(channel["depth"], 4);
    assert_eq!(channel["in_flight_count"], 1);
    assert_eq!(channel["client_count"], 1);
    assert_eq!(channel["clients"][0]["node"], nodes[1]);
    assert_eq!(channel["clients"][0]["ready_count"], 1);
    assert!(channel["clients"][0]["connected"].as_i64().unwrap() % 1_000_000_000 == 0);
    assert_eq!(
        channel["e2e_processing_latency"]["percentiles"],
        Value::Null
    );
    let only = admin.json("/api/topics/alpha/only%23ephemeral");
    assert_eq!(only["channel_name"], "only#ephemeral");
    assert_eq!(only["clients"], Value::Null);

    let all = admin.json("/api/nodes");
    assert_eq!(all["nodes"].as_array().unwrap().len(), 2);
    let seen = all["nodes"][0]["remote_addresses"][0].as_str().unwrap();
    assert!(seen.starts_with(&format!("{}/127.0.0.1:", cluster.lookupd.http())));
    assert_eq!(
        all["nodes"][0]["topics"],
        json!([{"topic":"alpha","tombstoned":false}])
    );
    let node = admin.json(&format!("/api/nodes/{}", nodes[1]));
    assert_eq!(node["total_messages"], 2);
    assert_eq!(node["total_clients"], 1);
    assert_eq!(names(&node["topics"], "topic_name"), ["alpha"]);

    let counter = admin.json("/api/counter");
    let key = format!("alpha:c1:{}", nodes[0]);
    assert_eq!(
        counter["stats"][key],
        json!({"node":nodes[0],"topic_name":"alpha","channel_name":"c1","message_count":3})
    );
    assert_eq!(counter["stats"].as_object().unwrap().len(), 3);
    client.send_line("NOP");
}

#[test]
fn what_is_not_there_is_said_so() {
    let cluster = Cluster::start();
    cluster.lookupd.order("/topic/create?topic=orphan");
    cluster
        .lookupd
        .order("/channel/create?topic=orphan&channel=oc");
    cluster.lookupd.order("/topic/create?topic=orphan2");
    let admin = cluster.admin(&[]);
    for (path, code) in [
        ("/api/topics/none", "TOPIC_NOT_FOUND"),
        ("/api/topics/none/c1", "TOPIC_NOT_FOUND"),
        ("/api/topics/alpha/none", "CHANNEL_NOT_FOUND"),
        ("/api/topics/orphan/oc", "CHANNEL_NOT_FOUND"),
        ("/api/nodes/127.0.0.1:1", "NODE_NOT_FOUND"),
        ("/api/none", "NOT_FOUND"),
    ] {
        check(&admin.tell("GET", path, &Value::Null), (404, code));
    }
    assert_eq!(
        admin.get("/api/topics?inactive=true").text(),
        r#"{"topics":{"orphan":["oc"],"orphan2":null},"message":""}"#
    );
    let orphan = admin.json("/api/topics/orphan");
    assert_eq!(orphan["nodes"], json!([]));
    assert_eq!(orphan["channels"], Value::Null);
    assert_eq!(orphan["e2e_processing_latency"]["count"], 0);
}

#[test]
fn a_read_shows_what_happened_before_it() {
    let nsqd = Nsqd::start(&["--broadcast-address=127.0.0.1"]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    let admin = Admin::of_nsqds(&[&nsqd], &["--history-interval=0"]);
    let key = format!("t:c:{}", nsqd.http());
    for count in 1..=5 {
        assert_eq!(nsqd.post("/pub?topic=t", b"hello").status, 200);
        nsqd.wait_for_channel("t", "c", &[("message_count", count)]);
        let counter = admin.json("/api/counter");
        assert_eq!(counter["stats"][&key]["message_count"], count);
    }
}

#[test]
fn the_page_of_a_topic_created_a_moment_ago_is_there() {
    let nsqd = Nsqd::start(&[]);
    let admin = Admin::of_nsqds(&[&nsqd], &["--history-interval=0"]);
    for topic in ["a", "b", "c"] {
        assert_eq!(admin.get("/topics").status, 200);
        nsqd.order(&format!("/topic/create?topic={topic}"));
        assert_eq!(admin.get(&format!("/topics/{topic}")).status, 200);
    }
}

#[test]
fn the_requests_of_the_history_are_in_no_log() {
    let cluster = Cluster::start();
    let admin = cluster.admin(&["--history-interval=1s"]);
    admin.wait_for("/api/history?topic=alpha", |answer| {
        let values = answer["metrics"]["messages"].as_array();
        values.is_some_and(|values| values.iter().any(Value::is_number))
    });
    for path in ["/nodes", "/topics", "/info"] {
        let line = format!("GET {path} ");
        assert!(!cluster.lookupd.log().text().contains(&line), "{path}");
    }
    assert!(!cluster.first.log().text().contains("GET /stats"));
    // Those of users are.
    admin.json("/api/counter");
    cluster.lookupd.wait_for_line("200 GET /nodes ");
    cluster.first.wait_for_line("200 GET /stats?");
}

#[test]
fn the_header_of_the_history_hides_nothing_but_statistics() {
    let nsqd = Nsqd::start(&[]);
    let lookupd = Lookupd::start();
    let hidden = ["NSQ-Poll: 1"];
    for (path, method) in [
        ("/topic/create?topic=t", "POST"),
        ("/channel/create?topic=t&channel=c", "POST"),
        ("/channel/peek?topic=t&channel=c", "GET"),
        ("/config/log_level", "GET"),
        ("/channel/empty?topic=t&channel=c", "POST"),
    ] {
        let reply = nsqd.request_with(method, path, &hidden, b"");
        assert_eq!(reply.status, 200, "{path}");
        nsqd.wait_for_line(&format!("200 {method} {path} "));
    }
    lookupd.request_with("POST", "/topic/create?topic=t", &hidden, b"");
    lookupd.wait_for_line("200 POST /topic/create?topic=t ");
    // It asks for DEBUG, not for silence.
    let verbose = Nsqd::start(&["--log-level=debug"]);
    verbose.request_with("GET", "/stats", &hidden, b"");
    verbose.wait_for_line("DEBUG: 200 GET /stats ");
}

#[test]
fn actions_reach_every_node() {
    let cluster = Cluster::start();
    cluster.publish([2, 2]);
    let admin = cluster.admin(&[]);
    let act = |path: &str, action: &str| admin.tell("POST", path, &json!({"action": action}));
    let on_both = |key: &str, value: Value| {
        for nsqd in [&cluster.first, &cluster.second] {
            assert_eq!(nsqd.topic("alpha")[key], value);
        }
    };
    check(&act("/api/topics/alpha", "pause"), DONE);
    on_both("paused", true.into());
    assert_eq!(admin.json("/api/topics/alpha")["paused"], true);
    check(&act("/api/topics/alpha", "unpause"), DONE);
    on_both("paused", false.into());
    check(&act("/api/topics/alpha", "empty"), DONE);

    check(&act("/api/topics/alpha/c1", "pause"), DONE);
    assert_eq!(cluster.second.channel("alpha", "c1")["paused"], true);
    check(&act("/api/topics/alpha/c1", "unpause"), DONE);
    check(&act("/api/topics/alpha/c1", "empty"), DONE);
    assert_eq!(admin.json("/api/topics/alpha/c1")["depth"], 0);
    // One that a single node has is paused there, and the other is no failure.
    check(&act("/api/topics/alpha/only%23ephemeral", "pause"), DONE);
    check(
        &act("/api/topics/alpha/none", "pause"),
        (404, "CHANNEL_NOT_FOUND"),
    );

    // Beyond upstream: one node alone.
    let first = cluster.first.http().to_string();
    let order = json!({"action": "pause", "node": first});
    check(&admin.tell("POST", "/api/topics/alpha/c1", &order), DONE);
    assert_eq!(cluster.first.channel("alpha", "c1")["paused"], true);
    assert_eq!(cluster.second.channel("alpha", "c1")["paused"], false);

    check(
        &admin.tell("DELETE", "/api/topics/alpha/c1", &Value::Null),
        DONE,
    );
    assert_eq!(cluster.first.channel("alpha", "c1"), Value::Null);
    // A script that deletes it again gets a warning that names every daemon, and no failure.
    let (status, message) = admin.tell("DELETE", "/api/topics/alpha/c1", &Value::Null);
    assert_eq!(status, 200);
    assert!(message.starts_with("WARNING: Post \"http://"), "{message}");
    for address in [
        cluster.lookupd.http(),
        cluster.first.http(),
        cluster.second.http(),
    ] {
        let named = format!("http://{address}/channel/delete?topic=alpha&channel=c1");
        assert!(message.contains(&named), "{message}");
    }
    assert!(message.contains("CHANNEL_NOT_FOUND"), "{message}");
    check(
        &admin.tell("DELETE", "/api/topics/alpha", &Value::Null),
        DONE,
    );
    assert_eq!(cluster.second.topic("alpha"), Value::Null);
    assert_eq!(cluster.lookupd.topics(), Vec::<String>::new());
    assert_eq!(admin.json("/api/topics")["topics"], Value::Null);
}

#[test]
fn names_of_every_allowed_character_come_through() {
    let cluster = Cluster::start();
    let topic = "A.z_0-9.....................................__________#ephemeral";
    let channel = "-._aZ9#ephemeral";
    assert_eq!(topic.len(), 64);
    let admin = cluster.admin(&[]);
    let create = json!({"topic": topic, "channel": channel});
    check(&admin.tell("POST", "/api/topics", &create), DONE);
    assert_eq!(cluster.lookupd.topics(), [topic, "alpha"]);
    assert_eq!(cluster.lookupd.channels(topic), [channel]);

    let escaped = topic.replace('#', "%23");
    cluster
        .first
        .order(&format!("/topic/create?topic={escaped}"));
    cluster
        .lookupd
        .wait_for_producers(topic, &[cluster.first.tcp()]);
    check(&admin.tell("POST", "/api/topics", &create), DONE);
    assert_ne!(cluster.first.channel(topic, channel), Value::Null);
    let path = format!("/api/topics/{escaped}/-._aZ9%23ephemeral");
    assert_eq!(admin.json(&path)["channel_name"], channel);
    check(&admin.tell("DELETE", &path, &Value::Null), DONE);
}

#[test]
fn a_tombstone_hides_a_topic_on_one_node_and_deletes_it_there() {
    let cluster = Cluster::start();
    let admin = cluster.admin(&[]);
    let path = format!("/api/nodes/{}", cluster.first.http());
    check(
        &admin.tell("DELETE", &path, &json!({"topic": "alpha"})),
        DONE,
    );
    assert_eq!(cluster.first.topic("alpha"), Value::Null);
    cluster
        .lookupd
        .wait_for_producers("alpha", &[cluster.second.tcp()]);
    let (status, message) = admin.tell("DELETE", &path, &json!({"topic": "unknown"}));
    assert_eq!(status, 200);
    assert!(message.starts_with("WARNING: Post \"http://"), "{message}");
    assert!(message.contains("TOPIC_NOT_FOUND"), "{message}");
    let nowhere = "/api/nodes/127.0.0.1:1";
    for (body, wanted) in [
        (json!({"topic": "alpha"}), (404, "NODE_NOT_FOUND")),
        (json!({"topic": ""}), (400, "INVALID_TOPIC")),
        (Value::Null, (400, "INVALID_BODY")),
    ] {
        check(&admin.tell("DELETE", nowhere, &body), wanted);
    }
}

#[test]
fn requests_that_make_no_sense_are_refused_as_upstream_does() {
    let cluster = Cluster::start();
    let admin = cluster.admin(&[]);
    for (path, body, wanted) in [
        ("/api/topics", "", (400, "EOF")),
        ("/api/topics", "{", (400, "unexpected EOF")),
        ("/api/topics", "null", (400, "INVALID_TOPIC")),
        ("/api/topics", r#"{"topic":"a b"}"#, (400, "INVALID_TOPIC")),
        (
            "/api/topics",
            r#"{"topic":"a","channel":"c!"}"#,
            (400, "INVALID_CHANNEL"),
        ),
        (
            "/api/topics",
            r#"["arr","ch"]"#,
            (
                400,
                "invalid type: sequence, expected an object at line 1 column 0",
            ),
        ),
        (
            "/api/topics",
            r#"{"topic":"good","TOPIC":"a b"}"#,
            (400, "INVALID_TOPIC"),
        ),
        ("/api/topics/alpha", "{}", (400, "INVALID_ACTION")),
        (
            "/api/topics/alpha/c1",
            r#"{"action":"x"}"#,
            (400, "INVALID_ACTION"),
        ),
        (
            "/api/topics/none",
            r#"{"action":"pause"}"#,
            (404, "TOPIC_NOT_FOUND"),
        ),
    ] {
        let reply = admin.post(path, body.as_bytes());
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        check(&(reply.status, message), wanted);
    }
    let long = vec![b' '; 70_000];
    assert_eq!(admin.post("/api/topics", &long).status, 413);
    let reply = admin.request("PUT", "/api/topics", b"");
    assert_eq!(reply.status, 405);
    assert_eq!(reply.header("allow"), Some("GET, OPTIONS, POST"));
}

#[test]
fn nsqds_may_be_asked_without_nsqlookupd() {
    let nsqd = Nsqd::start(&["--broadcast-address=127.0.0.1"]);
    let admin = Admin::of_nsqds(&[&nsqd], &[]);
    assert_eq!(
        admin.get("/api/topics").text(),
        r#"{"topics":null,"message":""}"#
    );
    let create = json!({"topic": "t", "channel": "c"});
    check(&admin.tell("POST", "/api/topics", &create), DONE);
    assert_ne!(nsqd.channel("t", "c"), Value::Null);
    assert_eq!(admin.json("/api/topics")["topics"], json!(["t"]));
    assert_eq!(admin.json("/api/topics/t/c")["topic_name"], "t");
    let node = &admin.json("/api/nodes")["nodes"][0];
    assert_eq!(node["remote_addresses"], Value::Null);
    assert_eq!(node["http_port"], nsqd.http().port());
    assert_eq!(admin.json("/api/topics?inactive=true")["topics"], json!({}));
    check(
        &admin.tell("GET", "/api/topics/none", &Value::Null),
        (404, "TOPIC_NOT_FOUND"),
    );
    check(&admin.tell("DELETE", "/api/topics/t", &Value::Null), DONE);
    assert_eq!(nsqd.topic("t"), Value::Null);
}

#[test]
fn everything_goes_below_the_base_path() {
    let nsqd = Nsqd::start(&[]);
    let admin = Admin::of_nsqds(&[&nsqd], &["--base-path=/nsq"]);
    assert_eq!(admin.get("/nsq/ping").text(), "OK");
    assert_eq!(admin.get("/nsq/api/topics").status, 200);
    for path in ["/ping", "/api/topics", "/"] {
        assert_eq!(admin.get(path).status, 404, "{path}");
    }
    // A proxy may redirect one spelling to the other: neither is redirected back.
    for path in ["/nsq", "/nsq/"] {
        let reply = admin.get(path);
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.text().contains("href=\"/nsq/topics\""), "{path}");
    }
}

#[test]
fn what_is_seen_is_remembered() {
    let cluster = Cluster::start();
    let admin = cluster.admin(&["--history-interval=1s"]);
    cluster.publish([3, 2]);
    let last = |answer: &Value, metric: &str| {
        let values = answer["metrics"][metric].as_array().cloned();
        values.and_then(|values| values.last()?.as_f64())
    };
    admin.wait_for("/api/history?topic=alpha&channel=c1", |answer| {
        last(answer, "depth") == Some(5.0) && last(answer, "messages").is_some()
    });
    let node = format!("/api/history?node={}", cluster.first.http());
    admin.wait_for(&node, |answer| last(answer, "depth") == Some(3.0 * 2.0));
    admin.wait_for("/api/history?topic=alpha&metric=backlog", |answer| {
        last(answer, "backlog") == Some(8.0)
    });
    for (query, code) in [
        ("channel=c1", "MISSING_ARG_TOPIC"),
        ("metric=x", "INVALID_ARG_METRIC"),
        ("from=x", "INVALID_ARG_FROM"),
        ("step=x", "INVALID_ARG_STEP"),
    ] {
        let path = format!("/api/history?{query}");
        check(&admin.tell("GET", &path, &Value::Null), (400, code));
    }
    let off = cluster.admin(&["--history-interval=0"]);
    check(
        &off.tell("GET", "/api/history", &Value::Null),
        (404, "HISTORY_OFF"),
    );
}
