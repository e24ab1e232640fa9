//! nsqd in a control group with little memory: what lies on the disk is no load on it. Said loudly where no group can be
//! made.

use std::fs;
use std::path::{Path, PathBuf};

use nsq_tests::{PATIENCE, Start, say_loudly};

const LIMIT_BYTES: u64 = 48 << 20;
/// Six times the limit.
const MESSAGES: usize = 4800;
const BODY_BYTES: usize = 60_000;
const BATCH: usize = 50;

/// A group of its own, gone when dropped.
struct Group(PathBuf);

impl Group {
    fn with_limit(bytes: u64) -> Option<Group> {
        let name = format!("nsq-test-{}", std::process::id());
        let kinds = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        for (parent, limit) in kinds {
            let folder = Path::new(parent).join(&name);
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Group(folder);
            if group.0.join(limit).exists()
                && fs::write(group.0.join(limit), bytes.to_string()).is_ok()
            {
                return Some(group);
            }
        }
        say_loudly("SKIPPED: no control group with a memory limit can be made here");
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its process was awaited before.
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_backlog_of_many_times_the_memory_limit_is_taken_and_delivered() {
    let Some(group) = Group::with_limit(LIMIT_BYTES) else {
        return;
    };
    let enter = format!(
        "echo $$ > {}/cgroup.procs && exec \"$@\"",
        group.0.display()
    );
    let nsqd = Start::default().through(&["sh", "-c", &enter, "sh"]).now();
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    let padding = "x".repeat(BODY_BYTES);
    let mut publisher = nsqd.connect();
    for first in (0..MESSAGES).step_by(BATCH) {
        let bodies: Vec<_> = (first..first + BATCH)
            .map(|index| format!("{index} {padding}"))
            .collect();
        publisher.publish_many("t", &bodies);
    }
    let mut consumer = nsqd.subscribe("t", "c", 100);
    for index in 0..MESSAGES {
        let message = match consumer.next_frame(PATIENCE) {
            Ok(nsq_tests::Frame::Message(message)) => message,
            other => panic!("{other:?} after {index} messages"),
        };
        assert_eq!(message.attempts, 1);
        assert!(message.text().starts_with(&format!("{index} ")));
        consumer.finish(&message);
    }
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    drop(nsqd);
}
