//! What the fuzzer calls, and the tests that call it again with what it found.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nsq_protocol::{MessageId, TopicName};
use nsq_queue::{LogOptions, Marks, NewRecord, SegmentPool, Writer};
use nsq_replay::Input;

use crate::broker::{Broker, Change, OpenError, Settings, Surroundings};
use crate::channel::{Budget, Locality, Subscription};
use crate::client::{ClientHandle, ClientId, Wakes};
use crate::survey::Survey;
use crate::time::{Now, Tick};
use crate::topic::ChannelCell;

/// A data path with files of any content: records, notes and marks that pass their checks and say anything, fan-out
/// positions, `nsqd.dat`, upstream's files, a journal of an import, and damage to all of them. A look changes nothing;
/// a start succeeds or says why not; the broker then serves, stops, and starts again with what was published last.
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
    let survey = Survey::of(path, true);
    assert_eq!(files_in(path), before, "a look changed something");
    drop(survey);

    let Ok(broker) = open(path, MORNING) else {
        return;
    };
    let name = TopicName::parse("t").expect("a valid name");
    let (topic, _) = broker
        .get_or_create_topic(&name, false, MORNING)
        .expect("it is there, or can be made");
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

/// Takes what there is as a consumer that fails every third message, and gives all others but the last back.
fn serve(cell: &ChannelCell) {
    let taken = take_all(cell, MORNING);
    let mut wakes = Wakes::default();
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
            channel.requeue(READER, *id, delay, MORNING, &mut wakes)
        } else {
            channel.finish(READER, *id, MORNING)
        };
        assert!(answered.is_ok(), "{id} was taken a moment ago");
    }
    let _ = channel.handle_timeout(EVENING, &mut wakes);
    let _ = channel.stats(100);
    channel.unsubscribe(READER, &mut wakes);
    drop(channel);
    wakes.ring();
}

/// Subscribes and takes all there is.
fn take_all(cell: &ChannelCell, now: Now) -> Vec<(MessageId, Vec<u8>)> {
    let mut taken = Vec::new();
    let mut wakes = Wakes::default();
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
        let round = channel.take(READER, budget, now, &mut wakes, |message| {
            taken.push((message.id, message.body.to_vec()));
        });
        if round.count == 0 {
            break;
        }
    }
    drop(channel);
    wakes.ring();
    taken
}

/// Does one thing to the data path.
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
            mark(&folder, log, &file, input);
        }
        4 => {
            let file = path.join(TOPIC).join(format!("{log}.offered"));
            mark(&folder, log, &file, input);
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

/// A record that says anything: a message, or a note of one.
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

/// Marks of a log, with any floor.
fn mark(folder: &Path, log: &str, file: &Path, input: &mut Input<'_>) {
    let Ok((found, _)) = nsq_queue::Log::look(folder, log) else {
        return;
    };
    let Ok(mut marks) = Marks::open(file, found.identity()) else {
        return;
    };
    marks.set_floor(input.number() % (1 << 61));
    for _ in 0..input.byte() % 4 {
        let _ = marks.mark(marks.floor().saturating_add(input.number() % 1000));
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
        max_msg_size: 1 << 10,
        sync_every: 2500,
        log_options: SMALL_SEGMENTS,
        percentiles: None,
    };
    Broker::open(settings, Arc::new(Nobody), now)
}

struct Nobody;

impl Surroundings for Nobody {
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
/// An input does no more than this.
const MOST_ACTS: usize = 32;

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn data_paths_of_the_corpus() {
        replay("broker", super::broker);
    }
}
