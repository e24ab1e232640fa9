use std::fs;

use tempfile::TempDir;

use super::*;
use crate::file_name::Parts;

struct Folders {
    base: TempDir,
}

impl Folders {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        Self { base }
    }

    fn layout(&self, work: &str) -> Layout {
        Layout {
            output_dir: self.base.path().join("out"),
            work_dir: self.base.path().join(work),
            gzip_level: None,
            rotation: Rotation::default(),
            skips_empty_files: false,
        }
    }

    fn archive(layout: Layout, format: &str) -> Archive {
        let names = FileNames::new(&Parts {
            filename_format: format,
            datetime_format: "%Y",
            topic: "t",
            hostname: "h",
            host_identifier: "",
            process: 1,
            is_gzip: layout.gzip_level.is_some(),
            needs_revision: layout.needs_revision(),
        });
        Archive::new(layout, names.unwrap(), "[t/c]".to_owned())
    }

    /// Names and contents below a folder, sorted.
    fn files(&self, folder: &str) -> Vec<(String, String)> {
        let folder = self.base.path().join(folder);
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let mut files: Vec<_> = entries
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }
}

fn named(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files
        .iter()
        .map(|(name, content)| ((*name).to_owned(), (*content).to_owned()))
        .collect()
}

fn append(archive: &mut Archive, body: &str) -> bool {
    archive.append_all(std::iter::once(body)).unwrap()
}

#[test]
fn a_plain_file_is_appended_to_after_a_hangup_and_by_the_next_run() {
    let folders = Folders::new();
    for _ in 0..2 {
        let mut archive = Folders::archive(folders.layout("out"), "<TOPIC><REV>.log");
        assert!(append(&mut archive, "one"));
        assert!(!append(&mut archive, "two"));
        archive.close().unwrap();
        append(&mut archive, "three");
        archive.close().unwrap();
    }
    let content = "one\ntwo\nthree\n".repeat(2);
    assert_eq!(folders.files("out"), named(&[("t.log", &content)]));
}

#[test]
fn the_message_that_crosses_the_size_stays_and_the_next_goes_elsewhere() {
    let folders = Folders::new();
    let mut layout = folders.layout("out");
    layout.rotation.size = Some(10);
    let mut archive = Folders::archive(layout.clone(), "<TOPIC><REV>.log");
    for body in ["12345", "6789", "crosses", "next"] {
        append(&mut archive, body);
    }
    archive.close().unwrap();
    assert_eq!(
        folders.files("out"),
        named(&[
            ("t-000000.log", "12345\n6789\n"),
            ("t-000001.log", "crosses\nnext\n")
        ])
    );
    // The first is past its size, so the next run continues with none of both.
    let mut archive = Folders::archive(layout, "<TOPIC><REV>.log");
    append(&mut archive, "later");
    archive.close().unwrap();
    assert_eq!(folders.files("out").len(), 3);
}

#[test]
fn a_finished_file_moves_and_the_next_message_opens_another() {
    let folders = Folders::new();
    let mut archive = Folders::archive(folders.layout("work"), "<TOPIC><REV>.log");
    append(&mut archive, "one");
    assert_eq!(folders.files("out"), []);
    archive.close().unwrap();
    append(&mut archive, "two");
    archive.close().unwrap();
    archive.close().unwrap();
    assert_eq!(folders.files("work"), []);
    assert_eq!(
        folders.files("out"),
        named(&[("t-000000.log", "one\n"), ("t-000001.log", "two\n")])
    );
}

#[test]
fn a_finished_file_never_replaces_another_one() {
    let folders = Folders::new();
    let mut archive = Folders::archive(folders.layout("work"), "<TOPIC><REV>.log");
    append(&mut archive, "new");
    let theirs = |name: &str| folders.base.path().join("out").join(name);
    fs::write(theirs("t-000000.log"), "old").unwrap();
    fs::write(theirs("t-000001.log"), "old").unwrap();
    archive.close().unwrap();
    assert_eq!(
        folders.files("out"),
        named(&[
            ("t-000000.log", "old"),
            ("t-000001.log", "old"),
            ("t-000002.log", "new\n")
        ])
    );
}

#[test]
fn a_tick_opens_an_empty_file_unless_those_are_skipped() {
    let folders = Folders::new();
    let mut layout = folders.layout("out");
    layout.skips_empty_files = true;
    Folders::archive(layout, "t.log").tick().unwrap();
    assert_eq!(folders.files("out"), []);
    Folders::archive(folders.layout("out"), "t.log")
        .tick()
        .unwrap();
    assert_eq!(folders.files("out"), named(&[("t.log", "")]));
}

#[test]
fn intervals_never_append_to_a_file_that_is_there() {
    let folders = Folders::new();
    let mut layout = folders.layout("out");
    layout.rotation.interval = Some(std::time::Duration::from_hours(1));
    for body in ["one", "two"] {
        let mut archive = Folders::archive(layout.clone(), "<TOPIC><REV>.log");
        append(&mut archive, body);
        archive.close().unwrap();
    }
    assert_eq!(
        folders.files("out"),
        named(&[("t-000000.log", "one\n"), ("t-000001.log", "two\n")])
    );
}

#[test]
fn an_error_names_the_file_and_the_cause() {
    let folders = Folders::new();
    fs::write(folders.base.path().join("out"), "a file").unwrap();
    let mut archive = Folders::archive(folders.layout("out"), "t.log");
    let error = archive.tick().unwrap_err().to_string();
    assert!(error.starts_with("unable to create dir: "), "{error}");
    assert!(!error.contains("os error"), "{error}");
}
