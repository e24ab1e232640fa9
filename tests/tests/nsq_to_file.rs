//! nsq_to_file as a process: what it writes, where, and what a kill leaves.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nsq_tests::{Nsqd, PATIENCE, Start, Tool, wait_until};
use rustix::process::Signal;
use tempfile::TempDir;

const TOPIC: &str = "numbers";
const CHANNEL: &str = "nsq_to_file";
const KILLS: u32 = 6;
const KILLED_COUNT: usize = 20_000;

/// An nsqd, and a folder for files.
struct Bench {
    nsqd: Nsqd,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let nsqd = Start::with(&["--msg-timeout=2s"]).now();
        nsqd.order(&format!("/topic/create?topic={TOPIC}"));
        nsqd.order(&format!("/channel/create?topic={TOPIC}&channel={CHANNEL}"));
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { nsqd, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn archive(&self, flags: &[&str]) -> Tool {
        let mut args = vec![
            format!("--topic={TOPIC}"),
            format!("--nsqd-tcp-address={}", self.nsqd.tcp()),
            format!("--output-dir={}", self.path("out").display()),
            "--datetime-format=now".to_owned(),
            "--host-identifier=here".to_owned(),
            "--sync-interval=100ms".to_owned(),
        ];
        let folder = self
            .folder
            .path()
            .to_str()
            .expect("temporary paths are text");
        args.extend(flags.iter().map(|flag| flag.replace("{folder}", folder)));
        Tool::start("nsq_to_file", &args)
    }

    #[track_caller]
    fn publish(&self, numbers: impl IntoIterator<Item = usize>) {
        let mut body = String::new();
        for number in numbers {
            let _ = writeln!(body, "{number}");
        }
        let reply = self
            .nsqd
            .post(&format!("/mpub?topic={TOPIC}"), body.as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    /// Waits until every message that was published has been finished.
    #[track_caller]
    fn wait_until_all_is_finished(&self) {
        let wanted = [("depth", 0), ("in_flight_count", 0), ("deferred_count", 0)];
        self.nsqd.wait_for_channel(TOPIC, CHANNEL, &wanted);
    }

    /// Names and texts of the files in a folder, sorted. A gzip file that is not whole is a failure.
    #[track_caller]
    fn files(&self, folder: &str) -> Vec<(String, String)> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else {
            return Vec::new();
        };
        let mut files: Vec<_> = entries
            .map(|entry| {
                let entry = entry.expect("the folder can be listed");
                let name = entry.file_name().into_string().expect("names are text");
                (name, text_of(&entry.path()))
            })
            .collect();
        files.sort();
        files
    }

    #[track_caller]
    fn wait_for_files(&self, folder: &str, wanted: &[(&str, &str)]) {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        wait_until(&format!("{folder} has {wanted:?}"), PATIENCE, || {
            self.files(folder) == wanted
        });
    }
}

#[track_caller]
fn text_of(path: &Path) -> String {
    let bytes = fs::read(path).expect("the file can be read");
    if path.extension().is_none_or(|extension| extension != "gz") {
        return String::from_utf8(bytes).expect("numbers are text");
    }
    assert!(!bytes.is_empty(), "{} is empty", path.display());
    let mut text = String::new();
    let read = flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text);
    assert!(read.is_ok(), "{}: {read:?}", path.display());
    text
}

#[test]
fn a_plain_file_gets_every_message_and_the_next_run_goes_on_in_it() {
    let bench = Bench::new();
    for round in [[1, 2], [3, 4]] {
        let mut tool = bench.archive(&[]);
        bench.publish(round);
        bench.wait_until_all_is_finished();
        assert!(tool.terminate().success());
    }
    let files = [("numbers.here.now.log", "1\n2\n3\n4\n")];
    bench.wait_for_files("out", &files);
}

#[test]
fn a_hangup_closes_a_file_of_the_work_folder_and_the_next_message_opens_another() {
    let bench = Bench::new();
    let mut tool = bench.archive(&["--work-dir={folder}/work", "--skip-empty-files"]);
    bench.publish([1]);
    bench.wait_until_all_is_finished();
    assert_eq!(bench.files("out"), []);
    tool.notify(Signal::HUP);
    bench.wait_for_files("out", &[("numbers.here-000000.now.log", "1\n")]);
    bench.publish([2]);
    bench.wait_until_all_is_finished();
    assert!(tool.terminate().success());
    let files = [
        ("numbers.here-000000.now.log", "1\n"),
        ("numbers.here-000001.now.log", "2\n"),
    ];
    bench.wait_for_files("out", &files);
    assert_eq!(bench.files("work"), []);
}

#[test]
fn files_rotate_by_size_and_by_age() {
    let bench = Bench::new();
    let mut tool = bench.archive(&["--rotate-size=5", "--gzip"]);
    bench.publish([111, 222, 333]);
    bench.wait_until_all_is_finished();
    assert!(tool.terminate().success());
    let files = [
        ("numbers.here-000000.now.log.gz", "111\n222\n"),
        ("numbers.here-000001.now.log.gz", "333\n"),
    ];
    bench.wait_for_files("out", &files);

    let bench = Bench::new();
    let mut tool = bench.archive(&["--rotate-interval=1s", "--skip-empty-files"]);
    bench.publish([1]);
    let line = tool
        .log()
        .wait_for("since last open, rotating...", PATIENCE);
    assert!(line.is_some());
    bench.publish([2]);
    bench.wait_until_all_is_finished();
    assert!(tool.terminate().success());
    let files = [
        ("numbers.here-000000.now.log", "1\n"),
        ("numbers.here-000001.now.log", "2\n"),
    ];
    bench.wait_for_files("out", &files);
}

#[test]
fn an_empty_file_comes_with_the_first_tick_unless_those_are_skipped() {
    let bench = Bench::new();
    let mut tool = bench.archive(&[]);
    bench.wait_for_files("out", &[("numbers.here.now.log", "")]);
    assert!(tool.terminate().success());
}

#[test]
fn a_folder_that_cannot_be_made_ends_it_and_the_messages_stay() {
    let bench = Bench::new();
    fs::write(bench.path("out"), "a file").expect("the file can be written");
    let mut tool = bench.archive(&[]);
    bench.publish([1]);
    assert_eq!(tool.wait_for_exit().code(), Some(1));
    let fatal = "FATAL: [numbers/nsq_to_file] unable to create dir: ";
    assert!(tool.log().wait_for(fatal, PATIENCE).is_some());
    drop(tool);
    fs::remove_file(bench.path("out")).expect("the file can be removed");
    let _tool = bench.archive(&[]);
    bench.wait_for_files("out", &[("numbers.here.now.log", "1\n")]);
}

#[test]
fn kills_lose_nothing_and_leave_no_torn_file() {
    for flags in [
        &["--gzip", "--work-dir={folder}/work"][..],
        &["--gzip"],
        &[],
    ] {
        check_kills(flags);
    }
}

#[track_caller]
fn check_kills(flags: &[&str]) {
    let bench = Bench::new();
    let share = KILLED_COUNT / usize::try_from(KILLS).expect("a few");
    let mut published = 0;
    for kill in 0..KILLS {
        bench.publish(published..published + share);
        published += share;
        let mut tool = bench.archive(flags);
        let opening = tool.log().wait_for("syncing", PATIENCE);
        assert!(opening.is_some(), "{}", tool.log().tail());
        // Somewhere between two syncs; no matter where.
        std::thread::sleep(Duration::from_millis(u64::from(kill) * 7));
        tool.kill9();
    }
    let mut tool = bench.archive(flags);
    bench.wait_until_all_is_finished();
    assert!(tool.terminate().success());
    assert_eq!(bench.files("work"), [], "{flags:?}");
    let mut found = BTreeSet::new();
    for (name, text) in bench.files("out") {
        assert!(text.is_empty() || text.ends_with('\n'), "{name}");
        for line in text.lines() {
            let number: usize = line
                .parse()
                .unwrap_or_else(|_| panic!("{name} has {line:?}"));
            found.insert(number);
        }
    }
    let missing: Vec<_> = (0..published)
        .filter(|number| !found.contains(number))
        .collect();
    assert!(missing.is_empty(), "{flags:?}: {missing:?}");
    assert_eq!(found.len(), published, "{flags:?}");
}
