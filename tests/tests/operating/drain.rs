//! An nsqd that leaves the cluster: it takes nothing new, is not found any more, gives away what it has, and ends.

use std::collections::BTreeMap;
use std::time::Duration;

use nsq_tests::{
    ClientLibrary, Fake, Lookupd, Nsqd, PATIENCE, RawClient, Start, free_port, say_loudly,
    wait_until,
};
use rustix::process::Signal;
use serde_json::Value;

const CHANNELS: [&str; 2] = ["one", "two"];

/// Tells it to drain; how it goes.
#[track_caller]
fn drain(nsqd: &Nsqd, to: &str) -> Value {
    let reply = nsqd.post(&format!("/drain?to={to}"), b"");
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[track_caller]
fn refusal(nsqd: &Nsqd, path: &str, body: &[u8]) -> (u16, String) {
    let reply = nsqd.post(path, body);
    (
        reply.status,
        reply.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    )
}

#[track_caller]
fn wait_for_trouble(nsqd: &Nsqd, part: &str) {
    wait_until(&format!("its trouble is {part:?}"), PATIENCE, || {
        let progress = nsqd.get("/drain").json();
        progress["trouble"]
            .as_str()
            .is_some_and(|trouble| trouble.contains(part))
    });
}

fn make_channels(nsqd: &Nsqd, topic: &str) {
    nsqd.order(&format!("/topic/create?topic={topic}"));
    for channel in CHANNELS {
        nsqd.order(&format!("/channel/create?topic={topic}&channel={channel}"));
    }
}

fn publish_numbered(nsqd: &Nsqd, topic: &str, count: usize, padding: usize) {
    let bodies: Vec<_> = (0..count)
        .map(|at| format!("{at} {}", "x".repeat(padding)))
        .collect();
    let mut client = nsqd.connect();
    for batch in bodies.chunks(500) {
        client.publish_many(topic, batch);
    }
}

/// How often each body is in a channel, all of which are taken and finished.
fn take_all(nsqd: &Nsqd, topic: &str, channel: &str) -> BTreeMap<String, u32> {
    let mut bodies = BTreeMap::new();
    let mut client = nsqd.subscribe(topic, channel, 2000);
    while nsqd.channel(topic, channel)["depth"] != 0
        || nsqd.channel(topic, channel)["in_flight_count"] != 0
    {
        while let Ok(frame) = client.next_frame(Duration::from_millis(50)) {
            if let nsq_tests::Frame::Message(message) = frame {
                client.finish(&message);
                *bodies.entry(message.text()).or_default() += 1;
            }
        }
    }
    bodies
}

#[test]
fn a_draining_nsqd_takes_nothing_new_is_not_found_and_ends_when_its_consumers_are_done() {
    let lookupd = Lookupd::start();
    let mut nsqd = Start::default().registering_with(&[lookupd.tcp()]).now();
    let mut consumer = nsqd.subscribe("t", "c", 1);
    nsqd.connect().publish("t", "held");
    let held = consumer.expect_body("held");
    nsqd.connect().publish("t", "waiting");
    lookupd.wait_for_producers("t", &[nsqd.tcp()]);

    let progress = drain(&nsqd, "");
    assert_eq!(progress["draining"], true);
    assert_eq!(progress["left"], 2);
    for command in ["PUB t", "DPUB t 10", "PUB new"] {
        let mut producer = nsqd.connect();
        producer.send_with_body(command, b"x");
        let name = command.split(' ').next().unwrap_or_default();
        producer.expect_error(&format!("E_{name}_FAILED {name} failed draining"));
    }
    let mut producer = nsqd.connect();
    producer.send(&RawClient::multi_publish("t", &["x"]));
    producer.expect_error("E_MPUB_FAILED MPUB failed draining");
    let mut other = nsqd.connect();
    other.send_line("SUB t other");
    other.expect_error("E_SUB_FAILED SUB failed exiting");
    for path in [
        "/pub?topic=t",
        "/mpub?topic=t",
        "/pub?topic=t&defer=10",
        "/pub?topic=new",
        "/topic/create?topic=new",
        "/channel/create?topic=t&channel=new",
        "/adopt?topic=t",
    ] {
        assert_eq!(
            refusal(&nsqd, path, b"x"),
            (503, "DRAINING".to_owned()),
            "{path}"
        );
    }
    // It is alive and well, but nothing is to be sent there.
    assert_eq!(nsqd.get("/ping").status, 200);
    let ready = nsqd.get("/ready");
    assert_eq!(
        (ready.status, ready.text().as_str()),
        (503, "NOK - draining")
    );
    lookupd.wait_for_producers("t", &[]);
    wait_until("no node is left", PATIENCE, || lookupd.nodes().is_empty());
    // Nothing of what changes registers it again.
    let addresses = format!(r#"["{}"]"#, lookupd.tcp());
    nsqd.request(
        "PUT",
        "/config/nsqlookupd_tcp_addresses",
        addresses.as_bytes(),
    );
    assert!(lookupd.nodes().is_empty());

    // Told otherwise, it is as before.
    assert_eq!(
        nsqd.request("DELETE", "/drain", b"").json()["draining"],
        false
    );
    assert_eq!(nsqd.get("/ready").status, 200);
    nsqd.connect().publish("t", "more");
    lookupd.wait_for_producers("t", &[nsqd.tcp()]);

    drain(&nsqd, "");
    lookupd.wait_for_producers("t", &[]);
    consumer.finish(&held);
    for body in ["waiting", "more"] {
        let message = consumer.expect_body(body);
        assert_eq!(nsqd.get("/drain").json()["draining"], true, "not done yet");
        consumer.finish(&message);
    }
    assert_eq!(nsqd.wait_for_exit().code(), Some(0));
}

#[test]
fn what_is_left_goes_to_another_nsqd_with_pauses_and_due_times_at_a_signal() {
    let target = Nsqd::start(&[]);
    let flag = format!("--drain-to={}", target.http());
    let mut nsqd = Nsqd::start(&[&flag]);
    make_channels(&nsqd, "t");
    nsqd.order("/channel/pause?topic=t&channel=two");
    let mut consumer = nsqd.subscribe("t", "one", 1);
    nsqd.connect().publish("t", "a");
    let message = consumer.expect_body("a");
    nsqd.connect().publish("t", "b");
    assert_eq!(nsqd.post("/pub?topic=t&defer=3600000", b"late").status, 200);
    consumer.finish(&message);
    let message = consumer.expect_body("b");
    consumer.send_line(&format!("REQ {} 0", message.id));
    let again = consumer.expect_body("b");
    // Topics that wait for a channel, or are paused.
    nsqd.connect().publish("waiting", "c");
    make_channels(&nsqd, "paused");
    nsqd.order("/topic/pause?topic=paused");
    nsqd.connect().publish("paused", "d");

    nsqd.notify(Signal::USR1);
    wait_until("all but what is held has gone", PATIENCE, || {
        nsqd.get("/drain").json()["left"] == 1
    });
    consumer.send_line("RDY 0");
    consumer.send_line(&format!("REQ {} 0", again.id));
    assert_eq!(nsqd.wait_for_exit().code(), Some(0));

    target.wait_for_channel("t", "one", &[("depth", 1), ("deferred_count", 1)]);
    target.wait_for_channel("t", "two", &[("depth", 2), ("deferred_count", 1)]);
    assert_eq!(target.channel("t", "two")["paused"], true);
    assert_eq!(target.channel("t", "one")["paused"], false);
    assert_eq!(target.topic("waiting")["depth"], 1);
    assert_eq!(target.topic("paused")["depth"], 1);
    assert_eq!(target.topic("paused")["paused"], true);
    let mut consumer = target.subscribe("t", "one", 1);
    let message = consumer.expect_body("b");
    assert_eq!(message.attempts, again.attempts + 1);

    // It was a drain, and no more: started again it is an nsqd as any.
    nsqd.start_again();
    assert_eq!(nsqd.get("/drain").json()["draining"], false);
    nsqd.connect().publish("t", "x");
}

#[test]
fn go_consumers_that_find_their_nsqds_get_every_message() {
    const COUNT: usize = 5000;
    let Some(library) = ClientLibrary::go() else {
        return;
    };
    let lookupd = Lookupd::start();
    let registering = || Start::default().registering_with(&[lookupd.tcp()]).now();
    let mut nsqd = registering();
    let target = registering();
    make_channels(&nsqd, "go");
    publish_numbered(&nsqd, "go", COUNT, 100);
    let report = library.run("drain", &[lookupd.http()], || {
        drain(&nsqd, &target.http().to_string());
        assert_eq!(nsqd.wait_for_exit().code(), Some(0));
        COUNT.to_string()
    });
    say_loudly(&report);
    assert!(report.ends_with(", 0 repeats"), "{report}");
    assert_ne!(target.channel("go", "one")["requeue_count"], Value::Null);
}

#[test]
fn kills_of_either_nsqd_while_one_drains_into_the_other_lose_nothing() {
    const COUNT: usize = 3000;
    let mut nsqd = Nsqd::start(&[]);
    let mut target = Start::default().keeping_ports().now();
    let to = target.http().to_string();
    make_channels(&nsqd, "t");
    publish_numbered(&nsqd, "t", COUNT, 2000);
    for round in 0..6_u64 {
        drain(&nsqd, &to);
        std::thread::sleep(Duration::from_millis(10 + 7 * round));
        if round % 2 == 0 {
            nsqd.kill9();
            nsqd.start_again();
        } else {
            target.kill9();
            std::thread::sleep(Duration::from_millis(20));
            target.start_again();
        }
    }
    drain(&nsqd, &to);
    assert_eq!(nsqd.wait_for_exit().code(), Some(0));
    for channel in CHANNELS {
        let bodies = take_all(&target, "t", channel);
        let repeats: u32 = bodies.values().map(|times| times - 1).sum();
        say_loudly(&format!(
            "channel {channel}: {} messages, {repeats} repeats",
            bodies.len()
        ));
        assert_eq!(bodies.len(), COUNT, "channel {channel}");
    }
}

#[test]
fn who_can_never_take_messages_is_refused_and_who_does_not_answer_is_waited_for() {
    let mut nsqd = Nsqd::start(&[]);
    nsqd.connect().publish("t", "a");
    let upstream = Fake::start(|_| {
        Some(b"HTTP/1.1 404 Not Found\r\nContent-Length: 23\r\nConnection: close\r\n\r\n{\"message\":\"NOT_FOUND\"}".to_vec())
    });
    for (to, why) in [
        (upstream.address.to_string(), "cannot adopt messages"),
        (nsqd.http().to_string(), "is this nsqd itself"),
        ("nowhere".to_owned(), "INVALID_ARG_TO"),
    ] {
        let (status, message) = refusal(&nsqd, &format!("/drain?to={to}"), b"");
        assert_eq!(status, 400);
        assert!(message.contains(why), "{message}");
    }
    assert_eq!(nsqd.get("/drain").json()["draining"], false);
    nsqd.connect().publish("t", "b");

    let nobody = free_port().to_string();
    drain(&nsqd, &nobody);
    wait_for_trouble(&nsqd, &nobody);
    // Without anyone to take it, what no channel was offered stays.
    drain(&nsqd, "");
    wait_for_trouble(
        &nsqd,
        "2 messages wait in topics that are paused or have no channel",
    );
    // Other orders may follow.
    let target = Nsqd::start(&[]);
    drain(&nsqd, &target.http().to_string());
    assert_eq!(nsqd.wait_for_exit().code(), Some(0));
    assert_eq!(target.topic("t")["depth"], 2);
}

#[test]
fn what_is_too_large_for_the_other_stays_and_is_told() {
    let target = Nsqd::start(&["--max-msg-size=100"]);
    let mut nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    nsqd.connect().publish("t", "small");
    nsqd.connect().publish("t", "x".repeat(101));
    nsqd.connect().publish("waiting", "x".repeat(101));
    nsqd.connect().publish("waiting", "small");
    drain(&nsqd, &target.http().to_string());
    wait_for_trouble(&nsqd, "2 messages are larger than the 100 bytes");
    wait_for_trouble(&nsqd, "waiting");
    assert_eq!(nsqd.get("/drain").json()["left"], 3);
    assert_eq!(target.channel("t", "c")["depth"], 1);
    // A client may still have it, or another nsqd.
    let mut consumer = nsqd.subscribe("t", "c", 1);
    let large = consumer.expect_message();
    consumer.finish(&large);
    let roomy = Nsqd::start(&[]);
    drain(&nsqd, &roomy.http().to_string());
    assert_eq!(nsqd.wait_for_exit().code(), Some(0));
    assert_eq!(roomy.topic("waiting")["depth"], 2);
}
