//! nsqd under mixed traffic for as long as one likes: nothing is lost, and nothing creeps.
//!
//! `SOAK_MINUTES` says how long; `make soak` runs half an hour with the release build.

mod guests;
mod operator;
mod record;

use std::time::{Duration, Instant};

use nsq_tests::{Nsqd, PATIENCE, say_loudly, wait_until};

use crate::ledger::{Ledger, Mark};
use crate::load::{consume, publish};
use record::Record;

/// What is published there must all come.
const TOPICS: [&str; 2] = ["orders", "letters"];
const CHANNELS: [&str; 2] = ["billing", "archive"];
/// Two publishers with ten messages on average every 20 ms: a thousand messages a second.
const PAUSE: Duration = Duration::from_millis(20);
/// Enough to see that all of it works.
const SHORT: Duration = Duration::from_secs(3);
const PATIENCE_AT_THE_END: Duration = Duration::from_mins(1);

#[test]
fn mixed_traffic_loses_nothing_and_nothing_creeps() {
    let minutes = std::env::var("SOAK_MINUTES");
    let length = minutes.map_or(SHORT, |text| {
        Duration::from_mins(text.parse().expect("SOAK_MINUTES is a number"))
    });
    let nsqd = Nsqd::start(&["--msg-timeout=2s", "--mem-queue-size=1000"]);
    for topic in TOPICS {
        nsqd.order(&format!("/topic/create?topic={topic}"));
        for channel in CHANNELS {
            nsqd.order(&format!("/channel/create?topic={topic}&channel={channel}"));
        }
    }
    let ledgers = [(); 2].map(|()| Ledger::new(1));
    let mut record = Record::of(&nsqd, length);
    let address = nsqd.tcp();
    std::thread::scope(|scope| {
        let ends = ledgers.each_ref().map(Ledger::ends_all);
        for (topic, ledger) in TOPICS.into_iter().zip(&ledgers) {
            scope.spawn(move || publish(address, topic, 0, ledger, PAUSE));
            for (index, channel) in CHANNELS.into_iter().enumerate() {
                for number in [1, 2] {
                    scope.spawn(move || consume(address, topic, (index, channel), number, ledger));
                }
            }
            scope.spawn(move || guests::read_ephemerally(address, topic, ledger));
        }
        let [ledger, _] = &ledgers;
        scope.spawn(move || guests::chat(address, ledger));
        let nsqd = &nsqd;
        scope.spawn(move || operator::operate(nsqd, ledger));

        let end = Instant::now() + length;
        while Instant::now() < end {
            let before = ledgers.each_ref().map(Ledger::acknowledged_count);
            std::thread::sleep(record.interval().min(end - Instant::now()));
            record.note();
            for (ledger, before) in ledgers.iter().zip(before) {
                wait_until("publishing goes on", PATIENCE, || {
                    ledger.acknowledged_count() > before
                });
            }
        }
        ledgers.iter().for_each(Ledger::stop_publishing);
        for ledger in &ledgers {
            for channel in 0..CHANNELS.len() {
                ledger.wait_for_the_last(channel, &Mark::default(), PATIENCE_AT_THE_END);
            }
        }
        // Messages that were requeued, or held by a client that vanished, are delivered again.
        for (topic, channel) in TOPICS
            .into_iter()
            .flat_map(|topic| CHANNELS.map(|channel| (topic, channel)))
        {
            let keys = ["depth", "in_flight_count", "deferred_count"];
            wait_until("the channel is empty", PATIENCE_AT_THE_END, || {
                let entry = nsqd.channel(topic, channel);
                keys.iter().all(|key| entry[*key] == 0)
            });
        }
        drop(ends);
    });
    for (topic, ledger) in TOPICS.iter().zip(&ledgers) {
        ledger.balance(topic, [&Mark::default(), &Mark::default()]);
    }
    assert_eq!(nsqd.get("/ping").text(), "OK");
    say_loudly(&record.summary());
    record.expect_nothing_creeps();
}
