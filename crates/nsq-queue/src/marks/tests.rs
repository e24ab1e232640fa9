use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::disk::Act;

fn open(folder: &tempfile::TempDir) -> Marks {
    Marks::open(&folder.path().join("marks"), 7).unwrap()
}

#[test]
fn the_floor_follows_finished_runs_and_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut marks = open(&folder);
    assert!(!marks.started_afresh());
    for sequence in [1, 2, 3, 31, 32, 5] {
        marks.mark(sequence).unwrap();
    }
    assert_eq!(marks.floor(), 0);
    marks.mark(0).unwrap();
    assert_eq!(marks.floor(), 4);
    drop(marks);
    let mut marks = open(&folder);
    assert_eq!(marks.floor(), 4);
    assert!(marks.is_marked(5) && marks.is_marked(32) && !marks.is_marked(33));
    assert_eq!(marks.count_marked(0..40), 4 + 3);
    marks.set_floor(31);
    assert_eq!(marks.floor(), 33);
}

#[test]
fn a_kill_between_a_mark_and_the_floor_after_it_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut marks = open(&folder);
    marks.mark(1).unwrap();
    let words = marks.store.words();
    words[FLOOR_WORD].store(1, Ordering::Release);
    words[COMPLEMENT_WORD].store(!1, Ordering::Release);
    drop(marks);
    assert_eq!(open(&folder).floor(), 2);
}

#[test]
fn a_flipped_bit_in_the_floor_never_finishes_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let mut marks = open(&folder);
    marks.set_floor(1000);
    drop(marks);
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
    let mut marks = open(&folder);
    marks.set_floor(1000);
    drop(marks);
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
        let mut marks = open(&folder);
        marks.mark(1).unwrap();
        let words = marks.store.words();
        words[FLOOR_WORD].store(floor, Ordering::Release);
        words[COMPLEMENT_WORD].store(!floor, Ordering::Release);
        drop(marks);
        assert!(Marks::look(&path, 7).unwrap().started_afresh());
        let marks = open(&folder);
        assert!(marks.started_afresh());
        assert_eq!(marks.floor(), 0);
    }
}

#[test]
fn a_late_straggler_makes_the_file_grow_and_keeps_every_mark() {
    let folder = tempfile::tempdir().unwrap();
    let mut marks = open(&folder);
    marks.set_floor(12_345);
    for sequence in 12_346..200_000 {
        marks.mark(sequence).unwrap();
    }
    assert_eq!(marks.floor(), 12_345);
    assert_eq!(marks.count_marked(12_345..u64::MAX), 200_000 - 12_346);
    drop(marks);
    let mut marks = open(&folder);
    assert_eq!(marks.count_marked(12_345..u64::MAX), 200_000 - 12_346);
    marks.mark(12_345).unwrap();
    assert_eq!(marks.floor(), 200_000);
}

#[test]
fn a_window_beyond_all_sense_is_refused() {
    let mut marks = Marks::in_memory();
    assert!(matches!(
        marks.mark(u64::MAX - 1),
        Err(LogError::WindowTooLarge { .. })
    ));
}

#[test]
fn a_full_disk_refuses_the_mark_and_keeps_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut marks = open(&folder);
    marks.mark(5).unwrap();
    marks.disk.faults.plan(Act::Allocate, 0, 1, 0, 28);
    assert!(marks.mark(100_000).unwrap_err().is_full_disk());
    assert!(marks.is_marked(5) && !marks.is_marked(100_000));
    marks.mark(100_000).unwrap();
    assert!(marks.is_marked(5) && marks.is_marked(100_000));
}

#[test]
fn blank_marks_serve_any_log() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    let path = folder.path().join("marks");
    let mut other = Marks::open(&path, 8).unwrap();
    assert!(!other.started_afresh());
    assert!(!folder.path().join("marks.bad").exists());
    other.mark(0).unwrap();
    drop(other);
    assert_eq!(Marks::open(&path, 8).unwrap().floor(), 1);
}

#[test]
fn marks_of_another_log_or_of_none_begin_afresh_and_are_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).mark(0).unwrap();
    let path = folder.path().join("marks");
    let other = Marks::open(&path, 8).unwrap();
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
    let mut marks = open(&folder);
    marks.set_floor(10);
    let path = folder.path().join("marks");
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    marks.mark(12).unwrap();
    marks.mark(10).unwrap();
    assert_eq!(marks.floor(), 11);
    drop(marks);
    let marks = open(&folder);
    assert!(!marks.started_afresh());
    assert_eq!(marks.floor(), 11);
    assert!(marks.is_marked(12));
}

#[test]
fn marks_of_records_the_log_lost_are_forgotten() {
    let mut marks = Marks::in_memory();
    marks.set_floor(10);
    for sequence in [20, 40, 41, 64, 300] {
        marks.mark(sequence).unwrap();
    }
    marks.retain_below(41).unwrap();
    assert!(marks.is_marked(20) && marks.is_marked(40));
    assert_eq!(marks.count_marked(0..1000), 12);
    marks.retain_below(10).unwrap();
    assert_eq!(marks.count_marked(0..1000), 10);
    marks.mark(12).unwrap();
    marks.retain_below(5).unwrap();
    assert_eq!(marks.floor(), 5);
    assert_eq!(marks.count_marked(0..1000), 5);
}

/// Damage to a tag: it names a block that no mark was made for, and that the floor may come to.
#[test]
fn a_mark_outside_the_window_is_forgotten() {
    let mut marks = Marks::in_memory();
    let count = marks.mark_words();
    let block = count + 3;
    marks
        .word(block)
        .store(tag_of(block, count) | 1, Ordering::Release);
    let sequence = block * BLOCK_MARKS;
    assert!(marks.is_marked(sequence));
    marks.mark(5).unwrap();
    marks.retain_below(2 * sequence).unwrap();
    assert!(!marks.is_marked(sequence));
    assert!(marks.is_marked(5));
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
fn model_floor(finished: &BTreeSet<u64>) -> u64 {
    (0..u64::MAX)
        .find(|number| !finished.contains(number))
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn marks_behave_as_a_set(steps in prop::collection::vec(step(), 1..200)) {
        let folder = tempfile::tempdir().unwrap();
        let mut marks = open(&folder);
        let mut finished = BTreeSet::new();
        for step in steps {
            let floor = marks.floor();
            match step {
                Step::Mark(ahead) => {
                    marks.mark(floor + ahead).unwrap();
                    finished.insert(floor + ahead);
                }
                Step::Floor(ahead) => {
                    marks.set_floor(floor + ahead);
                    finished.extend(floor..floor + ahead);
                }
                Step::Retain(ahead) => {
                    let end = (floor + ahead).saturating_sub(100);
                    marks.retain_below(end).unwrap();
                    finished.split_off(&end);
                }
                Step::Reopen => {
                    drop(marks);
                    marks = open(&folder);
                }
            }
            prop_assert_eq!(marks.floor(), model_floor(&finished));
            let floor = marks.floor();
            let range = floor.saturating_sub(50)..floor + 50_000;
            let expected = finished.range(range.clone()).count() as u64;
            prop_assert_eq!(marks.count_marked(range), expected);
            for sequence in floor..floor + 120 {
                prop_assert_eq!(marks.is_marked(sequence), finished.contains(&sequence));
                let next = (sequence..u64::MAX).find(|next| !finished.contains(next)).unwrap();
                prop_assert_eq!(marks.next_unmarked(sequence), next);
            }
        }
    }
}
