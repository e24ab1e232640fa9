//! Kills in the middle of a long import.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use nsq_tests::{Frame, Nsqd, PATIENCE, Start, wait_until};

use crate::upstream_folder::{numbered, queue_file_count, write_queue};

const TOPIC_COUNT: u64 = 150_000;
const CHANNEL_COUNT: u64 = 50_000;
const KILLS: u32 = 8;

#[test]
fn kills_while_it_imports_lose_nothing_and_double_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    write_queue(folder.path(), "t", numbered("topic", TOPIC_COUNT));
    write_queue(folder.path(), "t:c", numbered("channel", CHANNEL_COUNT));
    let undisturbed = {
        let started = Instant::now();
        Start::default().on_copy_of(folder.path()).now();
        started.elapsed()
    };
    let mut nsqd = Start::default().on_copy_of(folder.path()).later();
    let mut interrupted = 0;
    for round in 0..KILLS {
        nsqd.start_blindly();
        let lifetime = undisturbed * round / KILLS;
        wait_for(lifetime);
        nsqd.kill9();
        interrupted += u32::from(queue_file_count(nsqd.folder()) > 0);
    }
    assert!(interrupted > 1, "the import was never hit");
    nsqd.start_again();
    assert_eq!(queue_file_count(nsqd.folder()), 0);
    nsqd.wait_for_channel(
        "t",
        "c",
        &[(
            "depth",
            i64::try_from(TOPIC_COUNT + CHANNEL_COUNT).expect("a small number"),
        )],
    );
    let counts = drain(&nsqd, TOPIC_COUNT + CHANNEL_COUNT);
    let mut wrong = Vec::new();
    for (prefix, count) in [("topic", TOPIC_COUNT), ("channel", CHANNEL_COUNT)] {
        let bodies = (0..count).map(|number| format!("{prefix}-{number}"));
        wrong.extend(bodies.filter(|body| counts.get(body) != Some(&1)));
    }
    assert!(
        wrong.is_empty(),
        "not once: {} such as {:?}",
        wrong.len(),
        wrong.first()
    );
}

/// Lets the daemon live for a while: a kill at a time of its own choosing would always hit the same place.
fn wait_for(time: Duration) {
    let end = Instant::now() + time;
    wait_until("its time is over", PATIENCE, || Instant::now() >= end);
}

fn drain(nsqd: &Nsqd, count: u64) -> HashMap<String, u32> {
    let mut counts = HashMap::new();
    let mut client = nsqd.subscribe("t", "c", 2500);
    for _ in 0..count {
        match client.next_frame(PATIENCE) {
            Ok(Frame::Message(message)) => {
                client.finish(&message);
                *counts.entry(message.text()).or_default() += 1;
            }
            other => panic!("{other:?} after {} messages", counts.len()),
        }
    }
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    counts
}
