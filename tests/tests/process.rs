//! nsqd as a process: flags, folders, signals, and what it leaves for its next start.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nsq_tests::{Nsqd, RawClient, Start, path_of_nsqd};
use rustix::process::Signal;

/// Runs it with these flags only, where it ends by itself: exit code, stdout, stderr.
fn run(flags: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(path_of_nsqd())
        .args(flags)
        .output()
        .expect("nsqd can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn version_is_told_in_upstreams_form() {
    for flag in ["--version", "-version"] {
        let (code, stdout, _) = run(&[flag]);
        assert_eq!(code, Some(0));
        assert!(
            stdout.starts_with("nsqd v1.3.0 (built w/") && stdout.ends_with(")\n"),
            "{stdout:?}"
        );
    }
}

#[test]
fn bad_flags_are_refused() {
    for flags in [
        &["--no-such-flag"][..],
        &["--max-msg-size=x"],
        &["--msg-timeout=5"],
        &["--log-level=loud"],
        &["--node-id=1024"],
        &["--snappy=maybe"],
    ] {
        let (code, stdout, stderr) = run(flags);
        assert!(matches!(code, Some(1 | 2)), "{flags:?}: {code:?}");
        assert!(
            stdout.is_empty() && !stderr.is_empty(),
            "{flags:?}: {stdout:?} {stderr:?}"
        );
    }
}

#[test]
fn flags_may_be_written_as_go_writes_them() {
    // One dash, values apart, no-ops of old, and a stray word that ends the flags.
    let nsqd = Nsqd::start(&[
        "--verbose",
        "--worker-id",
        "-msg-timeout",
        "5s",
        "--snappy",
        "false",
        "--max-msg-size=5",
    ]);
    assert_eq!(nsqd.get("/config/msg_timeout").text(), "5000000000");
    assert_eq!(nsqd.get("/config/snappy").text(), "true");
    assert_eq!(nsqd.get("/config/max_msg_size").text(), "1048576");
}

#[test]
fn a_missing_folder_is_refused() {
    let (code, _, stderr) = run(&[
        "--data-path=/nonexistent/folder",
        "--tcp-address=127.0.0.1:0",
        "--http-address=127.0.0.1:0",
    ]);
    assert_eq!(code, Some(1), "{stderr}");
}

#[test]
fn a_folder_has_one_nsqd() {
    let nsqd = Nsqd::start(&[]);
    let folder = format!("--data-path={}", nsqd.folder().display());
    let (code, _, stderr) = run(&[
        &folder,
        "--tcp-address=127.0.0.1:0",
        "--http-address=127.0.0.1:0",
    ]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("cannot flock directory"), "{stderr}");
    assert_eq!(nsqd.get("/ping").status, 200);
}

#[test]
fn metadata_must_be_whole_or_missing() {
    let mut nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=t");
    assert!(nsqd.terminate().success());
    let metadata = nsqd.folder().join("nsqd.dat");
    let text = fs::read_to_string(&metadata).expect("it was written");
    let (_, behind_the_first_line) = text.split_once('\n').expect("it has two lines");
    assert_eq!(
        behind_the_first_line,
        r#""topics":[{"name":"t","paused":false,"channels":null}],"version":"1.3.0"}"#
    );

    fs::write(&metadata, "").expect("the folder is ours");
    let (status, log) = nsqd.start_in_vain();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("failed to parse metadata"), "{log}");

    for good in [
        r#"{"topics":null,"version":"1.3.0"}"#,
        r#"{"topics":[{"name":"t","paused":true,"channels":null}]}"#,
    ] {
        fs::write(&metadata, good).expect("the folder is ours");
        nsqd.start_again();
        assert!(nsqd.terminate().success());
    }
    fs::remove_file(&metadata).expect("the folder is ours");
    nsqd.start_again();
}

#[test]
fn it_ends_promptly_whatever_its_clients_do() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut nsqd = Nsqd::start(&[]);
        let mut subscriber = nsqd.subscribe("t", "c", 1);
        subscriber.publish("t", "x");
        subscriber.expect_message();
        let mut idle = nsqd.connect();
        idle.identify(&serde_json::json!({}));
        let start = Instant::now();
        assert_eq!(nsqd.signal(signal).code(), Some(0));
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "it took {:?}",
            start.elapsed()
        );
        subscriber.expect_closed();
        idle.expect_closed();
    }
}

#[test]
fn a_connection_without_its_magic_does_not_hold_the_end_up() {
    let mut nsqd = Nsqd::start(&[]);
    let silent = RawClient::connect_silently(nsqd.tcp());
    let start = Instant::now();
    assert_eq!(nsqd.terminate().code(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "it took {:?}",
        start.elapsed()
    );
    drop(silent);
}

#[test]
fn it_comes_back_at_once_on_the_same_ports_and_folder() {
    let mut nsqd = Start::default().keeping_ports().now();
    for round in 0..10 {
        let mut client = nsqd.connect();
        client.publish("t", round.to_string());
        nsqd.kill9();
        client.expect_closed();
        nsqd.start_again();
    }
}

#[test]
fn leftovers_in_the_folder_do_not_stop_it() {
    let mut nsqd = Nsqd::start(&[]);
    nsqd.connect().publish("t", "x");
    nsqd.kill9();
    for name in [
        "nsqd.dat.123.tmp",
        "old.diskqueue.000000.dat.bad",
        "unrelated",
    ] {
        fs::write(nsqd.folder().join(name), "leftover").expect("the folder is ours");
    }
    nsqd.start_again();
    nsqd.connect().publish("t", "y");
}

#[test]
fn nothing_unfinished_is_lost_by_an_orderly_end() {
    let mut nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 40);
    let bodies: Vec<_> = (0..80).map(|index| format!("plain {index}")).collect();
    nsqd.connect().publish_many("t", &bodies);
    for index in 0..20 {
        client.send_with_body("DPUB t 100", format!("deferred {index}").as_bytes());
    }
    // 10 finished, 30 in flight, 20 deferred, the rest queued.
    let mut held = vec![];
    let mut oks = 0;
    while held.len() < 40 || oks < 20 {
        match client
            .next_frame(nsq_tests::PATIENCE)
            .expect("a frame comes")
        {
            nsq_tests::Frame::Message(message) => held.push(message),
            nsq_tests::Frame::Response(text) => {
                assert_eq!(text, "OK");
                oks += 1;
            }
            nsq_tests::Frame::Error(text) => panic!("{text}"),
        }
    }
    client.send_line("RDY 0");
    for message in held.drain(..10) {
        client.finish(&message);
    }
    nsqd.wait_for_channel("t", "c", &[("in_flight_count", 30)]);
    assert_eq!(nsqd.terminate().code(), Some(0));

    nsqd.start_again();
    let mut client = nsqd.subscribe("t", "c", 200);
    let mut again: Vec<_> = (0..90).map(|_| client.expect_message()).collect();
    client.expect_silence();
    again.sort_by_key(|message| message.id.clone());
    again.dedup_by_key(|message| message.id.clone());
    assert_eq!(again.len(), 90, "some came twice");
    let tried_before = again.iter().filter(|message| message.attempts == 2).count();
    assert_eq!(tried_before, 30);
    assert!(again.iter().all(|message| message.attempts <= 2));
    for message in &held {
        assert!(
            again
                .iter()
                .any(|other| other.id == message.id && other.attempts == 2),
            "{message:?}"
        );
    }
}
