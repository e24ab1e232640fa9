//! A finished set's file with any content.

use nsq_replay::Input;

use super::damage::spoil;
use crate::FinishedSet;

const IDENTITY: u64 = 7;

/// A damaged finished set. Opening it read-only changes nothing and finds the same as a start; a start succeeds whatever
/// the file contains; what is finished after it is finished at the next start, and nothing at or after the log's end is.
pub fn finished_set(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let folder = nsq_replay::folder();
    let path = folder.path().join("main.marks");
    let count = usize::from(input.byte() % 32);
    let mut marked = Vec::new();
    {
        let mut finished = FinishedSet::open(&path, IDENTITY).expect("a new file");
        for _ in 0..count {
            let sequence = input.number() % (1 << 20);
            if finished.finish(sequence).is_ok() {
                marked.push(sequence);
            }
        }
        for &sequence in &marked {
            assert!(finished.is_finished(sequence));
        }
    }
    let mut file = std::fs::read(&path).expect("it was just written");
    let is_spoiled = !input.is_empty();
    for _ in 0..input.byte() % 8 {
        spoil(&mut file, &mut input);
    }
    // Forged words: a floor in both its copies, and marks with any tag.
    if input.byte() % 4 == 1 && file.len() >= 64 {
        let floor = input.number();
        file[16..24].copy_from_slice(&floor.to_le_bytes());
        file[24..32].copy_from_slice(&(!floor).to_le_bytes());
    }
    std::fs::write(&path, &file).expect("a temporary file");

    let look = FinishedSet::open_read_only(&path, IDENTITY).expect("a file that can be read");
    assert_eq!(std::fs::read(&path).expect("it is there"), file);
    let mut finished = FinishedSet::open(&path, IDENTITY).expect("a file that can be read");
    assert_eq!(look.started_afresh(), finished.started_afresh());
    assert_eq!(look.floor(), finished.floor());
    let near = |at: u64| [at.saturating_sub(1), at, at.saturating_add(1)];
    for sequence in marked
        .iter()
        .copied()
        .chain([finished.floor()])
        .flat_map(near)
    {
        assert_eq!(look.is_finished(sequence), finished.is_finished(sequence));
        assert_eq!(
            look.next_unfinished(sequence),
            finished.next_unfinished(sequence)
        );
        assert!(!finished.is_finished(finished.next_unfinished(sequence)));
        let range = finished.floor().saturating_sub(40)..sequence;
        assert_eq!(
            look.count_finished(range.clone()),
            finished.count_finished(range)
        );
    }
    if !is_spoiled {
        assert!(
            marked
                .iter()
                .all(|&sequence| finished.is_finished(sequence))
        );
    }

    // Tags repeat after so many rounds of the words; no two records of one log are that far apart.
    let end = match input.number() {
        near @ 0..0x2000_0000_0000 => near,
        far => finished.floor() + far % 5000,
    };
    finished.retain_below(end).expect("the disk is there");
    assert!(finished.floor() <= end);
    for sequence in near(end) {
        assert!(
            sequence < end || !finished.is_finished(sequence),
            "{sequence} of {end}"
        );
    }
    let mut later = Vec::new();
    for _ in 0..8 {
        let sequence = finished.floor().saturating_add(input.number() % 5000);
        if finished.finish(sequence).is_ok() {
            later.push(sequence);
        }
    }
    let floor = finished.floor();
    drop(finished);
    let finished = FinishedSet::open(&path, IDENTITY).expect("a file that can be read");
    assert!(!finished.started_afresh());
    assert_eq!(finished.floor(), floor);
    assert!(
        later
            .into_iter()
            .all(|sequence| finished.is_finished(sequence))
    );
}
