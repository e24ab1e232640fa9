//! Folders that upstream's daemon left; tests/data/upstream/README.md describes how each was made.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nsq_tests::{Frame, Nsqd, PATIENCE, Start};

use crate::upstream_folder::queue_file_count;

/// `topic, channel, id, attempts, timestamp, body`, as in the lists next to the folders.
type Row = (String, String, String, u16, i64, String);

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data/upstream")
        .join(name)
}

/// What upstream's own daemon delivered from a copy of the folder, or what stands in it beyond that.
fn rows(path: &Path) -> Vec<Row> {
    let Ok(text) = fs::read_to_string(path) else {
        return Vec::new();
    };
    let row = |line: &str| {
        let fields: Vec<_> = line.split('\t').collect();
        let text = |at: usize| fields[at].to_owned();
        let attempts = fields[3].parse().expect("a number");
        let timestamp = fields[4].parse().expect("a number");
        (text(0), text(1), text(2), attempts, timestamp, text(5))
    };
    text.lines().map(row).collect()
}

/// Takes all there is of these channels, and finishes it.
fn drain(nsqd: &Nsqd, wanted: &[Row]) -> Vec<Row> {
    let channels: BTreeSet<_> = wanted
        .iter()
        .map(|(topic, channel, ..)| (topic.clone(), channel.clone()))
        .collect();
    let mut found = Vec::new();
    for (topic, channel) in channels {
        nsqd.order(&format!("/topic/unpause?topic={topic}"));
        nsqd.order(&format!("/channel/create?topic={topic}&channel={channel}"));
        nsqd.order(&format!("/channel/unpause?topic={topic}&channel={channel}"));
        let depth = nsqd.channel(&topic, &channel)["depth"].as_u64();
        let mut client = nsqd.subscribe(&topic, &channel, 5);
        for _ in 0..depth.expect("the channel is there") {
            match client.next_frame(PATIENCE) {
                Ok(Frame::Message(message)) => {
                    client.finish(&message);
                    found.push((
                        topic.clone(),
                        channel.clone(),
                        message.id.clone(),
                        message.attempts - 1,
                        message.timestamp_nanos,
                        message.text(),
                    ));
                }
                other => panic!("{topic}/{channel}: {other:?} after {found:?}"),
            }
        }
        nsqd.wait_for_channel(&topic, &channel, &[("depth", 0), ("in_flight_count", 0)]);
    }
    found.sort();
    found
}

#[track_caller]
fn check(name: &str, flags: &[&str], told: &[&str]) {
    let case = case(name);
    let mut wanted = rows(&case.join("upstream-delivers.tsv"));
    wanted.extend(rows(&case.join("beyond-upstream.tsv")));
    wanted.sort();
    assert!(!wanted.is_empty());
    let mut nsqd = Start::with(flags).on_copy_of(&case.join("data")).now();
    assert_eq!(queue_file_count(nsqd.folder()), 0);
    let log = nsqd.log().text();
    for line in told {
        assert!(log.contains(line), "{line}\n{log}");
    }
    nsqd.kill9();
    nsqd.start_again();
    assert_eq!(drain(&nsqd, &wanted), wanted);
    nsqd.kill9();
    nsqd.start_again();
    for (topic, channel, ..) in &wanted {
        assert_eq!(nsqd.channel(topic, channel)["depth"], 0);
    }
}

#[test]
fn a_graceful_stop_leaves_everything() {
    let told = [
        "IMPORT(orders:ship): 17 messages",
        "IMPORT(waiting): 7 messages",
        "IMPORT: 44 messages of 3 disk queues",
    ];
    check("graceful", &[], &told);
}

#[test]
fn a_kill_leaves_metadata_that_lags() {
    let told = ["k.diskqueue.000000.dat continues after 670", "25 messages"];
    check("killed", &[], &told);
}

#[test]
fn two_kills_leave_a_file_that_the_metadata_does_not_know() {
    check("killed-twice", &[], &["continues after 330", "20 messages"]);
}

#[test]
fn a_kill_before_the_first_sync_leaves_no_metadata() {
    let told = ["k.diskqueue.meta.dat is missing or damaged", "5 messages"];
    check("killed-before-sync", &[], &told);
}

#[test]
fn a_file_that_was_given_up_gives_what_was_not_delivered() {
    let told =
        ["upstream gave up b.diskqueue.000000.dat.bad: imported from 330 on, after 10 messages"];
    check("bad-file", &["--max-msg-size=100"], &told);
}

#[test]
fn a_torn_tail_costs_the_last_message() {
    let told = ["x.diskqueue.000000.dat has no whole message from 264 to its end"];
    check("torn-tail", &[], &told);
}

#[test]
fn a_queue_goes_over_several_files() {
    let told = ["upstream gave up s.diskqueue.000000.dat.bad, but it is whole"];
    check("several-files", &[], &told);
}

#[test]
fn names_of_every_kind_are_understood() {
    check("names", &[], &["IMPORT: 12 messages of 8 disk queues"]);
}

#[test]
fn what_was_paused_is_paused() {
    let nsqd = Start::default().on_copy_of(&case("paused/data")).now();
    assert_eq!(nsqd.topic("held")["paused"], true);
    assert_eq!(nsqd.topic("held")["depth"], 6);
    assert_eq!(nsqd.channel("held", "c")["depth"], 0);
    assert_eq!(nsqd.channel("heldch", "c")["paused"], true);
    assert_eq!(nsqd.channel("heldch", "c")["depth"], 4);
    check("paused", &[], &[]);
}
