//! nsq_to_file: what it writes, where, and when.

use std::fs;
use std::process::Command;

use nsq_tests::{PATIENCE, say_loudly};
use rustix::process::Signal;

use crate::archive::{Bench, CHANNEL, TOPIC};

#[test]
fn a_plain_file_gets_every_message_and_the_next_run_goes_on_in_it() {
    let bench = Bench::new();
    for round in [[1, 2], [3, 4]] {
        let mut tool = bench.archive(&[]);
        bench.publish(round);
        bench.wait_until_all_is_finished();
        assert!(tool.terminate().success());
    }
    let files = [("numbers.here.now.log", "1\n2\n3\n4\n")];
    bench.wait_for_files("out", &files);
}

#[test]
fn a_hangup_closes_a_file_of_the_work_folder_and_the_next_message_opens_another() {
    let bench = Bench::new();
    let mut tool = bench.archive(&["--work-dir={folder}/work", "--skip-empty-files"]);
    bench.publish([1]);
    bench.wait_until_all_is_finished();
    assert_eq!(bench.files("out"), []);
    tool.notify(Signal::HUP);
    bench.wait_for_files("out", &[("numbers.here-000000.now.log", "1\n")]);
    bench.publish([2]);
    bench.wait_until_all_is_finished();
    assert!(tool.terminate().success());
    let files = [
        ("numbers.here-000000.now.log", "1\n"),
        ("numbers.here-000001.now.log", "2\n"),
    ];
    bench.wait_for_files("out", &files);
    assert_eq!(bench.files("work"), []);
}

#[test]
fn files_rotate_by_size_and_by_age() {
    let bench = Bench::new();
    let mut tool = bench.archive(&["--rotate-size=5", "--gzip"]);
    bench.publish([111, 222, 333]);
    bench.wait_until_all_is_finished();
    assert!(tool.terminate().success());
    let files = [
        ("numbers.here-000000.now.log.gz", "111\n222\n"),
        ("numbers.here-000001.now.log.gz", "333\n"),
    ];
    bench.wait_for_files("out", &files);

    let bench = Bench::new();
    let mut tool = bench.archive(&["--rotate-interval=1s", "--skip-empty-files"]);
    bench.publish([1]);
    let line = tool
        .log()
        .wait_for("since last open, rotating...", PATIENCE);
    assert!(line.is_some());
    bench.publish([2]);
    bench.wait_until_all_is_finished();
    assert!(tool.terminate().success());
    let files = [
        ("numbers.here-000000.now.log", "1\n"),
        ("numbers.here-000001.now.log", "2\n"),
    ];
    bench.wait_for_files("out", &files);
}

#[test]
fn an_empty_file_comes_with_the_first_tick_unless_those_are_skipped() {
    let bench = Bench::new();
    let mut tool = bench.archive(&[]);
    bench.wait_for_files("out", &[("numbers.here.now.log", "")]);
    assert!(tool.terminate().success());
}

#[test]
fn a_folder_that_cannot_be_made_ends_it_and_the_messages_stay() {
    let bench = Bench::new();
    fs::write(bench.path("out"), "a file").expect("the file can be written");
    let mut tool = bench.archive(&[]);
    bench.publish([1]);
    assert_eq!(tool.wait_for_exit().code(), Some(1));
    let fatal = "FATAL: [numbers/nsq_to_file] unable to create dir: ";
    assert!(tool.log().wait_for(fatal, PATIENCE).is_some());
    drop(tool);
    fs::remove_file(bench.path("out")).expect("the file can be removed");
    let _tool = bench.archive(&[]);
    bench.wait_for_files("out", &[("numbers.here.now.log", "1\n")]);
}

#[test]
fn messages_are_synced_in_time_however_long_the_interval() {
    let bench = Bench::new();
    let mut tool = bench.archive(&["--sync-interval=1h"]);
    bench.publish([1, 2, 3]);
    // None of the reasons to sync comes before nsqd's patience of two seconds ends.
    bench.wait_until_all_is_finished();
    let channel = bench.nsqd.channel(TOPIC, CHANNEL);
    assert_eq!(channel["timeout_count"], 0, "{channel}");
    assert!(tool.terminate().success());
    bench.wait_for_files("out", &[("numbers.here.now.log", "1\n2\n3\n")]);
}

/// strace makes every sync take longer than nsqd waits for an answer.
#[test]
fn what_waits_for_a_slow_disk_does_not_come_twice() {
    const SLOW: [&str; 8] = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o/dev/null",
        "-etrace=fsync,fdatasync",
        "-einject=fsync,fdatasync:delay_enter=2500000",
        "--",
    ];
    let can_trace = Command::new(SLOW[0]).args(&SLOW[1..]).arg("true").status();
    if !can_trace.is_ok_and(|status| status.success()) {
        say_loudly("NO STRACE: nsq_to_file on a slow disk was not tried");
        return;
    }
    let bench = Bench::new();
    let mut tool = bench.archive_through(&SLOW, &[]);
    bench.publish([1]);
    tool.wait_for_line("syncing 1 records to disk");
    bench.publish([2, 3]);
    bench.wait_until_all_is_finished();
    let channel = bench.nsqd.channel(TOPIC, CHANNEL);
    assert_eq!(channel["timeout_count"], 0, "{channel}");
    assert!(tool.terminate().success());
    bench.wait_for_files("out", &[("numbers.here.now.log", "1\n2\n3\n")]);
}

#[test]
fn a_message_that_is_given_up_is_told_and_counted() {
    let bench = Bench::new();
    bench.publish([1, 2]);
    let mut client = bench.nsqd.subscribe(TOPIC, CHANNEL, 2);
    client.expect_message();
    client.expect_message();
    drop(client);
    bench.publish([3]);
    let mut tool = bench.archive(&["--consumer-opt=max_attempts,1"]);
    for count in [1, 2] {
        let lost = "is NOT in the archive: finished at delivery";
        let line = tool.wait_for_line(&format!("(max_attempts), {count} of them so far"));
        assert!(line.contains(lost), "{line}");
    }
    bench.wait_until_all_is_finished();
    assert!(tool.terminate().success());
    bench.wait_for_files("out", &[("numbers.here.now.log", "3\n")]);
}
