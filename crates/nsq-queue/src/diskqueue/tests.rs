//! Queues as upstream leaves them, whole and broken. Vectors made by upstream's own daemon are read by the tests of
//! the built nsqd.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// 2023-11-14.
const THEN: i64 = 1_700_000_000_000_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Own {
    id: u64,
    timestamp: i64,
    attempts: u16,
    body: Vec<u8>,
}

fn own(number: u64, body: impl Into<Vec<u8>>) -> Own {
    Own {
        id: 0x1234_5678_0000_0000 + number,
        timestamp: THEN + i64::try_from(number).unwrap(),
        attempts: 0,
        body: body.into(),
    }
}

fn some(count: u64) -> Vec<Own> {
    (0..count)
        .map(|number| own(number, format!("body {number}")))
        .collect()
}

fn record(message: &Own) -> Vec<u8> {
    let length = u32::try_from(26 + message.body.len()).unwrap();
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(message.timestamp.to_be_bytes());
    bytes.extend(message.attempts.to_be_bytes());
    bytes.extend(format!("{:016x}", message.id).bytes());
    bytes.extend(&message.body);
    bytes
}

fn bytes_of(messages: &[Own]) -> Vec<u8> {
    messages.iter().flat_map(record).collect()
}

struct Dir(TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn data(self, number: u64, bytes: &[u8]) -> Dir {
        fs::write(
            self.path().join(format!("t.diskqueue.{number:06}.dat")),
            bytes,
        )
        .unwrap();
        self
    }

    fn bad(self, number: u64, bytes: &[u8]) -> Dir {
        fs::write(
            self.path().join(format!("t.diskqueue.{number:06}.dat.bad")),
            bytes,
        )
        .unwrap();
        self
    }

    fn metadata(self, text: &str) -> Dir {
        fs::write(self.path().join("t.diskqueue.meta.dat"), text).unwrap();
        self
    }

    fn read(&self) -> (Vec<Own>, Vec<RemarkKind>) {
        self.read_up_to(1 << 20)
    }

    fn read_up_to(&self, max_body_bytes: u64) -> (Vec<Own>, Vec<RemarkKind>) {
        let queues = QueueFiles::all_in(self.path()).unwrap();
        assert!(queues.len() <= 1);
        let (mut messages, mut remarks) = (Vec::new(), Vec::new());
        for queue in queues {
            let mut reader = QueueReader::open(self.path(), &queue, max_body_bytes).unwrap();
            while let Some(step) = reader.next().unwrap() {
                match step {
                    Step::Message(message) => messages.push(Own {
                        id: message.id,
                        timestamp: message.timestamp,
                        attempts: message.attempts,
                        body: message.body.to_vec(),
                    }),
                    Step::Remark(remark) => remarks.push(remark.kind),
                }
            }
        }
        (messages, remarks)
    }
}

#[test]
fn a_record_has_upstreams_bytes() {
    let bytes = [
        b"\0\0\0\x1c\0\0\0\0\0\0\0\x01\0\x02".as_slice(),
        b"0123456789abcdefhi",
    ]
    .concat();
    let dir = Dir::new().data(0, &bytes).metadata("1\n0,0\n0,32\n");
    let message = Own {
        id: 0x0123_4567_89ab_cdef,
        timestamp: 1,
        attempts: 2,
        body: b"hi".to_vec(),
    };
    assert_eq!(dir.read(), (vec![message.clone()], vec![]));

    let copy = Dir::new();
    let mut writer = QueueWriter::new(copy.path(), "t", 1000);
    writer
        .append(&Message {
            id: message.id,
            timestamp: 1,
            attempts: 2,
            body: b"hi",
            place: Place::default(),
        })
        .unwrap();
    assert_eq!(writer.finish().unwrap(), 1);
    let read = |name: &str| fs::read(copy.path().join(name)).unwrap();
    assert_eq!(read("t.diskqueue.000000.dat"), bytes);
    assert_eq!(read("t.diskqueue.meta.dat"), b"1\n0,0\n0,32\n");
}

#[test]
fn reading_begins_where_upstream_stood_and_goes_over_files() {
    let all = some(30);
    let dir = Dir::new()
        .data(3, &bytes_of(&all[..10]))
        .data(4, &bytes_of(&all[10..20]))
        .data(5, &bytes_of(&all[20..]))
        .metadata(&format!(
            "26\n3,{}\n5,{}\n",
            bytes_of(&all[..4]).len(),
            bytes_of(&all[20..]).len()
        ));
    assert_eq!(dir.read(), (all[4..].to_vec(), vec![]));
}

#[test]
fn what_was_written_after_the_metadata_is_read_too() {
    let all = some(30);
    let noted = bytes_of(&all[..5]).len() as u64;
    // Killed, started, killed: upstream itself would overwrite the third file.
    let dir = Dir::new()
        .data(0, &bytes_of(&all[..20]))
        .data(1, &bytes_of(&all[20..]))
        .metadata(&format!("5\n0,0\n0,{noted}\n"));
    assert_eq!(dir.read(), (all, vec![RemarkKind::WrittenBeyond { noted }]));
}

#[test]
fn without_metadata_all_files_are_read() {
    let all = some(20);
    for text in [None, Some("garbage"), Some("3\n9,0\n2,0\n")] {
        let mut dir = Dir::new()
            .data(2, &bytes_of(&all[..10]))
            .data(3, &bytes_of(&all[10..]));
        if let Some(text) = text {
            dir = dir.metadata(text);
        }
        assert_eq!(dir.read(), (all.clone(), vec![RemarkKind::NoMetadata]));
    }
}

#[test]
fn files_that_are_gone_or_done_with_are_told() {
    let all = some(30);
    let dir = Dir::new()
        .data(1, &bytes_of(&all[..10]))
        .data(3, &bytes_of(&all[10..20]))
        .data(5, &bytes_of(&all[20..]))
        .metadata("20\n2,77\n6,0\n");
    let wanted = vec![
        RemarkKind::Finished,
        RemarkKind::Missing,
        RemarkKind::Missing,
    ];
    assert_eq!(dir.read(), (all[10..].to_vec(), wanted));
    let past = Dir::new().data(0, b"").metadata("1\n0,9\n0,9\n");
    assert_eq!(
        past.read(),
        (vec![], vec![RemarkKind::ReadPastEnd { offset: 9 }])
    );
    let empty = Dir::new().data(4, b"").metadata("0\n4,0\n4,0\n");
    assert_eq!(empty.read(), (vec![], vec![]));
    assert_eq!(
        Dir::new().metadata("0\n7,0\n7,0\n").read(),
        (vec![], vec![])
    );
    assert_eq!(
        Dir::new().metadata("0\n7,40\n7,40\n").read(),
        (vec![], vec![])
    );
}

#[test]
fn a_damaged_record_costs_itself() {
    let all = some(20);
    let start = bytes_of(&all[..7]).len();
    let next = bytes_of(&all[..8]).len() as u64;
    let lost = vec![RemarkKind::Unreadable(start as u64..next)];
    let kept = || [&all[..7], &all[8..]].concat();
    // A length too large for the file, too small, one that swallows the next record; an id that is none.
    let damages: [(usize, &[u8]); 4] = [(0, &[0x7f]), (3, &[2]), (3, &[90]), (20, b"?")];
    for (at, with) in damages {
        let mut bytes = bytes_of(&all);
        bytes[start + at..][..with.len()].copy_from_slice(with);
        let dir = Dir::new().data(0, &bytes).metadata("20\n0,0\n0,0\n");
        let (messages, remarks) = dir.read();
        assert_eq!(messages, kept(), "{at} {with:?}");
        assert_eq!(remarks[1..], lost, "{at} {with:?}");
    }
}

#[test]
fn a_gap_of_zeros_is_skipped() {
    let all = some(4);
    let mut bytes = bytes_of(&all[..2]);
    let gap = bytes.len() as u64..bytes.len() as u64 + (3 << 20);
    bytes.resize(usize::try_from(gap.end).unwrap(), 0);
    bytes.extend(bytes_of(&all[2..]));
    let dir = Dir::new()
        .data(0, &bytes)
        .metadata(&format!("4\n0,0\n0,{}\n", bytes.len()));
    assert_eq!(dir.read(), (all, vec![RemarkKind::Unreadable(gap)]));
}

#[test]
fn bodies_larger_than_the_buffer_and_of_no_bytes_are_read() {
    let mut all = some(3);
    all[0].body = vec![b'x'; 5 << 20];
    all[1].body = Vec::new();
    let bytes = bytes_of(&all);
    let dir = Dir::new()
        .data(0, &bytes)
        .metadata(&format!("3\n0,0\n0,{}\n", bytes.len()));
    assert_eq!(dir.read_up_to(10), (all, vec![]));
}

#[test]
fn of_a_file_given_up_what_could_not_be_delivered_is_read() {
    let all = some(12);
    let mut bytes = bytes_of(&all[..10]);
    let damaged = bytes_of(&all[..6]).len();
    bytes[damaged] = 0xff;
    let given_up = RemarkKind::GivenUp {
        delivered: 6,
        resumed: damaged as u64,
    };
    let unreadable = RemarkKind::Unreadable(damaged as u64..bytes_of(&all[..7]).len() as u64);
    let dir = Dir::new()
        .bad(0, &bytes)
        .data(1, &bytes_of(&all[10..]))
        .metadata(&format!("2\n1,0\n1,{}\n", bytes_of(&all[10..]).len()));
    assert_eq!(dir.read(), (all[7..].to_vec(), vec![given_up, unreadable]));
}

#[test]
fn a_file_given_up_for_a_large_message_begins_with_that() {
    let mut all = some(10);
    all[4].body = vec![b'y'; 1000];
    let dir = Dir::new().bad(0, &bytes_of(&all));
    let resumed = bytes_of(&all[..4]).len() as u64;
    let given_up = RemarkKind::GivenUp {
        delivered: 4,
        resumed,
    };
    assert_eq!(dir.read_up_to(999), (all[4..].to_vec(), vec![given_up]));
    assert_eq!(
        dir.read_up_to(1000),
        (vec![], vec![RemarkKind::GivenUpWhole])
    );
}

#[test]
fn torn_at_any_byte_a_file_gives_a_prefix() {
    let all = some(5);
    let bytes = bytes_of(&all);
    let ends: Vec<_> = (0..=5).map(|count| bytes_of(&all[..count]).len()).collect();
    for length in 0..=bytes.len() {
        let dir = Dir::new()
            .data(0, &bytes[..length])
            .metadata(&format!("5\n0,0\n0,{}\n", bytes.len()));
        let whole = ends.iter().filter(|&&end| end <= length).count() - 1;
        let (messages, remarks) = dir.read();
        assert_eq!(messages, all[..whole], "at {length}");
        let torn = RemarkKind::Torn {
            offset: ends[whole] as u64,
        };
        let wanted = if ends.contains(&length) {
            vec![]
        } else {
            vec![torn]
        };
        assert_eq!(remarks, wanted, "at {length}");
    }
}

#[test]
fn files_are_rolled_by_upstreams_rule() {
    let dir = Dir::new();
    let all: Vec<Own> = (0..25).map(|number| own(number, vec![b'z'; 70])).collect();
    let mut writer = QueueWriter::new(dir.path(), "t", 1000);
    for message in &all {
        writer.append(&as_message(message)).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), 25);
    let length = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
    assert_eq!(length("t.diskqueue.000000.dat"), 1000);
    assert_eq!(length("t.diskqueue.000001.dat"), 1000);
    assert_eq!(length("t.diskqueue.000002.dat"), 500);
    let metadata = fs::read_to_string(dir.path().join("t.diskqueue.meta.dat")).unwrap();
    assert_eq!(metadata, "25\n0,0\n2,500\n");
    assert_eq!(dir.read(), (all, vec![]));
}

fn as_message(message: &Own) -> Message<'_> {
    Message {
        id: message.id,
        timestamp: message.timestamp,
        attempts: message.attempts,
        body: &message.body,
        place: Place::default(),
    }
}

fn any_message() -> impl Strategy<Value = Own> {
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "[0-9a-f]{0,200}".prop_map(String::into_bytes),
    ];
    let timestamp = THEN..THEN + (1 << 60);
    (any::<u64>(), timestamp, any::<u16>(), body).prop_map(|(id, timestamp, attempts, body)| Own {
        id,
        timestamp,
        attempts,
        body,
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        all in prop::collection::vec(any_message(), 0..50),
        max_file_bytes in 1_u64..3000,
    ) {
        let dir = Dir::new();
        let mut writer = QueueWriter::new(dir.path(), "t", max_file_bytes);
        for message in &all {
            writer.append(&as_message(message)).unwrap();
        }
        writer.finish().unwrap();
        prop_assert_eq!(dir.read(), (all, vec![]));
    }

    #[test]
    fn random_bytes_are_read_to_their_end(
        bytes in prop::collection::vec(any::<u8>(), 0..5000),
        text in ".{0,40}",
        offset in any::<u64>(),
    ) {
        let (messages, _) = Dir::new().data(0, &bytes).bad(1, &bytes).metadata(&text).read();
        prop_assert_eq!(messages, vec![]);
        Dir::new().data(0, &bytes).metadata(&format!("1\n0,{offset}\n0,{offset}\n")).read();
    }

    #[test]
    fn one_overwritten_stretch_costs_at_most_what_it_touches_and_its_neighbour(
        all in prop::collection::vec(any_message(), 1..30),
        from in any::<prop::sample::Index>(),
        with in prop::collection::vec(any::<u8>(), 1..100),
    ) {
        let mut bytes = bytes_of(&all);
        let from = from.index(bytes.len());
        let to = bytes.len().min(from + with.len());
        bytes[from..to].copy_from_slice(&with[..to - from]);
        let (messages, _) = Dir::new().data(0, &bytes).metadata("1\n0,0\n0,9\n").read();
        // Upstream's format has no checksum: a forged size that stays within the file swallows the records that begin
        // before its end.
        let mut swallowed_to = 0;
        let mut start = 0;
        for message in &all {
            let end = start + record(message).len();
            if start < to && from < end {
                let size = bytes[start..].first_chunk().map_or(0, |size| u32::from_be_bytes(*size));
                let forged_end = start + 4 + usize::try_from(size).unwrap();
                if forged_end <= bytes.len() {
                    swallowed_to = forged_end;
                }
            } else if start >= swallowed_to {
                prop_assert!(messages.contains(message), "{from}..{to} cost {start}..{end}");
            }
            start = end;
        }
    }
}
