//! How the cost of a message grows with connections, channels, topics and its own size.

use std::time::Duration;

use nsq_protocol::{ChannelName, TopicName, encode};

use nsq_bench::{
    connection::{Hello, Socket},
    crowd::{Crowd, Habit, Until},
    error::BenchError,
    inbox::Inbox,
    options::{PATIENCE, default_channel, unique_topic},
    process::ratio,
    report::ServerUse,
};

use crate::suite::{
    Suite,
    result::{CPU, MEMORY, Of, START},
    server::{Recipe, Server},
    work::{Work, create_channel},
};

pub(crate) const CONNECTIONS: &str = "growth-connections";
pub(crate) const CHANNELS: &str = "growth-channels";
pub(crate) const TOPICS: &str = "growth-topics";
pub(crate) const SIZES: &str = "growth-sizes";

pub(crate) const PUBLISH: &str = "publish";
pub(crate) const CONSUME: &str = "consume";
pub(crate) const LIVE: &str = "live";

/// The figures of one point.
struct Point {
    /// The server's CPU time a message (a delivery, where there are several), in microseconds.
    cpu_us: f64,
    memory_mib: f64,
}

/// PUB one by one on each of N connections, ten of them at a time.
///
/// # Errors
/// The result file cannot be written.
pub(crate) fn connections(suite: &mut Suite) -> anyhow::Result<()> {
    let count = suite.scale.count(50_000, 1000);
    let points = suite.scale.points(&[1, 10, 100, 1000, 10_000], 10_000);
    each(suite, CONNECTIONS, PUBLISH, &points, |server, at| {
        let topic = unique_topic();
        create_channel(server, &topic, &default_channel())?;
        let mut publishers = (0..at)
            .map(|number| open(server, number))
            .collect::<Result<Vec<_>, _>>()?;
        let before = server.process().settled_cpu()?;
        publish_in_turn(&mut publishers, &[topic], count.max(at), at.min(10))?;
        let used = ServerUse::since(&before, server.process())?;
        Ok(point(&used, count.max(at)))
    })
}

/// One publisher, and a consumer for each of N channels of the topic.
///
/// # Errors
/// The result file cannot be written.
pub(crate) fn channels(suite: &mut Suite) -> anyhow::Result<()> {
    let count = suite.scale.count(400_000, 2000);
    let points = suite.scale.points(&[1, 10, 100, 1000], 1000);
    each(suite, CHANNELS, LIVE, &points, |server, at| {
        let topics = [unique_topic()];
        live(server, &topics, at, (count / at).max(20))
    })
}

/// One publisher to N topics in turn, each with a channel and a consumer; and the time of a start with them.
///
/// # Errors
/// The result file cannot be written.
pub(crate) fn topics(suite: &mut Suite) -> anyhow::Result<()> {
    let count = suite.scale.count(200_000, 2000);
    let all = suite.scale.points(&[1, 10, 100, 1000, 9000], 9000);
    let some: Vec<u64> = all.iter().copied().filter(|&at| at <= 1000).collect();
    // Each topic takes two of this server's file handles, for its log and its consumer: 9,000 topics are within 20,000.
    // Upstream writes all names again for each new topic: as many would take minutes.
    for (recipe, points) in suite.both().into_iter().zip([&all, &some]) {
        for &at in points {
            suite.say(&format!("{TOPICS}: {}, {at}", recipe.name));
            let Some(mut server) = suite.start(TOPICS, &recipe)? else {
                return Ok(());
            };
            let topics: Vec<TopicName> = (0..at).map(|_| unique_topic()).collect();
            let outcome = live(&server, &topics, 1, count.max(at * 5));
            let Some(point) = suite.checked(TOPICS, outcome)? else {
                return Ok(());
            };
            let of = Of {
                part: TOPICS,
                load: LIVE,
                subject: &recipe.name,
                at: Some(ratio(at, 1)),
            };
            suite.results.value(of, CPU, point.cpu_us)?;
            suite.results.value(of, MEMORY, point.memory_mib)?;
            let outcome = server.kill_and_start();
            if let Some(taken) = suite.checked(TOPICS, outcome)? {
                suite.results.value(of, START, taken.as_secs_f64() * 1e3)?;
            }
        }
    }
    Ok(())
}

/// Messages of N bytes, published pipelined, then consumed.
///
/// # Errors
/// The result file cannot be written.
pub(crate) fn sizes(suite: &mut Suite) -> anyhow::Result<()> {
    let points = [16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576];
    for recipe in suite.both() {
        for size in points {
            suite.say(&format!("{SIZES}: {}, {size} bytes", recipe.name));
            let Some(server) = suite.start(SIZES, &recipe)? else {
                return Ok(());
            };
            let count = suite
                .scale
                .count((256 * 1024 * 1024 / u64::from(size)).min(200_000), 64);
            let topic = unique_topic();
            let publish = Work {
                name: PUBLISH,
                publishers: 1,
                window: 64,
                size,
                ..Work::NONE
            };
            let created = create_channel(&server, &topic, &default_channel());
            if suite.checked(SIZES, created)?.is_none() {
                continue;
            }
            for work in [publish, Work::consume(CONSUME, 1)] {
                let outcome = work.run(&server, &topic, count);
                let Some(report) = suite.checked(SIZES, outcome)? else {
                    break;
                };
                let of = Of {
                    part: SIZES,
                    load: work.name,
                    subject: &recipe.name,
                    at: Some(f64::from(size)),
                };
                suite.results.report(of, &report, false)?;
            }
        }
    }
    Ok(())
}

/// Measures every point on a fresh server, here and upstream.
fn each(
    suite: &mut Suite,
    part: &str,
    load: &str,
    points: &[u64],
    measure: impl Fn(&Server, u64) -> Result<Point, BenchError>,
) -> anyhow::Result<()> {
    for recipe in suite.both() {
        for &at in points {
            suite.say(&format!("{part}: {}, {at}", recipe.name));
            let Some(server) = suite.start(part, &recipe)? else {
                return Ok(());
            };
            let outcome = measure(&server, at).map_err(|error| named(&recipe, at, &error));
            if let Some(point) = suite.checked(part, outcome)? {
                let of = Of {
                    part,
                    load,
                    subject: &recipe.name,
                    at: Some(ratio(at, 1)),
                };
                suite.results.value(of, CPU, point.cpu_us)?;
                suite.results.value(of, MEMORY, point.memory_mib)?;
            }
        }
    }
    Ok(())
}

fn named(recipe: &Recipe, at: u64, error: &BenchError) -> BenchError {
    BenchError::Server {
        server: recipe.name.clone(),
        what: format!("with {at}: {error}"),
    }
}

/// Publishes `count` messages to the topics in turn while each of their channels has one consumer.
fn live(
    server: &Server,
    topics: &[TopicName],
    channel_count: u64,
    count: u64,
) -> Result<Point, BenchError> {
    let mut crowd = Crowd::new()?;
    for topic in topics {
        for number in 0..channel_count {
            let channel = ChannelName::parse(&format!("c{number}")).expect("letters and digits");
            let subscription = Some((topic, &channel, READY));
            crowd.join(&server.address(), hello(), subscription, Habit::Finish)?;
        }
    }
    let mut publisher = [open(server, 0)?];
    let before = server.process().settled_cpu()?;
    let deliveries = count * channel_count;
    std::thread::scope(|scope| {
        let consuming = scope.spawn(|| crowd.run(Until::Received(deliveries, PATIENCE)));
        let published = publish_in_turn(&mut publisher, topics, count, 64);
        // If the publisher failed, that explains why messages are missing.
        let consumed = consuming.join().expect("a crowd does not panic");
        published.and(consumed)
    })?;
    let used = ServerUse::since(&before, server.process())?;
    Ok(point(&used, deliveries))
}

fn point(used: &ServerUse, count: u64) -> Point {
    Point {
        cpu_us: used.cpu.per_message(count).total_us,
        memory_mib: ratio(used.memory.rss_kib, 1024),
    }
}

/// Publishes to the connections and topics in turn, `at_once` under way, until `count` are answered.
fn publish_in_turn(
    connections: &mut [(Socket, Inbox)],
    topics: &[TopicName],
    count: u64,
    at_once: u64,
) -> Result<(), BenchError> {
    for (socket, _) in &*connections {
        let stream = socket.stream();
        stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .map_err(|error| socket.failed("set a limit", error))?;
    }
    let body = [b'x'; 200];
    let mut topic = topics.iter().cycle();
    let mut out = vec![];
    let mut first = 0;
    let mut left = count;
    while left > 0 {
        let now = usize::try_from(left.min(at_once)).unwrap_or(usize::MAX);
        let taking_part = now.min(connections.len());
        // The commands are divided evenly; the first connections take one more each.
        let share = |place: usize| now / taking_part + usize::from(place < now % taking_part);
        for place in 0..taking_part {
            let (socket, _) = &connections[(first + place) % connections.len()];
            out.clear();
            for _ in 0..share(place) {
                let topic = topic.next().expect("there is a topic");
                encode::publish(&mut out, topic, &body);
            }
            socket.write(&out)?;
        }
        for place in 0..taking_part {
            let index = (first + place) % connections.len();
            let (socket, inbox) = &mut connections[index];
            for _ in 0..share(place) {
                inbox.next_answer(socket)?;
            }
        }
        first = (first + taking_part) % connections.len();
        left -= now as u64;
    }
    Ok(())
}

fn open(server: &Server, number: u64) -> Result<(Socket, Inbox), BenchError> {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    Socket::open(number, &server.address(), hello(), INBOX_BYTES)
}

/// The longest allowed heartbeat interval, since heartbeats are not answered between the points' messages.
fn hello() -> Hello {
    Hello {
        heartbeat: Some(Duration::from_mins(1)),
        ..Hello::default()
    }
}

const READY: u32 = 100;
const INBOX_BYTES: usize = 1024;
