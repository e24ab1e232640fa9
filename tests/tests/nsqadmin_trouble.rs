//! nsqadmin in front of daemons that are dead, silent or out of their minds.

use std::time::{Duration, Instant};

use nsq_tests::{Admin, Fake, Lookupd, Nsqd, Start, free_port};
use serde_json::{Value, json};

/// A producer as nsqlookupd introduces it, at a port of this machine.
fn introduction(port: u16, topics: &[&str]) -> Value {
    json!({
        "remote_address": "127.0.0.1:1", "hostname": "fake", "broadcast_address": "127.0.0.1",
        "tcp_port": port, "http_port": port, "version": "1.3.0",
        "topics": topics, "tombstones": [],
    })
}

/// An nsqlookupd that knows these ports as the producers of the topic `t`.
fn lookupd_of(ports: &[u16]) -> Fake {
    let producers: Vec<_> = ports
        .iter()
        .map(|port| introduction(*port, &["t"]))
        .collect();
    Fake::start(move |request| {
        let answer = match request.line.as_str() {
            "GET /topics" => json!({"topics": ["t"]}),
            "GET /info" => json!({"version": "1.3.0"}),
            _ => json!({"producers": producers}),
        };
        Some(Fake::ok(&answer.to_string()))
    })
}

#[test]
fn a_dead_nsqd_given_by_address_is_listed_with_its_error() {
    let alive = Nsqd::start(&[]);
    alive.order("/topic/create?topic=t");
    let dead = free_port();
    let admin = Admin::asking("nsqd", [alive.http(), dead].into_iter(), &[]);
    let nodes = admin.get("/nodes");
    let page = nodes.text();
    assert!(page.contains(&format!(r#"data-key="{dead}""#)), "{page}");
    let why = format!("dial tcp {dead}: connect: connection refused");
    assert!(page.contains(&why), "{page}");
    let asked = admin.get("/topics/t?action=delete").text();
    let named = format!("Nodes that are not responding: {dead} ({why})");
    assert!(asked.contains(&named), "{asked}");
}

#[test]
fn a_killed_node_is_a_warning_and_the_others_are_the_answer() {
    let lookupd = Lookupd::start();
    let start = || Start::default().registering_with(&[lookupd.tcp()]).now();
    let (alive, mut dead) = (start(), start());
    for nsqd in [&alive, &dead] {
        nsqd.order("/topic/create?topic=t");
        nsqd.order("/channel/create?topic=t&channel=c");
        assert_eq!(nsqd.post("/pub?topic=t", b"x").status, 200);
    }
    lookupd.wait_for_producers("t", &[alive.tcp(), dead.tcp()]);
    // The nsqlookupd that continues saying so is the fake one: ours forgets a dead nsqd with its connection.
    let fake = lookupd_of(&[alive.http().port(), dead.http().port()]);
    dead.kill9();
    let admin = Admin::asking("lookupd", [fake.address].into_iter(), &[]);
    let refused = format!("dial tcp {}: connect: connection refused", dead.http());
    for path in ["/api/topics/t", "/api/topics/t/c", "/api/counter"] {
        let answer = admin.json(path);
        let message = answer["message"].as_str().unwrap();
        assert!(message.starts_with("WARNING: Get \"http://"), "{message}");
        assert!(message.contains(&refused), "{message}");
    }
    assert_eq!(admin.json("/api/topics/t")["message_count"], 1);
    let (status, message) = admin.tell("POST", "/api/topics/t", &json!({"action": "pause"}));
    assert_eq!(status, 200);
    assert!(message.starts_with("WARNING: Post \"http://"), "{message}");
    assert_eq!(alive.topic("t")["paused"], true);
    let node = format!("/api/nodes/{}", dead.http());
    let (status, message) = admin.tell("GET", &node, &Value::Null);
    assert_eq!(status, 502);
    assert!(
        message.starts_with("UPSTREAM_ERROR: failed to query any nsqd: Get"),
        "{message}"
    );
}

#[test]
fn nobody_there_is_an_error_that_names_them() {
    let nowhere = free_port();
    let admin = Admin::asking("lookupd", [nowhere].into_iter(), &["--history-interval=0"]);
    for path in [
        "/api/topics",
        "/api/topics?inactive=true",
        "/api/topics/t",
        "/api/topics/t/c",
        "/api/nodes",
        "/api/nodes/127.0.0.1:1",
        "/api/counter",
    ] {
        let (status, message) = admin.tell("GET", path, &Value::Null);
        assert_eq!(status, 502, "{path}");
        let begin =
            format!("UPSTREAM_ERROR: failed to query any nsqlookupd: Get \"http://{nowhere}/");
        assert!(message.starts_with(&begin), "{path}: {message}");
    }
    let (status, _) = admin.tell("DELETE", "/api/topics/t", &Value::Null);
    assert_eq!(status, 502);
}

#[test]
fn the_counter_without_any_node_is_an_error_at_once_and_not_an_old_sum() {
    let mut nsqd = Nsqd::start(&["--broadcast-address=127.0.0.1"]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    let lookupd = lookupd_of(&[nsqd.http().port()]);
    let admin = Admin::asking(
        "lookupd",
        [lookupd.address].into_iter(),
        &["--history-interval=0"],
    );
    let counter = admin.json("/api/counter");
    assert_eq!(
        counter["stats"].as_object().map(serde_json::Map::len),
        Some(1)
    );
    nsqd.kill9();
    let (status, message) = admin.tell("GET", "/api/counter", &Value::Null);
    let begin = "UPSTREAM_ERROR: failed to query any nsqd: Get \"http://";
    assert!(status == 502 && message.starts_with(begin), "{message}");

    let empty = Lookupd::start();
    let admin = Admin::of_lookupds(&[&empty], &["--history-interval=0"]);
    let answer = admin.tell("GET", "/api/counter", &Value::Null);
    let nothing = "UPSTREAM_ERROR: failed to query any nsqd: ";
    assert_eq!(answer, (502, nothing.to_owned()));
}

#[test]
fn a_silent_node_costs_its_time_limit_and_not_more() {
    let alive = Nsqd::start(&["--broadcast-address=127.0.0.1"]);
    alive.order("/topic/create?topic=t");
    let silent: Vec<_> = (0..5).map(|_| Fake::start(|_| None)).collect();
    let mut ports = vec![alive.http().port()];
    ports.extend(silent.iter().map(|fake| fake.address.port()));
    let lookupd = lookupd_of(&ports);
    let admin = Admin::asking(
        "lookupd",
        [lookupd.address].into_iter(),
        &["--http-client-request-timeout=500ms"],
    );
    let started = Instant::now();
    let topic = admin.json("/api/topics/t");
    // All five side by side.
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(topic["nodes"].as_array().unwrap().len(), 1);
    let message = topic["message"].as_str().unwrap();
    assert_eq!(
        message.matches("timeout after 500ms").count(),
        5,
        "{message}"
    );
    assert_eq!(admin.json("/api/counter")["stats"], json!({}));
}

#[test]
fn garbage_is_a_warning() {
    let alive = Nsqd::start(&["--broadcast-address=127.0.0.1"]);
    alive.order("/topic/create?topic=t");
    alive.order("/channel/create?topic=t&channel=c");
    let answers: [Vec<u8>; 7] = [
        b"garbage".to_vec(),
        Vec::new(),
        Fake::ok("not json"),
        Fake::ok("[]"),
        Fake::ok(r#"{"topics":[{"topic_name":5}]}"#),
        b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n{".to_vec(),
    ];
    let count = answers.len();
    let fakes: Vec<_> = answers
        .into_iter()
        .map(|answer| Fake::start(move |_| Some(answer.clone())))
        .collect();
    let mut ports = vec![alive.http().port()];
    ports.extend(fakes.iter().map(|fake| fake.address.port()));
    let lookupd = lookupd_of(&ports);
    let admin = Admin::asking("lookupd", [lookupd.address].into_iter(), &[]);
    let channel = admin.json("/api/topics/t/c");
    assert_eq!(channel["nodes"].as_array().unwrap().len(), 1);
    let message = channel["message"].as_str().unwrap();
    assert_eq!(message.lines().count(), count, "{message}");
    assert!(
        message.contains(r#"got response 500 Internal Server Error "oops""#),
        "{message}"
    );
}

#[test]
fn old_and_odd_nsqds_are_taken_as_they_are() {
    let sparse = r#"{"version":"0.3.8","topics":[
        {"topic_name":"t","depth":-3,"backend_depth":9223372036854775807,"channels":null,"e2e_processing_latency":null},
        {"topic_name":"t","channels":[{"channel_name":"c","depth":9223372036854775807},{"channel_name":"c","depth":5}]},
        {"topic_name":"other","channels":[{}]}
    ],"unknown":{}}"#;
    let odd = Fake::start(move |_| Some(Fake::ok(sparse)));
    let lookupd = lookupd_of(&[odd.address.port()]);
    let admin = Admin::asking("lookupd", [lookupd.address].into_iter(), &[]);
    let topic = admin.json("/api/topics/t");
    assert_eq!(topic["depth"], -3);
    assert_eq!(topic["channels"][0]["depth"], i64::MAX);
    assert_eq!(topic["channels"][0]["e2e_processing_latency"]["count"], 0);
    assert_eq!(admin.json("/api/topics/t/c")["client_count"], 0);
    let node = admin.json(&format!("/api/nodes/{}", odd.address));
    assert_eq!(node["topics"].as_array().unwrap().len(), 3);
    // Short lists of tombstones have crashed others.
    assert_eq!(
        admin.json("/api/nodes")["nodes"][0]["topics"][0]["tombstoned"],
        false
    );
}

#[test]
fn nsqlookupds_need_not_agree() {
    let (knowing, ignorant) = (Lookupd::start(), Lookupd::start());
    let nsqd = Start::default().registering_with(&[knowing.tcp()]).now();
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    knowing.wait_for_producers("t", &[nsqd.tcp()]);
    let admin = Admin::of_lookupds(&[&knowing, &ignorant], &[]);
    // One that does not know the topic has nothing to add, and that is no failure.
    for path in ["/api/topics/t", "/api/topics/t/c", "/api/nodes"] {
        assert_eq!(admin.json(path)["message"], "", "{path}");
    }
    let unpaused = admin.tell("POST", "/api/topics/t", &json!({"action": "unpause"}));
    assert_eq!(unpaused, (200, String::new()));

    let mut ignorant = ignorant;
    ignorant.kill9();
    let topic = admin.json("/api/topics/t");
    let message = topic["message"].as_str().unwrap();
    assert!(message.contains(&ignorant.http().to_string()), "{message}");
    assert_eq!(topic["nodes"].as_array().unwrap().len(), 1);
    // While one of them is silent, no answer can say that a topic does not exist.
    let (status, _) = admin.tell("GET", "/api/topics/none", &Value::Null);
    assert_eq!(status, 502);
}

#[test]
fn versions_and_reports_are_compared() {
    let of = |port: u16, version: &str, hostname: &str| {
        let mut producer = introduction(port, &["b", "a"]);
        producer["version"] = version.into();
        producer["hostname"] = hostname.into();
        producer["tombstones"] = json!([true, false]);
        producer
    };
    let producers = [of(1, "1.2.1", "z"), of(2, "1.3.0", "a"), of(3, "odd", "m")];
    let lookupd = || {
        let answer = json!({"producers": producers}).to_string();
        Fake::start(move |_| Some(Fake::ok(&answer)))
    };
    let lookupds = [lookupd(), lookupd()];
    let addresses = lookupds.iter().map(|fake| fake.address);
    let admin = Admin::asking("lookupd", addresses, &["--history-interval=0"]);
    let nodes = admin.json("/api/nodes")["nodes"].clone();
    let column = |key: &str| -> Vec<Value> {
        nodes
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node[key].clone())
            .collect()
    };
    assert_eq!(column("hostname"), ["a", "m", "z"]);
    assert_eq!(column("out_of_date"), [false, true, true]);
    let reports: Vec<_> = lookupds
        .iter()
        .map(|fake| format!("{}/127.0.0.1:1", fake.address))
        .collect();
    assert_eq!(nodes[0]["remote_addresses"], json!(reports));
    assert_eq!(
        nodes[0]["topics"],
        json!([{"topic": "a", "tombstoned": false}, {"topic": "b", "tombstoned": true}])
    );
}
