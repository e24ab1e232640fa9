use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nsq_queue::diskqueue::{Message, Place, QueueWriter};

use super::ImportError;
use crate::broker::{Broker, Host, OpenError};
use crate::metadata;
use crate::peek::PeekLimits;
use crate::testing::{ALICE, Got, Notes, TestBroker, copy_folder, counts, finish_all, settings_in};
use crate::time::{Now, Tick};

thread_local! {
    static STEPS_LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Stops the import as a kill would, if the test planned one here.
pub(super) fn step() -> Result<(), ImportError> {
    match STEPS_LEFT.get() {
        Some(0) => Err(ImportError::Stopped),
        Some(left) => {
            STEPS_LEFT.set(Some(left - 1));
            Ok(())
        }
        None => Ok(()),
    }
}

const ID_BASE: u64 = 0x1000_0000_0000_0000;
const THEN: i64 = 1_600_000_000_000_000_000;

/// Writes a queue of messages `<prefix>0`, `<prefix>1`... with ids and attempts that follow from the number.
fn write_queue(folder: &Path, queue: &str, prefix: &str, count: u64) {
    let mut writer = QueueWriter::new(folder, queue, 500);
    let base = ID_BASE + prefix.bytes().map(u64::from).sum::<u64>() * 10_000;
    for number in 0..count {
        let body = format!("{prefix}{number}");
        let message = Message {
            id: base + number,
            timestamp: THEN,
            attempts: u16::try_from(number % 4).unwrap(),
            body: body.as_bytes(),
            place: Place::default(),
        };
        writer.append(&message).unwrap();
    }
    writer.finish().unwrap();
}

fn write_registry(folder: &Path, text: &str) {
    fs::write(metadata::path(folder), text).unwrap();
}

fn numbered(prefix: &str, count: u64) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}{number}"))
        .collect()
}

/// A folder as upstream leaves it: a backlog in the topic, and another in one of its two channels.
fn upstream_folder(folder: &Path) {
    write_registry(
        folder,
        r#"{"topics":[{"name":"t","paused":false,"channels":[{"name":"c","paused":false},{"name":"d","paused":false}]},{"name":"alone","paused":false,"channels":null}],"version":"1.3.0"}"#,
    );
    write_queue(folder, "t", "topic", 30);
    write_queue(folder, "t:c", "channel", 40);
    write_queue(folder, "t:d", "none", 0);
    write_queue(folder, "alone", "alone", 5);
}

fn take_all(house: &TestBroker, topic: &str, channel: &str) -> Vec<Got> {
    let cell = house.channel(topic, channel);
    house.subscribe(&cell, ALICE, 100_000);
    let got = house.take(&cell, ALICE);
    finish_all(&cell, ALICE, &got);
    cell.lock().unsubscribe(ALICE);
    got
}

fn bodies(got: &[Got]) -> Vec<String> {
    got.iter().map(|message| message.body.clone()).collect()
}

fn queue_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".diskqueue.")).count()
}

#[test]
fn a_channel_gets_its_own_backlog_and_then_the_topics() {
    let mut house = TestBroker::with(|settings| upstream_folder(&settings.data_path));
    assert_eq!(queue_files(house.path()), 0);
    assert!(queue_files(&house.path().join("upstream-imported/1")) > 5);
    for _ in 0..2 {
        assert_eq!(house.channel("t", "c").lock().depth(), 70);
        assert_eq!(house.channel("t", "d").lock().depth(), 30);
        assert_eq!(house.topic("alone").stats().depth, 5);
        house.kill();
    }
    let got = take_all(&house, "t", "c");
    let wanted = [numbered("channel", 40), numbered("topic", 30)].concat();
    assert_eq!(bodies(&got), wanted);
    assert_eq!(got[3].attempts, 4);
    assert_eq!(got[4].attempts, 1);
    assert_eq!(bodies(&take_all(&house, "t", "d")), numbered("topic", 30));
    assert_eq!(
        bodies(&take_all(&house, "alone", "new")),
        numbered("alone", 5)
    );
    house.restart();
    assert_eq!(counts(&house.channel("t", "c").lock()), (0, 0, 0));
    let left = fs::read_dir(house.topic_folder("t").join("c.channel")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    let is_backlog = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("backlog");
    assert!(!left.iter().any(is_backlog), "{left:?}");
}

#[test]
fn what_is_out_of_a_backlog_comes_back_after_a_kill_and_keeps_its_attempts_after_a_stop() {
    let mut house = TestBroker::with(|settings| upstream_folder(&settings.data_path));
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    let got = house.take(&cell, ALICE);
    assert_eq!(got.len(), 10);
    finish_all(&cell, ALICE, &got[2..5]);
    house
        .requeue(&cell, ALICE, got[0].id, Duration::ZERO)
        .unwrap();
    house
        .requeue(&cell, ALICE, got[1].id, Duration::from_hours(1))
        .unwrap();
    house.restart();
    let cell = house.channel("t", "c");
    assert_eq!(counts(&cell.lock()), (66, 0, 1));
    house.subscribe(&cell, ALICE, 1000);
    let again = house.take(&cell, ALICE);
    assert_eq!(again.len(), 66);
    let ids: HashSet<_> = again.iter().map(|message| message.id).collect();
    assert_eq!(ids.len(), 66);
    let first = again
        .iter()
        .find(|message| message.id == got[0].id)
        .unwrap();
    assert_eq!(first.attempts, 2);
    let held = again
        .iter()
        .find(|message| message.id == got[9].id)
        .unwrap();
    assert_eq!(held.attempts, got[9].attempts + 1);
    house.kill();
    assert_eq!(counts(&house.channel("t", "c").lock()), (66, 0, 1));
    house.pass(Duration::from_hours(2));
    let cell = house.channel("t", "c");
    house.handle_timeout(&cell);
    assert_eq!(take_all(&house, "t", "c").len(), 67);
}

#[test]
fn a_look_at_a_channel_shows_its_backlog_first_and_not_what_is_out() {
    let mut house = TestBroker::with(|settings| upstream_folder(&settings.data_path));
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 3);
    assert_eq!(house.take(&cell, ALICE).len(), 3);
    let limits = PeekLimits {
        messages: 100,
        body_bytes: 100,
    };
    let queued = |house: &TestBroker| {
        let peek = house.channel("t", "c").peek(limits, house.now).unwrap();
        let bodies = peek.queued.into_iter();
        bodies
            .map(|message| String::from_utf8(message.body).unwrap())
            .collect::<Vec<_>>()
    };
    let order = [numbered("channel", 40), numbered("topic", 30)].concat();
    assert_eq!(queued(&house), order[3..]);
    // The messages that were in flight come back: after those that wait.
    house.restart();
    assert_eq!(queued(&house)[..67], order[3..]);
    let mut last = queued(&house)[67..].to_vec();
    last.sort();
    assert_eq!(last, order[..3]);
}

#[test]
fn emptying_a_channel_empties_its_backlog_too() {
    let mut house = TestBroker::with(|settings| upstream_folder(&settings.data_path));
    let cell = house.channel("t", "c");
    cell.lock().empty();
    assert_eq!(counts(&cell.lock()), (0, 0, 0));
    house.kill();
    assert_eq!(counts(&house.channel("t", "c").lock()), (0, 0, 0));
    assert_eq!(take_all(&house, "t", "d").len(), 30);
}

#[test]
fn a_paused_topic_keeps_its_backlog_and_gives_it_later() {
    let mut house = TestBroker::with(|settings| {
        upstream_folder(&settings.data_path);
        let path = metadata::path(&settings.data_path);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replacen("false", "true", 1)).unwrap();
    });
    for _ in 0..2 {
        assert_eq!(house.topic("t").stats().depth, 30);
        assert_eq!(house.channel("t", "c").lock().depth(), 40);
        house.restart();
    }
    house.topic("t").set_paused(false, house.now);
    assert_eq!(house.channel("t", "c").lock().depth(), 70);
    assert_eq!(house.channel("t", "d").lock().depth(), 30);
}

#[test]
fn queues_that_nothing_names_are_imported_and_what_cannot_be_named_stays() {
    let house = TestBroker::with(|settings| {
        let path = &settings.data_path;
        write_queue(path, "lost", "lost", 3);
        write_queue(path, "lost:found", "found", 4);
        for name in ["bad name", "t:", "e#ephemeral:c", "t:e#ephemeral", "a:b:c"] {
            write_queue(path, name, "x", 1);
        }
    });
    assert_eq!(queue_files(house.path()), 10);
    let got = take_all(&house, "lost", "found");
    assert_eq!(
        bodies(&got),
        [numbered("found", 4), numbered("lost", 3)].concat()
    );
    assert_eq!(house.broker().topics().len(), 1);
}

#[test]
fn what_upstream_added_to_a_folder_of_ours_is_added() {
    let mut house = TestBroker::new();
    house.channel("t", "c");
    house.publish_numbered("t", "ours", 10);
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 4);
    let got = house.take(&cell, ALICE);
    finish_all(&cell, ALICE, &got);
    upstream_folder(house.path());
    house.kill();
    // `d` came to be under upstream: what was published before is not for it.
    assert_eq!(bodies(&take_all(&house, "t", "d")), numbered("topic", 30));
    write_queue(house.path(), "t:c", "second", 7);
    house.kill();
    let wanted = [
        numbered("channel", 40),
        numbered("second", 7),
        numbered("ours", 10)[4..].to_vec(),
        numbered("topic", 30),
    ];
    assert_eq!(bodies(&take_all(&house, "t", "c")), wanted.concat());
    assert_eq!(queue_files(&house.path().join("upstream-imported/2")), 2);
}

#[test]
fn new_ids_are_above_all_imported_ones() {
    let mut house = TestBroker::with(|settings| write_queue(&settings.data_path, "t:c", "old", 1));
    // Far ahead of the clock here, as after one that went back.
    let imported = take_all(&house, "t", "c")[0].id.as_u64();
    house.publish("t", &["a"]);
    assert!(take_all(&house, "t", "c")[0].id.as_u64() > imported);
    let mut house_again =
        TestBroker::with(|settings| write_queue(&settings.data_path, "t:c", "old", 1));
    house_again.kill();
    house_again.publish("t", &["a"]);
    let got = take_all(&house_again, "t", "c");
    assert!(got[1].id.as_u64() > imported, "{got:?}");
    house.kill();
}

#[test]
fn upstream_is_locked_out_before_the_first_of_its_files_is_moved() {
    let origin = tempfile::tempdir().unwrap();
    mixed_folder(origin.path());
    let file_count = queue_files(origin.path());
    let [mut untouched, mut locked] = [0, 0];
    for first in 0.. {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(origin.path(), folder.path());
        let is_over = open_until(folder.path(), first).is_ok();
        let registry = fs::read_to_string(metadata::path(folder.path())).unwrap();
        if registry.starts_with(r#"{"TOPICS":"STOP: "#) {
            locked += 1;
        } else {
            untouched += 1;
            assert_eq!(queue_files(folder.path()), file_count, "at {first}");
        }
        if is_over {
            break;
        }
    }
    // A failed import leaves upstream its data path; a kill later on does not.
    assert!(untouched > 1 && locked > 1, "{untouched} {locked}");
}

#[test]
fn a_kill_at_any_step_loses_nothing_and_doubles_nothing() {
    let origin = tempfile::tempdir().unwrap();
    mixed_folder(origin.path());
    let mut wanted = None;
    for first in 0.. {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(origin.path(), folder.path());
        let is_over = open_until(folder.path(), first).is_ok();
        // And a second kill on the way back.
        let _ = open_until(folder.path(), first % 7);
        let broker = open_until(folder.path(), usize::MAX).unwrap();
        let all = contents(&broker);
        assert_eq!(queue_files(folder.path()), 0, "at {first}");
        match &wanted {
            None => wanted = Some(all),
            Some(wanted) => assert_eq!(&all, wanted, "at {first}"),
        }
        if is_over {
            assert!(first > 20, "only {first} steps");
            break;
        }
    }
    let wanted = wanted.unwrap();
    assert_eq!(wanted["t:c"].len(), 6 + 40 + 30);
    assert_eq!(wanted["t:d"].len(), 30);
    assert_eq!(wanted["alone:late"].len(), 5);
}

/// Ours, with upstream's added.
fn mixed_folder(folder: &Path) {
    let mut house = TestBroker::new();
    house.channel("t", "c");
    house.publish_numbered("t", "ours", 10);
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 4);
    let got = house.take(&cell, ALICE);
    finish_all(&cell, ALICE, &got);
    house.restart();
    copy_folder(house.path(), folder);
    upstream_folder(folder);
}

/// Opens the folder, with a kill after so many steps of the import.
fn open_until(folder: &Path, steps: usize) -> Result<Broker, OpenError> {
    let settings = settings_in(folder);
    let now = Now {
        tick: Tick::from_nanos(5_000_000_000),
        unix_nanos: 1_700_000_000_000_000_000,
    };
    STEPS_LEFT.set(Some(steps));
    let opened = Broker::open(settings, Arc::<Notes>::default() as Arc<dyn Host>, now);
    STEPS_LEFT.set(None);
    opened
}

/// Everything there is, by channel, in order.
fn contents(broker: &Broker) -> BTreeMap<String, Vec<(String, u64, u16)>> {
    let house = TestBroker::new();
    let late = nsq_protocol::ChannelName::try_from("late").unwrap();
    let mut all = BTreeMap::new();
    for topic in broker.topics() {
        if topic.name().as_str() == "alone" {
            topic.get_or_create_channel(&late, house.now).unwrap();
        }
        for cell in topic.channels() {
            house.subscribe(&cell, ALICE, 1);
            let mut got = Vec::new();
            // One by one: of two with one id that are out at once, the channel would drop the second.
            while cell.lock().depth() > 0 {
                let message = house.take_one(&cell, ALICE);
                cell.lock().finish(ALICE, message.id, house.now).unwrap();
                got.push((message.body, message.id.as_u64(), message.attempts));
            }
            all.insert(format!("{}:{}", topic.name(), cell.name()), got);
        }
    }
    all
}

#[test]
fn a_file_written_after_the_commit_is_imported_too() {
    let folder = tempfile::tempdir().unwrap();
    write_queue(folder.path(), "t:c", "first", 3);
    let mut steps = 0;
    // Until the files are about to be put aside.
    loop {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        let opened = open_until(copy.path(), steps);
        assert!(opened.is_err(), "never committed");
        let journal = fs::read_to_string(copy.path().join("upstream-imported/under-way.json"));
        if journal.is_ok_and(|text| text.contains("copied")) {
            for name in ["t:c.diskqueue.000000.dat", "t:c.diskqueue.meta.dat"] {
                fs::remove_file(copy.path().join(name)).unwrap();
            }
            write_queue(copy.path(), "t:c", "second", 4);
            let broker = open_until(copy.path(), usize::MAX).unwrap();
            assert_eq!(contents(&broker)["t:c"].len(), 7);
            return;
        }
        steps += 1;
    }
}

/// An id that is none of ours may stand in upstream's files; above it there is no room.
#[test]
fn ids_stay_ours_beside_a_foreign_one() {
    let mut house = TestBroker::with(|settings| {
        let mut writer = QueueWriter::new(&settings.data_path, "t", 500);
        let message = Message {
            id: u64::MAX,
            timestamp: THEN,
            attempts: 1,
            body: b"foreign",
            place: Place::default(),
        };
        writer.append(&message).unwrap();
        writer.finish().unwrap();
    });
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    let foreign = house.take_one(&cell, ALICE).id;
    house
        .requeue(&cell, ALICE, foreign, Duration::ZERO)
        .unwrap();
    house.kill();
    house.publish("t", &["a"]);
    let got = take_all(&house, "t", "c");
    let mut ids: Vec<_> = got.iter().map(|message| message.id.as_u64()).collect();
    ids.sort_unstable();
    let [ours, u64::MAX] = ids[..] else {
        panic!("{ids:x?}");
    };
    assert!((1 << 60..1 << 63).contains(&ours), "{ours:x}");
}

#[test]
fn a_damaged_journal_stops_the_start() {
    check_journal("{");
}

/// Files are cut and moved on its word: it must not lead out of where an import has to do.
#[test]
fn a_journal_that_names_anything_else_stops_the_start() {
    let file = |name: &str| format!(r#"{{"name":"{name}","bytes":1,"modified":[0,0]}}"#);
    for (folder, topic, file) in [
        ("../1", "t", file("t.diskqueue.000000.dat")),
        ("", "t", file("t.diskqueue.000000.dat")),
        ("1", "../t", file("t.diskqueue.000000.dat")),
        ("1", "t", file("../t.diskqueue.000000.dat")),
        ("1", "t", file("nsqd.dat")),
    ] {
        let target = format!(r#"{{"topic":"{topic}","channel":null,"end":0}}"#);
        check_journal(&format!(
            r#"{{"phase":"copied","folder":"{folder}","targets":[{target}],"files":[{file}]}}"#
        ));
    }
}

#[track_caller]
fn check_journal(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("upstream-imported")).unwrap();
    let journal = folder.path().join("upstream-imported/under-way.json");
    fs::write(&journal, text).unwrap();
    let Err(error) = open_until(folder.path(), usize::MAX) else {
        panic!("it started");
    };
    let error = error.to_string();
    assert!(error.contains(&journal.display().to_string()), "{error}");
}
