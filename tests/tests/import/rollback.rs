//! A hurried rollback: upstream's nsqd must not start on our data path and show every queue empty.
//!
//! What upstream's nsqd does with `nsqd.dat`: Go's decoder takes a key for a field's whatever the case of its letters, and
//! refuses a value of another type. nsqd then ends with `failed to load metadata`.

use std::fs;
use std::path::Path;
use std::process::Command;

use nsq_tests::Nsqd;
use serde_json::Value;

use crate::upstream_folder::{numbered, write_queue};

/// Whether upstream's nsqd would start with this file: every key that Go takes for `topics` must hold a list.
fn upstream_starts_with(text: &str) -> bool {
    let json: Value = serde_json::from_str(text).expect("it is JSON");
    let keys = json.as_object().expect("it is an object").iter();
    keys.filter(|(key, _)| key.eq_ignore_ascii_case("topics"))
        .all(|(_, value)| value.is_array() || value.is_null())
}

fn registry(folder: &Path) -> String {
    fs::read_to_string(folder.join("nsqd.dat")).expect("there is an nsqd.dat")
}

#[track_caller]
fn check_refused(folder: &Path) {
    let text = registry(folder);
    assert!(!upstream_starts_with(&text), "{text}");
    let first_line = text.lines().next().unwrap_or_default();
    assert!(
        first_line.contains("STOP: upstream's nsqd cannot read"),
        "{text}"
    );
    assert!(first_line.contains("--export-to="), "{text}");
}

#[test]
fn upstream_is_refused_from_the_first_moment_on_and_after_a_kill() {
    let mut nsqd = Nsqd::start(&[]);
    check_refused(nsqd.folder());
    nsqd.connect().publish("t", "x");
    nsqd.kill9();
    check_refused(nsqd.folder());
    nsqd.start_again();
    nsqd.subscribe("t", "c", 1).expect_body("x");
    assert!(nsqd.terminate().success());
    check_refused(nsqd.folder());
}

#[test]
fn upstream_is_refused_once_its_queues_are_imported() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    write_queue(folder.path(), "t", numbered("topic", 3));
    let upstreams = r#"{"topics":[{"name":"t","paused":false,"channels":null}],"version":"1.3.0"}"#;
    fs::write(folder.path().join("nsqd.dat"), upstreams).expect("the folder is ours");
    assert!(upstream_starts_with(&registry(folder.path())));
    let nsqd = nsq_tests::Start::default().on_copy_of(folder.path()).now();
    check_refused(nsqd.folder());
    assert_eq!(nsqd.topic("t")["depth"], 3);
}

#[test]
fn the_documented_command_gives_upstream_its_file_back_and_the_next_start_here_works() {
    let mut nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=t");
    assert!(nsqd.terminate().success());
    let page = include_str!("../../../docs/MOVING.md");
    let command = "sed -i '1s/.*/{/' nsqd.dat";
    assert!(page.contains(command));
    assert!(registry(nsqd.folder()).contains(command));
    let mut shell = Command::new("sh");
    let ended = shell
        .args(["-c", command])
        .current_dir(nsqd.folder())
        .status();
    assert!(ended.expect("there is a shell").success());
    let text = registry(nsqd.folder());
    assert!(upstream_starts_with(&text), "{text}");
    assert_eq!(
        text.replacen('\n', "", 1),
        r#"{"topics":[{"name":"t","paused":false,"channels":null}],"version":"1.3.0"}"#
    );
    nsqd.start_again();
    check_refused(nsqd.folder());
}
