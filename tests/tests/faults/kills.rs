//! nsqd killed under load, again and again: what was answered by `OK` is delivered, sooner or later.
//!
//! `KILLS` says how often.

use std::time::{Duration, Instant};

use nsq_tests::{Nsqd, PATIENCE, Start, wait_until};

use crate::dice::Dice;
use crate::ledger::{CHANNELS, Ledger, Mark};
use crate::load::{consume, publish};

const TOPIC: &str = "killed";
const PUBLISHERS: usize = 3;
const FEW_KILLS: u64 = 5;
/// Between two publishes: leaves the two cores of a small machine some time for others.
const PAUSE: Duration = Duration::from_millis(1);
/// How long the last messages may take: several message timeouts.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(40);

#[test]
fn kills_under_load_lose_nothing() {
    Campaign::new("kill -9", &[], |nsqd| nsqd.kill9()).run();
}

#[test]
fn kills_under_load_with_synced_publishes_lose_nothing() {
    Campaign::new("kill -9, synced", &["--sync-publish"], |nsqd| nsqd.kill9()).run();
}

#[test]
fn terminations_under_load_lose_nothing() {
    let terminate = |nsqd: &mut Nsqd| assert!(nsqd.terminate().success());
    Campaign::new("SIGTERM", &[], terminate).run();
}

#[test]
fn terminations_under_load_with_synced_publishes_lose_nothing() {
    let terminate = |nsqd: &mut Nsqd| assert!(nsqd.terminate().success());
    Campaign::new("SIGTERM, synced", &["--sync-publish"], terminate).run();
}

/// What an ephemeral channel had goes with the process; it works as usual in the next, and costs its neighbour nothing.
#[test]
fn kills_under_load_take_from_ephemeral_channels_only_what_they_had() {
    let mut campaign = Campaign::new("kill -9, channel 1 ephemeral", &[], |nsqd| nsqd.kill9());
    campaign.channels[1] = "two#ephemeral";
    campaign.run();
}

/// How nsqd's life ends, how often, and what there is to lose.
struct Campaign {
    what: &'static str,
    flags: Vec<&'static str>,
    end: fn(&mut Nsqd),
    channels: [&'static str; CHANNELS],
    kills: u64,
}

impl Campaign {
    fn new(what: &'static str, flags: &[&'static str], end: fn(&mut Nsqd)) -> Self {
        // What lives in memory has a bound that slow consumers must not meet.
        let own = ["--msg-timeout=1s", "--mem-queue-size=1000000"];
        Self {
            what,
            flags: [&own, flags].concat(),
            end,
            channels: ["one", "two"],
            kills: kill_count(),
        }
    }

    #[track_caller]
    fn run(&self) {
        let mut nsqd = Start::with(&self.flags).keeping_ports().now();
        nsqd.order(&format!("/topic/create?topic={TOPIC}"));
        for channel in self.channels {
            let channel = channel.replace('#', "%23");
            nsqd.order(&format!("/channel/create?topic={TOPIC}&channel={channel}"));
        }
        let ledger = Ledger::new(PUBLISHERS);
        let address = nsqd.tcp();
        let start = Instant::now();
        let mut since = [Mark::default(), Mark::default()];
        std::thread::scope(|scope| {
            let ledger = &ledger;
            // The scope waits for its threads: they must be told to end also when a step here fails.
            let end = ledger.ends_all();
            let publishers: Vec<_> = (0..PUBLISHERS)
                .map(|number| scope.spawn(move || publish(address, TOPIC, number, ledger, PAUSE)))
                .collect();
            for (index, channel) in self.channels.into_iter().enumerate() {
                for number in [10, 20] {
                    let channel = (index, channel);
                    scope.spawn(move || consume(address, TOPIC, channel, number, ledger));
                }
            }
            let mut dice = Dice::of(100);
            for kill in 0..self.kills {
                wait_for_publishes(ledger);
                std::thread::sleep(Duration::from_millis(dice.below(400)));
                (self.end)(&mut nsqd);
                if kill % 5 == 4 {
                    // Some outages last longer than a reconnect, and some begin again within the start.
                    std::thread::sleep(Duration::from_millis(dice.below(100)));
                    nsqd.start_blindly();
                    std::thread::sleep(Duration::from_millis(dice.below(60)));
                    nsqd.kill9();
                }
                nsqd.start_again();
            }
            for (channel, mark) in self.channels.iter().zip(&mut since) {
                if channel.contains('#') {
                    // The channel exists again once a client is back.
                    nsqd.wait_for_channel(TOPIC, channel, &[("client_count", 2)]);
                    *mark = ledger.mark();
                }
            }
            wait_for_publishes(ledger);
            ledger.stop_publishing();
            for publisher in publishers {
                publisher.join().expect("the publisher's own checks hold");
            }
            for (channel, mark) in since.iter().enumerate() {
                ledger.wait_for_the_last(channel, mark, PATIENCE_AT_THE_END);
            }
            drop(end);
        });
        let what = format!(
            "{}, {} times in {:?}",
            self.what,
            self.kills,
            start.elapsed()
        );
        ledger.balance(&what, since.each_ref());
    }
}

/// How often nsqd is killed in each campaign.
pub(crate) fn kill_count() -> u64 {
    let kills = std::env::var("KILLS");
    kills.map_or(FEW_KILLS, |text| text.parse().expect("KILLS is a number"))
}

/// Waits until publishing has gone on for a while.
#[track_caller]
fn wait_for_publishes(ledger: &Ledger) {
    let before = ledger.acknowledged_count();
    wait_until("publishing goes on", PATIENCE, || {
        ledger.acknowledged_count() > before + 100
    });
}
