//! Connects, subscribes, topics and channels that come and go, a million times if asked to: nothing is left of them.
//!
//! `LEAK_CYCLES` says how many times; `make leaks` has a million.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nsq_tests::{Daemon, Lookupd, Nsqd, PATIENCE, Start, say_loudly, wait_until};

use rustix::process::Signal;

use crate::footprint::Footprint;
use crate::sockets::connect;

const CYCLES: usize = 2000;
/// At the same time; a cycle mostly waits for answers.
const THREADS: usize = 4;
/// What an allocator may take more without anything being lost. A leak of 20 bytes a cycle is more, over a million.
const SLACK_MEBIBYTES: u64 = 16;

#[test]
fn what_comes_and_goes_leaves_nothing_behind() {
    let cycles = env::var("LEAK_CYCLES").ok();
    let cycles = cycles.map_or(CYCLES, |count| {
        count.parse().expect("LEAK_CYCLES is a number")
    });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cfg");
    fs::write(&path, "").expect("it can be written");
    let config = format!("--config={}", path.display());
    let lookupd = Lookupd::start_with(&[&config]);
    let nsqd = Start::with(&[&config])
        .registering_with(&[lookupd.tcp()])
        .now();
    // A line for each would be a lot of them. What takes a restart is told as a warning: they have read it.
    let quiet = "log_level = \"warn\"\nhttp_idle_timeout = \"2h\"\n";
    fs::write(&path, quiet).expect("it can be written");
    for daemon in [&nsqd as &Daemon, &lookupd] {
        daemon.notify(Signal::HUP);
        daemon.wait_for_line("SIGHUP: --http-idle-timeout changes");
    }
    nsqd.order("/topic/create?topic=kept");
    nsqd.order("/channel/create?topic=kept&channel=c");
    lookupd.wait_for_producers("kept", &[nsqd.tcp()]);
    // As much as it takes for everything to have had its largest size once.
    let warm_up = (cycles / 10).max(500);
    run(&nsqd, warm_up);
    settle(&nsqd, &lookupd);
    let before = [Footprint::of(&nsqd), Footprint::of(&lookupd)];
    run(&nsqd, cycles);
    settle(&nsqd, &lookupd);
    for (name, daemon, before) in [
        ("nsqd", &*nsqd as &Daemon, before[0]),
        ("nsqlookupd", &lookupd, before[1]),
    ] {
        let after = Footprint::of(daemon);
        say_loudly(&format!(
            "{name}, {cycles} cycles: {before:?}, then {after:?}"
        ));
        before.check_left_alone(daemon, SLACK_MEBIBYTES);
    }
}

/// Has `cycles` clients come, subscribe and go without a word: half to a channel that stays, half to a topic and
/// channel that are theirs alone.
fn run(nsqd: &Nsqd, cycles: usize) {
    let next = AtomicUsize::new(0);
    let address = nsqd.tcp();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= cycles {
                        return;
                    }
                    match index % 2 {
                        0 => subscribe(address, "kept c"),
                        _ => subscribe(address, &format!("t{index}#ephemeral c#ephemeral")),
                    }
                }
            });
        }
    });
}

fn subscribe(address: SocketAddr, what: &str) {
    const OK: &[u8] = b"\0\0\0\x06\0\0\0\0OK";
    let mut stream = connect(address);
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("it can be set");
    let commands = format!("  V2SUB {what}\nRDY 1\n");
    stream.write_all(commands.as_bytes()).expect("it takes it");
    let mut answer = [0; OK.len()];
    stream.read_exact(&mut answer).expect("it is answered");
    assert_eq!(answer, OK);
}

/// Waits until nsqd has seen everyone go, and has told nsqlookupd.
#[track_caller]
fn settle(nsqd: &Nsqd, lookupd: &Lookupd) {
    wait_until(
        "all clients are gone, and what was theirs",
        PATIENCE,
        || {
            let stats = nsqd.stats();
            let topics = stats["topics"].as_array().expect("there is a list");
            topics.len() == 1 && topics[0]["channels"][0]["client_count"] == 0
        },
    );
    wait_until("nsqlookupd knows it", PATIENCE, || {
        lookupd.topics() == ["kept"]
    });
}
