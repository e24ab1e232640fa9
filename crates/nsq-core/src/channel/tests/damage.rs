//! Logs that cannot be read for a while, and files that are damaged.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;

use crate::testing::{ALICE, PLENTY, SECOND, TestBroker, copy_folder, counts, finish_all};

/// Runs `act` while the topic's files are out of reach.
fn without_files<T>(house: &TestBroker, act: impl FnOnce() -> T) -> T {
    let folder = house.topic_folder("t");
    let aside = house.path().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    let result = act();
    std::fs::rename(&aside, &folder).unwrap();
    result
}

#[test]
fn a_log_that_cannot_be_read_is_tried_again_after_a_while() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1000);
    house.publish("t", &["a"]);
    let (got, taken) = without_files(&house, || house.take_within(&cell, ALICE, PLENTY));
    assert!(got.is_empty() && taken.waiting);
    let again = house.now.tick.after(SECOND);
    assert_eq!(house.planned(), [again]);
    assert_eq!(counts(&cell.lock()), (1, 0, 0));
    assert!(house.take(&cell, ALICE).is_empty(), "not before its time");
    house.bells.take_all();

    house.pass(SECOND);
    house.handle_timeout(&cell);
    assert_eq!(house.bells.take_all(), [ALICE]);
    assert_eq!(house.bodies(&cell, ALICE), ["a"]);
}

#[test]
fn a_stall_in_the_middle_of_a_batch_is_looked_at_before_the_first_timeout() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1000);
    house.publish_numbered("t", "m", 200);
    // The first segment is mapped by now, the next ones are not.
    assert_eq!(house.take_one(&cell, ALICE).body, "m0");
    let got = without_files(&house, || house.take(&cell, ALICE));
    assert!(!got.is_empty() && got.len() < 199);
    let again = house.now.tick.after(SECOND);
    assert_eq!(house.planned().last(), Some(&again));
}

#[test]
fn deferred_messages_that_could_not_be_read_are_not_forgotten() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    let topic = house.topic("t");
    topic.set_paused(true, house.now);
    house.publish_deferred("t", "a", SECOND * 10);
    without_files(&house, || topic.set_paused(false, house.now));
    assert_eq!(counts(&cell.lock()), (0, 0, 0));
    let again = house.now.tick.after(SECOND);
    assert_eq!(cell.lock().next_timeout(), Some(again));
    house.pass(SECOND);
    house.handle_timeout(&cell);
    assert_eq!(counts(&cell.lock()), (0, 0, 1));
}

/// All files below a topic's folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[derive(Debug, Clone)]
enum Harm {
    Flip { file: Index, byte: Index, mask: u8 },
    Cut { file: Index, length: Index },
    Remove { file: Index },
}

fn harm() -> impl Strategy<Value = Harm> {
    let index = any::<Index>;
    prop_oneof![
        6 => (index(), index(), 1..=255_u8).prop_map(|(file, byte, mask)| Harm::Flip { file, byte, mask }),
        1 => (index(), index()).prop_map(|(file, length)| Harm::Cut { file, length }),
        1 => index().prop_map(|file| Harm::Remove { file }),
    ]
}

fn inflict(harm: &Harm, files: &[PathBuf]) {
    match harm {
        Harm::Flip { file, byte, mask } => {
            let Ok(mut bytes) = std::fs::read(file.get(files)) else {
                return;
            };
            if !bytes.is_empty() {
                // Most of a file is empty: aim at its beginning.
                let end = bytes.len().min(400);
                bytes[byte.index(end)] ^= mask;
                std::fs::write(file.get(files), bytes).unwrap();
            }
        }
        Harm::Cut { file, length } => {
            let Ok(bytes) = std::fs::read(file.get(files)) else {
                return;
            };
            let length = length.index(bytes.len() + 1);
            std::fs::write(file.get(files), &bytes[..length]).unwrap();
        }
        Harm::Remove { file } => {
            let _ = std::fs::remove_file(file.get(files));
        }
    }
}

/// A killed nsqd's folder with something in every file.
fn lived_in() -> TestBroker {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.channel("t", "other");
    house.subscribe(&cell, ALICE, 1000);
    house.publish("t", &["deferred", "held"]);
    house.publish_deferred("t", "published late", 100 * SECOND);
    let got = house.take(&cell, ALICE);
    house
        .requeue(&cell, ALICE, got[0].id, 100 * SECOND)
        .unwrap();
    house.publish_numbered("t", "m", 300);
    let got = house.take(&cell, ALICE);
    finish_all(&cell, ALICE, &got[..250]);
    let topic = house.topic("t");
    for _ in 0..2 {
        topic.maintain(house.now);
        topic.sync(house.now).unwrap();
    }
    house.publish_deferred("t", "published later", 100 * SECOND);
    house.broker().save_metadata().unwrap();
    house
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    #[test]
    fn damaged_files_cost_no_more_than_what_is_in_them(harms in prop::collection::vec(harm(), 1..6)) {
        let mut house = lived_in();
        let folder = tempfile::tempdir().unwrap();
        copy_folder(house.path(), folder.path());
        house.settings.data_path = folder.path().to_owned();
        let files = files_below(&house.topic_folder("t"));
        for harm in &harms {
            inflict(harm, &files);
        }
        house.open();
        let cell = house.channel("t", "c");
        house.subscribe(&cell, ALICE, 10_000);
        house.publish("t", &["new"]);
        house.publish_deferred("t", "new and late", SECOND);
        let mut bodies = Vec::new();
        for _ in 0..3 {
            house.pass(3600 * SECOND);
            house.handle_timeout(&cell);
            let got = house.take(&cell, ALICE);
            finish_all(&cell, ALICE, &got);
            bodies.extend(got.into_iter().map(|message| message.body));
            house.topic("t").maintain(house.now);
            house.topic("t").sync(house.now).unwrap();
        }
        prop_assert_eq!(bodies.iter().filter(|body| *body == "new").count(), 1);
        prop_assert_eq!(bodies.iter().filter(|body| *body == "new and late").count(), 1);
        prop_assert_eq!(counts(&cell.lock()), (0, 0, 0));
        house.kill();
        prop_assert_eq!(counts(&house.channel("t", "c").lock()), (0, 0, 0));
    }
}
