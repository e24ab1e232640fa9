//! Files of which someone keeps a link.

use super::*;
use crate::{SegmentFile, whole_bytes};

const LARGE: LogOptions = LogOptions {
    first_segment_bytes: 64 << 10,
    max_segment_bytes: 64 << 10,
};

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.pool = Arc::new(SegmentPool::new(bench.path(), 1 << 20));
    bench.options = LARGE;
    bench
}

/// Links to the log's files, and what they hold.
fn link(bench: &Bench, writer: &Writer) -> Vec<(std::path::PathBuf, SegmentFile, Vec<u8>)> {
    let files = writer.log().files().unwrap().into_iter().enumerate();
    let links = files.map(|(at, file)| {
        let link = bench.path().join(format!("link{at}"));
        std::fs::hard_link(&file.path, &link).unwrap();
        let bytes = usize::try_from(file.bytes).unwrap();
        let held = std::fs::read(&link).unwrap()[..bytes].to_vec();
        assert_eq!(held[..file.header.len()], file.header);
        (link, file, held)
    });
    links.collect()
}

#[test]
fn a_freed_file_that_has_another_link_is_not_used_again() {
    let bench = bench();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..1000, 200)).unwrap();
    let links = link(&bench, &writer);
    assert!(links.len() >= 4);
    // Half of the links are there while files are freed and taken again, the others go first.
    let (kept, gone) = links.split_at(2);
    for (link, ..) in gone {
        std::fs::remove_file(link).unwrap();
    }
    for round in 1..8 {
        let end = round * 1000;
        assert!(writer.release_before(end) >= 1);
        append(&mut writer, &bodies(end..end + 1000, 200)).unwrap();
        for (link, _, held) in kept {
            let now = std::fs::read(link).unwrap();
            assert_eq!(now[..held.len()], held[..]);
        }
    }
    for (link, file, held) in kept {
        let whole = whole_bytes(link, file.bytes).unwrap();
        assert_eq!(whole, held.len() as u64);
    }
    assert_eq!(read_all(writer.log()).len(), 1000);
}

#[test]
fn a_fingerprint_names_the_records_of_a_file() {
    let bench = bench();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..400, 200)).unwrap();
    let before = writer.log().files().unwrap();
    append(&mut writer, &bodies(400..500, 200)).unwrap();
    let after = writer.log().files().unwrap();
    let prints =
        |files: &[SegmentFile]| -> Vec<u64> { files.iter().map(|file| file.fingerprint).collect() };
    assert_eq!(prints(&before), prints(&after)[..before.len()]);
    assert!(before.last().unwrap().bytes < after[before.len() - 1].bytes);
    drop(writer);
    let (mut writer, _) = bench.open();
    assert_eq!(prints(&writer.log().files().unwrap()), prints(&after));
    writer.truncate(450).unwrap();
    let cut = writer.log().files().unwrap();
    assert_ne!(prints(&cut).last(), prints(&after).last());
}

#[test]
fn damage_ends_what_is_sure_of_a_file() {
    let bench = bench();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..100, 200)).unwrap();
    let file = writer.log().files().unwrap().remove(0);
    assert_eq!(whole_bytes(&file.path, file.bytes).unwrap(), file.bytes);
    let limited = whole_bytes(&file.path, file.bytes / 2).unwrap();
    assert!(limited <= file.bytes / 2 && limited > file.bytes / 2 - 300);
    let mut bytes = std::fs::read(&file.path).unwrap();
    bytes[10_000] ^= 1;
    std::fs::write(&file.path, &bytes).unwrap();
    let whole = whole_bytes(&file.path, file.bytes).unwrap();
    assert!(whole <= 10_000 && whole > 9700, "{whole}");
    bytes[3] ^= 1;
    std::fs::write(&file.path, &bytes).unwrap();
    assert_eq!(whole_bytes(&file.path, file.bytes).unwrap(), 0);
}

#[test]
fn the_words_of_a_finished_set_are_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set");
    let mut set = crate::FinishedSet::open(&path, 7).unwrap();
    set.finish_range(0..100).unwrap();
    for sequence in [105, 4000, 30_000] {
        set.finish(sequence).unwrap();
    }
    set.finish_range(200..333).unwrap();
    let (words, count) = set.words();
    let mut bytes = vec![0; count * 8];
    for (place, word) in words {
        bytes[place * 8..place * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    assert_eq!(bytes, std::fs::read(&path).unwrap());
    let copy = folder.path().join("copy");
    std::fs::write(&copy, bytes).unwrap();
    let copy = crate::FinishedSet::open(&copy, 7).unwrap();
    assert_eq!(copy.floor(), 100);
    assert_eq!(copy.count_finished(0..40_000), 100 + 3 + 133);
}
