//! A marks file of any content.

use nsq_replay::Input;

use super::damage::spoil;
use crate::Marks;

const IDENTITY: u64 = 7;

/// Marks, damaged: a look changes nothing and sees what a start sees; a start ends, whatever the file says; what is
/// marked then is marked at the next start, and what lies behind an end that was cut off is not.
pub fn marks(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let folder = nsq_replay::folder();
    let path = folder.path().join("main.marks");
    let count = usize::from(input.byte() % 32);
    let mut marked = Vec::new();
    {
        let mut marks = Marks::open(&path, IDENTITY).expect("a new file");
        for _ in 0..count {
            let sequence = input.number() % (1 << 20);
            if marks.mark(sequence).is_ok() {
                marked.push(sequence);
            }
        }
        for &sequence in &marked {
            assert!(marks.is_marked(sequence));
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

    let look = Marks::look(&path, IDENTITY).expect("a file that can be read");
    assert_eq!(std::fs::read(&path).expect("it is there"), file);
    let mut marks = Marks::open(&path, IDENTITY).expect("a file that can be read");
    assert_eq!(look.started_afresh(), marks.started_afresh());
    assert_eq!(look.floor(), marks.floor());
    let near = |at: u64| [at.saturating_sub(1), at, at.saturating_add(1)];
    for sequence in marked.iter().copied().chain([marks.floor()]).flat_map(near) {
        assert_eq!(look.is_marked(sequence), marks.is_marked(sequence));
        assert_eq!(look.next_unmarked(sequence), marks.next_unmarked(sequence));
        assert!(!marks.is_marked(marks.next_unmarked(sequence)));
        let range = marks.floor().saturating_sub(40)..sequence;
        assert_eq!(look.count_marked(range.clone()), marks.count_marked(range));
    }
    if !is_spoiled {
        assert!(marked.iter().all(|&sequence| marks.is_marked(sequence)));
    }

    // Tags come round after so many turns of the words: further apart no two records of one log are.
    let end = match input.number() {
        near @ 0..0x2000_0000_0000 => near,
        far => marks.floor() + far % 5000,
    };
    marks.retain_below(end).expect("the disk is there");
    assert!(marks.floor() <= end);
    for sequence in near(end) {
        assert!(
            sequence < end || !marks.is_marked(sequence),
            "{sequence} of {end}"
        );
    }
    let mut later = Vec::new();
    for _ in 0..8 {
        let sequence = marks.floor().saturating_add(input.number() % 5000);
        if marks.mark(sequence).is_ok() {
            later.push(sequence);
        }
    }
    let floor = marks.floor();
    drop(marks);
    let marks = Marks::open(&path, IDENTITY).expect("a file that can be read");
    assert!(!marks.started_afresh());
    assert_eq!(marks.floor(), floor);
    assert!(later.into_iter().all(|sequence| marks.is_marked(sequence)));
}
