//! nsq_to_file on a full disk: what it leaves is whole, and with room again it continues where it was.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use nsq_tests::{SmallDisk, Tool};

use crate::archive::{Bench, files_in, numbers_in};

const COUNT: usize = 600;

#[test]
fn a_full_disk_ends_it_and_nothing_is_lost_or_torn() {
    for flags in [&[][..], &["--gzip"], &["--gzip", "--work-dir={disk}/work"]] {
        let Some(disk) = SmallDisk::mount(1024) else {
            return;
        };
        let bench = Bench::new();
        let disk = disk.path();
        let filler = disk.join("filler");
        // Leaves room for half of the messages.
        fs::write(&filler, vec![0; 850 * 1024]).expect("there is room");
        bench.publish_lines((0..COUNT).map(incompressible_line));

        let mut tool = archive_on(&bench, &disk, flags);
        assert_eq!(tool.wait_for_exit().code(), Some(1), "{flags:?}");
        tool.wait_for_line("FATAL");
        tool.wait_for_line("no space left on device");
        // All of them can be read, and lines are whole.
        let mut files = files_in(&disk.join("out"));
        files.extend(files_in(&disk.join("work")));
        for line in files.iter().flat_map(|(_, text)| text.lines()) {
            let number = line.split(' ').next().expect("a line has a first word");
            let number = number.parse().expect("it is a number");
            assert_eq!(line, incompressible_line(number), "{flags:?}");
        }
        let channel = bench.nsqd.channel("numbers", "nsq_to_file");
        assert_ne!(channel["depth"], 0, "{flags:?}: all of them fitted");

        fs::remove_file(&filler).expect("it is ours");
        let mut tool = archive_on(&bench, &disk, flags);
        bench.wait_until_all_is_finished();
        assert!(tool.terminate().success(), "{flags:?}");
        let lines = numbers_in(&files_in(&disk.join("out")), COUNT);
        assert_eq!(lines, COUNT, "{flags:?}: some are there twice");
        assert_eq!(files_in(&disk.join("work")), [], "{flags:?}");
    }
}

fn archive_on(bench: &Bench, disk: &Path, flags: &[&str]) -> Tool {
    let disk = disk.to_str().expect("paths here are text");
    let flags: Vec<_> = flags
        .iter()
        .map(|flag| flag.replace("{disk}", disk))
        .collect();
    let mut flags: Vec<_> = flags.iter().map(String::as_str).collect();
    // Several syncs before the disk is full.
    flags.push("--max-in-flight=20");
    bench.archive_to(&format!("--output-dir={disk}/out"), &flags)
}

/// A number, and nearly a kilobyte that compression cannot halve.
fn incompressible_line(number: usize) -> String {
    let mut line = number.to_string() + " ";
    let mut state = u64::try_from(number).expect("it is small") + 1;
    for _ in 0..60 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let _ = write!(line, "{mixed:016x}");
    }
    line
}
