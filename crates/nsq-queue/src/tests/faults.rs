//! A disk that is full, fails, or takes only part of a write.

use super::*;
use crate::disk::Act;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EMFILE: i32 = 24;

/// Lets one operation of a large batch fail, at each place it can; checks that nothing of the batch is
/// seen, neither at once nor after a restart that follows the next, shorter batch.
fn check(act: Act, errno: i32, short: usize) {
    let mut failed = 0;
    for after in 0..100 {
        let bench = Bench::new();
        let (mut writer, _) = bench.open();
        append(&mut writer, &bodies(0..5, 200)).unwrap();
        bench.disk.faults.plan(act, after, 1, short, errno);
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
