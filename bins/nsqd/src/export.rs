//! `--export-to`: everything that is not finished, as files that upstream's nsqd starts on.
//!
//! The files are written into `<folder>.partial`, synced, and only then given their name, so what has the name is whole.

mod replay;
mod shards;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nsq_cluster::identity::IdentityError;
use nsq_core::StoreError;
use nsq_core::broker::OpenError;
use nsq_core::inspect::{Finding, Inspection, Stored};
use nsq_core::metadata::{self, ChannelMetadata, Metadata, MetadataError, TopicMetadata};
use nsq_daemon::data_path::{DataPathLock, LockError};
use nsq_queue::diskqueue::{Message, Place, QueueFiles, QueueWriter};
use nsq_queue::{FileError, LogError, private, sync_folder};

use crate::cluster::stopped::StoppedNode;
use crate::settings::Settings;
use crate::{clock, data_path};

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error("failed to lock data-path: {0}")]
    Lock(#[from] LockError),
    #[error("cannot read the data path: {0}")]
    Open(#[from] OpenError),
    #[error("cannot export: {0}")]
    Store(#[from] StoreError),
    #[error("cannot export: {0}")]
    Registry(#[from] MetadataError),
    #[error("cannot read the folder cluster of the data path: {0}")]
    Cluster(#[from] IdentityError),
    #[error("cannot execute the entries in the write-ahead log of shard {shard}: {why}")]
    Replay { shard: u64, why: String },
    #[error("cannot write the report: {0}")]
    Report(#[from] io::Error),
    #[error("cannot export to {}: {why}", path.display())]
    Target { path: PathBuf, why: String },
    #[error(
        "the data path holds disk queues of upstream's that are not imported yet: start and stop nsqd on it once, then export"
    )]
    NotImported,
}

impl From<FileError> for ExportError {
    fn from(error: FileError) -> Self {
        ExportError::Store(StoreError::Log(LogError::File(error)))
    }
}

/// What was exported, for the report.
#[derive(Debug, Default)]
struct Tally {
    messages: u64,
    deferred: u64,
    largest_bytes: usize,
}

/// Exports, and writes the report; whether nothing was damaged.
pub(crate) fn run(settings: &Settings, output: &mut impl Write) -> Result<bool, ExportError> {
    let data_path = data_path::of(settings);
    let _lock = DataPathLock::acquire(&data_path)?;
    let target = Target::new(Path::new(&settings.export_to), &data_path)?;
    let survey = Inspection::of(&data_path, true)?;
    if survey.is_import_under_way || survey.upstream.iter().any(QueueFiles::has_data) {
        return Err(ExportError::NotImported);
    }
    let node = StoppedNode::at(&data_path)?;
    target.begin()?;
    let written = match &node {
        None => export(&survey, settings, &target.partial, output),
        Some(node) => shards::export_all(node, survey, settings, &target.partial, output),
    };
    let (tally, is_whole) = match written.and_then(|done| target.finish().map(|()| done)) {
        Ok(done) => done,
        Err(error) => {
            // Whatever stays has a name that says what it is.
            let _ = fs::remove_dir_all(&target.partial);
            return Err(error);
        }
    };
    report(&tally, settings, &target.folder, output)?;
    Ok(is_whole)
}

/// Exports one data path; whether nothing in it is damaged.
fn export(
    survey: &Inspection,
    settings: &Settings,
    folder: &Path,
    output: &mut impl Write,
) -> Result<(Tally, bool), ExportError> {
    let max_file_bytes = u64::try_from(settings.max_bytes_per_file).unwrap_or(u64::MAX);
    let tally = write_all(survey, folder, max_file_bytes, output)?;
    for finding in &survey.findings {
        if let Finding::Damage(text) = finding {
            writeln!(output, "DAMAGE: {text}")?;
        }
    }
    Ok((tally, survey.damage_count() == 0))
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.messages += other.messages;
        self.deferred += other.deferred;
        self.largest_bytes = self.largest_bytes.max(other.largest_bytes);
    }
}

fn write_all(
    survey: &Inspection,
    folder: &Path,
    max_file_bytes: u64,
    output: &mut impl Write,
) -> Result<Tally, ExportError> {
    let mut tally = Tally::default();
    let now = clock::unix_nanos();
    for topic in &survey.topics {
        let mut queue = Queue::new(folder, topic.name.to_string(), max_file_bytes, now);
        topic.for_each_waiting(|message| queue.append(&message))?;
        queue.finish(&mut tally, output)?;
        for channel in &topic.channels {
            let name = format!("{}:{}", topic.name, channel.name);
            let mut queue = Queue::new(folder, name, max_file_bytes, now);
            channel.for_each_unfinished(|message| queue.append(&message))?;
            queue.finish(&mut tally, output)?;
        }
    }
    let topics = survey.topics.iter().map(|topic| TopicMetadata {
        name: topic.name.to_string(),
        paused: topic.paused,
        channels: topic
            .channels
            .iter()
            .map(|channel| ChannelMetadata {
                name: channel.name.to_string(),
                paused: channel.paused,
            })
            .collect(),
    });
    let registry = Metadata {
        topics: topics.collect(),
        version: metadata::VERSION.to_owned(),
    };
    metadata::save_for_upstream(folder, &registry)?;
    Ok(tally)
}

fn report(
    tally: &Tally,
    settings: &Settings,
    folder: &Path,
    output: &mut impl Write,
) -> Result<(), ExportError> {
    if tally.deferred > 0 {
        writeln!(
            output,
            "notice: {} messages are deferred; upstream's files cannot say so, it will deliver them at once",
            tally.deferred
        )?;
    }
    if tally.largest_bytes as u64 > u64::try_from(settings.max_msg_size).unwrap_or(0) {
        writeln!(
            output,
            "notice: the largest message has {} bytes: upstream's nsqd must be started with a --max-msg-size of that, \
             or it gives up the files with larger ones",
            tally.largest_bytes
        )?;
    }
    writeln!(
        output,
        "exported {} messages to {}",
        tally.messages,
        folder.display()
    )?;
    output.flush()?;
    Ok(())
}

/// A queue being written; without a message it has no file.
struct Queue<'a> {
    folder: &'a Path,
    name: String,
    max_file_bytes: u64,
    now: i64,
    writer: Option<QueueWriter>,
    deferred: u64,
    largest_bytes: usize,
}

impl<'a> Queue<'a> {
    fn new(folder: &'a Path, name: String, max_file_bytes: u64, now: i64) -> Queue<'a> {
        Queue {
            folder,
            name,
            max_file_bytes,
            now,
            writer: None,
            deferred: 0,
            largest_bytes: 0,
        }
    }

    fn append(&mut self, message: &Stored<'_>) -> Result<(), ExportError> {
        let writer = self
            .writer
            .get_or_insert_with(|| QueueWriter::new(self.folder, &self.name, self.max_file_bytes));
        writer.append(&Message {
            id: message.id,
            timestamp: message.timestamp,
            attempts: message.attempts,
            body: message.body,
            place: Place::default(),
        })?;
        self.deferred += u64::from(message.due > self.now);
        self.largest_bytes = self.largest_bytes.max(message.body.len());
        Ok(())
    }

    fn finish(self, tally: &mut Tally, output: &mut impl Write) -> Result<(), ExportError> {
        let Some(writer) = self.writer else {
            return Ok(());
        };
        let count = writer.finish()?;
        writeln!(output, "{}: {count} messages", self.name)?;
        tally.messages += count;
        tally.deferred += self.deferred;
        tally.largest_bytes = tally.largest_bytes.max(self.largest_bytes);
        Ok(())
    }
}

/// The folder to be, and what it is until it is whole.
struct Target {
    folder: PathBuf,
    partial: PathBuf,
    parent: PathBuf,
}

impl Target {
    fn new(folder: &Path, data_path: &Path) -> Result<Target, ExportError> {
        let refuse = |why: String| ExportError::Target {
            path: folder.to_path_buf(),
            why,
        };
        match fs::read_dir(folder) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(refuse("it must be new or empty".to_owned()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refuse(error.to_string())),
        }
        let Some(name) = folder.file_name() else {
            return Err(refuse("it must have a name of its own".to_owned()));
        };
        let parent = match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let parent = parent
            .canonicalize()
            .map_err(|error| refuse(format!("{}: {error}", parent.display())))?;
        let within = data_path.canonicalize();
        if within.is_ok_and(|data_path| parent.starts_with(data_path)) {
            return Err(refuse("it must not lie in the data path".to_owned()));
        }
        let mut partial = OsString::from(name);
        partial.push(".partial");
        Ok(Target {
            folder: parent.join(name),
            partial: parent.join(partial),
            parent,
        })
    }

    fn begin(&self) -> Result<(), ExportError> {
        private::create_folder(&self.partial).map_err(|error| {
            self.refuse(match error.kind() {
                io::ErrorKind::AlreadyExists => format!(
                    "{} is left from an unfinished export: remove it first",
                    self.partial.display()
                ),
                _ => format!("{}: {error}", self.partial.display()),
            })
        })
    }

    fn finish(&self) -> Result<(), ExportError> {
        sync_folder(&self.partial)?;
        fs::rename(&self.partial, &self.folder).map_err(|error| self.refuse(error.to_string()))?;
        sync_folder(&self.parent)?;
        Ok(())
    }

    fn refuse(&self, why: String) -> ExportError {
        ExportError::Target {
            path: self.folder.clone(),
            why,
        }
    }
}
