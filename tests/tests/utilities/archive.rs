//! An archive of numbered messages: nsq_to_file, what feeds it, and what it has written.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use nsq_tests::{Nsqd, PATIENCE, Start, Tool, wait_until};
use tempfile::TempDir;

pub(crate) const TOPIC: &str = "numbers";
pub(crate) const CHANNEL: &str = "nsq_to_file";

/// An nsqd, and a folder for files.
pub(crate) struct Bench {
    pub(crate) nsqd: Nsqd,
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let nsqd = Start::with(&["--msg-timeout=2s"]).now();
        nsqd.order(&format!("/topic/create?topic={TOPIC}"));
        nsqd.order(&format!("/channel/create?topic={TOPIC}&channel={CHANNEL}"));
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { nsqd, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// nsq_to_file on it; `{folder}` in a flag stands for the folder.
    pub(crate) fn archive(&self, flags: &[&str]) -> Tool {
        let out = format!("--output-dir={}", self.path("out").display());
        self.archive_to(&out, flags)
    }

    /// As [`Bench::archive`], with another `--output-dir`.
    pub(crate) fn archive_to(&self, output_dir: &str, flags: &[&str]) -> Tool {
        Tool::start("nsq_to_file", &self.args(output_dir, flags))
    }

    /// As [`Bench::archive`], through a wrapper: see [`Tool::start_through`].
    pub(crate) fn archive_through(&self, wrapper: &[&str], flags: &[&str]) -> Tool {
        let out = format!("--output-dir={}", self.path("out").display());
        Tool::start_through(wrapper, "nsq_to_file", &self.args(&out, flags))
    }

    fn args(&self, output_dir: &str, flags: &[&str]) -> Vec<String> {
        let mut args = vec![
            format!("--topic={TOPIC}"),
            format!("--nsqd-tcp-address={}", self.nsqd.tcp()),
            output_dir.to_owned(),
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
        args
    }

    #[track_caller]
    pub(crate) fn publish(&self, numbers: impl IntoIterator<Item = usize>) {
        self.publish_lines(numbers.into_iter().map(|number| number.to_string()));
    }

    #[track_caller]
    pub(crate) fn publish_lines(&self, lines: impl Iterator<Item = String>) {
        let mut body = String::new();
        for line in lines {
            let _ = writeln!(body, "{line}");
        }
        let path = format!("/mpub?topic={TOPIC}");
        let reply = self.nsqd.post(&path, body.as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    /// Waits until every message that was published has been finished.
    #[track_caller]
    pub(crate) fn wait_until_all_is_finished(&self) {
        let wanted = [("depth", 0), ("in_flight_count", 0), ("deferred_count", 0)];
        self.nsqd.wait_for_channel(TOPIC, CHANNEL, &wanted);
    }

    /// Looks for all numbers below `count` at the beginnings of lines, and nothing else there. Returns how many lines
    /// there are: a message may be in the files more than once.
    #[track_caller]
    pub(crate) fn expect_numbers(&self, folder: &str, count: usize) -> usize {
        numbers_in(&self.files(folder), count)
    }

    /// Names and texts of the files in a folder, sorted. A gzip file that is not whole is a failure.
    #[track_caller]
    pub(crate) fn files(&self, folder: &str) -> Vec<(String, String)> {
        files_in(&self.path(folder))
    }

    #[track_caller]
    pub(crate) fn wait_for_files(&self, folder: &str, wanted: &[(&str, &str)]) {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        wait_until(&format!("{folder} has {wanted:?}"), PATIENCE, || {
            self.files(folder) == wanted
        });
    }
}

/// As [`Bench::files`].
#[track_caller]
pub(crate) fn files_in(folder: &Path) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(folder) else {
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

/// As [`Bench::expect_numbers`].
#[track_caller]
pub(crate) fn numbers_in(files: &[(String, String)], count: usize) -> usize {
    let mut lines = 0;
    let mut found = BTreeSet::new();
    for (name, text) in files {
        assert!(text.is_empty() || text.ends_with('\n'), "{name}");
        for line in text.lines() {
            let word = line.split(' ').next().unwrap_or_default();
            let number = word.parse::<usize>();
            found.insert(number.unwrap_or_else(|_| panic!("{name} has {line:?}")));
            lines += 1;
        }
    }
    let missing: Vec<_> = (0..count)
        .filter(|number| !found.contains(number))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(found.len(), count);
    lines
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
