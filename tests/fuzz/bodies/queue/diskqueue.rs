//! Upstream's files with any content.

use std::path::Path;

use nsq_replay::Input;

use super::damage::{Files, read, spoil, write};
use crate::diskqueue::{QueueFiles, QueueReader, Step};

/// A data path with upstream's queues: reading ends, changes nothing, gives the same result each time, and yields only
/// bodies that are in the files.
pub fn diskqueue(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut files = Files::new();
    while !input.is_empty() && files.len() < 8 {
        let (name, bytes) = file(&mut input);
        files.insert(name, bytes);
    }
    let folder = nsq_replay::folder();
    write(&files, folder.path());
    let found = read_all(folder.path(), &files);
    assert_eq!(found, read_all(folder.path(), &files));
    assert_eq!(read(folder.path()), files, "reading changed something");
}

/// One of upstream's files: a plausible one, or one of any name and content.
fn file(input: &mut Input<'_>) -> (String, Vec<u8>) {
    let kind = input.byte();
    let queue = ["t", "t:c", "t.diskqueue.", ""][usize::from(input.byte() % 4)];
    let number = input.byte() % 4;
    match kind % 8 {
        0 => {
            let name = format!("{queue}.diskqueue.meta.dat");
            let text = [1, 2, 3, 4, 5].map(|_| input.number().to_string());
            let [depth, read_file, read_at, write_file, write_at] = text;
            let text = format!("{depth}\n{read_file},{read_at}\n{write_file},{write_at}\n");
            (name, text.into_bytes())
        }
        1 => {
            let name = format!("{queue}.diskqueue.meta.dat");
            (name, input.part().to_vec())
        }
        2 => {
            let name = String::from_utf8_lossy(input.bytes(4)).replace(['/', '\0'], "_");
            (format!("q.diskqueue.{name}.dat"), input.part().to_vec())
        }
        other => {
            let bad = if other == 3 { ".bad" } else { "" };
            let name = format!("{queue}.diskqueue.{number:06}.dat{bad}");
            let mut bytes = Vec::new();
            for index in 0..input.byte() % 6 {
                let body = input.part();
                let length = u32::try_from(26 + body.len()).expect("a short body");
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(&1_700_000_000_000_000_000_i64.to_be_bytes());
                bytes.extend_from_slice(&[0, index]);
                bytes.extend_from_slice(format!("{:016x}", 1000 + u64::from(index)).as_bytes());
                bytes.extend_from_slice(body);
            }
            for _ in 0..input.byte() % 4 {
                spoil(&mut bytes, input);
            }
            (name, bytes)
        }
    }
}

fn read_all(folder: &Path, files: &Files) -> Vec<String> {
    let mut found = Vec::new();
    for queue in QueueFiles::all_in(folder).expect("a folder that can be listed") {
        assert!(
            queue
                .file_names()
                .iter()
                .all(|name| files.contains_key(name))
        );
        found.push(format!("{:?}", queue.owner()));
        let mut reader = QueueReader::open(folder, &queue, 512).expect("files that can be read");
        let mut bytes_left: usize = files.values().map(|bytes| bytes.len() + 64).sum();
        while let Some(step) = reader.next().expect("files that can be read") {
            let cost = match &step {
                Step::Message(message) => {
                    let body = message.body;
                    let stands = |bytes: &Vec<u8>| {
                        usize::try_from(message.place.offset)
                            .ok()
                            .and_then(|at| bytes.get(at + 30..at + 30 + body.len()))
                            == Some(body)
                    };
                    assert!(files.values().any(stands), "{message:?} stands nowhere");
                    30 + body.len()
                }
                Step::Remark(remark) => {
                    assert!(!remark.to_string().is_empty());
                    1
                }
            };
            bytes_left = bytes_left
                .checked_sub(cost)
                .expect("reading comes to an end");
            found.push(format!("{step:?}"));
        }
    }
    found
}
