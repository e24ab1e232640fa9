//! A full disk and too few file handles: clear errors, nothing acknowledged lost, and then on as before.

use std::collections::HashSet;
use std::fs;

use nsq_tests::{Frame, Nsqd, PATIENCE, ReadEnd, Start, mount_wrapper, wait_until};

/// Mounts a small disk over the data folder, seen by the daemon alone.
const SMALL_DISK: &str = "mount -t tmpfs -o size=24m tmpfs {folder} && exec \"$@\"";

/// More than enough to fill it.
const BODY_BYTES: usize = 10_000;
const MOST_PUBLISHES: usize = 10_000;

fn nsqd_on_a_small_disk(flags: &[&str]) -> Option<Nsqd> {
    let [unshare, option] = mount_wrapper()?;
    let wrapper = [unshare, option, "sh", "-c", SMALL_DISK, "sh"];
    Some(Start::with(flags).through(&wrapper).now())
}

/// Publishes `prefix-0`, `prefix-1`... padded to their size, until nsqd refuses; how many it took.
fn publish_until_refused(nsqd: &Nsqd, prefix: &str) -> usize {
    let mut client = nsqd.connect();
    for index in 0..MOST_PUBLISHES {
        client.send_with_body("PUB t", padded(prefix, index).as_bytes());
        match client.next_frame(PATIENCE) {
            Ok(Frame::Response(text)) if text == "OK" => {}
            Ok(Frame::Error(text)) => {
                assert!(text.starts_with("E_PUB_FAILED PUB failed "), "{text}");
                client.expect_closed();
                return index;
            }
            other => panic!("a publish was answered by {other:?}"),
        }
    }
    panic!("{MOST_PUBLISHES} messages of {BODY_BYTES} bytes fit on a small disk");
}

fn padded(prefix: &str, index: usize) -> String {
    format!("{prefix}-{index} {}", "x".repeat(BODY_BYTES))
}

/// Consumes until every one of these has come; more may come.
#[track_caller]
fn drain(nsqd: &Nsqd, prefix: &str, count: usize) {
    let mut missing: HashSet<_> = (0..count)
        .map(|index| format!("{prefix}-{index}"))
        .collect();
    let mut client = nsqd.subscribe("t", "c", 50);
    while !missing.is_empty() {
        match client.next_frame(PATIENCE) {
            Ok(Frame::Message(message)) => {
                let text = message.text();
                assert_eq!(
                    text.len(),
                    text.find(' ').map_or(0, |at| at + 1 + BODY_BYTES),
                    "cut short"
                );
                missing.remove(text.split(' ').next().unwrap_or_default());
                client.finish(&message);
            }
            other => panic!("{} of {count} are missing, then {other:?}", missing.len()),
        }
    }
    client.send_line("CLS");
    while client.next_frame(PATIENCE).expect("CLS is answered")
        != Frame::Response("CLOSE_WAIT".into())
    {}
}

#[test]
fn a_full_disk_refuses_publishers_and_serves_consumers() {
    let flags = [
        "--mem-queue-size=10",
        "--max-bytes-per-file=1048576",
        "--msg-timeout=2s",
    ];
    let Some(nsqd) = nsqd_on_a_small_disk(&flags) else {
        return;
    };
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    for round in ["first", "second"] {
        let accepted = publish_until_refused(&nsqd, round);
        // Two of three parts of the disk at least hold messages.
        assert!(
            accepted * BODY_BYTES > 16 << 20 || round == "second",
            "only {accepted} messages fitted"
        );

        let reply = nsqd.post("/pub?topic=t", padded("http", 0).as_bytes());
        assert!(
            (500..600).contains(&reply.status),
            "{} {}",
            reply.status,
            reply.text()
        );
        let ping = nsqd.get("/ping");
        assert_eq!(ping.status, 500);
        let reason = ping.text().to_lowercase();
        assert!(
            reason.starts_with("nok - ") && reason.contains("no space left"),
            "{reason}"
        );
        assert_eq!(nsqd.stats()["health"], ping.text());

        drain(&nsqd, round, accepted);
        wait_until("publishing works again", PATIENCE, || {
            nsqd.post("/pub?topic=t", padded("again", 0).as_bytes())
                .status
                == 200
        });
        wait_until("nsqd is well again", PATIENCE, || {
            nsqd.get("/ping").text() == "OK"
        });
    }
    drain(&nsqd, "again", 1);
}

#[test]
fn a_full_disk_refuses_batches_and_deferred_ones() {
    let flags = ["--mem-queue-size=0", "--max-bytes-per-file=1048576"];
    let Some(nsqd) = nsqd_on_a_small_disk(&flags) else {
        return;
    };
    // What else lies on the disk takes the room.
    let ballast = nsqd.folder_within().join("ballast");
    nsqd.connect().publish("t", "before");
    let mut size = 32 << 20;
    while size > 0 {
        let mut bytes = fs::read(&ballast).unwrap_or_default();
        bytes.resize(bytes.len() + size, 0);
        if fs::write(&ballast, &bytes).is_err() {
            size /= 2;
        }
    }
    let body = padded("refused", 0);
    for (line, bytes, error) in [
        (
            "PUB t",
            body.clone().into_bytes(),
            "E_PUB_FAILED PUB failed ",
        ),
        ("MPUB t", batch_of(&body, 100), "E_MPUB_FAILED MPUB failed "),
        (
            "DPUB t 1000",
            body.clone().into_bytes(),
            "E_DPUB_FAILED DPUB failed ",
        ),
    ] {
        // What was preallocated is used up first.
        let mut refused = String::new();
        wait_until("a publish is refused", PATIENCE, || {
            let mut client = nsqd.connect();
            client.send_with_body(line, &bytes);
            match client.next_frame(PATIENCE) {
                Ok(Frame::Response(_)) => false,
                Ok(Frame::Error(text)) => {
                    refused = text;
                    true
                }
                other => panic!("{line} was answered by {other:?}"),
            }
        });
        assert!(refused.starts_with(error), "{line}: {refused}");
    }
    fs::remove_file(&ballast).expect("the file is ours");
    nsqd.connect().publish("t", "after");
    assert_eq!(nsqd.get("/ping").text(), "OK");
    let mut client = nsqd.subscribe("t", "c", 1);
    client.expect_body("before");
}

fn batch_of(body: &str, count: u32) -> Vec<u8> {
    let size = u32::try_from(body.len())
        .expect("it is small")
        .to_be_bytes();
    let one = [size.as_slice(), body.as_bytes()].concat();
    let mut batch = count.to_be_bytes().to_vec();
    for _ in 0..count {
        batch.extend(&one);
    }
    batch
}

#[test]
fn too_few_file_handles_are_an_error_and_no_loss() {
    const TOPICS: usize = 400;
    let limit = ["prlimit", "--nofile=100:100"];
    let mut nsqd = Start::with(&["--mem-queue-size=0"]).through(&limit).now();
    let mut accepted = vec![];
    let mut client = nsqd.connect();
    for index in 0..TOPICS {
        client.send_with_body(&format!("PUB t{index}"), format!("body {index}").as_bytes());
        match client.next_frame(PATIENCE) {
            Ok(Frame::Response(text)) if text == "OK" => accepted.push(index),
            Ok(Frame::Error(text)) => {
                assert!(text.starts_with("E_PUB_FAILED PUB failed "), "{text}");
                assert_eq!(client.next_frame(PATIENCE), Err(ReadEnd::Closed));
                break;
            }
            other => panic!("a publish was answered by {other:?}"),
        }
    }
    drop(client);
    // Once some topics are gone there are handles again.
    let (deleted, kept) = accepted.split_at(accepted.len() / 2);
    for index in deleted {
        wait_until("a topic is deleted", PATIENCE, || {
            let path = format!("/topic/delete?topic=t{index}");
            nsqd.try_request("POST", &path, b"")
                .is_ok_and(|reply| reply.status == 200 || reply.status == 404)
        });
    }
    nsqd.connect().publish("recovered", "x");
    assert_eq!(nsqd.get("/ping").text(), "OK");

    // With handles enough, everything that was answered OK is there.
    nsqd.terminate();
    let bad: Vec<_> = fs::read_dir(nsqd.folder())
        .expect("the folder is there")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains("bad"))
        .collect();
    assert!(bad.is_empty(), "put aside: {bad:?}");
    nsqd.start_again_with(&[]);
    for index in kept {
        nsqd.subscribe(&format!("t{index}"), "c", 1)
            .expect_body(format!("body {index}"));
    }
}
