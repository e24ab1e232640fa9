//! A folder of segments, damaged in every way, and what a start finds in it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use nsq_replay::Input;

use super::damage::{Files, read, spoil, write};
use crate::header::{self, HEADER_BYTES, Header, LogKey, Seal};
use crate::listing::file_name;
use crate::{Damage, Log, LogOptions, NewRecord, ReadError, Reader, Recovery, SegmentPool, Writer};

const NAME: &str = "main";
/// Small, so that a start reads little.
const SEGMENT_BYTES: usize = 1024;

/// A record as it was read: sequence, id, due time, attempts and body.
type Seen = (u64, u64, i64, u16, Vec<u8>);

/// Damaged segments of a log. Opening it read-only changes nothing and reports what a start will find; a start yields only
/// records that were written, in order; a second start finds the same; and a third has what was appended after it.
pub fn log(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut built = Built::default();
    built.segments(&mut input);
    while !input.is_empty() {
        built.damage(&mut input);
    }
    let folder = nsq_replay::folder();
    let folder = folder.path();
    write(&built.files, folder);

    let (looked, look) = Log::open_read_only(folder, NAME).expect("files that can be read");
    let seen_at_a_look = read_all(&looked);
    drop(looked);
    assert_eq!(read(folder), built.files, "a look changed something");

    let (first, seen) = open(folder);
    assert_eq!((look.first, look.end), (first.first, first.end));
    assert_eq!(look.damaged, first.damaged);
    if first.damaged.is_empty() {
        // Otherwise the read-only log is read through headers that a start repairs.
        assert_eq!(seen_at_a_look, seen);
    }
    if !built.has_forged_checks {
        let strange = seen.iter().find(|&record| !built.written.contains(record));
        assert_eq!(strange, None, "a record that was never written");
    }

    let (second, seen_again) = open(folder);
    assert_eq!(seen, seen_again, "at the second start");
    assert_eq!((first.first, first.end), (second.first, second.end));
    let is_left = |damage: &Damage| matches!(damage, Damage::Lost(_) | Damage::TornTail { .. });
    assert!(second.damaged.iter().all(is_left), "{second:?}");

    let (mut writer, _) = Writer::open(folder, NAME, pool(folder), OPTIONS).expect("as before");
    let new = [record(u64::MAX, b"appended")];
    let sequences = writer.append(new.into_iter()).expect("there is room");
    assert_eq!(sequences, first.end..first.end + 1);
    drop(writer);
    let (_, with_new) = open(folder);
    let (last, before) = with_new.split_last().expect("one was appended");
    assert_eq!((last.0, last.1), (first.end, u64::MAX));
    assert_eq!(before, seen, "other than the appended record");
}

/// The files before they are opened.
#[derive(Default)]
struct Built {
    files: Files,
    headers: Vec<Header>,
    written: HashSet<Seen>,
    /// Valid checks were computed over damage: then any record may be read.
    has_forged_checks: bool,
}

impl Built {
    /// Up to four segments of whole records, as a writer leaves them.
    fn segments(&mut self, input: &mut Input<'_>) {
        let shape = input.byte();
        let key = LogKey {
            identity: 7,
            name_check: header::name_check_of(NAME),
        };
        let mut sequence = u64::from(shape >> 6);
        for ordinal in 0..=u32::from(shape & 3) {
            let generation = 1000 + u64::from(ordinal);
            let capacity = u32::try_from(SEGMENT_BYTES).expect("a small number");
            let header = Header {
                generation,
                seed: header::seed_of(generation),
                ..Header::new(key, ordinal, capacity, sequence)
            };
            let mut bytes = header.encode().to_vec();
            for _ in 0..input.byte() % 8 {
                let length = usize::from(input.byte()) % 100;
                let body = vec![input.byte(); length];
                let mut new = record(100 + sequence, &body);
                if length.is_multiple_of(3) {
                    (new.due, new.attempts) = (-5, 3);
                }
                new.encode(&mut bytes, header.seed, sequence);
                let seen = (sequence, new.id, new.due, new.attempts, body);
                self.written.insert(seen);
                sequence += 1;
            }
            bytes.resize(SEGMENT_BYTES, 0);
            self.files.insert(file_name(NAME, ordinal), bytes);
            self.headers.push(header);
        }
    }

    fn damage(&mut self, input: &mut Input<'_>) {
        let kind = input.byte();
        let names: Vec<_> = self.files.keys().cloned().collect();
        let Some(name) = input.one_of(&names) else {
            return;
        };
        match kind % 8 {
            // A header of any content, with a good check.
            0 => {
                self.has_forged_checks = true;
                let Some(header) = input.one_of(&self.headers) else {
                    return;
                };
                let seal = Seal {
                    end: input.number(),
                    next_ordinal: input.short().into(),
                };
                let forged = Header {
                    ordinal: input.short().into(),
                    identity: if input.byte() == 0 { 8 } else { 7 },
                    capacity: u32::try_from(input.number()).unwrap_or(u32::MAX),
                    base: input.number(),
                    seal: (seal.next_ordinal > 0).then_some(seal),
                    ..*header
                };
                self.overwrite(name, 0, &forged.encode());
            }
            // A whole record of any content, anywhere.
            1 => {
                self.has_forged_checks = true;
                let seed = input.one_of(&self.headers).map_or(0, |header| header.seed);
                let at = HEADER_BYTES as usize + 8 * usize::from(input.byte());
                let sequence = input.number();
                let new = NewRecord {
                    due: input.number().cast_signed(),
                    ..record(input.number(), input.part())
                };
                let mut bytes = Vec::new();
                new.encode(&mut bytes, seed, sequence);
                self.overwrite(name, at, &bytes);
            }
            2 => {
                self.files.remove(name);
            }
            3 => {
                let copy = self.files.get(name).cloned().unwrap_or_default();
                let mut other = file_name(NAME, input.short().into());
                if input.byte() == 0 {
                    other.push_str(".bad");
                }
                self.files.insert(other, copy);
            }
            _ => {
                if let Some(bytes) = self.files.get_mut(name) {
                    spoil(bytes, input);
                }
            }
        }
    }

    fn overwrite(&mut self, name: &str, at: usize, new: &[u8]) {
        let Some(bytes) = self.files.get_mut(name) else {
            return;
        };
        bytes.resize(bytes.len().max(at + new.len()), 0);
        bytes[at..at + new.len()].copy_from_slice(new);
    }
}

fn record(id: u64, body: &[u8]) -> NewRecord<'_> {
    NewRecord {
        id,
        timestamp: 1,
        due: 0,
        attempts: 0,
        body,
    }
}

fn pool(folder: &Path) -> Arc<SegmentPool> {
    Arc::new(SegmentPool::new(folder.join("free"), 0))
}

fn open(folder: &Path) -> (Recovery, Vec<Seen>) {
    let opened = Writer::open(folder, NAME, pool(folder), OPTIONS);
    let (writer, recovery) = opened.expect("files that can be read");
    let seen = read_all(writer.log());
    assert_eq!(recovery.end, writer.end().sequence);
    (recovery, seen)
}

/// Reads from the beginning to the end, and each record once more at its position.
fn read_all(log: &Arc<Log>) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    let mut reader = Reader::new(Arc::clone(log));
    let mut again = Reader::new(Arc::clone(log));
    let mut cursor = log.seek(log.first_sequence());
    loop {
        let before = cursor;
        match reader.next(&mut cursor) {
            Ok(Some(record)) => {
                assert!(record.sequence >= before.sequence && record.sequence < log.end_sequence());
                let found = (
                    record.sequence,
                    record.id,
                    record.due,
                    record.attempts,
                    record.body.to_vec(),
                );
                let same = again.read(record.sequence, record.position);
                assert_eq!(same.expect("it was read before"), record);
                seen.push(found);
            }
            Ok(None) | Err(ReadError::Io { .. }) => break,
            Err(ReadError::Damaged { sequences, .. }) => {
                assert!(!sequences.is_empty());
            }
        }
        assert!(
            cursor.sequence > before.sequence,
            "{cursor:?} after {before:?}"
        );
    }
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0));
    seen
}

const OPTIONS: LogOptions = LogOptions {
    first_segment_bytes: 4096,
    max_segment_bytes: 4096,
};
