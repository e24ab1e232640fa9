use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::disk::Act;

fn open(folder: &tempfile::TempDir) -> FinishedSet {
    FinishedSet::open(&folder.path().join("marks"), 7).unwrap()
}

#[test]
fn the_floor_follows_finished_runs_and_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut finished = open(&folder);
    assert!(!finished.started_afresh());
    for sequence in [1, 2, 3, 31, 32, 5] {
        finished.finish(sequence).unwrap();
    }
    assert_eq!(finished.floor(), 0);
    finished.finish(0).unwrap();
    assert_eq!(finished.floor(), 4);
    drop(finished);
    let mut finished = open(&folder);
    assert_eq!(finished.floor(), 4);
    assert!(finished.is_finished(5) && finished.is_finished(32) && !finished.is_finished(33));
    assert_eq!(finished.count_finished(0..40), 4 + 3);
    finished.set_floor(31);
    assert_eq!(finished.floor(), 33);
}

#[test]
fn a_kill_between_a_mark_and_the_floor_after_it_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut finished = open(&folder);
    finished.finish(1).unwrap();
    let words = finished.store.words();
    words[FLOOR_WORD].store(1, Ordering::Release);
    words[COMPLEMENT_WORD].store(!1, Ordering::Release);
    drop(finished);
    assert_eq!(open(&folder).floor(), 2);
}

#[test]
fn a_flipped_bit_in_the_floor_never_finishes_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let mut finished = open(&folder);
    finished.set_floor(1000);
    drop(finished);
    let path = folder.path().join("marks");
    let sound = std::fs::read(&path).unwrap();
    for bit in 16 * 8..32 * 8 {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bytes).unwrap();
        assert!(open(&folder).floor() <= 1000);
    }
}

#[test]
fn a_second_flipped_bit_in_the_floor_meets_a_mended_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut finished = open(&folder);
    finished.set_floor(1000);
    drop(finished);
    let path = folder.path().join("marks");
    let flip = |byte: usize| {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[byte] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
    };
    // The complement seems higher, which does no harm yet; then the floor does too.
    flip(24 + 5);
    assert_eq!(open(&folder).floor(), 1000);
    flip(16 + 5);
    assert_eq!(open(&folder).floor(), 1000);
}

#[test]
fn a_floor_that_no_log_can_have_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("marks");
    for floor in [u64::MAX, u64::MAX - 1, 1 << 62] {
        let mut finished = open(&folder);
        finished.finish(1).unwrap();
        let words = finished.store.words();
        words[FLOOR_WORD].store(floor, Ordering::Release);
        words[COMPLEMENT_WORD].store(!floor, Ordering::Release);
        drop(finished);
        assert!(
            FinishedSet::open_read_only(&path, 7)
                .unwrap()
                .started_afresh()
        );
        let finished = open(&folder);
        assert!(finished.started_afresh());
        assert_eq!(finished.floor(), 0);
    }
}

#[test]
fn a_late_straggler_makes_the_file_grow_and_keeps_every_mark() {
    let folder = tempfile::tempdir().unwrap();
    let mut finished = open(&folder);
    finished.set_floor(12_345);
    for sequence in 12_346..200_000 {
        finished.finish(sequence).unwrap();
    }
    assert_eq!(finished.floor(), 12_345);
    assert_eq!(finished.count_finished(12_345..u64::MAX), 200_000 - 12_346);
    drop(finished);
    let mut finished = open(&folder);
    assert_eq!(finished.count_finished(12_345..u64::MAX), 200_000 - 12_346);
    finished.finish(12_345).unwrap();
    assert_eq!(finished.floor(), 200_000);
}

#[test]
fn a_window_beyond_all_sense_is_refused() {
    let mut finished = FinishedSet::in_memory();
    assert!(matches!(
        finished.finish(u64::MAX - 1),
        Err(LogError::WindowTooLarge { .. })
    ));
}

#[test]
fn a_full_disk_refuses_the_mark_and_keeps_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut finished = open(&folder);
    finished.finish(5).unwrap();
    finished.disk.faults.plan(Act::Allocate, 0, 1, 0, 28);
    assert!(finished.finish(100_000).unwrap_err().is_full_disk());
    assert!(finished.is_finished(5) && !finished.is_finished(100_000));
    finished.finish(100_000).unwrap();
    assert!(finished.is_finished(5) && finished.is_finished(100_000));
}

#[test]
fn blank_marks_serve_any_log() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    let path = folder.path().join("marks");
    let mut other = FinishedSet::open(&path, 8).unwrap();
    assert!(!other.started_afresh());
    assert!(!folder.path().join("marks.bad").exists());
    other.finish(0).unwrap();
    drop(other);
    assert_eq!(FinishedSet::open(&path, 8).unwrap().floor(), 1);
}

#[test]
fn marks_of_another_log_or_of_none_begin_afresh_and_are_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).finish(0).unwrap();
    let path = folder.path().join("marks");
    let other = FinishedSet::open(&path, 8).unwrap();
    assert!(other.started_afresh());
    assert_eq!(other.floor(), 0);
    assert!(folder.path().join("marks.bad").exists());
    for rubbish in [&b""[..], b"x", &[0; 4096]] {
        std::fs::write(&path, rubbish).unwrap();
        assert!(open(&folder).started_afresh());
    }
}

#[test]
fn a_file_that_went_away_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut finished = open(&folder);
    finished.set_floor(10);
    let path = folder.path().join("marks");
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    finished.finish(12).unwrap();
    finished.finish(10).unwrap();
    assert_eq!(finished.floor(), 11);
    drop(finished);
    let finished = open(&folder);
    assert!(!finished.started_afresh());
    assert_eq!(finished.floor(), 11);
    assert!(finished.is_finished(12));
}

#[test]
fn the_finished_records_above_the_floor_are_found_one_after_the_other() {
    let mut finished = FinishedSet::in_memory();
    finished.set_floor(10);
    assert_eq!(finished.next_finished(0), None);
    let sequences = [12, 20, 40, 41, 63, 64, 300];
    for sequence in sequences {
        finished.finish(sequence).unwrap();
    }
    let next = |from: Option<u64>| finished.next_finished(from?);
    let found = std::iter::successors(next(Some(0)), |found| next(Some(found + 1)));
    assert_eq!(found.collect::<Vec<_>>(), sequences);
    assert_eq!(finished.next_finished(301), None);
    assert_eq!(finished.next_finished(u64::MAX), None);
}

#[test]
fn marks_of_records_the_log_lost_are_forgotten() {
    let mut finished = FinishedSet::in_memory();
    finished.set_floor(10);
    for sequence in [20, 40, 41, 64, 300] {
        finished.finish(sequence).unwrap();
    }
    finished.retain_below(41).unwrap();
    assert!(finished.is_finished(20) && finished.is_finished(40));
    assert_eq!(finished.count_finished(0..1000), 12);
    finished.retain_below(10).unwrap();
    assert_eq!(finished.count_finished(0..1000), 10);
    finished.finish(12).unwrap();
    finished.retain_below(5).unwrap();
    assert_eq!(finished.floor(), 5);
    assert_eq!(finished.count_finished(0..1000), 5);
}

/// Each cut takes what was not synced: the first one records of the log that are finished already, the second one what the
/// start in between changed.
#[test]
fn what_the_log_lost_in_a_power_cut_is_not_finished_after_a_second_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("marks");
    let disk = Disk::default();
    let open = || FinishedSet::open_on(disk.clone(), &path, 7).unwrap();
    let mut finished = open();
    finished.set_floor(3);
    finished.finish(4).unwrap();
    finished.finish(8).unwrap();
    finished.sync().unwrap();
    drop(finished);

    disk.faults.cut_power(&path);
    let mut finished = open();
    assert!(finished.is_finished(8), "the mark outlived the record");
    // The log ends at 6: new records will get the numbers from there on.
    finished.retain_below(6).unwrap();
    drop(finished);

    disk.faults.cut_power(&path);
    let mut finished = open();
    assert!(!finished.is_finished(8));
    assert!(finished.is_finished(4) && finished.floor() == 3);
    // A log that lost records below the floor too.
    finished.retain_below(1).unwrap();
    drop(finished);
    disk.faults.cut_power(&path);
    assert_eq!(open().floor(), 1);
}

#[test]
fn nothing_is_forgotten_that_the_disk_did_not_take() {
    let folder = tempfile::tempdir().unwrap();
    let mut finished = open(&folder);
    finished.finish(8).unwrap();
    // Without a change there is nothing to sync.
    finished.disk.faults.plan(Act::Sync, 0, 1, 0, 5);
    finished.retain_below(9).unwrap();
    assert!(finished.retain_below(6).is_err());
}

/// Damage to a tag: it names a block that no mark was made for, and that the floor may come to.
#[test]
fn a_mark_outside_the_window_is_forgotten() {
    let mut finished = FinishedSet::in_memory();
    let count = finished.bit_words();
    let block = count + 3;
    finished
        .word(block)
        .store(tag_of(block, count) | 1, Ordering::Release);
    let sequence = block * BLOCK_BITS;
    assert!(finished.is_finished(sequence));
    finished.finish(5).unwrap();
    finished.retain_below(2 * sequence).unwrap();
    assert!(!finished.is_finished(sequence));
    assert!(finished.is_finished(5));
}

#[derive(Clone, Debug)]
enum Step {
    Mark(u64),
    Floor(u64),
    Retain(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0..100_u64).prop_map(Step::Mark),
        4 => (0..40_000_u64).prop_map(Step::Mark),
        1 => (0..200_u64).prop_map(Step::Floor),
        1 => (0..300_u64).prop_map(Step::Retain),
        1 => Just(Step::Reopen),
    ]
}

/// The naive version: every finished record, one by one.
fn model_floor(model: &BTreeSet<u64>) -> u64 {
    (0..u64::MAX)
        .find(|number| !model.contains(number))
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_finished_set_behaves_as_a_set(steps in prop::collection::vec(step(), 1..200)) {
        let folder = tempfile::tempdir().unwrap();
        let mut finished = open(&folder);
        let mut model = BTreeSet::new();
        for step in steps {
            let floor = finished.floor();
            match step {
                Step::Mark(ahead) => {
                    finished.finish(floor + ahead).unwrap();
                    model.insert(floor + ahead);
                }
                Step::Floor(ahead) => {
                    finished.set_floor(floor + ahead);
                    model.extend(floor..floor + ahead);
                }
                Step::Retain(ahead) => {
                    let end = (floor + ahead).saturating_sub(100);
                    finished.retain_below(end).unwrap();
                    model.split_off(&end);
                }
                Step::Reopen => {
                    drop(finished);
                    finished = open(&folder);
                }
            }
            prop_assert_eq!(finished.floor(), model_floor(&model));
            let floor = finished.floor();
            let range = floor.saturating_sub(50)..floor + 50_000;
            let expected = model.range(range.clone()).count() as u64;
            prop_assert_eq!(finished.count_finished(range), expected);
            for sequence in floor..floor + 120 {
                prop_assert_eq!(finished.is_finished(sequence), model.contains(&sequence));
                let next = (sequence..u64::MAX).find(|next| !model.contains(next)).unwrap();
                prop_assert_eq!(finished.next_unfinished(sequence), next);
            }
        }
    }
}
