//! A real nsqd whose system calls take long or fail: strace holds them up. Said loudly where there is no strace.

use std::process::Command;
use std::time::{Duration, Instant};

use nsq_tests::{Frame, Nsqd, PATIENCE, RawClient, Start, say_loudly, wait_until};

/// How long each sync takes.
const SYNC_MICROS: u64 = 1_500_000;

/// An nsqd with these flags, to whose calls this is done, in strace's words.
fn nsqd_with(inject: &str, flags: &[&str]) -> Option<Nsqd> {
    nsqd_with_options(&["-e", &format!("inject={inject}")], flags)
}

/// An nsqd with these flags under a strace with these options.
fn nsqd_with_options(options: &[&str], flags: &[&str]) -> Option<Nsqd> {
    if Command::new("strace").arg("-V").output().is_err() {
        say_loudly("SKIPPED: strace is not on this machine, no system call was held up");
        return None;
    }
    // As a grandchild it is not in the way of signals.
    let strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null"];
    let wrapper = [&strace, options].concat();
    Some(Start::with(flags).through(&wrapper).now())
}

#[test]
fn publishers_do_not_wait_for_a_slow_disk_to_sync() {
    let inject = format!("fdatasync:delay_enter={SYNC_MICROS}");
    let flags = ["--sync-every=1", "--sync-timeout=10ms"];
    let Some(nsqd) = nsqd_with(&inject, &flags) else {
        return;
    };
    let mut client = nsqd.subscribe("t", "c", 100);
    let start = Instant::now();
    for index in 0..20 {
        let body = format!("{index}");
        client.publish("t", &body);
        let message = client.expect_body(&body);
        client.finish(&message);
    }
    // One of them would be enough to take that long.
    assert!(start.elapsed() < Duration::from_micros(SYNC_MICROS));
}

#[test]
fn a_synced_publish_is_answered_when_a_slow_disk_has_it() {
    let inject = format!("fdatasync:delay_enter={SYNC_MICROS}");
    let Some(nsqd) = nsqd_with(&inject, &["--sync-publish"]) else {
        return;
    };
    let mut client = nsqd.connect();
    let start = Instant::now();
    client.publish("t", "safe");
    assert!(start.elapsed() >= Duration::from_micros(SYNC_MICROS));
    // Meanwhile others were served.
    nsqd.subscribe("t", "c", 1).expect_body("safe");
}

#[test]
fn a_client_whose_publish_waits_for_a_slow_disk_is_given_messages_and_finishes_them_meanwhile() {
    let inject = format!("fdatasync:delay_enter={SYNC_MICROS}");
    let Some(nsqd) = nsqd_with(&inject, &["--sync-publish"]) else {
        return;
    };
    nsqd.connect().publish("t", "first");
    nsqd.connect().publish("t", "second");
    let mut client = nsqd.connect();
    client.subscribe("t", "c");
    let publish = RawClient::command("PUB other", b"waits");
    client.send(&[publish, b"RDY 1\n".to_vec()].concat());
    let message = client.expect_body("first");
    client.finish(&message);
    client.expect_body("second");
    client.expect_ok();
}

#[test]
fn a_failed_sync_refuses_the_publish_and_the_next_one_works() {
    // A start tries out a sync too, on a file of its own.
    let log = "{folder}/topics/t.topic/main.00000000.log";
    let options = ["-P", log, "-e", "inject=fdatasync:error=EIO:when=1"];
    let Some(nsqd) = nsqd_with_options(&options, &["--sync-publish"]) else {
        return;
    };
    let mut client = nsqd.connect();
    client.send_with_body("PUB t", b"perhaps");
    match client.next_frame(PATIENCE) {
        Ok(Frame::Error(text)) => {
            assert!(text.starts_with("E_PUB_FAILED PUB failed "), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert!(nsqd.get("/ping").text().starts_with("NOK - "));
    // strace counts the calls of each thread, and any of them may be the one that syncs.
    wait_until("a publish is answered", PATIENCE, || {
        let mut client = nsqd.connect();
        client.send_with_body("PUB t", b"safe");
        client.next_frame(PATIENCE) == Ok(Frame::Response("OK".into()))
    });
    wait_until("nsqd is well again", PATIENCE, || {
        nsqd.get("/ping").text() == "OK"
    });
    // Refused messages may still come: they were written.
    let mut consumer = nsqd.subscribe("t", "c", 100);
    while consumer.expect_message().text() != "safe" {}
}

#[test]
fn a_failed_write_refuses_the_publish_and_loses_nothing_before_or_after() {
    let Some(mut nsqd) = nsqd_with("pwrite64:error=EIO:when=5+20", &[]) else {
        return;
    };
    let mut accepted = vec![];
    let mut refused = 0;
    let mut client = nsqd.connect();
    for index in 0..100 {
        let body = format!("{index}");
        client.send_with_body("PUB t", body.as_bytes());
        match client.next_frame(PATIENCE) {
            Ok(Frame::Response(text)) if text == "OK" => accepted.push(body),
            Ok(Frame::Error(text)) => {
                assert!(text.starts_with("E_PUB_FAILED PUB failed "), "{text}");
                refused += 1;
                client = nsqd.connect();
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0, "no write failed");
    nsqd.kill9();
    nsqd.start_again();
    let mut consumer = nsqd.subscribe("t", "c", 100);
    for body in accepted {
        let message = consumer.expect_body(&body);
        consumer.finish(&message);
    }
    consumer.expect_silence();
}

/// What is ephemeral is in memory only: whatever the disk does is nothing to it.
#[test]
fn an_ephemeral_topic_needs_no_disk() {
    // The first call of each thread works: those of the main thread try the disk out at the start.
    let inject = "pwrite64,fallocate,ftruncate,fdatasync,msync:error=EIO:when=2+";
    let Some(nsqd) = nsqd_with(inject, &["--sync-publish"]) else {
        return;
    };
    let mut client = nsqd.subscribe("t#ephemeral", "c#ephemeral", 10);
    for index in 0..100 {
        let body = format!("{index}");
        client.publish("t#ephemeral", &body);
        let message = client.expect_body(&body);
        client.finish(&message);
    }
    wait_until("the disk fails", PATIENCE, || {
        let mut client = nsqd.connect();
        client.send_with_body("PUB t", b"on the disk");
        matches!(client.next_frame(PATIENCE), Ok(Frame::Error(_)))
    });
}
