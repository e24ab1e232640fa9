//! A file system that lacks something nsqd needs, as strace has it: nsqd says at the start what is missing. Said loudly
//! where there is no strace.

use std::process::Command;

use nsq_tests::{Nsqd, Start, say_loudly};

/// An nsqd, not started, whose calls that concern `path` are changed in strace's words. `{folder}` is its data path.
fn nsqd_with(path: &str, inject: &str) -> Option<Nsqd> {
    if Command::new("strace").arg("-V").output().is_err() {
        say_loudly("SKIPPED: strace is not on this machine, no system call was changed");
        return None;
    }
    let inject = format!("inject={inject}");
    let wrapper = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-P",
        path,
        "-e",
        &inject,
    ];
    Some(Start::default().through(&wrapper).later())
}

const PROBE: &str = "{folder}/nsqd.probe";
const FOLDER: &str = "{folder}";

#[test]
fn what_is_missing_is_named_at_the_start() {
    for (path, inject, missing) in [
        (
            PROBE,
            "mmap:error=ENODEV",
            "map a file to be read (mmap, MAP_SHARED): No such device",
        ),
        // The call says that it wrote, and no byte comes to be in the file.
        (
            PROBE,
            "pwrite64:retval=17",
            "show in a map what was written to the file",
        ),
        (
            PROBE,
            "fdatasync:error=EINVAL",
            "sync a file (fdatasync): Invalid argument",
        ),
        (
            PROBE,
            "rename:error=EXDEV",
            "rename a file over another one",
        ),
        (
            FOLDER,
            "fsync:error=EINVAL",
            "sync a folder (fsync): Invalid argument",
        ),
    ] {
        let Some(mut nsqd) = nsqd_with(path, inject) else {
            return;
        };
        let (status, log) = nsqd.start_in_vain();
        assert_eq!(status.code(), Some(1), "{inject}\n{log}");
        let folder = nsqd.folder().display();
        let wanted = format!("the file system of {folder} cannot {missing}");
        assert!(log.contains(&wanted), "{wanted} is not in\n{log}");
        let advice = "(--data-path: must be on a file system with shared maps, locks, and syncs";
        assert!(log.contains(advice), "{log}");
        let left = std::fs::read_dir(nsqd.folder()).expect("it can be listed");
        assert_eq!(left.count(), 0, "{inject}");
    }
}

#[test]
fn a_file_system_without_locks_is_not_taken_for_another_nsqd() {
    let Some(mut nsqd) = nsqd_with(FOLDER, "flock:error=ENOLCK") else {
        return;
    };
    let (status, log) = nsqd.start_in_vain();
    assert_eq!(status.code(), Some(1), "{log}");
    let advice = "(--data-path: must be on a file system with locks (flock))";
    assert!(log.contains(advice), "{log}");
}

#[test]
fn without_reservation_of_space_it_works_and_says_so() {
    if Command::new("strace").arg("-V").output().is_err() {
        say_loudly("SKIPPED: strace is not on this machine, no system call was changed");
        return;
    }
    let inject = "inject=fallocate:error=EOPNOTSUPP";
    let wrapper = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", inject];
    let nsqd = Start::default().through(&wrapper).now();
    nsqd.wait_for_line("cannot reserve space (fallocate)");
    nsqd.connect().publish("t", "x");
    nsqd.subscribe("t", "c", 1).expect_body("x");
}
