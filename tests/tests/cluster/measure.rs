//! How long a cluster needs, and what it costs. `make cluster-bench` runs these with the release build; without
//! `CLUSTER_BENCH` they only show that they work, with small numbers.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nsq_tests::{Cluster, Frame, Nsqd, RawClient, say_loudly, wait_until};

use crate::members::{channel, publish};

const LONG: Duration = Duration::from_mins(10);
/// A delivery that takes longer is lost.
const LOST: Duration = Duration::from_mins(1);

/// A number from the environment, or a small one.
fn number(name: &str, small: u64) -> u64 {
    let given = std::env::var(name);
    given.map_or(small, |text| text.parse().expect("it is a number"))
}

fn is_bench() -> bool {
    std::env::var_os("CLUSTER_BENCH").is_some()
}

fn percentiles(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
    say_loudly(&format!(
        "{what}: n={} p50={:?} p90={:?} p99={:?} max={:?}",
        times.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    ));
}

/// Publishes to one of these nodes after the other until one answers `OK`.
fn publish_anywhere(addresses: &[SocketAddr], topic: &str, body: &str) {
    for address in addresses.iter().cycle() {
        let Ok(mut client) = RawClient::try_connect(*address) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let command = RawClient::command(&format!("PUB {topic}"), body.as_bytes());
        if client.try_send(b"  V2").is_err() || client.try_send(&command).is_err() {
            continue;
        }
        if matches!(client.next_frame(Duration::from_secs(6)), Ok(Frame::Response(text)) if text == "OK")
        {
            return;
        }
    }
}

/// Kills one leader after the other. A message that only the killed node's shard has is waited for, and a publish that begins
/// at the moment of the kill and tries the killed node first.
fn kills(what: &str, cluster: &mut Cluster, count: u64) {
    channel(&cluster[0], "orders");
    let (mut publishes, mut deliveries) = (Vec::new(), Vec::new());
    for round in 0..count {
        cluster.wait_until_ok();
        let node = usize::try_from(round % 3).expect("it is small");
        let body = format!("before kill {round}");
        publish(&cluster[node], "orders", &body);
        // Its own consumers are gone with it: the others get the message from the next leader.
        let others: Vec<_> = (0..3).filter(|other| *other != node).collect();
        let mut addresses = vec![cluster[node].tcp()];
        addresses.extend(others.iter().map(|other| cluster[*other].tcp()));
        let consumers: Vec<_> = others
            .iter()
            .map(|other| cluster[*other].subscribe("orders", "c", 50))
            .collect();
        cluster[node].kill9();
        let killed = Instant::now();
        let has_come = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                publish_anywhere(&addresses, "orders", "after the kill");
                killed.elapsed()
            });
            let waiting: Vec<_> = consumers
                .into_iter()
                .map(|client| {
                    let (body, has_come) = (&body, &has_come);
                    scope.spawn(move || wait_for(client, body, has_come, killed))
                })
                .collect();
            publishes.push(publisher.join().expect("the publisher ends"));
            let came = waiting.into_iter().map(std::thread::ScopedJoinHandle::join);
            let first = came
                .filter_map(|came| came.expect("the consumer ends"))
                .min();
            deliveries.push(first.expect("the message was delivered"));
        });
        cluster[node].start_again();
    }
    percentiles(&format!("{what}: first publish after a kill"), publishes);
    percentiles(
        &format!("{what}: first delivery of the killed node's messages"),
        deliveries,
    );
}

/// Finishes everything until the message has come to this client or to another one; when it came here.
fn wait_for(
    mut client: RawClient,
    body: &str,
    has_come: &AtomicBool,
    since: Instant,
) -> Option<Duration> {
    while since.elapsed() < LOST && !has_come.load(Relaxed) {
        if let Ok(Frame::Message(message)) = client.next_frame(Duration::from_millis(20)) {
            let came = message.text() == body;
            client.finish(&message);
            if came {
                has_come.store(true, Relaxed);
                return Some(since.elapsed());
            }
        }
    }
    None
}

#[test]
fn a_killed_leader_is_replaced_within_seconds() {
    let mut cluster = Cluster::start(3, &[]);
    kills("no delay", &mut cluster, number("CLUSTER_KILLS", 3));
}

#[test]
fn a_killed_leader_is_replaced_over_slow_links_too() {
    if !is_bench() {
        return;
    }
    for millis in [1, 10] {
        let mut cluster = Cluster::with_delay(3, Duration::from_millis(millis), &[]);
        let what = format!("{millis} ms each way");
        let began = Instant::now();
        let times: Vec<_> = (0..200)
            .map(|number| {
                let began = Instant::now();
                cluster[0].post("/pub?topic=delay", format!("{number}").as_bytes());
                began.elapsed()
            })
            .collect();
        say_loudly(&format!("{what}: 200 publishes in {:?}", began.elapsed()));
        percentiles(&format!("{what}: a publish"), times);
        kills(&what, &mut cluster, number("CLUSTER_KILLS", 3));
    }
}

/// CPU time and memory of a process.
fn cost(node: &Nsqd) -> (Duration, u64) {
    let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", node.id()));
    let stat = read("stat").expect("it runs");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or("").split(' ').collect();
    let ticks: u64 = fields[12].parse::<u64>().expect("user time")
        + fields[13].parse::<u64>().expect("system time");
    (Duration::from_millis(ticks * 10), resident_kib(node))
}

/// The memory of a process that is in RAM.
pub(crate) fn resident_kib(node: &Nsqd) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.id())).expect("it runs");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss = rss.and_then(|rss| rss.split_whitespace().next()?.parse().ok());
    rss.expect("the system says so of each process")
}

/// Does this for each number, eight at a time.
fn in_parallel(numbers: std::ops::Range<u64>, work: impl Fn(u64) + Sync) {
    std::thread::scope(|scope| {
        for part in 0..8 {
            let (work, mut numbers) = (&work, numbers.clone());
            scope.spawn(move || {
                numbers
                    .by_ref()
                    .filter(|number| number % 8 == part)
                    .for_each(work);
            });
        }
    });
}

#[test]
fn topics_cost_little_while_nothing_happens() {
    let most = number("CLUSTER_TOPICS", 20);
    let idle = Duration::from_secs(number("CLUSTER_IDLE_SECONDS", 1));
    let mut cluster = Cluster::start(3, &[]);
    let mut made = 0;
    for wanted in [1, 100, 1000, 10_000] {
        let wanted = most.min(wanted);
        if wanted <= made {
            break;
        }
        let began = Instant::now();
        in_parallel(made..wanted, |topic| {
            channel(&cluster[0], &format!("t{topic}"));
        });
        let took = began.elapsed();
        in_parallel(made..wanted, |topic| {
            publish(&cluster[0], &format!("t{topic}"), "one");
        });
        made = wanted;
        cluster.wait_until_ok();
        // What was made is brought to the disk first.
        std::thread::sleep(idle);
        let before: Vec<_> = cluster.nodes().iter().map(cost).collect();
        std::thread::sleep(idle);
        let after: Vec<_> = cluster.nodes().iter().map(cost).collect();
        let costs: Vec<_> = before
            .iter()
            .zip(&after)
            .map(|(before, after)| {
                let busy = after.0.saturating_sub(before.0).as_secs_f64() / idle.as_secs_f64();
                format!("{:.2} % of a core and {} MiB", busy * 100.0, after.1 / 1024)
            })
            .collect();
        say_loudly(&format!(
            "{wanted} topics with a channel and a message: made in {took:?}; idle, each node takes {}",
            costs.join(", ")
        ));
    }
    let began = Instant::now();
    assert!(cluster[0].terminate().success());
    say_loudly(&format!(
        "{made} topics: a node ends in {:?}",
        began.elapsed()
    ));
    let began = Instant::now();
    cluster[0].start_again();
    cluster.wait_until_ok_within(LONG);
    say_loudly(&format!(
        "{made} topics: it is back and leads after {:?}",
        began.elapsed()
    ));
    kills(
        &format!("{made} topics"),
        &mut cluster,
        number("CLUSTER_TOPIC_KILLS", 1),
    );
}

#[test]
fn a_node_that_lacks_much_catches_up_while_others_are_served() {
    let megabytes = number("CLUSTER_BEHIND_MB", 20);
    let mut cluster = Cluster::start(3, &["--cluster-max-log-bytes=256MiB"]);
    channel(&cluster[0], "orders");
    let small = |cluster: &Cluster, count: u64| {
        let times = (0..count).map(|_| {
            let began = Instant::now();
            let reply = cluster[1].post("/pub?topic=small", b"small");
            assert_eq!(reply.status, 200, "{}", reply.text());
            began.elapsed()
        });
        times.collect::<Vec<_>>()
    };
    percentiles("a publish, all complete", small(&cluster, 300));
    for lost in [false, true] {
        if lost {
            cluster.lose(2);
        } else {
            cluster[2].kill9();
        }
        if !lost {
            let began = Instant::now();
            let bodies = vec!["x".repeat(10_000); 100];
            for _ in 0..megabytes {
                // A connection that lasts gets heartbeats.
                RawClient::connect(cluster[0].tcp()).publish_many("orders", &bodies);
            }
            say_loudly(&format!(
                "{megabytes} MB published to two of three nodes in {:?}",
                began.elapsed()
            ));
        }
        cluster[2].start_again();
        let began = Instant::now();
        let is_behind = AtomicBool::new(true);
        let cluster = &cluster;
        let times = std::thread::scope(|scope| {
            let publishing = scope.spawn(|| {
                let mut times = Vec::new();
                while is_behind.load(Relaxed) {
                    times.extend(small(cluster, 1));
                }
                times
            });
            cluster.wait_until_ok_within(LONG);
            is_behind.store(false, Relaxed);
            publishing.join().expect("publishing works")
        });
        let took = began.elapsed();
        let kind = if lost {
            "that lost its disk"
        } else {
            "that was away"
        };
        let rate = f64::from(u32::try_from(megabytes).expect("it is small")) / took.as_secs_f64();
        say_loudly(&format!(
            "a node {kind} has {megabytes} MB after {took:?}, {rate:.0} MB/s"
        ));
        percentiles("a publish meanwhile", times);
    }
    wait_until("all of it is there", LONG, || {
        cluster[0].channel("orders", "c")["depth"] == 100 * megabytes
    });
}
