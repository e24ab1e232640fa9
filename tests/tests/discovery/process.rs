//! nsqlookupd as a process: flags, signals, ports.

use std::process::Command;
use std::time::{Duration, Instant};

use nsq_tests::{Lookupd, PATIENCE, RawClient, Start, path_of_nsqlookupd, wait_until};
use rustix::process::Signal;

/// Runs it with these flags only, where it ends by itself: exit code, stdout, stderr.
fn run(flags: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(path_of_nsqlookupd())
        .args(flags)
        .output()
        .expect("nsqlookupd can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn version_is_told_in_upstreams_form() {
    let (code, stdout, _) = run(&["-version"]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.starts_with("nsqlookupd v1.3.0 (built w/") && stdout.ends_with(")\n"),
        "{stdout:?}"
    );
}

#[test]
fn what_it_cannot_start_with_it_names() {
    let lookupd = Lookupd::start();
    let taken = format!("--tcp-address={}", lookupd.tcp());
    let listen = format!(
        "FATAL: failed to instantiate nsqlookupd - listen ({}) failed",
        lookupd.tcp()
    );
    for (flags, wanted_code, wanted) in [
        (&["--foo"][..], 2, "flag provided but not defined: -foo"),
        (
            &["--tombstone-lifetime=5"],
            2,
            "invalid value \"5\" for flag -tombstone-lifetime: parse error",
        ),
        (
            &["--config=/nonexistent/file"],
            1,
            "FATAL: failed to load config file /nonexistent/file",
        ),
        (&[&taken, "--http-address=127.0.0.1:0"], 1, &listen),
    ] {
        let (code, stdout, stderr) = run(flags);
        assert_eq!(
            (code, stdout.as_str()),
            (Some(wanted_code), ""),
            "{flags:?}"
        );
        assert!(stderr.contains(wanted), "{flags:?}: {stderr}");
    }
}

#[test]
fn it_ends_promptly_whoever_is_connected() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut lookupd = Lookupd::start();
        let nsqd = Start::default().registering_with(&[lookupd.tcp()]).now();
        wait_until("the nsqd is there", PATIENCE, || lookupd.nodes().len() == 1);
        let mut silent = RawClient::connect_silently(lookupd.tcp());
        let mut idle_http = RawClient::connect_silently(lookupd.http());
        let start = Instant::now();
        assert_eq!(lookupd.signal(signal).code(), Some(0));
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "it took {:?}",
            start.elapsed()
        );
        silent.expect_closed();
        idle_http.expect_closed();
        assert_eq!(nsqd.get("/ping").text(), "OK");
    }
}

#[test]
fn it_comes_back_at_once_on_the_same_ports() {
    let mut lookupd = Lookupd::start();
    let addresses = (lookupd.tcp(), lookupd.http());
    let nsqd = Start::default().registering_with(&[lookupd.tcp()]).now();
    for _ in 0..3 {
        wait_until("the nsqd is there", PATIENCE, || lookupd.nodes().len() == 1);
        lookupd.kill9();
        lookupd.start_again();
        assert_eq!((lookupd.tcp(), lookupd.http()), addresses);
    }
    drop(nsqd);
}
