//! The cost of a backlog: publishing after it, consuming its front, memory, disk and a start.

use nsq_bench::{
    error::BenchError,
    options::{default_channel, unique_topic},
    process::ratio,
};

use crate::suite::{
    Suite,
    result::{DISK, MEMORY, Of, START},
    work::{Work, create_channel},
};

pub(crate) const PART: &str = "backlog";
pub(crate) const PUBLISH: &str = "publish";
pub(crate) const CONSUME: &str = "consume";
/// Memory, disk and start: of the backlog itself.
pub(crate) const KEEP: &str = "keep";

/// Fills one topic step by step and measures at each, up to `most` messages; upstream up to a tenth of it, since it
/// takes ten times as long.
///
/// # Errors
/// The result file cannot be written.
pub(crate) fn run(suite: &mut Suite, most: u64) -> anyhow::Result<()> {
    let probe = suite.scale.count(400_000, 2000);
    for recipe in suite.both() {
        let is_here = recipe.name == suite.here("here", &[]).name;
        let most = if is_here { most } else { most / 10 };
        let Some(mut server) = suite.start(PART, &recipe)? else {
            continue;
        };
        let topic = unique_topic();
        let created = create_channel(&server, &topic, &default_channel());
        if suite.checked(PART, created)?.is_none() {
            continue;
        }
        let mut depth = 0;
        for step in STEPS.into_iter().filter(|&step| step <= most) {
            suite.say(&format!("{PART}: {}, {step} messages", recipe.name));
            let outcome = (|| -> Result<_, BenchError> {
                if step > depth {
                    Work::batches("filling", 2).run(&server, &topic, step - depth)?;
                    depth = step;
                }
                let memory = server.process().memory()?;
                let disk_bytes = server.disk_bytes();
                // The messages published for the measurement restore the backlog's depth.
                let published = Work::batches(PUBLISH, 1).run(&server, &topic, probe)?;
                let consumed = Work::consume(CONSUME, 1).run(&server, &topic, probe)?;
                let start = server.kill_and_start()?;
                Ok((memory, disk_bytes, published, consumed, start))
            })();
            let Some((memory, disk_bytes, published, consumed, start)) =
                suite.checked(PART, outcome)?
            else {
                break;
            };
            let of = |load| Of {
                part: PART,
                load,
                subject: &recipe.name,
                at: Some(ratio(step, 1)),
            };
            let results = &mut suite.results;
            results.report(of(PUBLISH), &published, false)?;
            results.report(of(CONSUME), &consumed, false)?;
            results.value(of(KEEP), MEMORY, ratio(memory.rss_anon_kib, 1024))?;
            results.value(of(KEEP), DISK, ratio(disk_bytes, 1024 * 1024))?;
            results.value(of(KEEP), START, start.as_secs_f64() * 1e3)?;
        }
    }
    Ok(())
}

/// The depths that are measured, up to `most`.
const STEPS: [u64; 7] = [
    0, 10_000, 100_000, 1_000_000, 10_000_000, 20_000_000, 50_000_000,
];
