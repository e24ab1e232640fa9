//! The scenarios, and what each must leave in nsqd.
//!
//! A program reports each delivery as `<body> <attempts>`. When it has had the last one it prints `done` and waits, so
//! that nsqd's statistics are checked while the client is still connected: what it did not answer stays unanswered.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use nsq_tests::{ClientLibrary, Lookupd, Nsqd, Start};

/// nsqd's own timeout in all scenarios: long enough for a busy machine to answer in.
const MSG_TIMEOUT: &str = "--msg-timeout=1s";

const CHANNEL: &str = "scenarios";

/// Longer than the programs' own patience.
const LIMIT: Duration = Duration::from_secs(90);

/// Runs a scenario, has `check` look at nsqd before the program ends, and returns the deliveries.
#[track_caller]
fn run(
    library: &ClientLibrary,
    scenario: &str,
    addresses: &[SocketAddr],
    check: impl Fn(),
) -> Vec<(String, u32)> {
    let answer = |line: &str| {
        (line == "done").then(|| {
            check();
            "checked".to_owned()
        })
    };
    let report = library.converse(scenario, addresses, LIMIT, answer);
    let delivery = |line: &str| {
        let (body, attempts) = line.rsplit_once(' ')?;
        Some((body.to_owned(), attempts.parse().ok()?))
    };
    let deliveries = report.lines().map(|line| {
        delivery(line).unwrap_or_else(|| panic!("{scenario}: not a delivery: {line}\n{report}"))
    });
    deliveries.collect()
}

/// Runs a scenario with an nsqd of its own, which must have had so many messages, requeues and timeouts in the end,
/// and nothing left.
#[track_caller]
fn run_alone(
    library: &ClientLibrary,
    topic: &str,
    scenario: &str,
    [messages, requeues, timeouts]: [i64; 3],
) -> Vec<(String, u32)> {
    let nsqd = Nsqd::start(&[MSG_TIMEOUT]);
    run(library, scenario, &[nsqd.tcp()], || {
        let wanted = [
            ("depth", 0),
            ("in_flight_count", 0),
            ("deferred_count", 0),
            ("message_count", messages),
            ("requeue_count", requeues),
            ("timeout_count", timeouts),
        ];
        nsqd.wait_for_channel(topic, CHANNEL, &wanted);
    })
}

/// The bodies that a program with `count` messages publishes, each delivered once.
fn once_each(count: usize) -> BTreeSet<(String, u32)> {
    let deliveries = (0..count).map(|index| (format!("message-{index}"), 1));
    deliveries.collect()
}

pub(crate) fn it_publishes_and_consumes(library: &ClientLibrary, topic: &str) {
    let deliveries = run_alone(library, topic, "consume", [100, 0, 0]);
    assert_eq!(deliveries.len(), 100);
    assert_eq!(BTreeSet::from_iter(deliveries), once_each(100));
}

pub(crate) fn a_requeued_message_waits_and_comes_again(library: &ClientLibrary, topic: &str) {
    let deliveries = run_alone(library, topic, "requeue", [10, 10, 0]);
    assert_eq!(deliveries.len(), 20);
    let again = once_each(10).into_iter().map(|(body, _)| (body, 2));
    let wanted = once_each(10).into_iter().chain(again);
    assert_eq!(BTreeSet::from_iter(deliveries), wanted.collect());
}

pub(crate) fn a_deferred_message_comes_when_it_is_due(library: &ClientLibrary, topic: &str) {
    // The program measures how long it took.
    let deliveries = run_alone(library, topic, "defer", [1, 0, 0]);
    assert_eq!(deliveries, [("later".to_owned(), 1)]);
}

pub(crate) fn touching_keeps_a_message_beyond_its_timeout(library: &ClientLibrary, topic: &str) {
    let deliveries = run_alone(library, topic, "touch", [1, 0, 0]);
    assert_eq!(deliveries, [("held".to_owned(), 1)]);
}

pub(crate) fn an_unanswered_message_times_out_and_comes_after_the_waiting_one(
    library: &ClientLibrary,
    topic: &str,
) {
    // The program holds one message at a time, and does not answer the first delivery.
    let deliveries = run_alone(library, topic, "time-out", [2, 0, 1]);
    let wanted = [("first", 1), ("second", 1), ("first", 2)];
    assert_eq!(
        deliveries,
        wanted.map(|(body, attempts)| (body.to_owned(), attempts))
    );
}

pub(crate) fn it_finds_every_nsqd(library: &ClientLibrary, topic: &str) {
    let lookupd = Lookupd::start();
    let start = || Start::default().registering_with(&[lookupd.tcp()]).now();
    let nsqds = [start(), start()];
    for (index, nsqd) in nsqds.iter().enumerate() {
        let bodies: Vec<_> = (0..10)
            .map(|message| format!("message-{}", 10 * index + message))
            .collect();
        nsqd.connect().publish_many(topic, &bodies);
    }
    lookupd.wait_for_producers(topic, &nsqds.each_ref().map(|nsqd| nsqd.tcp()));
    let deliveries = run(library, "discover", &[lookupd.http()], || {
        for nsqd in &nsqds {
            let wanted = [("depth", 0), ("in_flight_count", 0), ("message_count", 10)];
            nsqd.wait_for_channel(topic, CHANNEL, &wanted);
        }
    });
    assert_eq!(deliveries.len(), 20);
    assert_eq!(BTreeSet::from_iter(deliveries), once_each(20));
}
