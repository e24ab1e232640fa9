//! A data path in the first form that this project wrote, `tests/data/data_path_v1`: it opens unchanged.
//!
//! It was left by a killed nsqd, and holds every kind of file: two channels with finished, requeued, timed-out and deferred
//! messages, one of them paused; a copy in a private log; an inherited log; a paused topic and one without a channel;
//! ephemeral neighbours, of which nothing is written; a deleted channel whose files were not removed yet. The text next to
//! it lists what that version found there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::inspect::{Inspection, Stored};
use crate::testing::{ALICE, TestBroker, copy_folder, finish_all};
use crate::{Now, StoreError, Tick};

/// When the nsqd was killed, or a little later.
const LATER: Now = Now {
    tick: Tick::from_nanos(5_000_000_000),
    unix_nanos: 1_700_000_100_000_000_000,
};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/data_path_v1")
}

fn expected() -> String {
    std::fs::read_to_string(fixture().with_extension("txt")).unwrap()
}

/// What an inspection finds, in the form of the text.
fn found(data_path: &Path) -> String {
    let inspection = Inspection::of(data_path, true).unwrap();
    assert_eq!(inspection.damage_count(), 0, "{:?}", inspection.findings);
    let mut lines = Vec::new();
    let line = |message: Stored<'_>| {
        let body = String::from_utf8_lossy(message.body);
        let (id, timestamp) = (message.id, message.timestamp);
        format!(
            "{id} {timestamp} {} {} {body}",
            message.attempts, message.due
        )
    };
    for topic in &inspection.topics {
        lines.push(format!(
            "topic {} paused {} waiting {}",
            topic.name, topic.paused, topic.waiting
        ));
        let waiting = topic.for_each_waiting(|message| {
            lines.push(format!("  waits {}", line(message)));
            Ok::<_, StoreError>(())
        });
        waiting.unwrap();
        for channel in &topic.channels {
            lines.push(format!(
                " channel {} paused {}",
                channel.name, channel.paused
            ));
            let unfinished = channel.for_each_unfinished(|message| {
                lines.push(format!("  {}", line(message)));
                Ok::<_, StoreError>(())
            });
            unfinished.unwrap();
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn an_inspection_of_a_data_path_of_version_1_finds_what_that_version_found() {
    assert_eq!(found(&fixture()), expected());
}

/// The unfinished messages of each channel: body, and attempts so far.
fn by_channel(text: &str) -> BTreeMap<String, Vec<(String, u16)>> {
    let mut channels = BTreeMap::new();
    let (mut topic, mut channel) = ("", String::new());
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["topic", name, ..] = words[..] {
            topic = name;
        } else if let ["channel", name, ..] = words[..] {
            channel = format!("{topic}:{name}");
            channels.insert(channel.clone(), Vec::new());
        } else if words[0] != "waits" {
            let body = line.trim_start().splitn(5, ' ').nth(4).unwrap();
            let messages: &mut Vec<_> = channels.get_mut(&channel).unwrap();
            messages.push((body.to_owned(), words[2].parse().unwrap()));
        }
    }
    for messages in channels.values_mut() {
        messages.sort();
    }
    channels
}

#[test]
fn a_data_path_of_version_1_is_served_as_it_was_left() {
    let mut house = TestBroker::with(|settings| {
        copy_folder(&fixture(), &settings.data_path);
    });
    house.now = LATER;
    house.kill();
    assert_eq!(
        house
            .topic("orders")
            .channel("mail")
            .map(|cell| cell.lock().is_paused()),
        Some(true)
    );
    assert!(house.topic("paused").is_paused());
    assert_eq!(house.topic("paused").stats().depth, 4);
    assert_eq!(house.topic("alone").stats().depth, 3);
    assert!(house.topic("orders").channel("deleted").is_none());
    let expected = by_channel(&expected());
    for topic in house.broker().topics() {
        for cell in topic.channels() {
            let name = format!("{}:{}", topic.name(), cell.name());
            cell.lock().set_paused(false);
            house.subscribe(&cell, ALICE, 1000);
            let mut got = house.take(&cell, ALICE);
            finish_all(&cell, ALICE, &got);
            // The last one is due within that time.
            house.pass(Duration::from_hours(3));
            house.handle_timeout(&cell);
            got.extend(house.take(&cell, ALICE));
            let delivered = got.into_iter().map(|got| (got.body, got.attempts - 1));
            let mut delivered: Vec<_> = delivered.collect();
            delivered.sort();
            assert_eq!(delivered, expected[&name], "{name}");
        }
    }
}
