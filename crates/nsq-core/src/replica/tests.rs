//! Whether a replica holds in the end what the data path holds that it follows.

mod checkpoint;
mod committed;

use std::time::Duration;

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::NewRecord;
use nsq_queue::diskqueue::{Message, Place, QueueWriter};

use super::*;
use crate::channel::TransferMessage;
use crate::testing::{
    ALICE, OwnedChange, SECOND, SMALL_SEGMENTS, TestBroker, contents_of, copy_folder, finish_all,
};

fn transfer(body: &str, due: i64, attempts: u16) -> TransferMessage<'_> {
    TransferMessage {
        timestamp: 7,
        attempts,
        due,
        body: body.as_bytes(),
    }
}

/// A broker that was given every kind of change.
fn eventful() -> TestBroker {
    let mut house = TestBroker::mirrored(|settings| {
        let mut writer = QueueWriter::new(&settings.data_path, "t:c", 500);
        for id in 1..4 {
            let message = Message {
                id,
                timestamp: 5,
                attempts: 1,
                body: b"imported",
                place: Place::default(),
            };
            writer.append(&message).unwrap();
        }
        writer.finish().unwrap();
    });
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1000);
    house.publish_numbered("t", "m", 20);
    house.publish_deferred("t", "late", 100 * SECOND);
    let got = house.take(&cell, ALICE);
    finish_all(&cell, ALICE, &got[..8]);
    for (at, delay) in [(9, Duration::ZERO), (10, 50 * SECOND)] {
        house.requeue(&cell, ALICE, got[at].id, delay).unwrap();
    }
    finish_all(&cell, ALICE, &got[12..14]);
    house.pass(70 * SECOND);
    house.handle_timeout(&cell);
    house.check_mirror();

    // Emptied, and its sequences given again.
    house.publish("waits", &["dropped", "dropped too"]);
    house.topic("waits").empty().unwrap();
    house.publish("waits", &["kept"]);
    house.channel("waits", "first");
    house.topic("waits").set_paused(true, house.now);
    house.publish("waits", &["after the pause"]);
    house.publish_deferred("waits", "after the pause, late", 1000 * SECOND);
    house.channel("waits", "second").lock().set_paused(true);
    house.check_mirror();

    // Deleted, and made again under the same names.
    for round in 0..2 {
        let topic = house.topic("again");
        let cell = house.channel("again", "c");
        house.publish_numbered("again", &format!("round {round}, "), 3);
        house.subscribe(&cell, ALICE, 1);
        let got = house.take(&cell, ALICE);
        finish_all(&cell, ALICE, &got);
        assert!(topic.delete_channel("c"));
        house.channel("again", "c");
        house.publish("again", &["for the second channel"]);
        if round == 0 {
            assert!(house.broker().delete_topic("again"));
        }
    }
    house.check_mirror();

    // A message that stays out while segments pass is copied to the private log.
    let slow = house.channel("slow", "c");
    house.subscribe(&slow, ALICE, 1000);
    house.publish_numbered("slow", &"long ".repeat(20), 200);
    let got = house.take(&slow, ALICE);
    house
        .requeue(&slow, ALICE, got[1].id, 5000 * SECOND)
        .unwrap();
    finish_all(&slow, ALICE, &got[2..]);
    for _ in 0..3 {
        house.topic("slow").maintain(house.now);
        house.topic("slow").sync(house.now).unwrap();
        house.mirror().maintain();
    }
    house.check_mirror();

    // Adopted; the inherited log is finished, removed by the start, and comes again.
    let heir = ChannelName::try_from("heir").unwrap();
    let late = house.now.unix_after(300 * SECOND);
    for round in 0..2 {
        let adopted = [
            transfer("to the heir", 0, 3),
            transfer("to the heir, late", late, 2),
        ];
        let topic = house.topic("heirs");
        topic.adopt(Some(&heir), &adopted, house.now).unwrap();
        topic.adopt(None, &adopted, house.now).unwrap();
        if round == 0 {
            let cell = house.channel("heirs", "heir");
            house.subscribe(&cell, ALICE, 1);
            let got = house.take(&cell, ALICE);
            finish_all(&cell, ALICE, &got);
            house.restart();
        }
    }
    let cell = house.channel("heirs", "heir");
    cell.lock().empty();
    house.publish("heirs", &["last"]);
    // Of these, nothing is to be seen anywhere.
    house.channel("heirs", "gone#ephemeral");
    house.publish("gone#ephemeral", &["gone"]);
    house.channel("gone#ephemeral", "c");
    house.check_mirror();
    house
}

#[test]
fn a_replica_holds_what_the_data_path_holds_that_it_follows() {
    let mut house = eventful();
    house.kill();
    house.restart();
    assert!(!house.mirror().contents().is_empty());
}

/// Applies changes up to `last`, and syncs now and then. Returns the replica.
fn follow(folder: &Path, changes: &[OwnedChange], last: usize) -> Replica {
    let mut replica = Replica::open(folder, SMALL_SEGMENTS).unwrap();
    for (index, change) in (1..).zip(changes).take(last) {
        replica.apply(index, &change.borrow()).unwrap();
        if index % 7 == 0 {
            replica.sync().unwrap();
        }
        if index % 11 == 0 {
            replica.maintain().unwrap();
        }
    }
    replica
}

#[test]
fn a_replica_that_is_killed_goes_on_where_it_was() {
    let house = eventful();
    let wanted = house.mirror().contents();
    let changes = house.mirror().take_changes();
    let folder = tempfile::tempdir().unwrap();
    // Every third of them, since each costs many syncs.
    for last in (0..=changes.len()).step_by(3) {
        let first_life = folder.path().join(format!("{last}"));
        let replica = follow(&first_life, &changes, last);
        // What a kill leaves is what is in the files at that moment.
        let second_life = folder.path().join(format!("{last} again"));
        copy_folder(&first_life, &second_life);
        drop(replica);
        let mut replica = Replica::open(&second_life, SMALL_SEGMENTS).unwrap();
        assert!(replica.applied() <= last as u64);
        for (index, change) in (1..).zip(&changes) {
            replica.apply(index, &change.borrow()).unwrap();
        }
        replica.maintain().unwrap();
        replica.sync().unwrap();
        assert_eq!(contents_of(&second_life), wanted, "killed after {last}");
        let stored = std::fs::read_to_string(second_life.join(APPLIED)).unwrap();
        assert_eq!(stored.trim(), changes.len().to_string());
        std::fs::remove_dir_all(&first_life).unwrap();
        std::fs::remove_dir_all(&second_life).unwrap();
    }
}

#[test]
fn a_broker_goes_on_with_what_a_replica_holds() {
    let house = eventful();
    let changes = house.mirror().take_changes();
    let folder = tempfile::tempdir().unwrap();
    follow(folder.path(), &changes, changes.len())
        .sync()
        .unwrap();
    let heir = TestBroker::with(|settings| settings.data_path = folder.path().to_owned());
    let cell = heir.channel("t", "c");
    heir.subscribe(&cell, ALICE, 1000);
    let attempts = heir.take(&cell, ALICE).into_iter();
    let mut attempts: Vec<_> = attempts
        .map(|message| (message.body, message.attempts))
        .collect();
    attempts.sort();
    // The rest is finished.
    let left = [11, 12, 13, 14, 15, 16, 17, 18, 19, 5, 6, 7, 8];
    let left = left.map(|number| (format!("m{number}"), 2));
    assert_eq!(attempts, left);
    assert!(!heir.broker().topic("waits").unwrap().stats().channels[0].paused);
    assert!(heir.broker().topic("waits").unwrap().is_paused());
    assert_eq!(heir.topic("waits").stats().depth, 2);
}

#[test]
fn a_replica_shortens_a_journal_that_is_mostly_out_of_date() {
    let mut house = TestBroker::mirrored(|_| ());
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    house.publish("t", &["again and again"]);
    for _ in 0..5000 {
        let got = house.take_one(&cell, ALICE);
        house.requeue(&cell, ALICE, got.id, Duration::ZERO).unwrap();
    }
    house.mirror().maintain();
    assert!(house.mirror().journal_bytes() < 16 << 10);
    house.kill();
}

#[test]
fn records_that_are_missing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut replica = Replica::open(folder.path(), SMALL_SEGMENTS).unwrap();
    let topic = TopicName::try_from("t").unwrap();
    let change = |action| DurableChange {
        topic: &topic,
        channel: None,
        action,
    };
    let record = NewRecord {
        id: 1,
        timestamp: 1,
        due: 0,
        attempts: 0,
        body: b"body",
    };
    let appended = |first| {
        change(Action::Appended {
            log: LogKind::Main,
            first,
            records: std::slice::from_ref(&record),
        })
    };
    let unknown = replica.apply(1, &appended(0)).unwrap_err();
    assert!(matches!(unknown, ReplicaError::Unknown(_)), "{unknown}");
    replica.apply(1, &change(Action::TopicCreated)).unwrap();
    replica.apply(2, &appended(0)).unwrap();
    let gap = replica.apply(3, &appended(2)).unwrap_err();
    assert!(
        matches!(
            gap,
            ReplicaError::Gap {
                end: 1,
                first: 2,
                ..
            }
        ),
        "{gap}"
    );
    replica.apply(3, &appended(1)).unwrap();
    assert_eq!(replica.applied(), 3);
}
