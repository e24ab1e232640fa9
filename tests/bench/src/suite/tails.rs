//! Latencies from publish to receipt, alone and next to other load.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use nsq_bench::{
    connection::Hello,
    crowd::{Crowd, Habit, Until},
    error::BenchError,
    latency::Percentiles,
    options::{PATIENCE, default_channel, unique_topic},
};

use crate::suite::{
    Suite,
    result::{CPU, Of, P50, P99, P999},
    server::Server,
    work::{Work, create_channel},
};

pub(crate) const PART: &str = "tails";
pub(crate) const SINGLE: &str = "1,000 PUB a second, RDY 2500";
pub(crate) const BATCHES: &str = "50,000 a second in batches of 10, RDY 2500";
pub(crate) const SLOW: &str = "1,000 a second to 9 fast consumers and 1 slow one";
pub(crate) const DISK: &str = "1,000 a second beside a publisher that saturates the disk";
pub(crate) const IDLE: &str = "1,000 a second beside 5,000 idle connections";

pub(crate) const UPSTREAM: &str = "upstream";
pub(crate) const HERE: &str = "here";
pub(crate) const HERE_SYNCED: &str = "here, synced";

/// Both default settings, and here with every message synced.
///
/// # Errors
/// The result file cannot be written.
pub(crate) fn run(suite: &mut Suite) -> anyhow::Result<()> {
    let mut recipes = suite.both();
    recipes.push(suite.here(HERE_SYNCED, &["--sync-publish"]));
    for recipe in recipes {
        for load in [SINGLE, BATCHES, SLOW, DISK, IDLE] {
            suite.say(&format!("{load}: {}", recipe.name));
            let Some(server) = suite.start(PART, &recipe)? else {
                break;
            };
            let seconds = suite.scale.count(10, 1);
            let idle_count = suite.scale.places(5000, 100);
            let outcome = match load {
                SINGLE => paced(&server, single(), seconds),
                BATCHES => paced(&server, batches(), seconds),
                SLOW => beside_a_slow_one(&server, seconds),
                DISK => beside_a_saturated_disk(&server, seconds),
                _ => beside_idle_ones(&server, seconds, idle_count),
            };
            let Some(outcome) = suite.checked(PART, outcome)? else {
                continue;
            };
            let of = Of {
                part: PART,
                load,
                subject: &recipe.name,
                at: None,
            };
            let results = &mut suite.results;
            results.value(of, P50, outcome.latency.p50_us)?;
            results.value(of, P99, outcome.latency.p99_us)?;
            results.value(of, P999, outcome.latency.p99_9_us)?;
            if let Some(cpu_us) = outcome.cpu_us {
                results.value(of, CPU, cpu_us)?;
            }
        }
    }
    Ok(())
}

struct Outcome {
    latency: Percentiles,
    /// Known where the load is all that the server does.
    cpu_us: Option<f64>,
}

fn single() -> Work {
    Work {
        name: SINGLE,
        publishers: 1,
        window: 64,
        rate: 1000,
        subscribers: 1,
        ready: 2500,
        ..Work::NONE
    }
}

fn batches() -> Work {
    Work {
        name: BATCHES,
        batch: 10,
        rate: 50_000,
        ..single()
    }
}

fn paced(server: &Server, work: Work, seconds: u64) -> Result<Outcome, BenchError> {
    let report = work.run(server, &unique_topic(), work.rate * seconds)?;
    Ok(Outcome {
        cpu_us: report.server_cpu_per_message().map(|cpu| cpu.total_us),
        latency: report
            .end_to_end_latency
            .ok_or_else(|| nothing_came(server))?,
    })
}

/// Ten consumers of one channel, one of which works 20 ms on each message.
fn beside_a_slow_one(server: &Server, seconds: u64) -> Result<Outcome, BenchError> {
    let topic = unique_topic();
    let mut crowd = Crowd::new()?;
    for number in 0..10 {
        let habit = if number == 0 {
            Habit::Slow(Duration::from_millis(20))
        } else {
            Habit::Finish
        };
        let subscription = Some((&topic, &default_channel(), 100));
        crowd.join(&server.address(), Hello::default(), subscription, habit)?;
    }
    let publish = Work {
        subscribers: 0,
        name: SLOW,
        ..single()
    };
    let count = publish.rate * seconds;
    thread::scope(|scope| {
        let consuming = scope.spawn(|| crowd.run(Until::Received(count, PATIENCE)));
        let published = publish.run(server, &topic, count).map(drop);
        let consumed = consuming.join().expect("a crowd does not panic");
        published.and(consumed)
    })?;
    Ok(Outcome {
        latency: crowd
            .latencies
            .percentiles()
            .ok_or_else(|| nothing_came(server))?,
        cpu_us: None,
    })
}

/// Another publisher publishes to its own topic as fast as it can, 400 KiB a command.
fn beside_a_saturated_disk(server: &Server, seconds: u64) -> Result<Outcome, BenchError> {
    let heavy = unique_topic();
    create_channel(server, &heavy, &default_channel())?;
    let is_over = AtomicBool::new(false);
    let flood = Work {
        name: "saturating the disk",
        publishers: 1,
        batch: 100,
        window: 4,
        size: 4096,
        ..Work::NONE
    };
    thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            // In parts, so that it ends soon after the measurement; bounded, so that it does not fill the disk.
            for _ in 0..FLOOD_PARTS {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                flood.run(server, &heavy, FLOOD_PART_MESSAGES)?;
            }
            Ok::<(), BenchError>(())
        });
        let work = Work {
            name: DISK,
            ..single()
        };
        let outcome = paced(server, work, seconds);
        is_over.store(true, Ordering::Relaxed);
        flooding.join().expect("publishing does not panic")?;
        Ok(Outcome {
            cpu_us: None,
            ..outcome?
        })
    })
}

fn beside_idle_ones(
    server: &Server,
    seconds: u64,
    idle_count: usize,
) -> Result<Outcome, BenchError> {
    let mut crowd = Crowd::new()?;
    for _ in 0..idle_count {
        crowd.join(&server.address(), Hello::default(), None, Habit::Idle)?;
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let holding = scope.spawn(|| crowd.run(Until::Told(&is_over)));
        let work = Work {
            name: IDLE,
            ..single()
        };
        let outcome = paced(server, work, seconds);
        is_over.store(true, Ordering::Relaxed);
        holding.join().expect("a crowd does not panic")?;
        outcome
    })
}

fn nothing_came(server: &Server) -> BenchError {
    BenchError::Server {
        server: server.name().to_owned(),
        what: "no message came with its time".to_owned(),
    }
}

/// 40 MiB: a fraction of a second.
const FLOOD_PART_MESSAGES: u64 = 10_000;
/// 8 GiB in all.
const FLOOD_PARTS: u32 = 200;
