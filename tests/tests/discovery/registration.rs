//! What an nsqd has is found at nsqlookupd, for as long as the nsqd is there.

use nsq_tests::{Lookupd, Nsqd, PATIENCE, Start, wait_until};
use serde_json::json;

/// One nsqlookupd, and an nsqd that registers with it.
fn pair() -> (Lookupd, Nsqd) {
    let lookupd = Lookupd::start();
    let nsqd = Start::default().registering_with(&[lookupd.tcp()]).now();
    (lookupd, nsqd)
}

#[test]
fn what_nsqd_has_is_found() {
    let (lookupd, nsqd) = pair();
    nsqd.order("/topic/create?topic=bare");
    nsqd.order("/channel/create?topic=bare&channel=made");
    nsqd.connect().publish("published", "x");
    let _subscriber = nsqd.subscribe("subscribed", "c", 1);
    let _ephemeral = nsqd.subscribe("fleeting#ephemeral", "c#ephemeral", 1);

    for (topic, channels) in [
        ("bare", &["made"][..]),
        ("published", &[]),
        ("subscribed", &["c"]),
        ("fleeting#ephemeral", &["c#ephemeral"]),
    ] {
        lookupd.wait_for_producers(topic, &[nsqd.tcp()]);
        lookupd.wait_for_channels(topic, channels);
    }
    assert_eq!(
        lookupd.topics(),
        ["bare", "fleeting#ephemeral", "published", "subscribed"]
    );
    let nodes = lookupd.nodes();
    let [node] = &nodes[..] else {
        panic!("not one node: {nodes:?}")
    };
    let remote_address = node["remote_address"].as_str().expect("it is a text");
    assert!(remote_address.starts_with("127.0.0.1:"), "{node}");
    let hostname = &nsqd.get("/info").json()["hostname"];
    assert_eq!(
        *node,
        json!({
            "remote_address": remote_address,
            "hostname": hostname,
            "broadcast_address": "127.0.0.1",
            "tcp_port": nsqd.tcp().port(),
            "http_port": nsqd.http().port(),
            "version": "1.3.0",
            "topology_zone": "",
            "topology_region": "",
            "tombstones": [false, false, false, false],
            "topics": ["bare", "fleeting#ephemeral", "published", "subscribed"],
        })
    );
    // Without the tombstones and topics it is how /lookup names it.
    let found = lookupd.get("/lookup?topic=subscribed").json();
    assert_eq!(found["channels"], json!(["c"]));
    let mut producer = node.clone();
    let fields = producer.as_object_mut().expect("it is an object");
    fields.retain(|key, _| key != "tombstones" && key != "topics");
    assert_eq!(found["producers"], json!([producer]));
}

#[test]
fn what_nsqd_says_of_itself_is_configured() {
    let lookupd = Lookupd::start();
    let nsqd = Start::with(&[
        "--broadcast-tcp-port=5150",
        "--broadcast-http-port=5151",
        "--topology-region=north",
        "--topology-zone=north-1",
    ])
    .registering_with(&[lookupd.tcp()])
    .now();
    nsqd.order("/topic/create?topic=t");
    lookupd.wait_for_producers("t", &["127.0.0.1:5150".parse().expect("an address")]);
    let node = &lookupd.nodes()[0];
    for (key, value) in [
        ("http_port", json!(5151)),
        ("topology_region", json!("north")),
        ("topology_zone", json!("north-1")),
    ] {
        assert_eq!(node[key], value, "{key}");
    }
}

#[test]
fn what_was_there_at_the_start_is_registered() {
    let (mut lookupd, mut nsqd) = pair();
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    nsqd.order("/topic/create?topic=bare");
    assert!(nsqd.terminate().success());
    // So that nothing is known from before.
    lookupd.kill9();
    lookupd.start_again();
    assert_eq!(lookupd.topics(), [""; 0]);

    nsqd.start_again();
    lookupd.wait_for_producers("t", &[nsqd.tcp()]);
    lookupd.wait_for_channels("t", &["c"]);
    lookupd.wait_for_producers("bare", &[nsqd.tcp()]);
}

#[test]
fn a_restarted_nsqlookupd_hears_everything_again() {
    let (mut lookupd, nsqd) = pair();
    nsqd.order("/topic/create?topic=bare");
    for channel in ["a", "b"] {
        nsqd.order("/topic/create?topic=t");
        nsqd.order(&format!("/channel/create?topic=t&channel={channel}"));
    }
    let _ephemeral = nsqd.subscribe("fleeting#ephemeral", "c#ephemeral", 1);
    let check = |lookupd: &Lookupd, topics: &[(&str, &[&str])]| {
        for (topic, channels) in topics {
            lookupd.wait_for_producers(topic, &[nsqd.tcp()]);
            lookupd.wait_for_channels(topic, channels);
        }
    };
    let mut topics: Vec<(_, &[_])> = vec![
        ("bare", &[]),
        ("t", &["a", "b"]),
        ("fleeting#ephemeral", &["c#ephemeral"]),
    ];
    check(&lookupd, &topics);

    lookupd.kill9();
    // Topics that come and go while nsqlookupd is down.
    nsqd.order("/topic/create?topic=meanwhile");
    nsqd.order("/topic/delete?topic=bare");
    lookupd.start_again();
    topics[0] = ("meanwhile", &[]);
    check(&lookupd, &topics);
    assert_eq!(lookupd.topics(), ["fleeting#ephemeral", "meanwhile", "t"]);

    assert!(lookupd.terminate().success());
    lookupd.start_again();
    check(&lookupd, &topics);
}

#[test]
fn what_is_deleted_is_unregistered() {
    let (lookupd, nsqd) = pair();
    nsqd.order("/topic/create?topic=t");
    for channel in ["a", "b"] {
        nsqd.order(&format!("/channel/create?topic=t&channel={channel}"));
        let what = format!("channel {channel} is registered");
        wait_until(&what, PATIENCE, || {
            lookupd.is_registered("t", Some(channel))
        });
    }

    nsqd.order("/channel/delete?topic=t&channel=a");
    wait_until("channel a is unregistered", PATIENCE, || {
        !lookupd.is_registered("t", Some("a"))
    });
    assert!(lookupd.is_registered("t", Some("b")) && lookupd.is_registered("t", None));

    nsqd.order("/topic/delete?topic=t");
    lookupd.wait_for_producers("t", &[]);
    wait_until("channel b is unregistered", PATIENCE, || {
        !lookupd.is_registered("t", Some("b"))
    });
    // The names stay until they are deleted here, too.
    assert_eq!(lookupd.get("/lookup?topic=t").status, 200);
    assert_eq!(lookupd.channels("t"), ["a", "b"]);
    lookupd.order("/topic/delete?topic=t");
    assert_eq!(lookupd.get("/lookup?topic=t").status, 404);
    assert_eq!(lookupd.channels("t"), [""; 0]);
}

#[test]
fn what_is_ephemeral_goes_with_its_last_subscriber() {
    let (lookupd, nsqd) = pair();
    let first = nsqd.subscribe("t", "c#ephemeral", 1);
    let second = nsqd.subscribe("fleeting#ephemeral", "c#ephemeral", 1);
    lookupd.wait_for_channels("t", &["c#ephemeral"]);
    lookupd.wait_for_channels("fleeting#ephemeral", &["c#ephemeral"]);

    drop((first, second));
    lookupd.wait_for_channels("t", &[]);
    lookupd.wait_for_producers("t", &[nsqd.tcp()]);
    wait_until("the ephemeral topic is gone", PATIENCE, || {
        lookupd.topics() == ["t"]
    });
}

#[test]
fn a_lost_nsqd_is_found_no_more() {
    let (lookupd, mut nsqd) = pair();
    let other = Start::default().registering_with(&[lookupd.tcp()]).now();
    for nsqd in [&nsqd, &other] {
        nsqd.order("/topic/create?topic=t");
        nsqd.order("/channel/create?topic=t&channel=c");
    }
    lookupd.wait_for_producers("t", &[nsqd.tcp(), other.tcp()]);

    nsqd.kill9();
    lookupd.wait_for_producers("t", &[other.tcp()]);
    assert_eq!(lookupd.nodes().len(), 1);

    nsqd.start_again();
    lookupd.wait_for_producers("t", &[nsqd.tcp(), other.tcp()]);
    assert!(nsqd.terminate().success());
    lookupd.wait_for_producers("t", &[other.tcp()]);
    // With the last one, the names stay.
    drop(other);
    lookupd.wait_for_producers("t", &[]);
    assert_eq!(lookupd.topics(), ["t"]);
    assert_eq!(lookupd.channels("t"), ["c"]);
}

#[test]
fn an_nsqd_that_is_silent_for_too_long_is_hidden() {
    let lookupd = Lookupd::start_with(&["--inactive-producer-timeout=1s"]);
    let nsqd = Start::default().registering_with(&[lookupd.tcp()]).now();
    nsqd.order("/topic/create?topic=t");
    lookupd.wait_for_producers("t", &[nsqd.tcp()]);
    // It pings every 15 seconds, so it is silent now.
    lookupd.wait_for_producers("t", &[]);
    assert!(lookupd.nodes().is_empty());
    assert!(lookupd.is_registered("t", None));
    assert_eq!(lookupd.topics(), ["t"]);
}

#[test]
fn a_tombstone_hides_an_nsqd_for_its_lifetime() {
    let lookupd = Lookupd::start_with(&["--tombstone-lifetime=1s"]);
    let nsqd = Start::default().registering_with(&[lookupd.tcp()]).now();
    for topic in ["t", "u"] {
        nsqd.order(&format!("/topic/create?topic={topic}"));
        lookupd.wait_for_producers(topic, &[nsqd.tcp()]);
    }
    lookupd.order(&format!("/topic/tombstone?topic=t&node={}", nsqd.http()));
    assert_eq!(lookupd.producers("t"), []);
    assert_eq!(lookupd.producers("u"), [nsqd.tcp()]);
    let node = &lookupd.nodes()[0];
    assert_eq!(node["topics"], json!(["t", "u"]));
    assert_eq!(node["tombstones"], json!([true, false]));
    lookupd.wait_for_producers("t", &[nsqd.tcp()]);
}

#[test]
fn after_much_coming_and_going_both_agree() {
    let (lookupd, nsqd) = pair();
    for round in 0..40 {
        let topic = format!("t{}", round % 8);
        nsqd.order(&format!("/topic/create?topic={topic}"));
        nsqd.order(&format!("/channel/create?topic={topic}&channel=c{round}"));
        match round % 3 {
            0 => nsqd.order(&format!("/topic/delete?topic={topic}")),
            1 => nsqd.order(&format!("/channel/delete?topic={topic}&channel=c{round}")),
            _ => {}
        }
    }
    let stats = nsqd.stats();
    let mut wanted = vec!["client::".to_string()];
    for topic in stats["topics"].as_array().expect("there is a list") {
        let name = topic["topic_name"].as_str().expect("a name");
        wanted.push(format!("topic:{name}:"));
        for channel in topic["channels"].as_array().expect("there is a list") {
            let channel = channel["channel_name"].as_str().expect("a name");
            wanted.push(format!("channel:{name}:{channel}"));
        }
    }
    wanted.sort();
    let mut got = vec![];
    wait_until("nsqlookupd knows what nsqd has", PATIENCE, || {
        let registered = lookupd.get("/debug").json();
        let registered = registered.as_object().expect("it is an object");
        got = registered.keys().cloned().collect();
        got.sort();
        got == wanted
    });
}
