//! `--check`: what is in the data path, and what is wrong with it, without a change to it.

mod cluster;

use std::io::{self, Write};
use std::path::Path;

use nsq_cluster::identity::IdentityError;
use nsq_core::StoreError;
use nsq_core::broker::OpenError;
use nsq_core::inspect::{ChannelInspection, Finding, Inspection, LogInspection, TopicInspection};
use nsq_daemon::data_path::{DataPathLock, LockError};
use nsq_queue::LogError;
use nsq_queue::diskqueue::{QueueFiles, QueueReader, Step};

use crate::cluster::stopped::StoppedNode;
use crate::settings::Settings;
use crate::{clock, data_path};

/// Why the data path could not be read, or exported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("failed to lock data-path: {0}")]
    Lock(#[from] LockError),
    #[error("cannot read the data path: {0}")]
    Open(#[from] OpenError),
    #[error("cannot read the data path: {0}")]
    Store(#[from] StoreError),
    #[error("cannot read the folder cluster of the data path: {0}")]
    Cluster(#[from] IdentityError),
    #[error("cannot write the report: {0}")]
    Report(#[from] io::Error),
}

/// Writes the report; whether nothing is damaged.
pub(crate) fn run(settings: &Settings, output: &mut impl Write) -> Result<bool, CheckError> {
    let data_path = data_path::of(settings);
    let _lock = DataPathLock::acquire_to_look(&data_path)?;
    let survey = Inspection::of(&data_path, true)?;
    writeln!(output, "data path {}", data_path.display())?;
    let mut damage_count = report_data(&survey, output)?;
    if survey.is_import_under_way {
        writeln!(
            output,
            "notice: an import of upstream's disk queues was interrupted: the next start ends it, the figures above \
             are not final"
        )?;
    }
    for queue in survey.upstream.iter().filter(|queue| queue.has_data()) {
        damage_count += report_upstream(&data_path, queue, settings, output)?;
    }
    if let Some(node) = StoppedNode::at(&data_path)? {
        damage_count += cluster::report(&node, &survey, output)?;
    }
    match damage_count {
        0 => writeln!(output, "nothing is damaged")?,
        count => writeln!(output, "damaged in {count} places")?,
    }
    output.flush()?;
    Ok(damage_count == 0)
}

/// The topics of a data path, and what is wrong with them; in how many places something is damaged.
fn report_data(survey: &Inspection, output: &mut impl Write) -> Result<usize, CheckError> {
    for topic in &survey.topics {
        report_topic(topic, output)?;
    }
    for finding in &survey.findings {
        match finding {
            Finding::Damage(text) => writeln!(output, "DAMAGE: {text}")?,
            Finding::Notice(text) => writeln!(output, "notice: {text}")?,
        }
    }
    Ok(survey.damage_count())
}

fn report_topic(topic: &TopicInspection, output: &mut impl Write) -> Result<(), CheckError> {
    let TopicInspection {
        name,
        paused,
        waiting,
        logs,
        channels,
        ..
    } = topic;
    let paused = if *paused { ", paused" } else { "" };
    writeln!(
        output,
        "topic {name}{paused}: {waiting} waiting; {}",
        files(*logs)
    )?;
    for channel in channels {
        let ChannelInspection {
            name, paused, logs, ..
        } = channel;
        let paused = if *paused { ", paused" } else { "" };
        let counts = channel.counts(clock::unix_nanos())?;
        writeln!(
            output,
            "  channel {name}{paused}: {} queued ({} of them delivered before), {} deferred; {}; {} finished out of \
             order",
            counts.queued,
            counts.returned,
            counts.deferred,
            files(*logs),
            channel.finished_count(),
        )?;
    }
    Ok(())
}

fn files(logs: LogInspection) -> String {
    format!("{} segments of {} bytes", logs.segments, logs.bytes)
}

/// What an import would make of a queue; how much of it is damaged.
fn report_upstream(
    data_path: &Path,
    queue: &QueueFiles,
    settings: &Settings,
    output: &mut impl Write,
) -> Result<usize, CheckError> {
    let max_body_bytes = u64::try_from(settings.max_msg_size).unwrap_or(u64::MAX);
    let failed = |error| StoreError::Log(LogError::File(error));
    let mut reader = QueueReader::open(data_path, queue, max_body_bytes).map_err(failed)?;
    let mut messages = 0_u64;
    let mut damage_count = 0;
    while let Some(step) = reader.next().map_err(failed)? {
        match step {
            Step::Message(_) => messages += 1,
            Step::Remark(remark) if remark.is_damage() => {
                damage_count += 1;
                writeln!(output, "DAMAGE: {remark}")?;
            }
            Step::Remark(remark) => writeln!(output, "notice: {remark}")?,
        }
    }
    writeln!(
        output,
        "upstream's disk queue {}: {messages} messages to import at the next start",
        queue.name
    )?;
    Ok(damage_count)
}
