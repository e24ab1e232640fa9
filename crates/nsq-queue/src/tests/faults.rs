//! A disk that is full, fails, or takes only part of a write.

use super::*;
use crate::disk::Act;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EMFILE: i32 = 24;

/// Lets one operation of a large batch fail, at each place it can; checks that nothing of the batch is
/// seen, neither at once nor after a restart that follows the next, shorter batch.
fn check(act: Act, errno: i32, short: usize) {
    // A full disk stays full: of a smaller segment the writer would be content.
    let times = if errno == ENOSPC { usize::MAX } else { 1 };
    let mut failed = 0;
    for after in 0..100 {
        let bench = Bench::new();
        let (mut writer, _) = bench.open();
        append(&mut writer, &bodies(0..5, 200)).unwrap();
        bench.disk.faults.plan(act, after, times, short, errno);
        let result = append(&mut writer, &bodies(100..150, 200));
        bench.disk.faults.clear();
        if result.is_ok() {
            break;
        }
        failed += 1;
        assert_eq!(read_all(writer.log()), bodies(0..5, 200), "after {after}");
        let appended = append(&mut writer, &bodies(5..8, 100)).unwrap();
        assert_eq!(appended, 5..8);
        let mut expected = bodies(0..5, 200);
        expected.extend(bodies(5..8, 100));
        assert_eq!(read_all(writer.log()), expected);
        drop(writer);
        let (writer, recovery) = bench.open();
        assert_eq!(recovery.damaged, [], "after {after}");
        assert_eq!(read_all(writer.log()), expected, "after {after}");
    }
    assert!(failed > 0);
}

#[test]
fn a_batch_that_finds_the_disk_full_is_never_seen() {
    check(Act::Allocate, ENOSPC, 0);
}

#[test]
fn a_batch_without_a_file_handle_is_never_seen() {
    check(Act::Create, EMFILE, 0);
}

#[test]
fn a_batch_whose_write_fails_is_never_seen() {
    check(Act::Write, EIO, 0);
}

#[test]
fn a_batch_that_is_written_in_part_is_never_seen() {
    for short in [1, 30, 63, 64, 65, 231, 232, 300, 1000, 4000, 100_000] {
        check(Act::Write, ENOSPC, short);
    }
}

#[test]
fn a_nearly_full_disk_is_used_up_with_smaller_segments() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..17, 200)).unwrap();
    bench.disk.faults.plan(Act::Allocate, 0, 1, 0, ENOSPC);
    append(&mut writer, &bodies(17..18, 200)).unwrap();
    assert_eq!(writer.log().disk_bytes(), 8192);
    assert_eq!(read_all(writer.log()), bodies(0..18, 200));
}

#[test]
fn nothing_is_appended_before_a_failed_batch_is_wiped() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..5, 200)).unwrap();
    // The batch's second part fails, then its wiping, then the wiping before the next append.
    bench.disk.faults.plan(Act::Write, 1, 1, 0, EIO);
    bench.disk.faults.plan(Act::Remove, 0, 2, 0, EIO);
    append(&mut writer, &bodies(100..130, 200)).unwrap_err();
    append(&mut writer, &bodies(5..6, 200)).unwrap_err();
    assert_eq!(read_all(writer.log()), bodies(0..5, 200));
    append(&mut writer, &bodies(5..6, 200)).unwrap();
    drop(writer);
    let (writer, recovery) = bench.open();
    assert_eq!(recovery.damaged, []);
    assert_eq!(read_all(writer.log()), bodies(0..6, 200));
}

#[test]
fn a_process_that_dies_after_a_failed_batch_leaves_a_prefix_of_it() {
    for short in [0, 10, 64, 300, 2000] {
        let bench = Bench::new();
        let (mut writer, _) = bench.open();
        append(&mut writer, &bodies(0..5, 200)).unwrap();
        bench
            .disk
            .faults
            .plan(Act::Write, 1, usize::MAX, short, EIO);
        bench.disk.faults.plan(Act::Remove, 0, usize::MAX, 0, EIO);
        append(&mut writer, &bodies(5..50, 200)).unwrap_err();
        bench.disk.faults.clear();
        drop(writer);
        let (writer, recovery) = bench.open();
        assert!(recovery.end >= 5);
        assert_eq!(read_all(writer.log()), bodies(0..recovery.end, 200));
    }
}

#[test]
fn a_truncation_that_fails_drops_nothing_now_or_later() {
    for short in [0, 64] {
        let bench = Bench::new();
        let (mut writer, _) = bench.open();
        append(&mut writer, &bodies(0..50, 200)).unwrap();
        bench.disk.faults.plan(Act::Write, 0, 2, short, EIO);
        writer.truncate(20).unwrap_err();
        assert_eq!(read_all(writer.log()), bodies(0..50, 200));
        append(&mut writer, &bodies(50..60, 200)).unwrap();
        drop(writer);
        let (writer, recovery) = bench.open();
        assert_eq!(recovery.damaged, []);
        assert_eq!(read_all(writer.log()), bodies(0..60, 200));
    }
}

#[test]
fn files_that_cannot_be_removed_do_not_bring_a_truncated_record_back() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..100, 200)).unwrap();
    bench.disk.faults.plan(Act::Remove, 0, usize::MAX, 0, EIO);
    writer.truncate(5).unwrap();
    bench.disk.faults.clear();
    append(&mut writer, &bodies(5..7, 200)).unwrap();
    drop(writer);
    let (writer, recovery) = bench.open();
    assert_eq!(recovery.damaged, []);
    assert_eq!(read_all(writer.log()), bodies(0..7, 200));
}

#[test]
fn a_failed_sync_promises_nothing_and_the_next_one_writes_again() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..50, 200)).unwrap();
    bench.disk.faults.plan(Act::Sync, 1, 1, 0, EIO);
    writer.log().sync().unwrap_err();
    assert_eq!(writer.log().synced_sequence(), 0);
    // The write that the next sync begins with fails too: still nothing is promised.
    bench.disk.faults.plan(Act::Write, 0, 1, 0, EIO);
    writer.log().sync().unwrap_err();
    assert_eq!(writer.log().synced_sequence(), 0);
    assert_eq!(writer.log().sync().unwrap(), 50);
    assert_eq!(read_all(writer.log()), bodies(0..50, 200));
    drop(writer);
    assert_eq!(read_all(bench.open().0.log()), bodies(0..50, 200));
}

#[test]
fn what_a_failed_sync_may_have_dropped_is_written_again() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..5, 200)).unwrap();
    bench.disk.faults.plan(Act::Sync, 0, 1, 0, EIO);
    writer.log().sync().unwrap_err();
    let before = bench.disk.faults.written_bytes();
    writer.log().sync().unwrap();
    assert_eq!(bench.disk.faults.written_bytes() - before, 64 + 5 * 232);
}

/// The kernel keeps no note of them, so someone has to.
#[test]
fn what_a_failed_sync_left_is_written_again_by_the_next_process_too() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..40, 200)).unwrap();
    assert_eq!(writer.log().sync().unwrap(), 40);
    append(&mut writer, &bodies(40..45, 200)).unwrap();
    bench.disk.faults.plan(Act::Sync, 0, 1, 0, EIO);
    writer.log().sync().unwrap_err();
    // Killed before it could write them again.
    drop(writer);
    for _ in 0..2 {
        // A process that does not come to a sync leaves it to the next one.
        let (mut writer, _) = bench.open();
        append(&mut writer, &bodies(7..8, 200)).unwrap();
    }
    let (writer, _) = bench.open();
    let before = bench.disk.faults.written_bytes();
    assert_eq!(writer.log().sync().unwrap(), 47);
    let last = writer.log().last_segment().unwrap();
    let written = bench.disk.faults.written_bytes() - before;
    assert_eq!(
        written,
        last.written() as usize,
        "the one in doubt, and no other"
    );
    assert!(writer.log().segment_count() > 1);
    drop(writer);
    // And then it is forgotten.
    let (writer, _) = bench.open();
    let before = bench.disk.faults.written_bytes();
    writer.log().sync().unwrap();
    assert_eq!(bench.disk.faults.written_bytes(), before);
    assert!(!bench.files().contains(&"log.unsynced".to_owned()));
}

#[test]
fn a_segment_file_cut_short_while_mapped_is_an_io_error_first_and_damage_then() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..200, 200)).unwrap();
    let mut reader = Reader::new(Arc::clone(writer.log()));
    let mut cursor = writer.log().seek(60);
    assert_eq!(reader.next(&mut cursor).unwrap().unwrap().sequence, 60);
    let path = bench.path().join(&bench.files()[1]);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(4096).unwrap();
    let before = cursor;
    assert!(matches!(reader.next(&mut cursor), Err(ReadError::Io(_))));
    assert_eq!(cursor, before, "nothing is skipped while it cannot be read");
    let end = writer.log().segment_base(2).unwrap();
    match reader.next(&mut cursor) {
        Err(ReadError::Damaged { sequences, .. }) => assert_eq!(sequences, 61..end),
        other => panic!("{other:?}"),
    }
    assert_eq!(reader.next(&mut cursor).unwrap().unwrap().sequence, end);
}

#[test]
fn the_first_sync_of_a_process_syncs_names_an_earlier_one_made() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..3, 200)).unwrap();
    // Killed before the file's name was synced.
    drop(writer);
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(3..4, 200)).unwrap();
    // The file's own sync works, the folder's does not.
    bench.disk.faults.plan(Act::Sync, 1, 1, 0, 5);
    assert!(writer.log().sync().is_err());
    assert_eq!(writer.log().sync().unwrap(), 4);
}

#[test]
fn a_limit_of_file_sizes_makes_segments_smaller_and_not_publishes_fail() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..10, 200)).unwrap();
    // EFBIG for a segment of 16 KiB, the next smaller one has 4 KiB.
    bench.disk.faults.plan(Act::Allocate, 0, 1, 0, 27);
    append(&mut writer, &bodies(10..20, 200)).unwrap();
    assert_eq!(read_all(writer.log()), bodies(0..20, 200));
}
