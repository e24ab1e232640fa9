//! A log that is looked at without a change, and one that is made its group's only replica.

use std::collections::BTreeMap;
use std::fs;

use super::super::recover::{RecoverError, recover};
use super::*;
use crate::Member;
use crate::codec::Membership;

/// Every file with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            files.insert(path, bytes);
        }
    }
    files
}

fn look(bench: &Bench) -> LogLook {
    let before = contents(&bench.path());
    let look = LogLook::in_boot(&bench.path(), &bench.options.boot_id)
        .unwrap()
        .expect("there is a log");
    assert_eq!(contents(&bench.path()), before, "looking changes nothing");
    look
}

fn seen(look: &LogLook, index: Option<u64>) -> Vec<Entry> {
    let mut seen = Vec::new();
    let visited = look.for_each_after(index, |entry| {
        seen.push(entry);
        Ok::<_, io::Error>(())
    });
    visited.unwrap();
    seen
}

fn member() -> Member {
    Member {
        address: "a:1".to_owned(),
    }
}

#[tokio::test]
async fn looking_finds_what_a_killed_replica_has_and_changes_nothing() {
    let bench = Bench::new(Durability::Written);
    assert!(LogLook::at(&bench.path()).unwrap().is_none());
    let wal = bench.open();
    append(&wal, entries(3, 0..100));
    wal.purge(LogId { term: 3, index: 60 }).unwrap();
    wal.save_vote(vote(5)).await.unwrap();
    wal.abandon();
    drop(wal);
    let look = look(&bench);
    assert_eq!(look.last, Some(LogId { term: 3, index: 99 }));
    assert_eq!(look.purged, Some(LogId { term: 3, index: 60 }));
    assert_eq!(look.vote, Some(vote(5)));
    assert!(look.damage.is_empty(), "{:?}", look.damage);
    assert_eq!(seen(&look, None), entries(3, 61..100));
    assert_eq!(seen(&look, Some(97)), entries(3, 98..100));
    assert_eq!(seen(&look, Some(99)), []);
}

#[test]
fn damage_is_told_and_what_lies_before_it_counts() {
    let bench = Bench::new(Durability::Written);
    drop(bench.open());
    write(&bench.path(), &bench.options, &entries(1, 0..100));
    let mut segments: Vec<_> = contents(&bench.path()).into_keys().collect();
    segments.retain(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("wal-")
    });
    assert!(segments.len() > 2, "{segments:?}");
    let mut bytes = fs::read(&segments[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&segments[1], bytes).unwrap();
    let damaged = look(&bench);
    assert_eq!(damaged.damage.len(), 1, "{:?}", damaged.damage);
    let last = damaged.last.expect("the first segment is whole").index;
    assert!((1..99).contains(&last), "{last}");
    assert_eq!(seen(&damaged, None), entries(1, 0..last + 1));

    fs::remove_file(segments.last().unwrap()).unwrap();
    let missing = look(&bench);
    let is_told = |why: &String| why.contains("..100 are missing");
    assert!(missing.damage.iter().any(is_told), "{:?}", missing.damage);
    fs::remove_file(bench.path().join("place")).unwrap();
    assert!(look(&bench).damage[0].contains("place is missing"));
}

#[tokio::test]
async fn the_only_replica_that_is_left_keeps_its_entries_and_is_the_only_member() {
    for has_checkpoint in [false, true] {
        let mut bench = Bench::new(Durability::Written);
        let wal = bench.open();
        append(&wal, entries(3, 0..100));
        wal.save_vote(vote(5)).await.unwrap();
        wal.abandon();
        drop(wal);
        // The machine crashed too: what is there counts.
        bench.options.boot_id = "two".to_owned();
        let me = NodeId(2);
        let id = recover(
            &bench.path(),
            &bench.options,
            me,
            member(),
            None,
            has_checkpoint,
        );
        let id = id.unwrap();
        assert_eq!(
            id,
            LogId {
                term: 6,
                index: 100
            }
        );
        let wal = bench.open();
        assert_eq!(wal.last(), Some(id));
        let purged = has_checkpoint.then_some(LogId { term: 3, index: 99 });
        assert_eq!(wal.purged(), purged);
        let last = wal.read(100..101, usize::MAX).await.unwrap();
        let body = EntryBody::Membership(Membership {
            voters: vec![[me].into()],
            nodes: [(me, member())].into(),
        });
        assert_eq!(last, [Entry { id, body }]);
        if !has_checkpoint {
            let kept = wal.read(0..100, usize::MAX).await.unwrap();
            assert_eq!(kept, entries(3, 0..100));
        }
        assert_eq!(wal.vote().map(|vote| (vote.term, vote.node)), Some((6, me)));
    }
}

#[test]
fn the_log_goes_on_after_what_was_executed_and_an_empty_or_damaged_one_is_refused() {
    let bench = Bench::new(Durability::Written);
    let me = NodeId(2);
    let at = |executed| recover(&bench.path(), &bench.options, me, member(), executed, false);
    drop(bench.open());
    assert!(matches!(at(None), Err(RecoverError::Empty)));
    // A crash of the machine has taken the log, and left what was executed from it.
    let executed = LogId { term: 4, index: 20 };
    assert_eq!(at(Some(executed)).unwrap(), LogId { term: 5, index: 21 });
    assert_eq!(look(&bench).purged, Some(executed));
    fs::write(bench.path().join("vote"), "x").unwrap();
    assert!(matches!(at(None), Err(RecoverError::Damaged(_))));
}
