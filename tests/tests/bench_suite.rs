//! bench_suite as a program: a tiny run of the whole suite, by nsq_bench's loads, against the nsqd that was built.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use nsq_tests::{Nsqd, PATIENCE, build_folder, path_of_nsqd};
use serde_json::Value;
use tempfile::TempDir;

/// Runs the suite at its smallest in `folder`, without peers, which a machine may have or not.
fn suite(folder: &TempDir, flags: &[&str]) -> Output {
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("data")).expect("the folder is writable");
    Command::new(build_folder().join("bench_suite"))
        .args(["run", "--scale", "0.0001", "--nsqd"])
        .arg(path_of_nsqd())
        .arg("--folder")
        .arg(path("data"))
        .arg("--results")
        .arg(path("results"))
        .arg("--document")
        .arg(path("document.md"))
        .args(flags)
        .env("PATH", "")
        .output()
        .expect("bench_suite was built")
}

#[test]
fn a_tiny_run_has_figures_of_every_part_and_leaves_no_file() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let document = include_str!("../../docs/PERFORMANCE.md");
    fs::write(folder.path().join("document.md"), document).expect("the folder is writable");
    let output = suite(&folder, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let results =
        fs::read_to_string(folder.path().join("results")).expect("there is a result file");
    let lines: Vec<Value> = results
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is JSON"))
        .collect();
    assert_eq!(lines[0]["kind"], "machine");
    assert_eq!(lines[lines.len() - 1]["kind"], "end");
    let parts: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| line["part"].as_str())
        .collect();
    let all = [
        "backlog",
        "beside",
        "cluster",
        "cluster-growth",
        "costs",
        "growth-channels",
        "growth-connections",
        "growth-sizes",
        "growth-topics",
        "layers",
        "memory",
        "peers",
        "tails",
    ];
    assert_eq!(parts, BTreeSet::from(all));
    let cpu_of = |subject: &str| {
        lines.iter().find(|line| {
            line["part"] == "beside"
                && line["subject"] == subject
                && line["unit"] == "µs CPU a message"
        })
    };
    for subject in ["floor", "here", "here, in memory", "here, synced"] {
        let value = cpu_of(subject).and_then(|line| line["value"].as_f64());
        assert!(
            value.is_some_and(|value| value > 0.0),
            "{subject}: {value:?}"
        );
    }

    let document = fs::read_to_string(folder.path().join("document.md")).expect("it is there");
    assert!(document.contains("nats-server was not found"), "{document}");
    assert!(
        document.contains("| MPUB of 200, 2 connections |"),
        "{document}"
    );
    for chart in [
        "beside",
        "tails",
        "peers",
        "connections",
        "channels",
        "topics",
        "sizes",
    ] {
        let path = folder.path().join(format!("charts/{chart}.svg"));
        let svg = fs::read_to_string(&path).unwrap_or_default();
        assert!(svg.contains("<circle"), "{chart}");
    }
    let left = fs::read_dir(folder.path().join("data"))
        .expect("it is there")
        .count();
    assert_eq!(left, 0, "servers' folders are left");
}

#[test]
fn a_run_deletes_its_own_topic_unless_told_otherwise() {
    let nsqd = Nsqd::start(&[]);
    let (tcp, http) = (nsqd.tcp().to_string(), nsqd.http().to_string());
    let publish = |flags: &[&str]| {
        let common = [
            "publish",
            "--messages",
            "10",
            "--address",
            &tcp,
            "--http-address",
            &http,
        ];
        let output = Command::new(build_folder().join("nsq_bench"))
            .args(common)
            .args(flags)
            .output()
            .expect("nsq_bench was built");
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        let topics = nsqd.stats()["topics"].as_array().map_or(0, Vec::len);
        let log = nsqd.log();
        assert!(
            log.wait_for("created", PATIENCE).is_some(),
            "{}",
            log.tail()
        );
        topics
    };
    assert_eq!(publish(&[]), 0);
    assert_eq!(publish(&["--topic", "mine"]), 1);
    assert_eq!(publish(&["--keep-topic"]), 2);
}

#[test]
fn make_up_is_for_this_machine_alone() {
    let script = include_str!("../../config/up.sh").replace("\\\n", " ");
    let starts: Vec<&str> = script
        .lines()
        .filter(|line| line.starts_with("start nsq"))
        .collect();
    assert_eq!(starts.len(), 3, "{script}");
    for (start, flags) in starts.iter().zip([
        &["--tcp-address=", "--http-address="][..],
        &["--tcp-address=", "--http-address=", "--https-address="],
        &["--http-address="],
    ]) {
        for flag in flags {
            assert!(
                start.contains(&format!(" {flag}127.0.0.1:")),
                "{flag} in {start}"
            );
        }
    }
}

#[test]
fn a_peer_that_does_not_start_is_named_and_fails_the_run() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let document = include_str!("../../docs/PERFORMANCE.md");
    fs::write(folder.path().join("document.md"), document).expect("the folder is writable");
    // It ends at once.
    let output = suite(&folder, &["--only", "peers", "--redis", "/bin/false"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("FAILED: Redis Streams, AOF every second: cannot start"),
        "{said}"
    );
}
