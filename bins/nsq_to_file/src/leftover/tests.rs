use std::io::Write as _;

use tempfile::TempDir;

use super::*;
use crate::archive::Layout;
use crate::file_name::{FileNames, Parts};
use crate::rotation::Rotation;

fn member(content: &[u8]) -> Vec<u8> {
    let mut encoder = gzip_members::begin(6);
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn archive(base: &TempDir, work: &str, gzip_level: Option<u32>, format: &str) -> Archive {
    let layout = Layout {
        output_dir: base.path().join("out"),
        work_dir: base.path().join(work),
        gzip_level,
        rotation: Rotation::default(),
        skips_empty_files: false,
    };
    let names = FileNames::new(&Parts {
        filename_format: format,
        datetime_format: "%Y/%m",
        topic: "t",
        hostname: "h",
        host_identifier: "",
        process: 1,
        is_gzip: gzip_level.is_some(),
        needs_revision: layout.needs_revision(),
    });
    Archive::new(layout, names.unwrap(), "[t/c]".to_owned())
}

fn put(base: &TempDir, path: &str, content: &[u8]) -> PathBuf {
    let path = base.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

const FORMAT: &str = "<DATETIME>/<TOPIC>.<PID><REV>.log";

#[test]
fn a_torn_gzip_file_keeps_its_whole_members_and_is_not_looked_at_again() {
    let base = tempfile::tempdir().unwrap();
    let archive = archive(&base, "out", Some(6), FORMAT);
    let whole = [&END[..], &member(b"one\n")].concat();
    let torn = [&whole[..], &member(b"two\n")[..15]].concat();
    let path = put(&base, "out/1999/12/t.77-000003.log.gz", &torn);
    bring_into_order(&archive).unwrap();
    let mended = [&whole[..], &END].concat();
    assert_eq!(fs::read(&path).unwrap(), mended);
    let (_, state) = mend(&path, true).unwrap();
    assert_eq!(state, State::Whole);
}

#[test]
fn files_of_others_and_in_use_stay_as_they_are() {
    let base = tempfile::tempdir().unwrap();
    let archive = archive(&base, "out", Some(6), FORMAT);
    let torn = &member(b"a message that is long enough\n")[..30];
    let mut gos = torn.to_vec();
    gos[9] = 0xff;
    let kept = [
        put(&base, "out/1999/12/other.77-000003.log.gz", torn),
        put(&base, "out/1999/12/t.77-000003.log", torn),
        put(&base, "out/199/12/t.77-000003.log.gz", torn),
        put(&base, "out/1999/12/t.77-000009.log.gz", torn),
    ];
    let written_by_go = put(&base, "out/1999/12/t.77-000004.log.gz", &gos);
    let empty = put(&base, "out/1999/12/t.77-000005.log.gz", b"");
    let in_use = File::open(&kept[3]).unwrap();
    in_use.lock().unwrap();
    bring_into_order(&archive).unwrap();
    for path in kept {
        assert_eq!(fs::read(&path).unwrap(), torn, "{}", path.display());
    }
    assert_eq!(fs::read(written_by_go).unwrap(), gos);
    assert_eq!(fs::read(empty).unwrap(), b"");
}

#[test]
fn what_a_dead_process_left_in_the_work_folder_is_moved_and_replaces_nothing() {
    let base = tempfile::tempdir().unwrap();
    let archive = archive(&base, "work", None, "<TOPIC><REV>.log");
    let torn = put(&base, "work/t-000002.log", b"one\ntw");
    let theirs = put(&base, "out/t-000002.log", b"theirs\n");
    bring_into_order(&archive).unwrap();
    assert!(!torn.exists());
    assert_eq!(fs::read(theirs).unwrap(), b"theirs\n");
    let moved = base.path().join("out/t-000003.log");
    assert_eq!(fs::read(moved).unwrap(), b"one\n");
}

#[test]
fn a_beginning_of_a_beginning_becomes_a_whole_file() {
    let base = tempfile::tempdir().unwrap();
    let path = put(&base, "x", &END[..13]);
    mend(&path, true).unwrap();
    assert_eq!(fs::read(&path).unwrap(), END);
}

#[test]
fn nothing_is_done_to_a_file_that_is_damaged_in_the_middle() {
    let base = tempfile::tempdir().unwrap();
    let mut bytes = [&END[..], &member(b"first"), &member(b"second")].concat();
    bytes[20 + 14] ^= 0x55;
    let path = put(&base, "x", &bytes);
    let (_, state) = mend(&path, true).unwrap();
    assert_eq!(state, State::Damaged { at: 20 });
    assert_eq!(fs::read(&path).unwrap(), bytes);
}
