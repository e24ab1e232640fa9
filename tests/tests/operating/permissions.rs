//! Who may read the data path: nsqd's user, and no one else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nsq_tests::{Nsqd, PATIENCE, Start, wait_until};

/// Nothing is taken away from the modes of what is created.
const OPEN_UMASK: [&str; 4] = ["sh", "-c", "umask 000; exec \"$@\"", "sh"];

/// Everything in the data path, with its permissions.
fn modes(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        let metadata = fs::metadata(&path).expect("it can be examined");
        if metadata.is_dir() {
            found.extend(modes(&path));
        }
        found.push((path, metadata.permissions().mode() & 0o7777));
    }
    found
}

#[track_caller]
fn check_modes(nsqd: &Nsqd) {
    let found = modes(nsqd.folder());
    let has = |end: &str| {
        found
            .iter()
            .any(|(path, _)| path.to_string_lossy().ends_with(end))
    };
    assert!(has(".free") && has(".log") && has(".marks"), "{found:?}");
    for (path, mode) in found {
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{}: {mode:o}", path.display());
    }
}

#[test]
fn only_its_user_can_read_the_data_path_whatever_the_umask_and_whatever_it_was_before() {
    let mut nsqd = Start::default().through(&OPEN_UMASK).now();
    let mut client = nsqd.subscribe("t", "c", 100);
    // Enough to free segments that are worth keeping.
    let body = "x".repeat(4000);
    for _ in 0..100 {
        client.publish("t", &body);
        let message = client.expect_body(&body);
        client.finish(&message);
    }
    let free = nsqd.folder().join("topics/free");
    let has_free = || fs::read_dir(&free).is_ok_and(|mut entries| entries.next().is_some());
    wait_until("a segment is freed", PATIENCE, has_free);
    nsqd.kill9();
    check_modes(&nsqd);

    for (path, mode) in modes(nsqd.folder()) {
        let permissions = fs::Permissions::from_mode(mode | 0o044 | ((mode & 0o100) >> 3));
        fs::set_permissions(path, permissions).expect("the files are ours");
    }
    nsqd.start_again();
    nsqd.wait_for_line("were open to other users, now they are not");
    check_modes(&nsqd);
    nsqd.terminate();
    nsqd.start_again();
    let log = nsqd.log().text();
    assert!(!log.contains("were open to other users"), "{log}");
}
