//! Fuzz bodies of nsq-core: a broker started on files of any content.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nsq_protocol::{MessageId, TopicName};
use nsq_queue::{FinishedSet, LogOptions, NewRecord, SegmentPool, Writer};
use nsq_replay::Input;

use crate::broker::{Broker, Change, Host, OpenError, Settings};
use crate::channel::{Budget, Locality, Subscription};
use crate::client::{ClientHandle, ClientId};
use crate::inspect::Inspection;
use crate::time::{Now, Tick};
use crate::topic::{ChannelCell, SafeOnce};

/// A data path with files of any content: records, journal entries and finished sets with valid checks and any values,
/// fan-out positions, `nsqd.dat`, upstream's files, the journal of an import, and damage to all of them. An inspection
/// changes nothing; a start succeeds or returns an error; the broker then serves, stops, and has the message published
/// last when it starts again.
pub fn broker(bytes: &[u8]) {
    let folder = nsq_replay::folder();
    let path = folder.path();
    std::fs::create_dir_all(path.join(TOPIC).join(CHANNEL)).expect("a temporary folder");
    let mut input = Input::new(bytes);
    for _ in 0..MOST_ACTS {
        if input.is_empty() {
            break;
        }
        act(path, &mut input);
    }
    let before = files_in(path);
    let survey = Inspection::of(path, true);
    assert_eq!(files_in(path), before, "the inspection changed something");
    drop(survey);

    let Ok(broker) = open(path, MORNING) else {
        return;
    };
    let name = TopicName::parse("t").expect("a valid name");
    let (topic, _) = broker
        .get_or_create_topic(&name, false, MORNING)
        .expect("the topic exists or can be created");
    topic
        .publish([b"published last".as_slice()].into_iter(), MORNING)
        .expect("there is room");
    let channels = topic.channels();
    for cell in channels.iter().take(4) {
        serve(cell);
    }
    broker
        .save_metadata()
        .expect("a folder that can be written");
    broker.close(MORNING);
    drop((topic, broker));

    let broker = open(path, EVENING).expect("it could be opened before");
    let again = broker.topic("t").expect("it was there before");
    let names = |channels: &[Arc<ChannelCell>]| -> Vec<String> {
        let names = channels.iter().map(|cell| cell.name().to_string());
        names.collect()
    };
    let kept: Vec<_> = names(&channels);
    let kept: Vec<_> = kept
        .iter()
        .filter(|name| !name.ends_with("#ephemeral"))
        .collect();
    let there = names(&again.channels());
    assert_eq!(kept, there.iter().collect::<Vec<_>>());
    for cell in again.channels() {
        let last = take_all(&cell, EVENING).pop();
        if !cell.lock().is_paused() && !again.is_paused() {
            assert!(last.is_some(), "what was published last is gone");
        }
    }
}

/// Takes everything as a consumer that requeues every third message and finishes the others, except for the last, which
/// it leaves unanswered.
fn serve(cell: &Arc<ChannelCell>) {
    let taken = take_all(cell, MORNING);
    let mut channel = cell.lock();
    let (depth, out) = (channel.depth(), channel.in_flight_count());
    assert!(
        out >= taken.len(),
        "{out} of {} in flight, depth {depth}",
        taken.len()
    );
    for (at, (id, _)) in taken.iter().enumerate().rev().skip(1) {
        let delay = Duration::from_secs(u64::from(at.is_multiple_of(2)));
        let answered = if at.is_multiple_of(3) {
            channel.requeue(READER, *id, delay, MORNING)
        } else {
            channel.finish(READER, *id, MORNING)
        };
        assert!(answered.is_ok(), "{id} was taken a moment ago");
    }
    channel.handle_timeout(EVENING);
    let _ = channel.stats(100);
    channel.unsubscribe(READER);
}

/// Subscribes and takes everything.
fn take_all(cell: &Arc<ChannelCell>, now: Now) -> Vec<(MessageId, Vec<u8>)> {
    let mut taken = Vec::new();
    let mut channel = cell.lock();
    let subscription = Subscription {
        client: READER,
        handle: Arc::new(Deaf),
        msg_timeout: Duration::from_mins(1),
        sample_rate: 0,
        locality: Locality::default(),
    };
    if channel.subscribe(subscription, 0).is_err() {
        return taken;
    }
    channel.set_ready_count(READER, 10_000);
    let budget = Budget {
        messages: 10_000,
        bytes: 1 << 20,
    };
    for _ in 0..100 {
        let round = channel.take(READER, budget, now, |message| {
            taken.push((message.id, message.body.to_vec()));
        });
        if round.count == 0 {
            break;
        }
    }
    taken
}

/// Makes one change to the data path.
fn act(path: &Path, input: &mut Input<'_>) {
    let kind = input.byte();
    let (folder, log) = LOGS[usize::from(input.byte()) % LOGS.len()];
    let folder = path.join(TOPIC).join(folder);
    match kind % 8 {
        0..=2 => append(&folder, log, input),
        3 => {
            let marks_of = LOGS[usize::from(input.byte()) % LOGS.len()].1;
            let file = path
                .join(TOPIC)
                .join(CHANNEL)
                .join(format!("{marks_of}.marks"));
            finish(&folder, log, &file, input);
        }
        4 => {
            let file = path.join(TOPIC).join(format!("{log}.offered"));
            finish(&folder, log, &file, input);
        }
        5 => {
            let file = path.join(FILES[usize::from(input.byte()) % FILES.len()]);
            if let Some(parent) = file.parent() {
                let _ = std::fs::create_dir_all(parent);
            }
            let _ = std::fs::write(file, input.part());
        }
        6 => {
            let name = FOLDERS[usize::from(input.byte()) % FOLDERS.len()];
            let _ = std::fs::create_dir_all(path.join(name));
        }
        _ => spoil(path, input),
    }
}

/// Appends a record with any values: a message, or a journal entry.
fn append(folder: &Path, log: &str, input: &mut Input<'_>) {
    let pool = Arc::new(SegmentPool::new(folder.join("none"), 0));
    let Ok((mut writer, _)) = Writer::open(folder, log, pool, SMALL_SEGMENTS) else {
        return;
    };
    let mut body = Vec::new();
    if log == "notes" {
        body.push(input.byte() % 5);
        body.extend_from_slice(&input.number().to_le_bytes());
        body.extend_from_slice(&u32::from(input.short()).to_le_bytes());
        body.extend_from_slice(&u32::from(input.short()).to_le_bytes());
    } else {
        body.extend_from_slice(input.part());
    }
    let record = NewRecord {
        id: input.number(),
        timestamp: input.number().cast_signed(),
        due: input.number().cast_signed(),
        attempts: input.short(),
        body: &body,
    };
    let times = 1 + input.byte() % 4;
    let _ = writer.append(vec![record; usize::from(times)].into_iter());
}

/// Writes a finished set of a log, with any floor.
fn finish(folder: &Path, log: &str, file: &Path, input: &mut Input<'_>) {
    let Ok((found, _)) = nsq_queue::Log::open_read_only(folder, log) else {
        return;
    };
    let Ok(mut finished) = FinishedSet::open(file, found.identity()) else {
        return;
    };
    finished.set_floor(input.number() % (1 << 61));
    for _ in 0..input.byte() % 4 {
        let _ = finished.finish(finished.floor().saturating_add(input.number() % 1000));
    }
}

/// Changes some bytes of a file, or its length.
fn spoil(path: &Path, input: &mut Input<'_>) {
    let files = files_in(path);
    let Some((file, bytes)) = input.one_of(&files) else {
        return;
    };
    let mut bytes = bytes.clone();
    let at = usize::from(input.short()) % (bytes.len() + 1);
    match input.byte() % 4 {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (input.byte() % 8);
            }
        }
        1 => {
            for (byte, new) in bytes.iter_mut().skip(at).zip(input.part()) {
                *byte = *new;
            }
        }
        2 => bytes.truncate(at),
        _ => bytes.extend_from_slice(input.part()),
    }
    let _ = std::fs::write(file, bytes);
}

fn files_in(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            files.push((path.clone(), std::fs::read(path).unwrap_or_default()));
        }
    }
    files.sort();
    files
}

fn open(path: &Path, now: Now) -> Result<Broker, OpenError> {
    let settings = Settings {
        data_path: path.to_path_buf(),
        node_id: 1,
        mem_queue_size: 100,
        max_msg_timeout: Duration::from_mins(15),
        max_req_timeout: Duration::from_hours(1),
        max_msg_size: 1 << 10,
        safe_once: SafeOnce::default(),
        sync_every: 2500,
        max_free_segment_bytes: 256 << 20,
        log_options: SMALL_SEGMENTS,
        percentiles: None,
        is_replicated: false,
    };
    Broker::open(settings, Arc::new(Nobody), now)
}

struct Nobody;

impl Host for Nobody {
    fn arm(&self, _: &Arc<ChannelCell>, _: Tick) {}

    fn registry_changed(&self, _: Change) {}
}

struct Deaf;

impl ClientHandle for Deaf {
    fn wake(&self) {}

    fn close(&self) {}
}

const READER: ClientId = ClientId(1);
const MORNING: Now = Now {
    tick: Tick::from_nanos(5_000_000_000),
    unix_nanos: 1_700_000_000_000_000_000,
};
const EVENING: Now = Now {
    tick: Tick::from_nanos(500_000_000_000_000),
    unix_nanos: 1_700_500_000_000_000_000,
};
const SMALL_SEGMENTS: LogOptions = LogOptions {
    first_segment_bytes: 4096,
    max_segment_bytes: 4096,
};
const TOPIC: &str = "topics/t.topic";
const CHANNEL: &str = "c.channel";
/// Folder and name of each log of the topic and its channel.
const LOGS: [(&str, &str); 5] = [
    ("", "main"),
    ("", "deferred"),
    (CHANNEL, "notes"),
    (CHANNEL, "private"),
    (CHANNEL, "backlog"),
];
const FILES: [&str; 8] = [
    "nsqd.dat",
    "topics/t.topic/imported.id",
    "upstream-imported/under-way.json",
    "t.diskqueue.meta.dat",
    "t.diskqueue.000000.dat",
    "t:c.diskqueue.000000.dat",
    "topics/t.topic/main.00000001.log",
    "topics/free/1.free",
];
const FOLDERS: [&str; 4] = [
    "topics/t.topic/d.channel",
    "topics/u.topic/c.channel",
    "topics/bad name.topic",
    "topics/t.topic/main.00000000.log",
];
/// An input makes no more changes than this.
const MOST_ACTS: usize = 32;

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn data_paths_of_the_corpus() {
        replay("broker", super::broker);
    }
}
