//! The way back: `--export-to` writes what upstream's nsqd starts on. And `--check`, which only looks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nsq_tests::{Frame, Nsqd, PATIENCE, Start, path_of_nsqd};

use crate::upstream_folder::{Stored, read_queues};

fn run(folder: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(path_of_nsqd());
    command
        .arg(format!("--data-path={}", folder.display()))
        .args(flags);
    command.output().expect("nsqd can be run")
}

fn export(nsqd: &Nsqd, flags: &[&str]) -> (Output, PathBuf) {
    let target = nsqd
        .folder()
        .parent()
        .expect("it lies in a folder")
        .join(format!(
            "{}-exported",
            nsqd.folder()
                .file_name()
                .expect("it has a name")
                .to_string_lossy()
        ));
    let flag = format!("--export-to={}", target.display());
    let output = run(nsqd.folder(), &[&[flag.as_str()], flags].concat());
    (output, target)
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).expect("the file can be read");
            found.insert(path, bytes);
        }
    }
    found
}

/// A bit of everything: waiting, queued, in flight, requeued, deferred, paused.
fn busy_nsqd() -> Nsqd {
    let nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    nsqd.order("/channel/create?topic=t&channel=d");
    nsqd.order("/channel/pause?topic=t&channel=d");
    let mut client = nsqd.connect();
    for at in 0..50 {
        client.publish("t", format!("m {at}"));
    }
    for at in 0..5 {
        client.publish("waiting", format!("w {at}"));
    }
    client.send_with_body("DPUB t 3600000", b"late");
    client.expect_ok();
    let mut consumer = nsqd.subscribe("t", "c", 20);
    for at in 0..20 {
        match consumer.next_frame(PATIENCE) {
            Ok(Frame::Message(message)) if at < 10 => consumer.finish(&message),
            Ok(Frame::Message(message)) if at == 10 => {
                consumer.send_line("RDY 0");
                consumer.send_line(&format!("REQ {} 3600000", message.id));
            }
            Ok(Frame::Message(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    nsqd.wait_for_channel("t", "c", &[("deferred_count", 2)]);
    nsqd
}

#[track_caller]
fn check_export(nsqd: &Nsqd, attempts_are_kept: bool) {
    let before = files(nsqd.folder());
    let (output, target) = export(nsqd, &["--max-bytes-per-file=400"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(files(nsqd.folder()), before, "the original was changed");
    let said = text(&output);
    assert!(said.contains("t:c: 41 messages"), "{said}");
    assert!(said.contains("t:d: 51 messages"), "{said}");
    assert!(said.contains("waiting: 5 messages"), "{said}");
    assert!(said.contains("notice: 3 messages are deferred"), "{said}");
    let queues = read_queues(&target, 400);
    let names: Vec<_> = queues.keys().map(String::as_str).collect();
    assert_eq!(names, ["t:c", "t:d", "waiting"]);
    let bodies = |queue: &str| -> Vec<String> {
        let messages = queues[queue].iter();
        messages
            .map(|message| String::from_utf8_lossy(&message.body).into_owned())
            .collect()
    };
    let plain = |from: usize| (from..50).map(|at| format!("m {at}"));
    let late = || ["late".to_owned()].into_iter();
    assert_eq!(bodies("t:c"), plain(10).chain(late()).collect::<Vec<_>>());
    assert_eq!(bodies("t:d"), plain(0).chain(late()).collect::<Vec<_>>());
    let attempts: Vec<_> = queues["t:c"]
        .iter()
        .map(|message| message.attempts)
        .collect();
    let once = attempts.iter().filter(|&&attempts| attempts == 1).count();
    // A stop notes what was in flight, a kill leaves what was noted: the one that was requeued.
    if attempts_are_kept {
        assert!(once >= 10, "{attempts:?}");
    } else {
        assert_eq!(once, 1, "{attempts:?}");
    }
    let registry = fs::read_to_string(target.join("nsqd.dat")).expect("there is an nsqd.dat");
    assert_eq!(
        registry,
        r#"{"topics":[{"name":"t","paused":false,"channels":[{"name":"c","paused":false},{"name":"d","paused":true}]},{"name":"waiting","paused":false,"channels":null}],"version":"1.3.0"}"#
    );

    let back = Start::default().on_copy_of(&target).now();
    assert_eq!(back.channel("t", "c")["depth"], 41);
    assert_eq!(back.channel("t", "d")["depth"], 51);
    assert_eq!(back.topic("waiting")["depth"], 5);
    let mut ids: Vec<_> = queues["t:c"]
        .iter()
        .map(|message| message.id.clone())
        .collect();
    let mut client = back.subscribe("t", "c", 100);
    let mut returned: Vec<_> = (0..41)
        .map(|_| match client.next_frame(PATIENCE) {
            Ok(Frame::Message(message)) => message.id,
            other => panic!("{other:?}"),
        })
        .collect();
    ids.sort();
    returned.sort();
    assert_eq!(returned, ids);
    fs::remove_dir_all(target).expect("the export can be removed");
}

#[test]
fn what_a_stopped_nsqd_has_is_exported_and_comes_back() {
    let mut nsqd = busy_nsqd();
    nsqd.terminate();
    check_export(&nsqd, true);
}

#[test]
fn what_a_killed_nsqd_has_is_exported_and_comes_back() {
    let mut nsqd = busy_nsqd();
    nsqd.kill9();
    check_export(&nsqd, false);
}

#[test]
fn an_export_needs_a_stopped_nsqd_and_an_empty_folder() {
    let mut nsqd = Nsqd::start(&[]);
    let (output, target) = export(&nsqd, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("cannot flock directory"),
        "{}",
        text(&output)
    );
    assert!(!target.exists());
    nsqd.terminate();
    fs::create_dir(&target).expect("it is not there");
    fs::write(target.join("x"), b"").expect("it can be written");
    let (output, _) = export(&nsqd, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("it must be new or empty"),
        "{}",
        text(&output)
    );
    fs::remove_file(target.join("x")).expect("it is there");
    let (output, _) = export(&nsqd, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(target.join("nsqd.dat").exists());
    fs::remove_dir_all(target).expect("the export can be removed");
    let inside = format!("--export-to={}/x", nsqd.folder().display());
    assert_eq!(run(nsqd.folder(), &[&inside]).status.code(), Some(2));
}

#[test]
fn a_check_tells_what_there_is_and_changes_nothing() {
    let mut nsqd = busy_nsqd();
    let output = run(nsqd.folder(), &["--check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("cannot flock directory"),
        "{}",
        text(&output)
    );
    nsqd.terminate();
    fs::write(nsqd.folder().join("stray"), b"").expect("it can be written");
    let before = files(nsqd.folder());
    let output = run(nsqd.folder(), &["--check"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(files(nsqd.folder()), before);
    for line in [
        "topic t: 0 waiting; ",
        "  channel c: 39 queued (",
        "  channel d, paused: 50 queued (0 of them delivered before), 1 deferred; ",
        "topic waiting: 5 waiting; ",
        "/stray: nothing of nsqd's",
        "nothing is damaged",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}

#[test]
fn a_check_finds_a_flipped_bit() {
    let mut nsqd = busy_nsqd();
    nsqd.terminate();
    let log = nsqd.folder().join("topics/t.topic/main.00000000.log");
    let mut bytes = fs::read(&log).expect("the log is there");
    bytes[200] ^= 1;
    fs::write(&log, bytes).expect("the log can be written");
    let output = run(nsqd.folder(), &["--check"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let wanted = format!(
        "DAMAGE: {}: 1 of its messages cannot be read, from ",
        log.display()
    );
    assert!(said.contains(&wanted), "{said}");
    let (output, target) = export(&nsqd, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains(&wanted), "{}", text(&output));
    let kept: Vec<Stored> = read_queues(&target, 1 << 30)
        .remove("t:d")
        .expect("it is exported");
    assert_eq!(kept.len(), 50);
    fs::remove_dir_all(target).expect("the export can be removed");
}

#[test]
fn a_check_tells_of_upstreams_files() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/upstream/torn-tail/data");
    let nsqd = Start::default().on_copy_of(&case).later();
    let output = run(nsqd.folder(), &["--check"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("upstream's disk queue x: 8 messages to import"),
        "{said}"
    );
    assert!(
        said.contains("DAMAGE: x.diskqueue.000000.dat has no whole message"),
        "{said}"
    );
    let (output, target) = export(&nsqd, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("not imported yet"),
        "{}",
        text(&output)
    );
    assert!(!target.exists());
}
