//! nsqadmin's pages as a user's browser shows them. The program that drives Chromium is in `clients/browser`; it
//! checks over HTTP what the pages say they did.

use std::collections::BTreeSet;
use std::time::Duration;

use nsq_tests::{Admin, ClientLibrary, Daemon, Fake, Lookupd, Start, build_folder, say_loudly};
use serde_json::{Value, json};

#[test]
fn the_pages_work_in_a_browser() {
    let Some(mut browser) = ClientLibrary::browser() else {
        return;
    };
    let screenshots = build_folder().join("browser");
    browser.tell(
        "SCREENSHOTS",
        screenshots.to_str().expect("paths here are text"),
    );

    let lookupd = Lookupd::start();
    // The consumer holds its messages for as long as the scenarios before take; with percentiles, tables are at their
    // widest.
    let start = || {
        let start = Start::with(&[
            "--msg-timeout=10m",
            "--e2e-processing-latency-percentile=0.99",
        ]);
        start.registering_with(&[lookupd.tcp()]).now()
    };
    let (first, mut second) = (start(), start());
    for (nsqd, count) in [(&first, 40), (&second, 15)] {
        nsqd.order("/topic/create?topic=orders");
        for channel in ["billing", "audit"] {
            nsqd.order(&format!("/channel/create?topic=orders&channel={channel}"));
        }
        for number in 0..count {
            let order = format!(r#"{{"order":{number},"items":["tea","<b>cake</b>"]}}"#);
            assert_eq!(nsqd.post("/pub?topic=orders", order.as_bytes()).status, 200);
        }
    }
    first.order("/topic/create?topic=idle");
    first.order("/channel/create?topic=idle&channel=sleepers");
    lookupd.order("/topic/create?topic=left-over");
    lookupd.order("/channel/create?topic=left-over&channel=nobody");
    lookupd.wait_for_producers("orders", &[first.tcp(), second.tcp()]);
    let mut consumer = first.connect();
    // It answers to no heartbeat, and stays for two of the longest intervals.
    consumer.identify(&json!({"heartbeat_interval": 60_000}));
    consumer.subscribe("orders", "billing");
    consumer.send_line("RDY 5");
    first.wait_for_channel("orders", "billing", &[("in_flight_count", 5)]);

    let mut publisher = first.connect();
    publisher.identify(&json!({"heartbeat_interval": 60_000}));
    for number in 10..22 {
        publisher.publish(&format!("of-many-{number}"), "message");
    }

    let endpoint = Fake::start(|_| Some(Fake::ok("{}")));
    let notify = format!(
        "--notification-http-endpoint=http://{}/told",
        endpoint.address
    );
    let admin = Admin::of_lookupds(&[&lookupd], &[&notify, "--history-interval=1s"]);

    let direct = Admin::of_nsqds(&[&first, &second], &[]);

    let addresses = [&*admin, &*direct, &*lookupd, &*first, &*second].map(Daemon::http);
    let report = browser.converse("all", &addresses, LIMIT, |line| {
        match line {
            "kill" => second.kill9(),
            "finish" => {
                let message = consumer.expect_message();
                consumer.finish(&message);
            }
            _ => return None,
        }
        Some("done".to_owned())
    });
    say_loudly(&format!(
        "nsqadmin in a browser: {}; screenshots in {}",
        report.replace('\n', ", "),
        screenshots.display()
    ));
    consumer.send_line("NOP");

    let told: BTreeSet<String> = endpoint
        .told
        .try_iter()
        .map(|request| {
            let told: Value =
                serde_json::from_slice(&request.body).expect("notifications are JSON");
            told["action"].as_str().expect("an action").to_owned()
        })
        .collect();
    for action in [
        "create_topic",
        "create_channel",
        "pause_topic",
        "unpause_topic",
        "empty_topic",
        "delete_topic",
        "pause_channel",
        "unpause_channel",
        "empty_channel",
        "delete_channel",
        "tombstone_topic_producer",
    ] {
        assert!(told.contains(action), "{action} is not among {told:?}");
    }
}

/// Several times what it takes on a machine with nothing else to do.
const LIMIT: Duration = Duration::from_mins(10);
