//! The same loads on upstream, here and on the floor, at each level of safety.

use nsq_protocol::TopicName;

use nsq_bench::{
    error::BenchError,
    options::{default_channel, unique_topic},
};

use crate::suite::{
    Suite,
    result::Of,
    server::{Recipe, Server},
    work::{Work, create_channel},
};

pub(crate) const PART: &str = "beside";

pub(crate) const PUBLISH: &str = "MPUB of 200, 2 connections";
pub(crate) const CONSUME: &str = "consume and FIN that backlog, RDY 2500, 2 connections";
pub(crate) const ONE_BY_ONE: &str = "PUB one by one, 1 connection";
pub(crate) const SIXTEEN: &str = "PUB one by one, 16 connections";
pub(crate) const PIPELINED: &str = "PUB pipelined, 64 under way, 1 connection";
pub(crate) const LIVE: &str = "MPUB of 200 and RDY 2500 live, 1 + 1 connections";

pub(crate) const FLOOR: &str = "floor";
pub(crate) const UPSTREAM_MEMORY: &str = "upstream, in memory";
pub(crate) const HERE_MEMORY: &str = "here, in memory";
pub(crate) const UPSTREAM_DISK: &str = "upstream, disk queue";
pub(crate) const HERE: &str = "here";
pub(crate) const UPSTREAM_SYNCED: &str = "upstream, synced";
pub(crate) const HERE_SYNCED: &str = "here, synced";

/// The loads and their message counts. The second consumes what the first has published.
const LOADS: [(Work, u64); 6] = [
    (Work::batches(PUBLISH, 2), 1_000_000),
    (Work::consume(CONSUME, 2), 1_000_000),
    (
        Work {
            name: ONE_BY_ONE,
            publishers: 1,
            ..Work::NONE
        },
        50_000,
    ),
    (
        Work {
            name: SIXTEEN,
            publishers: 16,
            ..Work::NONE
        },
        100_000,
    ),
    (
        Work {
            name: PIPELINED,
            publishers: 1,
            window: 64,
            ..Work::NONE
        },
        250_000,
    ),
    (
        Work {
            name: LIVE,
            publishers: 1,
            batch: 200,
            subscribers: 1,
            ready: 2500,
            ..Work::NONE
        },
        1_000_000,
    ),
];

/// One column.
struct Subject {
    recipe: Recipe,
    /// Divides the counts, for subjects that wait for the disk with every message.
    divisor: u64,
    topic_suffix: &'static str,
}

/// Runs all loads on all subjects, with a different subject first in each round.
///
/// # Errors
/// The result file cannot be written.
pub(crate) fn run(suite: &mut Suite) -> anyhow::Result<()> {
    let subjects = subjects(suite);
    for round in 0..suite.scale.rounds as usize {
        let mut places: Vec<Option<(&Subject, Server, TopicName)>> = vec![];
        for subject in &subjects {
            let server = suite.start(PART, &subject.recipe)?;
            let topic = TopicName::parse(&format!("{}{}", unique_topic(), subject.topic_suffix))?;
            places.push(server.map(|server| (subject, server, topic)));
        }
        for (work, full_count) in &LOADS {
            suite.say(&format!(
                "{}, round {} of {}",
                work.name,
                round + 1,
                suite.scale.rounds
            ));
            for turn in 0..places.len() {
                let place = (turn + round) % places.len();
                if let Some((subject, server, topic)) = &places[place] {
                    let count = suite.scale.count(full_count / subject.divisor, 2000);
                    run_one(suite, work, count, subject, server, topic)?;
                }
            }
        }
    }
    Ok(())
}

fn run_one(
    suite: &mut Suite,
    work: &Work,
    count: u64,
    subject: &Subject,
    server: &Server,
    topic: &TopicName,
) -> anyhow::Result<()> {
    let is_floor = subject.recipe.name == FLOOR;
    if is_floor && work.name == LIVE {
        // The floor does not deliver what was published.
        return Ok(());
    }
    let outcome = (|| -> Result<_, BenchError> {
        create_channel(server, topic, &default_channel())?;
        let report = work.run(server, topic, count)?;
        let leaves_backlog = work.name == PUBLISH || work.name == CONSUME || work.name == LIVE;
        if !leaves_backlog && !is_floor {
            // So that no load finds messages of another.
            Work::consume("taking out what was published", 1).run(
                server,
                topic,
                report.published,
            )?;
        }
        Ok(report)
    })();
    let of = Of {
        part: PART,
        load: work.name,
        subject: &subject.recipe.name,
        at: None,
    };
    match suite.checked(PART, outcome)? {
        Some(report) => Ok(suite.results.report(of, &report, false)?),
        None => Ok(()),
    }
}

fn subjects(suite: &Suite) -> Vec<Subject> {
    let subject = |recipe| Subject {
        recipe,
        divisor: 1,
        topic_suffix: "",
    };
    let memory = &["--mem-queue-size=10000000"];
    let mut subjects = vec![];
    if let Some(recipe) = suite.upstream(UPSTREAM_MEMORY, memory) {
        subjects.push(subject(recipe));
    }
    subjects.push(Subject {
        topic_suffix: "#ephemeral",
        ..subject(suite.here(HERE_MEMORY, memory))
    });
    if let Some(recipe) = suite.upstream(UPSTREAM_DISK, &["--mem-queue-size=0"]) {
        subjects.push(subject(recipe));
    }
    subjects.push(subject(suite.here(HERE, &[])));
    if let Some(recipe) = suite.upstream(UPSTREAM_SYNCED, &["--mem-queue-size=0", "--sync-every=1"])
    {
        subjects.push(Subject {
            divisor: 500,
            ..subject(recipe)
        });
    }
    subjects.push(Subject {
        divisor: 5,
        ..subject(suite.here(HERE_SYNCED, &["--sync-publish"]))
    });
    subjects.push(subject(Recipe {
        name: FLOOR.to_owned(),
        program: suite.own_program.clone(),
        args: vec![
            "floor".to_owned(),
            "--tcp-address=127.0.0.1:{port}".to_owned(),
        ],
    }));
    subjects
}
