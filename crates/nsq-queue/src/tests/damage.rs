//! Flipped bits, missing and foreign files.

use super::*;
use crate::Damage;
use crate::header::HEADER_BYTES;

const SIZE: usize = 232;

/// Opens a log whose file `file` was changed, checks that it serves nothing but what was written, and
/// returns the sequences it lacks.
fn reopen_changed(bench: &Bench, all: &[Vec<u8>]) -> (Vec<u64>, Recovery) {
    let (writer, recovery) = bench.open();
    let (read, lost) = read_from(writer.log(), 0);
    for (sequence, body) in &read {
        assert_eq!(Some(body), all.get(usize::try_from(*sequence).unwrap()));
    }
    let missing: Vec<_> = (0..all.len() as u64)
        .filter(|number| !read.iter().any(|(sequence, _)| sequence == number))
        .collect();
    let unreported = missing.iter().filter(|number| !lost.contains(number));
    // The log's very tail may go without a reader's report, as there is nothing after it; and its
    // beginning, which looks released, but only when the start has told of a file's header.
    let tells = |damage: &Damage| matches!(damage, Damage::PutAside(..) | Damage::HeaderRebuilt(_));
    let told = recovery.damaged.iter().any(tells);
    for number in unreported {
        let at_front = *number < recovery.first && told;
        assert!(
            at_front || *number >= recovery.end,
            "{number} went silently: {recovery:?}"
        );
    }
    (missing, recovery)
}

#[test]
fn a_flipped_bit_costs_the_record_it_hits_and_no_other() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    let all = bodies(0..40, 200);
    append(&mut writer, &all).unwrap();
    let bases: Vec<_> = (0..3)
        .map_while(|at| writer.log().segment_base(at))
        .collect();
    assert_eq!(bases.len(), 2);
    drop(writer);
    for (file, base) in bench.files().iter().zip(bases) {
        let path = bench.path().join(file);
        let sound = std::fs::read(&path).unwrap();
        // Every byte of the header and of a few records, then here and there.
        let places = (0..900).chain((900..sound.len()).step_by(37));
        for at in places {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).unwrap();
            let (missing, recovery) = reopen_changed(&bench, &all);
            let record = at.checked_sub(HEADER_BYTES as usize).map(|at| at / SIZE);
            let hit = record
                .map(|record| base + record as u64)
                .filter(|&hit| hit < all.len() as u64 && (base > 0 || hit < 17));
            assert_eq!(
                missing,
                hit.into_iter().collect::<Vec<_>>(),
                "{file} at {at}"
            );
            if record.is_none() {
                assert!(matches!(recovery.damaged[..], [Damage::HeaderRebuilt(_)]));
            }
            std::fs::write(&path, &sound).unwrap();
        }
    }
}

#[test]
fn damage_in_the_running_log_is_reported_once_and_the_rest_is_served() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..40, 200)).unwrap();
    let path = bench.path().join(&bench.files()[1]);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let at = u64::from(HEADER_BYTES) + SIZE as u64 * 3;
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xee; 500], at).unwrap();
    let base = writer.log().segment_base(1).unwrap();
    let (read, lost) = read_from(writer.log(), 0);
    assert_eq!(lost, [base + 3, base + 4, base + 5]);
    assert_eq!(read.len(), 37);
    // A cursor can be placed after, before and into the hole.
    for sequence in base..base + 9 {
        let (read, lost) = read_from(writer.log(), sequence);
        let lost_here = (base + 3..base + 6).filter(|&lost| lost >= sequence);
        assert_eq!(lost, lost_here.collect::<Vec<_>>());
        assert_eq!(
            read.len() + lost.len(),
            usize::try_from(40 - sequence).unwrap()
        );
    }
}

#[test]
fn a_missing_segment_is_reported_and_the_rest_is_served() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    let all = bodies(0..200, 200);
    append(&mut writer, &all).unwrap();
    let lost = writer.log().segment_base(1).unwrap()..writer.log().segment_base(2).unwrap();
    drop(writer);
    std::fs::remove_file(bench.path().join(&bench.files()[1])).unwrap();
    let (missing, _) = reopen_changed(&bench, &all);
    assert_eq!(missing, lost.collect::<Vec<_>>());
}

#[test]
fn a_hopeless_file_is_kept_aside_and_its_records_are_reported() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    let all = bodies(0..200, 200);
    append(&mut writer, &all).unwrap();
    let lost = writer.log().segment_base(1).unwrap()..writer.log().segment_base(2).unwrap();
    drop(writer);
    let name = &bench.files()[1];
    let path = bench.path().join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..64].fill(0x5a);
    std::fs::write(&path, &bytes).unwrap();
    let (missing, recovery) = reopen_changed(&bench, &all);
    assert_eq!(missing, lost.collect::<Vec<_>>());
    assert!(matches!(recovery.damaged[..], [Damage::PutAside(..)]));
    assert_eq!(
        std::fs::read(bench.path().join(format!("{name}.bad"))).unwrap(),
        bytes
    );
}

#[test]
fn a_segment_of_another_log_is_not_served() {
    let bench = Bench::new();
    let (mut writer, _) = bench.open();
    append(&mut writer, &bodies(0..200, 200)).unwrap();
    let next = writer.end().position.segment + 1;
    drop(writer);
    let other = Bench::new();
    append(&mut other.open().0, &bodies(500..510, 200)).unwrap();
    let from = other.path().join("log.00000000.log");
    let to = bench.path().join(format!("log.{next:08}.log"));
    std::fs::copy(&from, &to).unwrap();
    let (mut writer, recovery) = bench.open();
    assert!(matches!(recovery.damaged[..], [Damage::PutAside(..)]));
    assert_eq!(read_all(writer.log()), bodies(0..200, 200));
    append(&mut writer, &bodies(200..300, 200)).unwrap();
    assert_eq!(read_all(writer.log()), bodies(0..300, 200));
}

#[test]
fn an_empty_file_of_an_interrupted_creation_is_removed() {
    let bench = Bench::new();
    append(&mut bench.open().0, &bodies(0..5, 200)).unwrap();
    std::fs::write(bench.path().join("log.00000001.log"), []).unwrap();
    std::fs::write(bench.path().join("log.00000002.log"), [0; 8192]).unwrap();
    let (writer, recovery) = bench.open();
    assert_eq!((recovery.end, &*recovery.damaged), (5, &[][..]));
    assert_eq!(writer.end().sequence, 5);
    assert_eq!(bench.files(), ["log.00000000.log"]);
}

#[test]
fn no_bytes_whatever_make_opening_panic_or_invent_a_record() {
    for seed in 0..200_u32 {
        let bench = Bench::new();
        let (mut writer, _) = bench.open();
        let all = bodies(0..40, 200);
        append(&mut writer, &all).unwrap();
        drop(writer);
        let file = bench.path().join(&bench.files()[seed as usize % 2]);
        let mut bytes = std::fs::read(&file).unwrap();
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        for _ in 0..=seed % 50 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (state >> 8) as usize % bytes.len();
            bytes[at] = state.to_le_bytes()[3];
        }
        bytes.truncate(bytes.len() - (state as usize % 3) * 1001);
        std::fs::write(&file, &bytes).unwrap();
        reopen_changed(&bench, &all);
    }
}
