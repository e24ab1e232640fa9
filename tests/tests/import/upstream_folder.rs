//! Upstream's disk queue files, written and read by these tests' own hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A message as a queue file has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) attempts: u16,
    pub(crate) timestamp_nanos: i64,
    pub(crate) body: Vec<u8>,
}

/// Writes one queue, all in one file.
pub(crate) fn write_queue(folder: &Path, queue: &str, messages: impl Iterator<Item = Stored>) {
    let mut bytes = Vec::new();
    let mut count = 0;
    for message in messages {
        let length = u32::try_from(26 + message.body.len()).expect("tests write small messages");
        bytes.extend(length.to_be_bytes());
        bytes.extend(message.timestamp_nanos.to_be_bytes());
        bytes.extend(message.attempts.to_be_bytes());
        bytes.extend(message.id.bytes());
        bytes.extend(message.body);
        count += 1;
    }
    let end = bytes.len();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(format!("{queue}.diskqueue.{name}.dat")), bytes)
            .expect("the folder can be written");
    };
    write("000000", &bytes);
    write("meta", format!("{count}\n0,0\n0,{end}\n").as_bytes());
}

/// `count` messages whose bodies are `<prefix>-<number>`, with ids of their own for each prefix.
pub(crate) fn numbered(prefix: &str, count: u64) -> impl Iterator<Item = Stored> {
    let first = prefix.bytes().map(u64::from).sum::<u64>() << 40;
    (0..count).map(move |number| {
        let mut body = String::new();
        let _ = write!(body, "{prefix}-{number}");
        Stored {
            id: format!("{:016x}", first + number),
            attempts: u16::try_from(number % 3).expect("below three"),
            timestamp_nanos: 1_600_000_000_000_000_000,
            body: body.into_bytes(),
        }
    })
}

/// How many of upstream's queue files a folder has.
pub(crate) fn queue_file_count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let names = entries.map(|entry| entry.expect("the folder can be listed").file_name());
    names
        .filter(|name| name.to_string_lossy().contains(".diskqueue."))
        .count()
}

/// Reads all queues of a folder as upstream would, and insists on its rules: metadata that fits the files, no file
/// above the limit but for a single record, no stray file.
pub(crate) fn read_queues(folder: &Path, max_file_bytes: usize) -> BTreeMap<String, Vec<Stored>> {
    let mut queues = BTreeMap::new();
    let mut file_count = 1;
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let names = entries.map(|entry| entry.expect("the folder can be listed").file_name());
    let names: Vec<_> = names
        .map(|name| name.into_string().expect("names are text"))
        .collect();
    for name in &names {
        let Some(queue) = name.strip_suffix(".diskqueue.meta.dat") else {
            continue;
        };
        let metadata = fs::read_to_string(folder.join(name)).expect("it can be read");
        let numbers: Vec<usize> = metadata
            .split([',', '\n'])
            .filter(|word| !word.is_empty())
            .map(|word| word.parse().expect("a number"))
            .collect();
        let [depth, 0, 0, last_file, end] = numbers[..] else {
            panic!("{name}: {metadata}");
        };
        let mut messages = Vec::new();
        for number in 0..=last_file {
            let path = folder.join(format!("{queue}.diskqueue.{number:06}.dat"));
            let bytes = fs::read(&path).expect("no file is missing");
            let in_file = records(&bytes);
            assert!(bytes.len() <= max_file_bytes || in_file.len() == 1);
            assert!(number < last_file || bytes.len() == end, "{metadata}");
            messages.extend(in_file);
            file_count += 1;
        }
        assert_eq!(messages.len(), depth);
        queues.insert(queue.to_owned(), messages);
        file_count += 1;
    }
    assert_eq!(names.len(), file_count, "{names:?}");
    queues
}

fn records(mut bytes: &[u8]) -> Vec<Stored> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>().expect("a length");
        let length = usize::try_from(u32::from_be_bytes(*length)).expect("a small number");
        let (record, rest) = rest.split_at(length);
        let (timestamp, record) = record.split_first_chunk::<8>().expect("a timestamp");
        let (attempts, record) = record.split_first_chunk::<2>().expect("attempts");
        let (id, body) = record.split_at(16);
        found.push(Stored {
            id: String::from_utf8(id.to_vec()).expect("digits"),
            attempts: u16::from_be_bytes(*attempts),
            timestamp_nanos: i64::from_be_bytes(*timestamp),
            body: body.to_vec(),
        });
        bytes = rest;
    }
    found
}
