//! The write-ahead log as a replica uses it: appended, cut, freed, closed, killed, damaged.

mod look;
mod model;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::files::Crash;
use super::*;
use crate::NodeId;
use crate::codec::{BatchBuilder, EntryBody};
use crate::testing::{HandLane, fast_folder};

/// A folder with a log in it, whose lanes do as they are told.
struct Bench {
    folder: tempfile::TempDir,
    writer: HandLane,
    options: WalOptions,
}

impl Bench {
    fn new(durability: Durability) -> Self {
        Self {
            folder: tempfile::tempdir_in(fast_folder()).unwrap(),
            writer: HandLane::default(),
            options: WalOptions {
                durability,
                segment_bytes: 4096,
                cache_bytes: 0,
                boot_id: "one".to_owned(),
                takes_any_first: false,
            },
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("wal")
    }

    fn try_open(&self) -> Opening {
        let lanes = WalLanes {
            writer: Arc::new(self.writer.clone()),
            reader: Arc::new(HandLane::default()),
        };
        Wal::open(&self.path(), self.options.clone(), lanes).unwrap()
    }

    fn open(&self) -> Wal {
        match self.try_open() {
            Opening::Ready(wal) => wal,
            Opening::Untrusted(untrusted) => panic!("not trusted: {}", untrusted.reason),
        }
    }

    fn untrusted(&self) -> Untrusted {
        match self.try_open() {
            Opening::Ready(_) => panic!("it is trusted"),
            Opening::Untrusted(untrusted) => untrusted,
        }
    }
}

fn entry(term: u64, index: u64) -> Entry {
    let mut batch = BatchBuilder::default();
    batch.push(format!("entry {index} of term {term}").repeat(4).as_bytes());
    Entry {
        id: LogId { term, index },
        body: EntryBody::Proposals(batch.build()),
    }
}

fn entries(term: u64, range: Range<u64>) -> Vec<Entry> {
    range.map(|index| entry(term, index)).collect()
}

fn append(wal: &Wal, entries: Vec<Entry>) {
    wal.append(entries, Box::new(|| ())).unwrap();
}

async fn all(wal: &Wal) -> Vec<Entry> {
    wal.read(0..u64::MAX, usize::MAX).await.unwrap()
}

/// Writes a log that a killed process has left.
pub(crate) fn write(folder: &Path, options: &WalOptions, entries: &[Entry]) {
    let opened = Files::open(
        folder,
        options.log_options(),
        options.pool_bytes(),
        Crash::None,
    );
    let (mut files, _) = opened.unwrap();
    files.append(entries.iter()).unwrap();
    files.note_end().unwrap();
    Wal::mark_open(folder, options).unwrap();
}

fn vote(term: u64) -> Vote {
    Vote {
        term,
        node: NodeId(2),
        is_committed: true,
    }
}

#[tokio::test]
async fn an_entry_is_readable_at_once_and_reported_once_it_is_stored() {
    for durability in [Durability::Synced, Durability::Written] {
        let bench = Bench::new(durability);
        let wal = bench.open();
        bench.writer.hold();
        let stored = Arc::new(AtomicU64::new(0));
        for index in 0..3 {
            let stored = Arc::clone(&stored);
            let note = Box::new(move || {
                stored.fetch_add(1, Ordering::Relaxed);
            });
            wal.append(entries(1, index..index + 1), note).unwrap();
        }
        assert_eq!(all(&wal).await, entries(1, 0..3));
        assert_eq!(stored.load(Ordering::Relaxed), 0);
        assert!(wal.unstored_bytes() > 0);
        bench.writer.release();
        assert_eq!(stored.load(Ordering::Relaxed), 3);
        assert_eq!(wal.unstored_bytes(), 0);
        assert_eq!(all(&wal).await, entries(1, 0..3));
        drop(wal);
        assert_eq!(all(&bench.open()).await, entries(1, 0..3));
    }
}

#[tokio::test]
async fn an_entry_that_does_not_follow_the_last_is_refused() {
    let bench = Bench::new(Durability::Written);
    let wal = bench.open();
    append(&wal, entries(1, 0..2));
    for gap in [
        entries(1, 3..4),
        entries(1, 1..3),
        vec![entry(1, 2), entry(1, 4)],
    ] {
        let refused = wal.append(gap, Box::new(|| ())).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
    append(&wal, entries(1, 2..3));
    assert_eq!(all(&wal).await, entries(1, 0..3));
}

#[tokio::test]
async fn entries_that_replace_dropped_ones_are_read_even_while_the_disk_is_behind() {
    let bench = Bench::new(Durability::Synced);
    let wal = bench.open();
    append(&wal, entries(1, 0..100));
    bench.writer.hold();
    append(&wal, entries(1, 100..110));
    wal.truncate_after(Some(LogId { term: 1, index: 49 }))
        .unwrap();
    append(&wal, entries(2, 50..120));
    wal.truncate_after(Some(LogId { term: 2, index: 59 }))
        .unwrap();
    append(&wal, entries(3, 60..70));
    let expected = [entries(1, 0..50), entries(2, 50..60), entries(3, 60..70)].concat();
    assert_eq!(all(&wal).await, expected);
    bench.writer.release();
    assert_eq!(all(&wal).await, expected);
    assert_eq!(wal.last(), Some(LogId { term: 3, index: 69 }));
    assert_eq!(wal.unstored_bytes(), 0);
    drop(wal);
    let wal = bench.open();
    assert_eq!(all(&wal).await, expected);
    assert_eq!(wal.last(), Some(LogId { term: 3, index: 69 }));
}

#[tokio::test]
async fn a_reader_that_goes_on_where_the_log_was_cut_reads_the_new_entries() {
    let bench = Bench::new(Durability::Written);
    let wal = bench.open();
    append(&wal, entries(1, 0..200));
    let read = |range| {
        let wal = wal.clone();
        async move { wal.read(range, 1).await.unwrap() }
    };
    assert_eq!(read(150..200).await, entries(1, 150..151));
    wal.truncate_after(Some(LogId { term: 1, index: 99 }))
        .unwrap();
    append(&wal, entries(2, 100..200));
    assert_eq!(read(151..200).await, entries(2, 151..152));
}

#[tokio::test]
async fn purged_entries_free_their_segments_and_stay_purged() {
    let bench = Bench::new(Durability::Written);
    let wal = bench.open();
    append(&wal, entries(1, 0..500));
    let before = wal.disk_bytes();
    let purged = LogId {
        term: 1,
        index: 449,
    };
    wal.purge(purged).unwrap();
    assert!(wal.disk_bytes() < before / 2);
    drop(wal);
    let wal = bench.open();
    assert_eq!(wal.purged(), Some(purged));
    assert_eq!(all(&wal).await, entries(1, 450..500));
    wal.purge(LogId {
        term: 1,
        index: 499,
    })
    .unwrap();
    drop(wal);
    let wal = bench.open();
    assert_eq!(all(&wal).await, []);
    append(&wal, entries(4, 500..501));
    assert_eq!(all(&wal).await, entries(4, 500..501));
}

#[tokio::test]
async fn a_log_goes_on_after_a_checkpoint_that_lies_beyond_its_end() {
    let bench = Bench::new(Durability::Synced);
    let wal = bench.open();
    append(&wal, entries(1, 0..10));
    let beyond = LogId {
        term: 3,
        index: 999,
    };
    wal.purge(beyond).unwrap();
    assert_eq!(wal.last(), Some(beyond));
    wal.append(entries(1, 10..11), Box::new(|| ())).unwrap_err();
    append(&wal, entries(3, 1000..1200));
    assert_eq!(all(&wal).await, entries(3, 1000..1200));
    for _ in 0..2 {
        drop(bench.open());
    }
    let wal = bench.open();
    assert_eq!(
        (wal.purged(), all(&wal).await),
        (Some(beyond), entries(3, 1000..1200))
    );
}

#[tokio::test]
async fn reads_are_limited_by_bytes_and_return_one_entry_at_least() {
    let bench = Bench::new(Durability::Written);
    let wal = bench.open();
    append(&wal, entries(1, 0..50));
    let size = entry(1, 10).size();
    for (limit, count) in [(1, 1), (size, 1), (size + 1, 2), (5 * size, 5)] {
        let read = wal.read(10..40, limit).await.unwrap();
        assert_eq!(read, entries(1, 10..10 + count), "limit {limit}");
    }
    assert_eq!(wal.read(60..70, 100).await.unwrap(), []);
}

#[tokio::test]
async fn a_vote_is_kept_across_kills() {
    let bench = Bench::new(Durability::Written);
    let wal = bench.open();
    assert_eq!(wal.vote(), None);
    for term in 1..4 {
        wal.save_vote(vote(term)).await.unwrap();
        assert_eq!(wal.vote(), Some(vote(term)));
    }
    drop(wal);
    assert_eq!(bench.open().vote(), Some(vote(3)));
}

#[tokio::test]
async fn a_replica_that_does_not_sync_must_not_vote_after_a_machine_crash() {
    let mut bench = Bench::new(Durability::Written);
    let wal = bench.open();
    append(&wal, entries(1, 0..5));
    wal.save_vote(vote(7)).await.unwrap();
    drop(wal);
    bench.options.boot_id = "two".to_owned();
    assert_eq!(bench.untrusted().reason, Distrust::MachineCrash);
    // Looking at it does not change it.
    let wal = bench.untrusted().reset().unwrap();
    assert_eq!((wal.vote(), wal.last()), (None, None));
    append(&wal, entries(9, 0..1));
    drop(wal);
    let wal = bench.open();
    assert_eq!(all(&wal).await, entries(9, 0..1));
}

#[tokio::test]
async fn a_log_that_is_trusted_after_a_machine_crash_has_what_is_left_and_its_vote() {
    let mut bench = Bench::new(Durability::Written);
    let wal = bench.open();
    append(&wal, entries(1, 0..5));
    wal.save_vote(vote(7)).await.unwrap();
    drop(wal);
    // The last write did not reach the disk whole.
    let text = b"entry 4 of term 1";
    for file in std::fs::read_dir(bench.path()).unwrap() {
        let path = file.unwrap().path();
        let Ok(mut bytes) = std::fs::read(&path) else {
            continue;
        };
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text) {
            bytes[at] = 0;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    bench.options.boot_id = "two".to_owned();
    let wal = bench.untrusted().trust().unwrap();
    assert_eq!(
        (wal.vote(), all(&wal).await),
        (Some(vote(7)), entries(1, 0..4))
    );
    append(&wal, entries(8, 4..6));
    drop(wal);
    let wal = bench.open();
    assert_eq!(
        all(&wal).await[3..],
        [entry(1, 3), entry(8, 4), entry(8, 5)]
    );
}

#[tokio::test]
async fn a_replica_that_was_closed_or_that_syncs_votes_after_a_machine_crash() {
    for durability in [Durability::Written, Durability::Synced] {
        let mut bench = Bench::new(durability);
        let wal = bench.open();
        append(&wal, entries(1, 0..5));
        wal.save_vote(vote(7)).await.unwrap();
        if durability == Durability::Written {
            wal.close().await.unwrap();
            wal.append(entries(1, 5..6), Box::new(|| ())).unwrap_err();
        }
        drop(wal);
        bench.options.boot_id = "two".to_owned();
        let wal = bench.open();
        assert_eq!(
            (wal.vote(), all(&wal).await),
            (Some(vote(7)), entries(1, 0..5))
        );
    }
}

#[tokio::test]
async fn a_log_that_is_trusted_after_a_machine_crash_ends_before_the_first_damage() {
    let mut bench = Bench::new(Durability::Written);
    let wal = bench.open();
    for index in 0..8 {
        append(&wal, entries(1, index..index + 1));
    }
    drop(wal);
    // The disk writes in any order: of three writes that were not synced, only the last one arrived.
    for text in [&b"entry 4 of term 1"[..], b"entry 5 of term 1"] {
        for file in std::fs::read_dir(bench.path()).unwrap() {
            let path = file.unwrap().path();
            let Ok(mut bytes) = std::fs::read(&path) else {
                continue;
            };
            if let Some(at) = bytes.windows(text.len()).position(|window| window == text) {
                bytes[at] = 0;
                std::fs::write(&path, bytes).unwrap();
            }
        }
    }
    bench.options.boot_id = "two".to_owned();
    let wal = bench.untrusted().trust().unwrap();
    assert_eq!(all(&wal).await, entries(1, 0..4));
    append(&wal, entries(2, 4..6));
    drop(wal);
    let wal = bench.open();
    assert_eq!(all(&wal).await.len(), 6);
}

/// Damages the log's files and checks that the log is not trusted any more.
async fn check_damage(damage: impl Fn(&Path)) {
    let bench = Bench::new(Durability::Synced);
    let wal = bench.open();
    append(&wal, entries(1, 0..200));
    wal.save_vote(vote(2)).await.unwrap();
    wal.close().await.unwrap();
    drop(wal);
    damage(&bench.path());
    if let Opening::Ready(wal) = bench.try_open() {
        // Only the last segment is read at the start. The others show their damage when they are read.
        let error = wal.read(0..u64::MAX, usize::MAX).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        drop(wal);
    }
    assert!(matches!(bench.untrusted().reason, Distrust::Damaged(_)));
    let error = bench.untrusted().trust().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let wal = bench.untrusted().reset().unwrap();
    assert_eq!((wal.vote(), all(&wal).await), (None, Vec::new()));
    append(&wal, entries(3, 0..10));
    drop(wal);
    assert_eq!(all(&bench.open()).await, entries(3, 0..10));
}

/// The log's segments, oldest first.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(folder).unwrap();
    let paths = listing.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    paths.sort();
    paths
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_entry_is_noticed_and_takes_the_vote_away() {
    check_damage(|folder| flip(&segments(folder)[0], 300)).await;
    check_damage(|folder| flip(segments(folder).last().unwrap(), 300)).await;
}

#[tokio::test]
async fn a_missing_segment_takes_the_vote_away() {
    check_damage(|folder| std::fs::remove_file(&segments(folder)[0]).unwrap()).await;
    check_damage(|folder| std::fs::remove_file(&segments(folder)[2]).unwrap()).await;
}

#[tokio::test]
async fn a_damaged_or_missing_small_file_takes_the_vote_away() {
    for name in ["place", "vote", "boot"] {
        check_damage(|folder| flip(&folder.join(name), 12)).await;
    }
    for name in ["place", "boot"] {
        check_damage(|folder| std::fs::remove_file(folder.join(name)).unwrap()).await;
    }
}

#[tokio::test]
async fn reserved_space_is_waiting_for_the_next_append() {
    let bench = Bench::new(Durability::Written);
    let wal = bench.open();
    let free = || {
        std::fs::read_dir(bench.path().join("free"))
            .unwrap()
            .count()
    };
    assert_eq!(free(), 0);
    wal.reserve(100).await.unwrap();
    wal.reserve(100).await.unwrap();
    assert_eq!(free(), 1);
    let large = Bytes::from(vec![1; 300_000]);
    wal.reserve(large.len()).await.unwrap();
    assert_eq!(free(), 2);
}
