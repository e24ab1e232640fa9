//! Kills at any instant: the folder as it was in the middle of each operation.

use super::*;

/// The files of a folder, by name.
fn snapshot(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn bench_of(files: &[(String, Vec<u8>)]) -> Bench {
    let bench = Bench::new();
    for (name, bytes) in files {
        std::fs::write(bench.path().join(name), bytes).unwrap();
    }
    bench
}

#[test]
fn after_a_kill_in_any_write_of_a_batch_a_prefix_of_it_is_there() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..12, 200)).unwrap();
    let before = snapshot(bench.path());
    append(&mut writer, &bodies(12..24, 200)).unwrap();
    let after = snapshot(bench.path());
    assert_eq!((before.len(), after.len()), (1, 2));
    let mut ends = Vec::new();
    // The first file's tail, with the second not yet there, preallocated, or in part.
    let changed = 64 + 12 * 232..64 + 17 * 232;
    for cut in changed.clone() {
        let mut files = before.clone();
        files[0].1[changed.start..cut].copy_from_slice(&after[0].1[changed.start..cut]);
        files.push((after[1].0.clone(), vec![0; after[1].1.len()]));
        ends.push(check(&files, 12, 24));
    }
    for cut in 0..64 + 7 * 232 + 8 {
        let mut files = after.clone();
        files[1].1[cut..].fill(0);
        ends.push(check(&files, 17, 24));
    }
    assert!(ends.is_sorted());
    assert_eq!((ends.first(), ends.last()), (Some(&12), Some(&24)));
}

/// Opens what a kill left: some end between the two, everything before it readable, nothing after,
/// and the log continues.
fn check(files: &[(String, Vec<u8>)], least: u64, most: u64) -> u64 {
    let bench = bench_of(files);
    let (mut writer, recovery) = bench.open();
    let end = recovery.end;
    assert!((least..=most).contains(&end), "{end}");
    assert_eq!(read_all(writer.log()), bodies(0..end, 200));
    append(&mut writer, &bodies(end..end + 3, 200)).unwrap();
    drop(writer);
    let (writer, _) = bench.open();
    assert_eq!(read_all(writer.log()), bodies(0..end + 3, 200));
    end
}

#[test]
fn after_a_kill_in_a_truncation_it_has_happened_or_not() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..200, 200)).unwrap();
    let before = snapshot(bench.path());
    writer.truncate(30).unwrap();
    let truncated = snapshot(bench.path());
    append(&mut writer, &bodies(30..32, 200)).unwrap();
    let appended = snapshot(bench.path());
    assert!(before.len() > 3 && truncated.len() < before.len());
    // Sealed, and none, some or all of the later segments removed, in whatever order.
    for removed in 0_u32..1 << (before.len() - truncated.len()) {
        let mut files = truncated.clone();
        let later = before[truncated.len()..].iter().enumerate();
        files.extend(
            later
                .filter(|(at, _)| removed >> at & 1 == 0)
                .map(|(_, file)| file.clone()),
        );
        assert_eq!(check(&files, 30, 30), 30);
        // The same, when a machine crash brought removed names back after the next append.
        let newest = appended.last().unwrap().clone();
        files.push(newest);
        assert_eq!(check(&files, 32, 32), 32);
    }
}

#[test]
fn after_a_kill_in_a_release_what_was_kept_is_there() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..200, 200)).unwrap();
    let before = snapshot(bench.path());
    writer.release_before(writer.log().segment_base(3).unwrap());
    assert_eq!(bench.files().len(), before.len() - 3);
    let kept = writer.log().first_sequence();
    for removed in 0..=3 {
        let bench = bench_of(&before[removed..]);
        let (writer, recovery) = bench.open();
        assert_eq!((recovery.end, &*recovery.damaged), (200, &[][..]));
        let (read, lost) = read_from(writer.log(), kept);
        assert_eq!((read.len() as u64, lost.len()), (200 - kept, 0));
    }
}
