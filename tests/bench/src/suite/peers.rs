//! Other queues on the same work: 200-byte messages, one connection, an answer and an acknowledgement for each.

use std::path::PathBuf;

use nsq_bench::{
    error::BenchError,
    options::{default_channel, unique_topic},
    process::ratio,
    report::ServerUse,
};

use crate::{
    peer::{AT_ONCE, Peer},
    suite::{
        Suite,
        result::{CPU, DISK, Line, MEMORY, Of, RATE},
        server::{Recipe, Server},
        work::{Work, create_channel},
    },
};

pub(crate) const PART: &str = "peers";
pub(crate) const PUBLISH: &str = "publish";
pub(crate) const CONSUME: &str = "consume";

/// Publishes to each queue and consumes it all again, nsqd first.
///
/// # Errors
/// The result file cannot be written.
pub(crate) fn run(suite: &mut Suite, found: &[(Peer, Option<PathBuf>)]) -> anyhow::Result<()> {
    let count = suite.scale.count(400_000, 2000) / AT_ONCE * AT_ONCE;
    let batches = Work::batches(PUBLISH, 1);
    let pipelined = Work {
        name: PUBLISH,
        publishers: 1,
        window: u32::try_from(AT_ONCE)?,
        ..Work::NONE
    };
    for (way, work) in [("MPUB of 200", batches), ("PUB, 200 under way", pipelined)] {
        let recipes = [
            Some(suite.here(&format!("here, {way}"), &[])),
            suite.upstream(&format!("upstream, {way}"), &["--mem-queue-size=10000000"]),
        ];
        for recipe in recipes.into_iter().flatten() {
            nsqd(suite, &recipe, &work, count)?;
        }
    }
    for (peer, program) in found {
        let Some(program) = program else {
            let text = format!(
                "{} was not found, so it is not in the table.",
                peer.program()
            );
            suite.say(&text);
            suite.results.add(Line::Note {
                part: PART.to_owned(),
                text,
            })?;
            continue;
        };
        let recipe = Recipe {
            name: peer.name().to_owned(),
            program: program.clone(),
            args: peer.args().iter().map(ToString::to_string).collect(),
        };
        if let Some(server) = suite.start(PART, &recipe)? {
            other(suite, *peer, &server, count)?;
        }
    }
    Ok(())
}

fn nsqd(suite: &mut Suite, recipe: &Recipe, work: &Work, count: u64) -> anyhow::Result<()> {
    suite.say(&format!("{}: {count} messages", recipe.name));
    let Some(server) = suite.start(PART, recipe)? else {
        return Ok(());
    };
    let topic = unique_topic();
    let created = create_channel(&server, &topic, &default_channel());
    if suite.checked(PART, created)?.is_none() {
        return Ok(());
    }
    for work in [*work, Work::consume(CONSUME, 1)] {
        let outcome = work.run(&server, &topic, count);
        let Some(report) = suite.checked(PART, outcome)? else {
            return Ok(());
        };
        let of = of(work.name, &recipe.name);
        suite.results.report(of, &report, false)?;
        suite.results.value(of, DISK, disk_mib(&server))?;
    }
    Ok(())
}

fn other(suite: &mut Suite, peer: Peer, server: &Server, count: u64) -> anyhow::Result<()> {
    suite.say(&format!("{}: {count} messages", peer.name()));
    for load in [PUBLISH, CONSUME] {
        let outcome = (|| -> Result<_, BenchError> {
            let before = server.process().settled_cpu()?;
            let started = std::time::Instant::now();
            if load == PUBLISH {
                peer.publish(server.socket_address(), count, 200)?;
            } else {
                peer.consume(server.socket_address(), count)?;
            }
            let seconds = started.elapsed().as_secs_f64();
            Ok((ServerUse::since(&before, server.process())?, seconds))
        })();
        let Some((used, seconds)) = suite.checked(PART, outcome)? else {
            return Ok(());
        };
        let of = of(load, server.name());
        let results = &mut suite.results;
        results.value(of, CPU, used.cpu.per_message(count).total_us)?;
        results.value(of, RATE, ratio(count, 1) / seconds)?;
        results.value(of, MEMORY, ratio(used.memory.rss_kib, 1024))?;
        results.value(of, DISK, disk_mib(server))?;
    }
    Ok(())
}

fn of<'a>(load: &'a str, subject: &'a str) -> Of<'a> {
    Of {
        part: PART,
        load,
        subject,
        at: None,
    }
}

fn disk_mib(server: &Server) -> f64 {
    ratio(server.disk_bytes(), 1024 * 1024)
}
