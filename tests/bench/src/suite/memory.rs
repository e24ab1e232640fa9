//! Publishing to memory-only topics: one message or many in a command, at each size, with different consumers.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use nsq_bench::{
    connection::Hello,
    crowd::{Crowd, Habit, Until},
    error::BenchError,
    options::unique_topic,
    report::Report,
};
use nsq_protocol::{ChannelName, TopicName};

use crate::suite::{
    Suite,
    result::Of,
    server::Server,
    work::{BATCH, Work},
};

pub(crate) const PART: &str = "memory";

pub(crate) const PUB: &str = "PUB pipelined";
pub(crate) const MPUB: &str = "MPUB";

pub(crate) const NONE: &str = "no consumer";
pub(crate) const IDLE: &str = "idle consumer, RDY 0";
pub(crate) const SLOW: &str = "slow consumer, RDY 1";
pub(crate) const FOUR: &str = "4 publishers, 4 consumers";
pub(crate) const SITUATIONS: [&str; 4] = [NONE, IDLE, SLOW, FOUR];

const SIZES: [u32; 5] = [16, 200, 4096, 65_536, 1_048_576];

/// Publishes in every situation, at every size, by both servers.
///
/// # Errors
/// The result file cannot be written.
pub(crate) fn run(suite: &mut Suite) -> anyhow::Result<()> {
    for round in 0..suite.scale.rounds {
        let mut recipes = suite.both();
        // A different server first in each round.
        if round % 2 == 1 {
            recipes.reverse();
        }
        for command in [PUB, MPUB] {
            for size in SIZES {
                for situation in SITUATIONS {
                    let load = format!("{command}: {situation}");
                    suite.say(&format!("memory only, {load}, {size} bytes"));
                    for recipe in &recipes {
                        // A new server for each figure, so that the messages of the last one do not count.
                        let Some(server) = suite.start(PART, recipe)? else {
                            continue;
                        };
                        let count = suite.scale.count(count(command, size), 64);
                        let outcome = publish(&server, work(command, size), situation, count);
                        if let Some(report) = suite.checked(PART, outcome)? {
                            let of = Of {
                                part: PART,
                                load: &load,
                                subject: &recipe.name,
                                at: Some(f64::from(size)),
                            };
                            suite.results.report(of, &report, false)?;
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// How many messages a full run publishes: enough for a tenth of a second, and at most half a gigabyte, all of which
/// stays in memory where no one consumes it.
fn count(command: &str, size: u32) -> u64 {
    let most = if command == MPUB { 1_000_000 } else { 200_000 };
    (MOST_BYTES / u64::from(size)).min(most)
}

fn work(command: &'static str, size: u32) -> Work {
    let one = Work {
        name: command,
        publishers: 1,
        size,
        ..Work::NONE
    };
    if command == MPUB {
        let batch = (MPUB_BYTES / size).clamp(1, BATCH);
        Work {
            batch,
            window: 4,
            ..one
        }
    } else {
        Work { window: 64, ..one }
    }
}

/// Publishes `count` messages to a new topic with the consumers of the situation. The figures are those of the
/// publishers, since a full queue drops messages.
fn publish(server: &Server, work: Work, situation: &str, count: u64) -> Result<Report, BenchError> {
    let topic = TopicName::parse(&format!("{}#ephemeral", unique_topic()))
        .expect("a unique name is far shorter than 64 bytes");
    let channel = ChannelName::parse("bench#ephemeral").expect("a valid name");
    let consumers = match situation {
        NONE => return work.run(server, &topic, count),
        IDLE => vec![(0, Habit::Idle)],
        SLOW => vec![(1, Habit::Slow(SLOW_WORK))],
        _ => vec![(2500, Habit::Finish); 4],
    };
    let work = Work {
        publishers: if situation == FOUR { 4 } else { 1 },
        ..work
    };
    let mut crowd = Crowd::new()?;
    for (ready, habit) in consumers {
        let subscription = Some((&topic, &channel, ready));
        crowd.join(&server.address(), Hello::default(), subscription, habit)?;
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let consuming = scope.spawn(|| crowd.run(Until::Told(&is_over)));
        let report = work.run(server, &topic, count);
        is_over.store(true, Ordering::Relaxed);
        consuming.join().expect("a crowd does not panic")?;
        report
    })
}

/// How long the slow consumer works on a message.
const SLOW_WORK: Duration = Duration::from_millis(20);
/// Below `--max-body-size`, which is 5 MiB.
const MPUB_BYTES: u32 = 4 << 20;
const MOST_BYTES: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mpub_has_200_messages_or_as_many_as_fit() {
        let batch = |size| work(MPUB, size).batch;
        assert_eq!(SIZES.map(batch), [200, 200, 200, 64, 4]);
        assert!(
            SIZES
                .map(|size| work(PUB, size).batch)
                .iter()
                .all(|&batch| batch == 1)
        );
    }

    #[test]
    fn what_stays_in_memory_is_bounded() {
        for size in SIZES {
            assert!(count(MPUB, size) * u64::from(size) <= MOST_BYTES);
        }
        assert_eq!(count(PUB, 16), 200_000);
        assert_eq!(count(MPUB, 1_048_576), 512);
    }
}
