use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Counts, Finding, Inspection};
use crate::channel::Budget;
use crate::error::StoreError;
use crate::testing::{ALICE, PLENTY, SECOND, TestBroker, copy_folder, counts, finish_all};

/// Id, attempts and body of everything unfinished, by channel; and of what waits, by topic.
fn contents(survey: &Inspection) -> BTreeMap<String, BTreeSet<(u64, u16, String)>> {
    let mut all = BTreeMap::new();
    for topic in &survey.topics {
        let mut waiting = BTreeSet::new();
        let visit = |message: super::Stored<'_>| {
            let body = String::from_utf8(message.body.to_vec()).unwrap();
            assert!(waiting.insert((message.id, message.attempts, body)));
            Ok::<_, StoreError>(())
        };
        topic.for_each_waiting(visit).unwrap();
        all.insert(topic.name.to_string(), waiting);
        for channel in &topic.channels {
            let mut unfinished = BTreeSet::new();
            let visit = |message: super::Stored<'_>| {
                let body = String::from_utf8(message.body.to_vec()).unwrap();
                assert!(
                    unfinished.insert((message.id, message.attempts, body)),
                    "twice"
                );
                Ok::<_, StoreError>(())
            };
            channel.for_each_unfinished(visit).unwrap();
            all.insert(format!("{}:{}", topic.name, channel.name), unfinished);
        }
    }
    all
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

/// A house in which a bit of everything happened.
fn busy_house() -> TestBroker {
    let mut house = TestBroker::new();
    house.publish_numbered("waiting", "w", 7);
    house.publish_deferred("waiting", "later", Duration::from_hours(9));
    let cell = house.channel("t", "c");
    house.channel("t", "untouched");
    house.publish_numbered("t", "m", 400);
    for at in 0..5 {
        house.publish_deferred("t", &format!("d{at}"), Duration::from_hours(1 + at));
    }
    house.subscribe(&cell, ALICE, 100);
    let got = house.take(&cell, ALICE);
    house
        .requeue(&cell, ALICE, got[3].id, Duration::ZERO)
        .unwrap();
    house
        .requeue(&cell, ALICE, got[4].id, Duration::from_hours(3))
        .unwrap();
    finish_all(&cell, ALICE, &got[10..]);
    // Those that stay out are moved out of the way: some of the copies count, some not yet.
    for round in 0..3 {
        cell.lock().maintain(house.now);
        if round == 0 {
            house.topic("t").sync(house.now).unwrap();
        }
        let more = Budget {
            messages: 60,
            ..PLENTY
        };
        let (got, _) = house.take_within(&cell, ALICE, more);
        finish_all(&cell, ALICE, &got);
    }
    assert!(
        house
            .topic_folder("t")
            .join("c.channel/private.00000000.log")
            .exists()
    );
    house.pass(SECOND);
    house
}

#[track_caller]
fn check_against_a_start(mut house: TestBroker) {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(house.path(), copy.path());
    let before = files(copy.path());
    let survey = Inspection::of(copy.path(), true).unwrap();
    assert_eq!(files(copy.path()), before);
    assert_eq!(survey.damage_count(), 0, "{:?}", survey.findings);
    let found = contents(&survey);
    house.kill();
    let opened = house.now.unix_nanos;
    for topic in house.broker().topics() {
        assert_eq!(
            found[topic.name().as_str()].len() as u64,
            topic.stats().depth
        );
        for cell in topic.channels() {
            let name = format!("{}:{}", topic.name(), cell.name());
            let (queued, _, deferred) = counts(&cell.lock());
            let surveyed = survey
                .topics
                .iter()
                .flat_map(|topic| &topic.channels)
                .find(|channel| channel.name == *cell.name())
                .unwrap();
            let Counts {
                queued: queued_found,
                deferred: deferred_found,
                ..
            } = surveyed.counts(opened).unwrap();
            assert_eq!(
                (queued_found, deferred_found),
                (queued, deferred as u64),
                "{name}"
            );
            house.pass(Duration::from_hours(100));
            house.handle_timeout(&cell);
            house.subscribe(&cell, ALICE, 10_000);
            let got = house.take(&cell, ALICE).into_iter();
            let got: BTreeSet<_> = got
                .map(|message| (message.id.as_u64(), message.attempts - 1, message.body))
                .collect();
            assert_eq!(found[&name], got, "{name}");
        }
    }
}

#[test]
fn a_survey_of_what_a_kill_leaves_finds_what_a_start_finds() {
    check_against_a_start(busy_house());
}

#[test]
fn a_survey_of_what_a_stop_leaves_finds_what_a_start_finds() {
    let mut house = busy_house();
    house.restart();
    house.topic("t").set_paused(true, house.now);
    house.publish_numbered("t", "held", 20);
    check_against_a_start(house);
}

#[test]
fn an_empty_folder_has_nothing_and_nothing_is_made_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let survey = Inspection::of(folder.path(), true).unwrap();
    assert!(survey.topics.is_empty());
    assert_eq!(survey.damage_count(), 0);
    assert_eq!(files(folder.path()).len(), 0);
    assert!(!folder.path().join("topics").exists());
}

#[test]
fn damage_is_told_with_its_file_and_what_is_strange_with_its_name() {
    let house = busy_house();
    let copy = tempfile::tempdir().unwrap();
    copy_folder(house.path(), copy.path());
    let folder = copy.path().join("topics/t.topic");
    let logs = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = logs
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("main.0")
        })
        .collect();
    logs.sort();
    let mut bytes = fs::read(&logs[1]).unwrap();
    bytes[1000] ^= 1;
    fs::write(&logs[1], bytes).unwrap();
    let finished = folder.join("c.channel/main.marks");
    fs::write(&finished, b"nonsense").unwrap();
    let stray = copy.path().join("topics/t.topic/notes.txt");
    fs::write(&stray, b"").unwrap();
    let before = files(copy.path());
    let survey = Inspection::of(copy.path(), true).unwrap();
    assert_eq!(files(copy.path()), before);
    assert_eq!(survey.damage_count(), 2, "{:?}", survey.findings);
    let has = |wanted: &dyn Fn(&Finding) -> bool| survey.findings.iter().any(wanted);
    let names = |text: &str, path: &Path| text.starts_with(&path.display().to_string());
    assert!(has(
        &|finding| matches!(finding, Finding::Damage(text) if names(text, &logs[1]))
    ));
    assert!(has(
        &|finding| matches!(finding, Finding::Damage(text) if names(text, &finished))
    ));
    assert!(has(
        &|finding| matches!(finding, Finding::Notice(text) if names(text, &stray))
    ));
}

/// Topics and channels by name.
fn names(house: &TestBroker) -> BTreeMap<String, Vec<String>> {
    let topics = house.broker().topics().into_iter().map(|topic| {
        let channels = topic.channels().into_iter();
        let channels = channels.map(|cell| cell.name().to_string());
        (topic.name().to_string(), channels.collect())
    });
    topics.collect()
}

#[test]
fn what_was_deleted_and_is_still_named_is_as_gone_as_for_a_start() {
    let mut house = TestBroker::new();
    for topic in ["kept", "made again", "gone"].map(|name| name.replace(' ', "_")) {
        for channel in ["kept", "gone", "made_again"] {
            house.channel(&topic, channel);
        }
        house.publish(&topic, &["m"]);
    }
    house.broker().save_metadata().unwrap();
    // nsqd is killed before it has written what follows.
    house.topic("kept").delete_channel("gone");
    house.topic("kept").delete_channel("made_again");
    house.channel("kept", "made_again");
    house.broker().delete_topic("made_again");
    house.channel("made_again", "other");
    house.broker().delete_topic("gone");
    let left = tempfile::tempdir().unwrap();
    copy_folder(house.path(), left.path());
    let inspection = Inspection::of(left.path(), true).unwrap();
    assert_eq!(inspection.damage_count(), 0, "{:?}", inspection.findings);
    let topics = inspection.topics.iter().map(|topic| {
        let channels = topic.channels.iter();
        let channels = channels.map(|channel| channel.name.to_string());
        (topic.name.to_string(), channels.collect::<Vec<_>>())
    });
    let inspected: BTreeMap<_, _> = topics.collect();
    house.kill();
    assert_eq!(inspected, names(&house));
    let channels: Vec<_> = inspected
        .values()
        .map(|channels| channels.join(" "))
        .collect();
    assert_eq!(channels, ["kept made_again", "other"]);
}
