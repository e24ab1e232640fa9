//! The cost of what is held: idle connections, messages in flight, and messages that several channels share.

use std::{thread, time::Duration};

use nsq_protocol::{ChannelName, TopicName};

use nsq_bench::{
    connection::Hello,
    crowd::{Crowd, Habit, Until},
    error::BenchError,
    idle,
    options::{Common, Idle, PATIENCE, default_channel, unique_topic},
    process::ratio,
};

use crate::suite::{
    Suite,
    result::Of,
    server::{Recipe, Server},
    work::{Work, create_channel},
};

pub(crate) const PART: &str = "costs";
pub(crate) const IDLE: &str = "10,000 idle connections";
pub(crate) const IN_FLIGHT: &str = "100,000 messages in flight";
pub(crate) const FOUR_CHANNELS: &str = "a message on four channels";

pub(crate) const MIB: &str = "MiB of memory";
pub(crate) const CORE: &str = "% of a core";
pub(crate) const HEAP: &str = "bytes of heap a message";
pub(crate) const DISK: &str = "bytes of disk a message";

/// Measures all of it, here and upstream.
///
/// # Errors
/// The result file cannot be written.
pub(crate) fn run(suite: &mut Suite) -> anyhow::Result<()> {
    let mut recipes = vec![suite.here("here", &[])];
    // So that upstream's channels keep their messages in memory, as the column says.
    recipes.extend(suite.upstream("upstream", &["--mem-queue-size=10000000"]));
    for recipe in &recipes {
        part(suite, recipe, IDLE, idle_connections)?;
        part(suite, recipe, IN_FLIGHT, in_flight)?;
        part(suite, recipe, FOUR_CHANNELS, four_channels)?;
    }
    Ok(())
}

type Figures = Vec<(&'static str, f64)>;

fn part(
    suite: &mut Suite,
    recipe: &Recipe,
    load: &str,
    measure: fn(&Suite, &Server) -> Result<Figures, BenchError>,
) -> anyhow::Result<()> {
    suite.say(&format!("{load}: {}", recipe.name));
    let Some(server) = suite.start(PART, recipe)? else {
        return Ok(());
    };
    let outcome = measure(suite, &server).map_err(|error| BenchError::Server {
        server: recipe.name.clone(),
        what: format!("{load}: {error}"),
    });
    for (unit, value) in suite.checked(PART, outcome)?.unwrap_or_default() {
        let of = Of {
            part: PART,
            load,
            subject: &recipe.name,
            at: None,
        };
        suite.results.value(of, unit, value)?;
    }
    Ok(())
}

/// Holds them for a minute with the default heartbeats, one every 30 seconds.
fn idle_connections(suite: &Suite, server: &Server) -> Result<Figures, BenchError> {
    let report = idle::run(&Idle {
        common: Common::of(server.address(), server.pid()),
        connections: suite.scale.places(10_000, 100),
        duration: suite.scale.time(Duration::from_mins(1)),
        heartbeat: Duration::from_secs(30),
        topic: None,
        channel: default_channel(),
    })?;
    if let Some(failure) = report.failures.first() {
        return Err(BenchError::Usage(failure.clone()));
    }
    let used = report.server.map(|server| {
        let mib = ratio(server.memory_open.rss_kib, 1024);
        vec![(MIB, mib), (CORE, server.hold_cpu_percent)]
    });
    Ok(used.unwrap_or_default())
}

/// Forty consumers that hold 2,500 messages each.
fn in_flight(suite: &Suite, server: &Server) -> Result<Figures, BenchError> {
    let consumer_count = suite.scale.places(40, 2) as u64;
    let count = consumer_count * 2500;
    let topic = unique_topic();
    create_channel(server, &topic, &default_channel())?;
    let mut crowd = Crowd::new()?;
    for _ in 0..consumer_count {
        let subscription = Some((&topic, &default_channel(), 2500));
        crowd.join(
            &server.address(),
            Hello::default(),
            subscription,
            Habit::Finish,
        )?;
    }
    // Buffers grow with the first messages: they belong to the connections.
    send(server, &topic, &mut crowd, consumer_count * 200)?;
    crowd.change_habits(Habit::Keep);
    server.process().settled_cpu()?;
    let before = server.process().memory()?;
    send(server, &topic, &mut crowd, count)?;
    server.process().settled_cpu()?;
    let after = server.process().memory()?;
    let grown_kib = after.rss_anon_kib.saturating_sub(before.rss_anon_kib);
    Ok(vec![(HEAP, ratio(grown_kib * 1024, count))])
}

/// Publishes `count` messages and waits until the crowd has them.
fn send(
    server: &Server,
    topic: &TopicName,
    crowd: &mut Crowd,
    count: u64,
) -> Result<(), BenchError> {
    let wanted = crowd.received_count + count;
    thread::scope(|scope| {
        let receiving = scope.spawn(|| crowd.run(Until::Received(wanted, PATIENCE)));
        let publishing = Work::batches("publishing", 1);
        let published = publishing.run(server, topic, count).map(drop);
        let received = receiving.join().expect("a crowd does not panic");
        published.and(received)
    })
}

/// Queued messages of 200 bytes on a topic with four channels.
fn four_channels(suite: &Suite, server: &Server) -> Result<Figures, BenchError> {
    let count = suite.scale.count(1_000_000, 10_000);
    let topic = unique_topic();
    for number in 0..4 {
        let channel = ChannelName::parse(&format!("c{number}")).expect("letters and digits");
        create_channel(server, &topic, &channel)?;
    }
    server.process().settled_cpu()?;
    let (before, disk_before) = (server.process().memory()?, server.disk_bytes());
    let publishing = Work::batches("publishing", 2);
    let published = publishing.run(server, &topic, count)?.published;
    server.process().settled_cpu()?;
    let (after, disk_after) = (server.process().memory()?, server.disk_bytes());
    let grown_kib = after.rss_anon_kib.saturating_sub(before.rss_anon_kib);
    let disk = disk_after.saturating_sub(disk_before);
    Ok(vec![
        (HEAP, ratio(grown_kib * 1024, published)),
        (DISK, ratio(disk, published)),
    ])
}
