//! A topic that is new here but not in the cluster has its channels before its first message goes anywhere.

use nsq_tests::{Lookupd, Nsqd, RawClient, Start};

/// An nsqd that registers with these.
fn nsqd_of(lookupds: &[&Lookupd]) -> Nsqd {
    let addresses: Vec<_> = lookupds.iter().map(|lookupd| lookupd.tcp()).collect();
    let nsqd = Start::default().registering_with(&addresses).now();
    // It asks for channels only those that it has spoken with.
    for address in addresses {
        let introduced = format!("LOOKUPD({address}): peer info");
        let line = nsqd.log().wait_for(&introduced, nsq_tests::PATIENCE);
        assert!(line.is_some(), "no {introduced:?}");
    }
    nsqd
}

fn create_channel(nsqd: &Nsqd, topic: &str, channel: &str) {
    nsqd.order(&format!("/topic/create?topic={topic}"));
    nsqd.order(&format!("/channel/create?topic={topic}&channel={channel}"));
}

#[test]
fn the_very_first_message_reaches_a_channel_that_is_elsewhere() {
    let lookupd = Lookupd::start();
    let (here, elsewhere) = (nsqd_of(&[&lookupd]), nsqd_of(&[&lookupd]));
    let check = |topic: &str, publish: &dyn Fn()| {
        create_channel(&elsewhere, topic, "c");
        lookupd.wait_for_channels(topic, &["c"]);
        publish();
        here.wait_for_channel(topic, "c", &[("message_count", 1), ("depth", 1)]);
        assert_eq!(here.topic(topic)["depth"], 0, "{topic}");
        here.subscribe(topic, "c", 1).expect_body("x");
    };
    let post = |path: &str, body: &[u8]| assert_eq!(here.post(path, body).status, 200, "{path}");
    let batch = [&1_u32.to_be_bytes()[..], &1_u32.to_be_bytes(), b"x"].concat();
    check("PUB", &|| here.connect().publish("PUB", "x"));
    check("MPUB", &|| here.connect().publish_many("MPUB", &["x"]));
    check("pub", &|| post("/pub?topic=pub", b"x"));
    check("mpub", &|| post("/mpub?topic=mpub", b"x"));
    check("mpub-binary", &|| {
        post("/mpub?topic=mpub-binary&binary=true", &batch);
    });
}

#[test]
fn the_very_first_message_reaches_it_deferred_too() {
    let lookupd = Lookupd::start();
    let (here, elsewhere) = (nsqd_of(&[&lookupd]), nsqd_of(&[&lookupd]));
    create_channel(&elsewhere, "t", "c");
    lookupd.wait_for_channels("t", &["c"]);
    let mut client = here.connect();
    client.send_with_body("DPUB t 300", b"x");
    client.expect_ok();
    here.wait_for_channel("t", "c", &[("message_count", 1), ("deferred_count", 1)]);
    here.subscribe("t", "c", 1).expect_body("x");
}

#[test]
fn pipelined_first_messages_stay_in_order() {
    let lookupd = Lookupd::start();
    let (here, elsewhere) = (nsqd_of(&[&lookupd]), nsqd_of(&[&lookupd]));
    create_channel(&elsewhere, "t", "c");
    lookupd.wait_for_channels("t", &["c"]);
    let mut publisher = here.connect();
    let all: Vec<u8> = (0..100)
        .flat_map(|index| RawClient::command("PUB t", format!("{index}").as_bytes()))
        .collect();
    publisher.send(&all);
    for _ in 0..100 {
        publisher.expect_ok();
    }
    let mut subscriber = here.subscribe("t", "c", 100);
    for index in 0..100 {
        subscriber.expect_body(index.to_string());
    }
}

#[test]
fn a_subscriber_to_a_new_topic_makes_the_other_channels_too() {
    let lookupd = Lookupd::start();
    let (here, elsewhere) = (nsqd_of(&[&lookupd]), nsqd_of(&[&lookupd]));
    create_channel(&elsewhere, "t", "theirs");
    lookupd.wait_for_channels("t", &["theirs"]);
    let mut subscriber = here.subscribe("t", "ours", 1);
    here.connect().publish("t", "x");
    subscriber.expect_body("x");
    here.wait_for_channel("t", "theirs", &[("depth", 1)]);
    lookupd.wait_for_producers("t", &[here.tcp(), elsewhere.tcp()]);
    lookupd.wait_for_channels("t", &["ours", "theirs"]);
}

#[test]
fn ephemeral_channels_stay_where_they_are() {
    let lookupd = Lookupd::start();
    let (here, elsewhere) = (nsqd_of(&[&lookupd]), nsqd_of(&[&lookupd]));
    let _subscriber = elsewhere.subscribe("t", "fleeting#ephemeral", 1);
    create_channel(&elsewhere, "t", "c");
    lookupd.wait_for_channels("t", &["c", "fleeting#ephemeral"]);
    here.connect().publish("t", "x");
    here.wait_for_channel("t", "c", &[("depth", 1)]);
    assert!(here.channel("t", "fleeting#ephemeral").is_null());
}

#[test]
fn channels_outlive_the_nsqd_that_had_them() {
    let lookupd = Lookupd::start();
    let (here, elsewhere) = (nsqd_of(&[&lookupd]), nsqd_of(&[&lookupd]));
    create_channel(&elsewhere, "t", "c");
    lookupd.wait_for_channels("t", &["c"]);
    drop(elsewhere);
    lookupd.wait_for_producers("t", &[]);
    here.connect().publish("t", "x");
    here.wait_for_channel("t", "c", &[("depth", 1)]);
}

#[test]
fn channels_come_from_every_nsqlookupd() {
    let lookupds = [Lookupd::start(), Lookupd::start()];
    let here = nsqd_of(&[&lookupds[0], &lookupds[1]]);
    for (lookupd, channel) in lookupds.iter().zip(["a", "b"]) {
        lookupd.order(&format!("/channel/create?topic=t&channel={channel}"));
        lookupd.order("/channel/create?topic=t&channel=both");
    }
    here.connect().publish("t", "x");
    for channel in ["a", "b", "both"] {
        here.wait_for_channel("t", channel, &[("depth", 1)]);
    }
    // What is new to one of them, it now knows from here.
    for lookupd in &lookupds {
        lookupd.wait_for_channels("t", &["a", "b", "both"]);
    }
}
