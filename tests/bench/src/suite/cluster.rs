//! Clusters on one machine: three nsqd with three replicas, next to NATS JetStream with three replicas in the same run, and how
//! the cost grows with nodes, replicas and message size. The CPU is that of all nodes together.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nsq_bench::{
    error::BenchError,
    options::{default_channel, unique_topic},
    process::{CpuReading, ratio},
    report::{Report, ServerUse},
};
use nsq_tests::free_port;

use crate::{
    peer::{AT_ONCE, Peer, nats},
    suite::{
        Suite,
        result::{CPU, Line, MEMORY, Of, P50, RATE},
        server::{Recipe, Server},
        work::{Work, create_channel},
    },
};

pub(crate) const PART: &str = "cluster";
pub(crate) const GROWTH: &str = "cluster-growth";
pub(crate) const PUBLISH: &str = "publish";
pub(crate) const CONSUME: &str = "consume and finish at the leader";
pub(crate) const HERE: &str = "here, 3 nodes, 3 replicas";
pub(crate) const NATS: &str = "NATS JetStream, 3 nodes, 3 replicas";

/// The loads of the table, and how many messages of the full run each gets.
const LOADS: [(Work, u64); 4] = [
    (Work::batches("MPUB of 200, 2 connections", 2), 1_000_000),
    (
        Work {
            name: "PUB, 64 in the pipeline",
            publishers: 1,
            window: 64,
            ..Work::NONE
        },
        400_000,
    ),
    (
        Work {
            name: "PUB one by one, 16 connections",
            publishers: 16,
            ..Work::NONE
        },
        100_000,
    ),
    (
        Work {
            name: "PUB one by one, 1 connection",
            publishers: 1,
            ..Work::NONE
        },
        20_000,
    ),
];

/// Nodes and replicas of the clusters whose cost is compared.
const SHAPES: [(usize, usize); 4] = [(1, 1), (3, 3), (5, 3), (5, 5)];
/// Bytes of the messages whose cost is compared.
const SIZES: [u32; 4] = [100, 1000, 10_000, 100_000];

/// Measures both clusters, and how the cost grows.
///
/// # Errors
/// The result file cannot be written.
pub(crate) fn run(suite: &mut Suite, nats: Option<&Path>) -> anyhow::Result<()> {
    loads(suite)?;
    shapes(suite)?;
    sizes(suite)?;
    if let Some(program) = nats {
        return beside(suite, program);
    }
    let text = "nats-server was not found, so it is not in the table.".to_owned();
    suite.say(&text);
    let part = PART.to_owned();
    suite.results.add(Line::Note { part, text })?;
    Ok(())
}

fn loads(suite: &mut Suite) -> anyhow::Result<()> {
    let Some(cluster) = start(suite, 3, 3)? else {
        return Ok(());
    };
    for (work, full) in LOADS {
        let count = suite.scale.count(full, 2000);
        measure(suite, &cluster, PART, HERE, &work, None, count)?;
    }
    Ok(())
}

fn shapes(suite: &mut Suite) -> anyhow::Result<()> {
    let count = suite.scale.count(400_000, 2000);
    for (nodes, replicas) in SHAPES {
        let Some(cluster) = start(suite, nodes, replicas)? else {
            continue;
        };
        let subject = format!("{nodes} nodes, {replicas} replicas");
        let work = Work::batches(PUBLISH, 2);
        measure(suite, &cluster, GROWTH, &subject, &work, None, count)?;
    }
    Ok(())
}

fn sizes(suite: &mut Suite) -> anyhow::Result<()> {
    let Some(cluster) = start(suite, 3, 3)? else {
        return Ok(());
    };
    for size in SIZES {
        let bytes = suite.scale.count(200 << 20, 1 << 20);
        let work = Work {
            size,
            batch: (1_000_000 / size).clamp(1, 200),
            ..Work::batches(PUBLISH, 2)
        };
        let count = (bytes / u64::from(size)).max(200);
        let at = Some(f64::from(size));
        measure(suite, &cluster, GROWTH, "by size", &work, at, count)?;
    }
    Ok(())
}

/// Publishes to a new topic on the first node, and consumes it all there.
fn measure(
    suite: &mut Suite,
    cluster: &[Server],
    part: &str,
    subject: &str,
    publish: &Work,
    at: Option<f64>,
    count: u64,
) -> anyhow::Result<()> {
    suite.say(&format!("{subject}, {}: {count} messages", publish.name));
    let topic = unique_topic();
    let created = create_channel(&cluster[0], &topic, &default_channel());
    if suite.checked(part, created)?.is_none() {
        return Ok(());
    }
    let consume = Work {
        size: publish.size,
        ..Work::consume(CONSUME, 1)
    };
    for work in [publish, &consume] {
        let outcome = used_by(cluster, || work.run_unmeasured(&cluster[0], &topic, count));
        let Some((report, cpu_us)) = suite.checked(part, outcome)? else {
            return Ok(());
        };
        let load = if work.name == CONSUME {
            format!("{CONSUME}, after {}", publish.name)
        } else {
            work.name.to_owned()
        };
        let of = Of {
            part,
            load: &load,
            subject,
            at,
        };
        note(suite, of, &report, cpu_us)?;
    }
    let memory = cluster
        .iter()
        .filter_map(|node| node.process().memory().ok());
    let most = memory
        .map(|memory| memory.rss_kib)
        .max()
        .unwrap_or_default();
    let of = Of {
        part,
        load: publish.name,
        subject,
        at,
    };
    suite.results.value(of, MEMORY, ratio(most, 1024))?;
    Ok(())
}

fn note(suite: &mut Suite, of: Of<'_>, report: &Report, cpu_us: f64) -> anyhow::Result<()> {
    let messages = ratio(report.messages(), 1);
    suite.results.value(of, CPU, cpu_us / messages)?;
    suite
        .results
        .value(of, RATE, report.messages_per_second())?;
    if let Some(latency) = &report.answer_latency {
        suite.results.value(of, P50, latency.p50_us)?;
    }
    Ok(())
}

/// What `work` returns, and the CPU time in µs that all nodes took for it.
fn used_by<T>(
    cluster: &[Server],
    work: impl FnOnce() -> Result<T, BenchError>,
) -> Result<(T, f64), BenchError> {
    let nodes = cluster.iter();
    let readings = nodes.map(|node| node.process().settled_cpu());
    let before: Vec<CpuReading> = readings.collect::<Result<_, _>>()?;
    let outcome = work()?;
    let mut cpu_us = 0.0;
    for (node, before) in cluster.iter().zip(&before) {
        cpu_us += ServerUse::since(before, node.process())?.cpu.total_us;
    }
    Ok((outcome, cpu_us))
}

/// A cluster of nsqd, complete. `None` when that fails, with the failure noted.
fn start(suite: &mut Suite, nodes: usize, replicas: usize) -> anyhow::Result<Option<Vec<Server>>> {
    suite.say(&format!("a cluster of {nodes}, {replicas} replicas"));
    let ports = free_ports(2 * nodes);
    let (peers, https) = ports.split_at(nodes);
    let mut cluster = Vec::new();
    for (own, http) in peers.iter().zip(https) {
        let mut recipe = suite.here(&format!("node {}", cluster.len()), &[]);
        recipe.args.retain(|arg| !arg.starts_with("--http-address"));
        recipe.args.push(format!("--http-address=127.0.0.1:{http}"));
        recipe.args.push("--broadcast-address=127.0.0.1".to_owned());
        recipe.args.push(format!("--replicas={replicas}"));
        recipe
            .args
            .push(format!("--cluster-address=127.0.0.1:{own}"));
        let flags = peers.iter();
        let flags = flags.map(|peer| format!("--cluster-peer=127.0.0.1:{peer}"));
        recipe.args.extend(flags);
        let Some(node) = suite.start(PART, &recipe)? else {
            return Ok(None);
        };
        cluster.push(node);
    }
    let complete = https.iter().try_for_each(|http| wait_until_ok(*http));
    Ok(suite.checked(PART, complete)?.map(|()| cluster))
}

fn wait_until_ok(http: u16) -> Result<(), BenchError> {
    let started = Instant::now();
    while started.elapsed() < FORMING {
        let answer = report_of(http).unwrap_or_default();
        let report: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
        let shards = report["shards"].as_array();
        let is_led = shards.is_some_and(|shards| {
            !shards.is_empty() && shards.iter().all(|shard| shard["leader"] == shard["owner"])
        });
        if report["state"] == "ok" && is_led {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Err(BenchError::Server {
        server: HERE.to_owned(),
        what: format!("the cluster is not complete after {FORMING:?}"),
    })
}

/// The body of a node's `GET /cluster`.
fn report_of(http: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, http))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /cluster HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    Ok(body.unwrap_or_default().to_owned())
}

/// NATS JetStream with three replicas on the same work.
fn beside(suite: &mut Suite, program: &Path) -> anyhow::Result<()> {
    let ports = free_ports(3);
    let routes: Vec<_> = ports
        .iter()
        .map(|port| format!("nats://127.0.0.1:{port}"))
        .collect();
    let mut cluster = Vec::new();
    for (number, port) in ports.iter().enumerate() {
        let mut args: Vec<_> = Peer::Nats.args().iter().map(ToString::to_string).collect();
        args.extend([
            format!("--name=n{number}"),
            "--cluster_name=bench".to_owned(),
            format!("--cluster=nats://127.0.0.1:{port}"),
            format!("--routes={}", routes.join(",")),
        ]);
        let recipe = Recipe {
            name: NATS.to_owned(),
            program: program.to_owned(),
            args,
        };
        let Some(node) = suite.start(PART, &recipe)? else {
            return Ok(());
        };
        cluster.push(node);
    }
    let address = cluster[0].socket_address();
    let made = made_when_ready(address);
    if suite.checked(PART, made)?.is_none() {
        return Ok(());
    }
    let count = suite.scale.count(200_000, 2000) / AT_ONCE * AT_ONCE;
    suite.say(&format!("{NATS}: {count} messages"));
    let failed = |error: std::io::Error| BenchError::Server {
        server: NATS.to_owned(),
        what: error.to_string(),
    };
    for load in ["PUB, 200 in the pipeline", CONSUME] {
        let started = Instant::now();
        let outcome = used_by(&cluster, || {
            if load == CONSUME {
                nats::consume(address, count).map_err(failed)
            } else {
                nats::publish_to_stream(address, count, 200).map_err(failed)
            }
        });
        let seconds = started.elapsed().as_secs_f64();
        let Some(((), cpu_us)) = suite.checked(PART, outcome)? else {
            return Ok(());
        };
        let of = Of {
            part: PART,
            load,
            subject: NATS,
            at: None,
        };
        suite.results.value(of, CPU, cpu_us / ratio(count, 1))?;
        suite.results.value(of, RATE, ratio(count, 1) / seconds)?;
    }
    Ok(())
}

/// Makes the stream once the servers have elected a leader.
fn made_when_ready(address: SocketAddr) -> Result<(), BenchError> {
    let started = Instant::now();
    loop {
        match nats::make_stream(address, 3) {
            Ok(()) => return Ok(()),
            Err(error) if started.elapsed() > FORMING => {
                return Err(BenchError::Server {
                    server: NATS.to_owned(),
                    what: error.to_string(),
                });
            }
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Ports on which no one listens at the moment, all different.
fn free_ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| free_port().port()).collect()
}

/// How long a cluster may take to elect its leaders.
const FORMING: Duration = Duration::from_mins(1);
