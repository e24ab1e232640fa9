//! What a channel still knows after a restart, a kill, or a crash of the machine.

use std::time::Duration;

use crate::channel::LogKind;
use crate::testing::{
    ALICE, MAX_REQ_TIMEOUT, NANOSECOND, SECOND, TestBroker, bytes_in, copy_folder, counts,
    finish_all,
};

fn main_logs(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("main.0")
        })
        .collect()
}

#[test]
fn after_a_kill_only_what_was_out_comes_back() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 3);
    house.publish("t", &["a", "b", "c", "d"]);
    let got = house.take(&cell, ALICE);
    finish_all(&cell, ALICE, &got[1..2]);
    house.kill();
    let cell = house.channel("t", "c");
    assert_eq!(counts(&cell.lock()), (3, 0, 0));
    house.subscribe(&cell, ALICE, 10);
    assert_eq!(house.bodies(&cell, ALICE), ["a", "c", "d"]);
}

#[test]
fn attempts_go_on_over_a_restart() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 2);
    house.publish("t", &["requeued", "held"]);
    let got = house.take(&cell, ALICE);
    house
        .requeue(&cell, ALICE, got[0].id, Duration::ZERO)
        .unwrap();
    house.restart();
    let cell = house.channel("t", "c");
    assert_eq!(counts(&cell.lock()), (2, 0, 0));
    house.subscribe(&cell, ALICE, 10);
    let mut got = house.take(&cell, ALICE);
    got.sort_by(|left, right| left.body.cmp(&right.body));
    assert_eq!((got[0].body.as_str(), got[0].attempts), ("held", 2));
    assert_eq!((got[1].body.as_str(), got[1].attempts), ("requeued", 2));
}

#[test]
fn a_batch_of_requeues_survives_a_kill_once_it_has_ended() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 3);
    house.publish("t", &["at once", "later", "held"]);
    let got = house.take(&cell, ALICE);
    let now = house.now;
    {
        let mut channel = cell.lock();
        let at_once = channel.requeue(ALICE, got[0].id, Duration::ZERO, now);
        let later = channel.requeue(ALICE, got[1].id, 10 * SECOND, now);
        at_once.and(later).unwrap();
    }
    house.kill();
    let cell = house.channel("t", "c");
    assert_eq!(counts(&cell.lock()), (2, 0, 1));
    house.subscribe(&cell, ALICE, 3);
    let mut attempts: Vec<_> = house.take(&cell, ALICE).into_iter().collect();
    attempts.sort_by_key(|message| message.id);
    let attempts: Vec<_> = attempts.iter().map(|message| message.attempts).collect();
    assert_eq!(attempts, [2, 1]);
}

#[test]
fn what_was_not_written_yet_is_written_at_shutdown() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish("t", &["requeued"]);
    let got = house.take_one(&cell, ALICE);
    let now = house.now;
    let requeued = cell
        .lock_inner()
        .requeue(ALICE, got.id, Duration::ZERO, now);
    requeued.unwrap();
    house.restart();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    assert_eq!(house.take_one(&cell, ALICE).attempts, 2);
}

#[test]
fn a_delay_goes_on_over_a_kill() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 2);
    house.publish("t", &["a"]);
    let got = house.take_one(&cell, ALICE);
    house.requeue(&cell, ALICE, got.id, 10 * SECOND).unwrap();
    house.kill();
    let cell = house.channel("t", "c");
    assert_eq!(counts(&cell.lock()), (0, 0, 1));
    assert_eq!(
        cell.lock().next_timeout(),
        Some(house.now.tick.after(9 * SECOND))
    );
    house.pass(9 * SECOND);
    house.subscribe(&cell, ALICE, 2);
    house.handle_timeout(&cell);
    assert_eq!(house.take_one(&cell, ALICE).attempts, 2);
}

#[test]
fn a_deferred_publish_keeps_its_due_time_over_restart_and_kill() {
    let mut house = TestBroker::new();
    house.channel("t", "c");
    house.publish_deferred("t", "a", 10 * SECOND);
    house.restart();
    house.kill();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 2);
    assert_eq!(counts(&cell.lock()), (0, 0, 1));
    house.pass((8 * SECOND).checked_sub(NANOSECOND).unwrap());
    house.handle_timeout(&cell);
    assert!(house.take(&cell, ALICE).is_empty());
    house.pass(NANOSECOND);
    house.handle_timeout(&cell);
    let got = house.take(&cell, ALICE);
    assert_eq!((got[0].body.as_str(), got[0].attempts), ("a", 1));
    finish_all(&cell, ALICE, &got);
    house.kill();
    assert_eq!(counts(&house.channel("t", "c").lock()), (0, 0, 0));
}

#[test]
fn messages_noted_before_a_restart_hide_none_that_come_later() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1000);
    house.publish_numbered("t", "old", 300);
    house.take(&cell, ALICE);
    house.restart();
    // All of these are known from notes; their segments go while the cursor still stands before them.
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1000);
    let got = house.take(&cell, ALICE);
    assert_eq!(got.len(), 300);
    finish_all(&cell, ALICE, &got);
    house.publish_numbered("t", "filler", 300);
    house.topic("t").release();
    let got = house.take(&cell, ALICE);
    assert_eq!(got.len(), 300);
    finish_all(&cell, ALICE, &got);
    house.publish_numbered("t", "new", 10);
    assert_eq!(cell.lock().depth(), 10);
    assert_eq!(house.take(&cell, ALICE).len(), 10);
}

#[test]
fn finished_marks_newer_than_the_log_do_not_swallow_new_messages() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 100);
    house.publish("t", &["a", "b"]);
    house.broker().save_metadata().unwrap();
    let early = tempfile::tempdir().unwrap();
    copy_folder(&house.topic_folder("t"), early.path());

    house.publish("t", &["c", "d", "e", "f"]);
    let got = house.take(&cell, ALICE);
    assert_eq!(got.len(), 6);
    house.requeue(&cell, ALICE, got[5].id, SECOND * 30).unwrap();
    finish_all(&cell, ALICE, &got[..3]);
    finish_all(&cell, ALICE, &got[4..5]);

    // The machine crashed: the marks and notes reached the disk, the messages did not.
    for log in main_logs(&house.topic_folder("t")) {
        std::fs::remove_file(log).unwrap();
    }
    for log in main_logs(early.path()) {
        let name = log.file_name().unwrap().to_owned();
        std::fs::copy(&log, house.topic_folder("t").join(name)).unwrap();
    }
    house.kill();
    let cell = house.channel("t", "c");
    assert_eq!(counts(&cell.lock()), (0, 0, 0));
    house.publish("t", &["C", "D", "E", "F"]);
    assert_eq!(counts(&cell.lock()), (4, 0, 0));
    house.subscribe(&cell, ALICE, 100);
    let got = house.take(&cell, ALICE);
    let bodies: Vec<_> = got.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(bodies, ["C", "D", "E", "F"]);
    finish_all(&cell, ALICE, &got);
    house.kill();
    assert_eq!(counts(&house.channel("t", "c").lock()), (0, 0, 0));
}

/// A message requeued for an hour and one in flight, with a thousand finished ones after them, moved out of the way.
fn house_with_stragglers() -> TestBroker {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 2000);
    house.publish("t", &["deferred", "held"]);
    let got = house.take(&cell, ALICE);
    house
        .requeue(&cell, ALICE, got[0].id, 3600 * SECOND)
        .unwrap();
    house.publish_numbered("t", "m", 1000);
    let rest = house.take(&cell, ALICE);
    assert_eq!(rest.len(), 1000);
    finish_all(&cell, ALICE, &rest);
    let topic = house.topic("t");
    for _ in 0..3 {
        house.pass(Duration::from_millis(1));
        topic.maintain(house.now);
        topic.sync(house.now).unwrap();
    }
    house
}

#[test]
fn stragglers_free_the_segments_they_lay_in() {
    let house = house_with_stragglers();
    let cell = house.channel("t", "c");
    assert_eq!(counts(&cell.lock()), (0, 1, 1));
    assert_eq!(main_logs(&house.topic_folder("t")).len(), 1);
    assert_eq!(cell.lock().shared().main_floor(), 1002);
}

#[test]
fn stragglers_are_there_once_after_a_kill() {
    let mut house = house_with_stragglers();
    house.kill();
    let cell = house.channel("t", "c");
    assert_eq!(counts(&cell.lock()), (1, 0, 1));
    house.subscribe(&cell, ALICE, 2000);
    let got = house.take(&cell, ALICE);
    assert_eq!(got[0].body, "held");
    finish_all(&cell, ALICE, &got);
    house.pass(3600 * SECOND);
    house.handle_timeout(&cell);
    let got = house.take(&cell, ALICE);
    assert_eq!((got[0].body.as_str(), got[0].attempts), ("deferred", 2));
    finish_all(&cell, ALICE, &got);
    house.kill();
    assert_eq!(counts(&house.channel("t", "c").lock()), (0, 0, 0));
}

#[test]
fn a_straggler_finished_while_its_copy_is_not_yet_safe_stays_finished() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 2000);
    house.publish("t", &["held"]);
    let held = house.take(&cell, ALICE);
    house.publish_numbered("t", "m", 1000);
    let rest = house.take(&cell, ALICE);
    finish_all(&cell, ALICE, &rest);
    house.topic("t").maintain(house.now);
    assert!(
        cell.lock().logs.get(LogKind::Private).is_some(),
        "a copy was made"
    );
    assert_eq!(
        cell.lock().shared().main_floor(),
        0,
        "not before the copy is on the disk"
    );
    finish_all(&cell, ALICE, &held);
    house.kill();
    assert_eq!(counts(&house.channel("t", "c").lock()), (0, 0, 0));
}

#[test]
fn a_straggler_whose_copy_is_not_yet_safe_is_there_once_after_a_kill() {
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 2000);
    house.publish("t", &["held"]);
    house.take(&cell, ALICE);
    house.publish_numbered("t", "m", 1000);
    let rest = house.take(&cell, ALICE);
    // One stays behind, so that the cursor meets the originals late.
    finish_all(&cell, ALICE, &rest[1..]);
    house.topic("t").maintain(house.now);
    house.kill();
    let cell = house.channel("t", "c");
    assert_eq!(counts(&cell.lock()), (2, 0, 0));
    house.subscribe(&cell, ALICE, 1);
    for _ in 0..2 {
        let got = house.take(&cell, ALICE);
        assert_eq!(got.len(), 1);
        finish_all(&cell, ALICE, &got);
    }
    assert_eq!(counts(&cell.lock()), (0, 0, 0));
    assert!(house.take(&cell, ALICE).is_empty());
}

#[test]
fn disk_stays_near_what_is_alive_while_a_few_messages_stay_out() {
    const SEGMENT_BYTES: u32 = 16 << 10;
    let check = |channel: &str, left_behind: usize, most_segments: u64| {
        let mut house = TestBroker::with(|settings| {
            settings.log_options.first_segment_bytes = SEGMENT_BYTES;
            settings.log_options.max_segment_bytes = SEGMENT_BYTES;
        });
        let cell = house.channel("t", channel);
        let topic = house.topic("t");
        house.subscribe(&cell, ALICE, 5000);
        house.publish("t", &["deferred", "held"]);
        house.publish_deferred("t", "published late", 3600 * SECOND);
        let got = house.take(&cell, ALICE);
        house
            .requeue(&cell, ALICE, got[0].id, 3600 * SECOND)
            .unwrap();
        let mut most = 0;
        for round in 0..100 {
            house.publish_numbered("t", "m", 2000);
            let got = house.take(&cell, ALICE);
            assert_eq!(got.len(), 2000);
            // Some come back later, when they have been moved already.
            let (late, rest) = got.split_at(left_behind);
            finish_all(&cell, ALICE, rest);
            for message in late {
                house.requeue(&cell, ALICE, message.id, 5 * SECOND).unwrap();
            }
            for _ in 0..50 {
                house.publish_deferred("t", "x", Duration::from_millis(1));
            }
            house.pass(SECOND);
            house.handle_timeout(&cell);
            let due = house.take(&cell, ALICE);
            finish_all(&cell, ALICE, &due);
            topic.maintain(house.now);
            topic.sync(house.now).unwrap();
            if round > 10 {
                most = most.max(bytes_in(&house.topic_folder("t")));
            }
        }
        let segments = most / u64::from(SEGMENT_BYTES);
        assert!(
            segments <= most_segments,
            "{channel}, {left_behind}: {segments} segments"
        );
    };
    check("c", 1, 16);
    check("c", 200, 40);
    check("c#ephemeral", 1, 6);
}

#[test]
fn many_deferred_messages_cost_nothing_until_they_are_due() {
    let mut house =
        TestBroker::with(|settings| settings.log_options = nsq_queue::LogOptions::default());
    let cell = house.channel("t", "c");
    let topic = house.topic("t");
    for at in 0..100_000_i64 {
        let due = house.now.unix_after(1800 * SECOND) + at * 1_000_000;
        topic.publish_deferred(b"m", due, house.now).unwrap();
    }
    assert_eq!(counts(&cell.lock()), (0, 0, 100_000));
    for _ in 0..100_000 {
        house.pass(Duration::from_micros(1));
        house.handle_timeout(&cell);
    }
    house.pass(1800 * SECOND);
    house.handle_timeout(&cell);
    assert_eq!(counts(&cell.lock()).0, 101);
    house.restart();
    let (depth, _, deferred) = counts(&house.channel("t", "c").lock());
    assert_eq!(depth + deferred as u64, 100_000);
}

#[test]
fn a_message_deferred_while_the_clock_was_ahead_waits_no_longer_than_a_client_may_ask_for() {
    let ahead = 5 * MAX_REQ_TIMEOUT;
    let set = |house: &mut TestBroker, nanos: i64| house.now.unix_nanos += nanos;
    let ahead_nanos = i64::try_from(ahead.as_nanos()).unwrap();
    let mut house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    set(&mut house, ahead_nanos);
    house.publish("t", &["deferred by REQ"]);
    let got = house.take_one(&cell, ALICE);
    house.requeue(&cell, ALICE, got.id, SECOND).unwrap();
    house.publish_deferred("t", "published with a deferral", SECOND);
    house.topic("t").set_paused(true, house.now);
    house.publish_deferred("t", "not yet offered", SECOND);
    house.broker().save_metadata().unwrap();
    set(&mut house, -ahead_nanos);
    house.kill();
    house.topic("t").set_paused(false, house.now);
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    assert_eq!(counts(&cell.lock()), (0, 0, 3));
    house.pass(MAX_REQ_TIMEOUT);
    house.handle_timeout(&cell);
    assert_eq!(counts(&cell.lock()), (3, 0, 0));
    assert_eq!(house.take(&cell, ALICE).len(), 3);
}
