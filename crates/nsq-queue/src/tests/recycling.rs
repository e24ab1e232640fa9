//! Files that come back: old bytes in them must never be taken for records.

use super::*;
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
    assert!(pool.take(64 << 10..=64 << 10).is_some());
    // One with less room gives back what is too much, but never a file that is not a free segment.
    SegmentPool::new(bench.path(), 0);
    assert_eq!(free_files(&bench), 1);
    assert!(freed > 1);
    assert!(bench.path().join("not-ours.free").exists());
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
