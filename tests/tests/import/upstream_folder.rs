//! Upstream's disk queue files, written and read by these tests' own hand.

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
