//! The limits of a process: one that is too low for a start ends it with a line that names the limit, and one that is met
//! later on is an error of the call that met it.

use nsq_tests::{Admin, Frame, Nsqd, PATIENCE, Start, Tool, wait_until};
use rustix::process::Signal;

/// Below what a program needs.
const TOO_LOW: [(&str, &str); 2] = [
    ("--nofile=12", "(ulimit -n, or LimitNOFILE="),
    ("--stack=131072", "(ulimit -s, or LimitSTACK="),
];

/// The words about memory for which `start` ends. How much memory is enough for the loader and not for the threads
/// depends on the size of the binary, so the limit grows, in smaller steps than the threads need, until they come.
#[track_caller]
fn check_memory(start: impl Fn(&str) -> (Option<i32>, String)) {
    let mut logs = String::new();
    for megabytes in (16..40).step_by(2) {
        let (code, log) = start(&format!("--as={megabytes}000000"));
        if log.contains("(ulimit -u or -v, or TasksMax=") {
            assert_eq!(code, Some(1), "{log}");
            assert!(!log.contains("panicked"), "{log}");
            return;
        }
        logs.push_str(&log);
    }
    panic!("no limit was named in\n{logs}");
}

#[track_caller]
fn check_words(log: &str, wanted: &str) {
    assert!(log.contains(wanted), "{wanted} is not in\n{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_daemon_names_the_limit_that_it_cannot_start_with() {
    for (limit, wanted) in TOO_LOW {
        let (status, log) = Start::default()
            .through(&["prlimit", limit])
            .later()
            .start_in_vain();
        assert_eq!(status.code(), Some(1), "{limit}\n{log}");
        check_words(&log, wanted);
        assert!(
            log.contains("FATAL: failed to instantiate nsqd - "),
            "{log}"
        );
    }
    check_memory(|limit| {
        let mut start = Start::default().through(&["prlimit", limit]).later();
        let (status, log) = start.start_in_vain();
        (status.code(), log)
    });
}

#[test]
fn nsqlookupd_nsqadmin_and_the_utilities_name_it_too() {
    let daemon_args = ["--http-address=127.0.0.1:0"];
    let tail_args = ["--topic=t", "--nsqd-tcp-address=127.0.0.1:1"];
    for (limit, wanted) in TOO_LOW {
        let programs: &[(&str, &[&str])] = &[
            ("nsqlookupd", &daemon_args),
            ("nsqadmin", &daemon_args),
            ("nsq_tail", &tail_args),
        ];
        for (program, args) in programs {
            let mut tool = Tool::start_through(&["prlimit", limit], program, args);
            assert_eq!(tool.wait_for_exit().code(), Some(1), "{program} {limit}");
            check_words(&tool.log().text(), wanted);
        }
    }
    // A program of few threads has enough memory for them.
    check_memory(|limit| {
        let mut nsqadmin = Tool::start_through(&["prlimit", limit], "nsqadmin", &daemon_args);
        let code = nsqadmin.wait_for_exit().code();
        (code, nsqadmin.log().text())
    });
}

#[test]
fn a_file_that_would_grow_beyond_the_limit_is_a_failed_publish() {
    // Segments have 16 and 64 KiB, then 256; what is below the limit is used.
    let nsqd = Start::default()
        .through(&["prlimit", "--fsize=200000"])
        .now();
    let mut client = nsqd.subscribe("t", "c", 1);
    for index in 0..100 {
        client.publish("t", format!("{index} {}", "x".repeat(5000)));
    }
    client.expect_message();
    let body = "x".repeat(300_000);
    client.send_with_body("PUB t", body.as_bytes());
    let refusal = loop {
        match client.next_frame(PATIENCE) {
            Ok(Frame::Error(text)) => break text,
            Ok(_) => {}
            Err(end) => panic!("{end:?}"),
        }
    };
    assert!(refusal.starts_with("E_PUB_FAILED PUB failed "), "{refusal}");
    assert!(refusal.contains("File too large"), "{refusal}");
    assert!(nsqd.get("/ping").text().starts_with("NOK - "));
    nsqd.connect().publish("t", "small");
    assert_eq!(nsqd.get("/ping").text(), "OK");
}

#[test]
fn a_limit_below_the_first_files_ends_the_start() {
    let (status, log) = Start::default()
        .through(&["prlimit", "--fsize=4096"])
        .later()
        .start_in_vain();
    assert_eq!(status.code(), Some(1), "{log}");
    check_words(
        &log,
        "(the limit of a file's size is too low: ulimit -f, or LimitFSIZE=",
    );
}

#[test]
fn signals_that_upstream_survives_do_not_end_a_program() {
    let nsqd = Nsqd::start(&[]);
    let nsqd_address = format!("--nsqd-tcp-address={}", nsqd.tcp());
    let tail = Tool::start("nsq_tail", &["--topic=t", "--channel=c", &nsqd_address]);
    let admin = Admin::of_nsqds(&[&nsqd], &[]);
    nsqd.wait_for_channel("t", "c", &[("client_count", 1)]);
    for signal in [
        Signal::XFSZ,
        Signal::XCPU,
        Signal::ALARM,
        Signal::USR2,
        Signal::IO,
    ] {
        nsqd.notify(signal);
        tail.notify(signal);
        admin.notify(signal);
    }
    tail.notify(Signal::USR1);
    admin.notify(Signal::USR1);
    nsqd.connect().publish("t", "still here");
    let seen = tail.output();
    wait_until("the message is printed", PATIENCE, || {
        seen.text().contains("still here")
    });
    assert_eq!(admin.get("/ping").status, 200);
}
