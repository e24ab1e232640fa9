//! Processes that are stopped for a while (SIGSTOP) and then continue: what time passed in the meantime has passed.

use std::time::{Duration, Instant};

use nsq_tests::{Nsqd, PATIENCE, Tool, wait_until};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn an_nsqd_that_was_stopped_keeps_its_clients_and_its_promises() {
    let nsqd = Nsqd::start(&[]);
    let mut client = nsqd.connect();
    client.identify(&json!({"heartbeat_interval": 1000, "msg_timeout": 1000}));
    client.subscribe("t", "c");
    client.send_line("RDY 10");
    client.publish("t", "held");
    let held = client.expect_body("held");
    client.send_with_body("DPUB t 500", b"deferred");
    client.expect_ok();
    nsqd.wait_for_channel("t", "c", &[("deferred_count", 1), ("in_flight_count", 1)]);

    nsqd.notify(Signal::STOP);
    let stopped = Instant::now();
    // A message timeout, and more than the two intervals that a client may be silent for. This one is not, and publishes.
    for _ in 0..10 {
        client.send_line("NOP");
        std::thread::sleep(Duration::from_millis(250));
    }
    client.send_with_body("PUB t", b"meanwhile");
    assert!(stopped.elapsed() > Duration::from_secs(2));
    nsqd.notify(Signal::CONT);

    let mut bodies = vec![];
    while bodies.len() < 3 {
        match client.next_frame(PATIENCE) {
            Ok(nsq_tests::Frame::Message(message)) => {
                client.finish(&message);
                if message.id == held.id {
                    assert_eq!(message.attempts, 2, "its timeout had passed");
                }
                bodies.push(message.text());
            }
            Ok(nsq_tests::Frame::Response(text)) => {
                assert!(["OK", "_heartbeat_"].contains(&text.as_str()), "{text}");
            }
            other => panic!("{other:?} after {bodies:?}"),
        }
    }
    bodies.sort();
    assert_eq!(bodies, ["deferred", "held", "meanwhile"]);
    nsqd.wait_for_channel("t", "c", &[("timeout_count", 1), ("in_flight_count", 0)]);
}

#[test]
fn what_a_stopped_consumer_holds_goes_to_others_and_it_comes_back() {
    let nsqd = Nsqd::start(&["--msg-timeout=1s"]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    let consumer = Tool::start(
        "nsq_tail",
        &[
            "--topic=t",
            "--channel=c",
            &format!("--nsqd-tcp-address={}", nsqd.tcp()),
            "--consumer-opt=heartbeat_interval,1s",
            // Also how often a lost nsqd is called again.
            "--consumer-opt=lookupd_poll_interval,100ms",
        ],
    );
    nsqd.wait_for_channel("t", "c", &[("client_count", 1)]);
    consumer.notify(Signal::STOP);
    nsqd.connect().publish("t", "lost on the way");
    nsqd.wait_for_channel("t", "c", &[("in_flight_count", 1)]);

    let mut other = nsqd.subscribe("t", "c", 1);
    let message = other.expect_body("lost on the way");
    assert!(message.attempts > 1);
    other.finish(&message);
    // It did not answer two heartbeats.
    nsqd.wait_for_channel("t", "c", &[("client_count", 1), ("in_flight_count", 0)]);
    drop(other);

    consumer.notify(Signal::CONT);
    nsqd.wait_for_channel("t", "c", &[("client_count", 1)]);
    nsqd.connect().publish("t", "after that");
    wait_until("it goes on", PATIENCE, || {
        consumer.output().text().contains("after that")
    });
}
