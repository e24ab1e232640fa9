//! What a machine crash may leave of a topic's files.

use crate::testing::{ALICE, SECOND, TestBroker, finish_all};

/// Overwrites a file of topic `t`, as `nsqd` finds it at its next start.
fn replace(house: &mut TestBroker, file: &str, bytes: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    house.broker().save_metadata().unwrap();
    let path = house.topic_folder("t").join(file);
    let old = std::fs::read(&path).unwrap();
    std::fs::write(&path, bytes(old)).unwrap();
    house.kill();
}

#[test]
fn a_position_that_is_lost_takes_nothing_from_channels_when_the_paused_topic_is_emptied() {
    for file in ["main.offered", "deferred.offered"] {
        let mut house = TestBroker::new();
        house.channel("t", "c");
        house.publish("t", &["a"]);
        house.publish_deferred("t", "b", SECOND);
        house.topic("t").set_paused(true, house.now);
        // Its name was safe, its bytes were not.
        replace(&mut house, file, |old| vec![0; old.len()]);
        house.topic("t").empty().unwrap();
        house.topic("t").set_paused(false, house.now);
        house.pass(2 * SECOND);
        let cell = house.channel("t", "c");
        house.handle_timeout(&cell);
        house.subscribe(&cell, ALICE, 10);
        let mut bodies = house.bodies(&cell, ALICE);
        bodies.sort();
        assert_eq!(bodies, ["a", "b"], "{file}");
    }
}

#[test]
fn under_an_older_position_what_is_out_is_not_finished_and_what_is_finished_stays_away() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.topic("t").set_paused(true, house.now);
    let older = std::fs::read(house.topic_folder("t").join("main.offered")).unwrap();
    house.topic("t").set_paused(false, house.now);
    house.publish("t", &["0", "1", "2", "3"]);
    house.subscribe(&cell, ALICE, 10);
    let got = house.take(&cell, ALICE);
    finish_all(&cell, ALICE, &got[1..2]);
    house
        .requeue(&cell, ALICE, got[2].id, std::time::Duration::ZERO)
        .unwrap();
    house.topic("t").set_paused(true, house.now);
    replace(&mut house, "main.offered", |_| older);

    for _ in 0..2 {
        house.topic("t").set_paused(false, house.now);
        let cell = house.channel("t", "c");
        house.subscribe(&cell, ALICE, 10);
        let mut bodies = house.bodies(&cell, ALICE);
        bodies.sort();
        assert_eq!(bodies, ["0", "2", "3"]);
        // Nothing is finished: another kill must bring the same.
        house.kill();
    }
}

#[test]
fn ids_go_on_behind_the_last_that_can_be_read_although_the_clock_was_set_back() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.publish_numbered("t", "old", 20);
    house.subscribe(&cell, ALICE, 100);
    let before = house.take(&cell, ALICE);
    // The records of the last moments never came to the disk, the header after them did.
    let folder = house.topic_folder("t");
    let mut last = std::fs::read(folder.join("main.00000000.log")).unwrap();
    let sealed = {
        let topic = house.topic("t");
        let big = "x".repeat(4000);
        house.publish("t", &[&big]);
        drop(topic);
        folder.join("main.00000001.log")
    };
    assert!(sealed.exists());
    let used = last.iter().rposition(|&byte| byte != 0).unwrap();
    last[used - 8..].fill(0);
    std::fs::write(folder.join("main.00000000.log"), last).unwrap();
    let mut header = std::fs::read(&sealed).unwrap();
    header[64..].fill(0);
    std::fs::write(&sealed, header).unwrap();
    house.now.unix_nanos -= 3_600_000_000_000;
    house.kill();

    house.publish_numbered("t", "new", 20);
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 100);
    let after = house.take(&cell, ALICE);
    let new: Vec<_> = after
        .iter()
        .filter(|message| message.body.starts_with("new"))
        .collect();
    assert_eq!(new.len(), 20);
    let highest = before[..19].iter().map(|message| message.id.as_u64()).max();
    assert!(
        new.iter()
            .all(|message| Some(message.id.as_u64()) > highest)
    );
}

#[test]
fn a_new_message_does_not_take_over_the_note_of_a_lost_one() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    let log = house.topic_folder("t").join("main.00000000.log");
    house.publish("t", &["kept"]);
    let without = std::fs::read(&log).unwrap();
    // A unit of the ids' clock.
    house.pass(std::time::Duration::from_nanos(1 << 20));
    house.publish("t", &["lost"]);
    house.subscribe(&cell, ALICE, 10);
    let got = house.take(&cell, ALICE);
    house
        .requeue(&cell, ALICE, got[1].id, 1000 * SECOND)
        .unwrap();
    std::fs::write(&log, without).unwrap();
    // So that the next id would be the lost message's.
    house.now.unix_nanos -= 3_600_000_000_000;
    house.kill();

    house.publish("t", &["new!"]);
    house.kill();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    assert_eq!(house.bodies(&cell, ALICE), ["kept", "new!"]);
}

#[test]
fn a_topic_made_again_has_none_of_the_deleted_ones_channels_after_a_kill() {
    let mut house = TestBroker::new();
    house.channel("t", "c");
    house.broker().save_metadata().unwrap();
    house.broker().delete_topic("t");
    house.publish("t", &["a"]);
    // Before the deletion is written to nsqd.dat.
    house.kill();
    assert!(house.topic("t").channels().is_empty());
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    assert_eq!(house.bodies(&cell, ALICE), ["a"]);
}
