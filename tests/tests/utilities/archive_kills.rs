//! nsq_to_file killed again and again: every message is in the files, and every file is whole.

use nsq_tests::{PATIENCE, say_loudly, wait_until};

use crate::archive::{Bench, CHANNEL, TOPIC};

/// `ARCHIVE_KILLS` and `ARCHIVE_MESSAGES` have more of them.
const KILLS: usize = 6;
const MESSAGES: usize = 20_000;

#[test]
fn kills_lose_nothing_and_leave_no_torn_file() {
    let kills = number_from("ARCHIVE_KILLS", KILLS);
    let messages = number_from("ARCHIVE_MESSAGES", MESSAGES);
    for flags in [
        &["--gzip", "--work-dir={folder}/work"][..],
        &["--gzip"],
        &[],
    ] {
        check_kills(flags, kills, messages);
    }
}

#[track_caller]
fn check_kills(flags: &[&str], kills: usize, messages: usize) {
    let bench = Bench::new();
    let share = messages / kills;
    let mut published = 0;
    for kill in 0..kills {
        bench.publish(published..published + share);
        published += share;
        let mut tool = bench.archive(flags);
        tool.wait_for_line("syncing");
        // Somewhere between two syncs, sooner or later.
        let left = share * (kill % 10) / 10;
        wait_until("it gets that far", PATIENCE, || {
            let depth = bench.nsqd.channel(TOPIC, CHANNEL)["depth"].as_u64();
            let depth = depth.and_then(|depth| usize::try_from(depth).ok());
            depth.is_some_and(|depth| depth <= left)
        });
        tool.kill9();
    }
    let mut tool = bench.archive(flags);
    bench.wait_until_all_is_finished();
    assert!(tool.terminate().success());
    assert_eq!(bench.files("work"), [], "{flags:?}");
    let lines = bench.expect_numbers("out", published);
    if kills > KILLS {
        let files = bench.files("out").len();
        say_loudly(&format!(
            "{flags:?}: {kills} kills, {published} messages, {lines} lines in {files} files"
        ));
    }
}

fn number_from(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("it is a number"),
        Err(_) => default,
    }
}
