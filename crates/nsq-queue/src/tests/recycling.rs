//! Files that come back: old bytes in them must never be taken for records.

use std::collections::HashMap;
use std::os::unix::fs::DirEntryExt as _;

use super::*;
use crate::disk::Act;
use crate::header::FREE;

const LARGE: LogOptions = LogOptions {
    first_segment_bytes: 64 << 10,
    max_segment_bytes: 64 << 10,
};

fn bench_with_pool() -> Bench {
    let mut bench = Bench::new();
    bench.pool = Arc::new(SegmentPool::new(bench.path(), 1 << 20));
    bench.options = LARGE;
    bench
}

fn free_files(bench: &Bench) -> usize {
    let files = bench.files();
    files.iter().filter(|name| name.contains(".free")).count()
}

#[test]
fn a_recycled_file_shows_nothing_of_its_former_life() {
    let bench = bench_with_pool();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..1000, 200)).unwrap();
    assert!(writer.release_before(1000) >= 3);
    let freed = free_files(&bench);
    assert!(freed >= 3);
    bench.pool.sync_headers();
    // The same numbers again, in records of the same size, in another log.
    let pool = Arc::clone(&bench.pool);
    let (mut other, _) = Writer::open(bench.path(), "other", pool, LARGE).unwrap();
    for end in 1..300 {
        append(&mut other, &bodies(end - 1..end, 200)).unwrap();
        if end % 50 == 0 || end < 4 {
            drop(other);
            let pool = Arc::clone(&bench.pool);
            let (reopened, recovery) = Writer::open(bench.path(), "other", pool, LARGE).unwrap();
            assert_eq!(recovery.end, end);
            other = reopened;
        }
        assert_eq!(read_all(other.log()), bodies(0..end, 200));
    }
    assert!(free_files(&bench) < freed, "files were taken from the pool");
}

#[test]
fn a_file_is_not_reused_under_a_reader() {
    let bench = bench_with_pool();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..260, 200)).unwrap();
    let mut reader = Reader::new(Arc::clone(writer.log()));
    let mut cursor = Cursor::default();
    let held = reader.next(&mut cursor).unwrap().unwrap();
    append(&mut writer, &bodies(260..600, 200)).unwrap();
    writer.release_before(600);
    append(&mut writer, &bodies(600..2000, 200)).unwrap();
    assert_eq!(held.body, &*bodies(0..1, 200)[0]);
    assert_eq!(free_files(&bench), 1, "the one that is read waits");
    reader.rest();
    writer.rest();
    append(&mut writer, &bodies(2000..2300, 200)).unwrap();
    assert_eq!(free_files(&bench), 0, "and is used again then");
}

/// A log of which one segment, number 0, was synced and then freed. Returns the log's folder, and the bytes that the disk
/// has of each file, by inode.
fn bench_with_a_freed_segment() -> (Bench, HashMap<u64, Vec<u8>>) {
    let bench = bench_with_pool();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..300, 200)).unwrap();
    writer.log().sync().unwrap();
    let entries = std::fs::read_dir(bench.path()).unwrap();
    let on_disk = entries.map(|entry| {
        let entry = entry.unwrap();
        (entry.ino(), std::fs::read(entry.path()).unwrap())
    });
    let on_disk = on_disk.collect();
    assert_eq!(writer.release_before(300), 1);
    assert_eq!(free_files(&bench), 1);
    std::fs::create_dir(bench.path().join("another")).unwrap();
    (bench, on_disk)
}

/// Opens a log with the same name in another folder.
fn open_another(bench: &Bench) -> Writer {
    let folder = bench.path().join("another");
    let listing = Listing::of(&folder).unwrap();
    let (disk, pool) = (bench.disk.clone(), Arc::clone(&bench.pool));
    let (writer, _) = Writer::open_on(disk, &folder, "log", pool, LARGE, &listing).unwrap();
    writer
}

#[test]
fn a_power_cut_brings_no_record_of_a_former_log_into_a_log_with_the_same_name() {
    let (bench, on_disk) = bench_with_a_freed_segment();
    let mut another = open_another(&bench);
    append(&mut another, &bodies(5000..5010, 200)).unwrap();
    drop(another);
    // The power cut keeps the names of files, and loses what was written to them since they were synced.
    for entry in std::fs::read_dir(bench.path().join("another")).unwrap() {
        let entry = entry.unwrap();
        if let Some(bytes) = on_disk.get(&entry.ino()) {
            std::fs::write(entry.path(), bytes).unwrap();
        }
    }
    let another = open_another(&bench);
    let found = read_all(another.log());
    assert_eq!(found.len(), 10);
    assert_eq!(found, bodies(5000..5010, 200));
}

#[test]
fn another_log_takes_a_file_once_its_free_header_is_synced() {
    let (bench, _) = bench_with_a_freed_segment();
    assert_eq!(bench.pool.release_unused(), 0);
    let mut another = open_another(&bench);
    append(&mut another, &bodies(0..10, 200)).unwrap();
    assert_eq!(free_files(&bench), 0);
    assert_eq!(read_all(another.log()), bodies(0..10, 200));
}

#[test]
fn another_log_that_finds_no_other_space_takes_a_file_after_syncing_its_free_header() {
    let (bench, _) = bench_with_a_freed_segment();
    let mut another = open_another(&bench);
    let faults = &bench.disk.faults;
    faults.plan(Act::Allocate, 0, 100, 0, libc::ENOSPC);
    append(&mut another, &bodies(0..10, 200)).unwrap();
    assert_eq!(free_files(&bench), 0);
    assert_eq!(read_all(another.log()), bodies(0..10, 200));
}

#[test]
fn free_files_are_taken_over_by_the_next_process() {
    let bench = bench_with_pool();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..1000, 200)).unwrap();
    writer.release_before(1000);
    let freed = free_files(&bench);
    drop(writer);
    std::fs::write(bench.path().join("not-ours.free"), b"precious").unwrap();
    let pool = SegmentPool::new(bench.path(), 1 << 20);
    assert_eq!(pool.take(64 << 10, 1), None, "its header may not be synced");
    pool.sync_headers();
    assert!(pool.take(64 << 10, 1).is_some());
    // One with less room gives back what is too much, but never a file that is not a free segment.
    SegmentPool::new(bench.path(), 0);
    assert_eq!(free_files(&bench), 1);
    assert!(freed > 1);
    assert!(bench.path().join("not-ours.free").exists());
}

#[test]
fn files_that_no_log_needs_are_removed_at_the_second_release_and_others_stay() {
    let bench = bench_with_pool();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..1000, 200)).unwrap();
    writer.release_before(1000);
    let freed = free_files(&bench);
    assert!(freed > 1);
    assert_eq!(bench.pool.release_unused(), 0);
    // One of them is used and freed again meanwhile.
    append(&mut writer, &bodies(1000..1400, 200)).unwrap();
    assert!(free_files(&bench) < freed);
    writer.release_before(1400);
    let held = bench.pool.bytes();
    let released = bench.pool.release_unused();
    assert!(released > 0 && released < held, "{released} of {held}");
    assert_eq!(bench.pool.bytes(), held - released);
    assert!(free_files(&bench) > 0, "the one that was used stays");
    bench.pool.release_unused();
    assert_eq!((bench.pool.bytes(), free_files(&bench)), (0, 0));
}

#[test]
fn a_kill_between_freeing_and_renaming_leaves_nothing_to_read() {
    let bench = bench_with_pool();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..600, 200)).unwrap();
    let second = writer.log().segment_base(1).unwrap();
    drop(writer);
    let first = bench.path().join("log.00000000.log");
    let file = std::fs::File::options().write(true).open(&first).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &FREE, 0).unwrap();
    let (writer, recovery) = bench.open();
    assert_eq!(recovery.damaged, []);
    assert_eq!((recovery.first, recovery.end), (second, 600));
    assert_eq!(read_all(writer.log()).len() as u64, 600 - second);
    assert!(!first.exists());
}

#[test]
fn a_reserved_file_is_there_for_a_log_that_finds_no_other_space() {
    let bench = bench_with_pool();
    bench.pool.reserve(64 << 10).unwrap();
    bench.pool.reserve(64 << 10).unwrap();
    assert_eq!(free_files(&bench), 1);
    assert!(bench.pool.holds(64 << 10) && !bench.pool.holds(65 << 10));
    // Another process finds it too.
    assert!(SegmentPool::new(bench.path(), 1 << 20).holds(64 << 10));
    let (mut writer, _) = bench.open();
    bench
        .disk
        .faults
        .plan(Act::Allocate, 0, 100, 0, libc::ENOSPC);
    append(&mut writer, &bodies(0..100, 200)).unwrap();
    assert_eq!(free_files(&bench), 0);
    append(&mut writer, &bodies(100..300, 200)).unwrap_err();
    assert_eq!(read_all(writer.log()), bodies(0..100, 200));
}

#[test]
fn the_records_that_given_bytes_of_files_hold_are_found() {
    let bench = bench_with_pool();
    let (mut writer, _) = bench.open();
    assert_eq!(writer.log().sequence_keeping(1), 0);
    append(&mut writer, &bodies(0..1000, 200)).unwrap();
    let log = writer.log();
    let bases: Vec<_> = (0..)
        .map_while(|segment| log.segment_base(segment))
        .collect();
    let (last, before) = (bases[bases.len() - 1], bases[bases.len() - 2]);
    assert_eq!(log.sequence_keeping(1), last);
    assert_eq!(log.sequence_keeping(64 << 10), last);
    assert_eq!(log.sequence_keeping((64 << 10) + 1), before);
    assert_eq!(log.sequence_keeping(u64::MAX), 0);
}
