//! One log, whose process is killed and whose machine loses its power at every change of a file in a run.

use std::path::Path;
use std::sync::Arc;

use nsq_queue::{LogOptions, NewRecord, ReadError, Reader, SegmentPool, Writer};

use crate::disk;
use crate::model::body_of;
use crate::random::Random;
use crate::tests::fast_folder;

const OPTIONS: LogOptions = LogOptions {
    first_segment_bytes: 4096,
    max_segment_bytes: 8192,
};

/// The state of a run when its process died.
#[derive(Debug, Default)]
struct Reached {
    /// All bodies ever appended at each sequence; the last is the one that counts.
    bodies: Vec<Vec<Vec<u8>>>,
    /// The log's end, as answered.
    end: usize,
    /// Below it everything is synced.
    synced: usize,
    /// No record below it is needed.
    released: usize,
    /// A call had begun that appends, or that truncates to the number.
    under_way: Option<UnderWay>,
}

#[derive(Clone, Copy, Debug)]
enum UnderWay {
    Append,
    Truncate(usize),
    Release(usize),
    Sync,
}

fn open(folder: &Path) -> (Writer, nsq_queue::Recovery) {
    let pool = Arc::new(SegmentPool::new(folder.join("free"), 64 << 10));
    Writer::open(&folder.join("log"), "main", pool, OPTIONS).unwrap()
}

/// Runs the seed's operations until the planned kill, if there is one.
fn operate(folder: &Path, seed: u64, kill: Option<u64>) -> Reached {
    let mut chance = Random::new(seed);
    let mut reached = Reached::default();
    std::fs::create_dir_all(folder.join("free")).unwrap();
    std::fs::create_dir_all(folder.join("log")).unwrap();
    disk::with(|disk| {
        disk.medium.sync_folder("");
        disk.operation_count = 0;
        if let Some(operation) = kill {
            disk.plan_kill(operation);
        }
    });
    let (mut writer, _) = open(folder);
    let mut number = 0;
    let is_dead = || disk::with(|disk| disk.is_killed()).unwrap_or(false);
    for _ in 0..25 {
        let end = reached.end;
        match chance.below(12) {
            0 => {
                let to = chance.index(end + 1).max(reached.released);
                reached.under_way = Some(UnderWay::Truncate(to));
                writer.truncate(to as u64).unwrap();
                if is_dead() {
                    return reached;
                }
                reached.end = to.min(end);
                reached.synced = reached.synced.min(to);
                reached.bodies.truncate(reached.end);
            }
            1 => {
                let to = chance.index(end + 1);
                reached.under_way = Some(UnderWay::Release(to));
                writer.release_before(to as u64);
                reached.released = reached.released.max(to);
            }
            2 | 3 => {
                reached.under_way = Some(UnderWay::Sync);
                let synced = writer.log().sync().unwrap();
                if is_dead() {
                    return reached;
                }
                reached.synced = usize::try_from(synced).unwrap();
            }
            4 => {
                reached.under_way = Some(UnderWay::Sync);
                writer.rest();
            }
            _ => {
                let count = 1 + chance.index(8);
                let mut bodies = Vec::new();
                for _ in 0..count {
                    number += 1;
                    bodies.push(body_of(number, 8 + chance.index(1200)));
                }
                reached.under_way = Some(UnderWay::Append);
                for body in &bodies {
                    reached.bodies.push(vec![body.clone()]);
                }
                let records = bodies.iter().map(|body| NewRecord {
                    id: u64::from(number),
                    timestamp: 1,
                    due: 0,
                    attempts: 0,
                    body,
                });
                writer.append(records).unwrap();
                if is_dead() {
                    return reached;
                }
                reached.end += count;
            }
        }
        if is_dead() {
            return reached;
        }
        reached.under_way = None;
    }
    reached
}

/// Checks a reopened log: it has every record that it must have, and none that was never appended.
fn check(folder: &Path, reached: &Reached, is_power_cut: bool, at: &str) {
    let (mut writer, recovery) = open(folder);
    let log = Arc::clone(writer.log());
    let mut must = if is_power_cut {
        reached.synced
    } else {
        reached.end
    };
    let mut released = reached.released;
    match reached.under_way {
        Some(UnderWay::Truncate(to)) => must = must.min(to),
        Some(UnderWay::Release(to)) => released = released.max(to),
        Some(UnderWay::Append | UnderWay::Sync) | None => {}
    }
    let mut reader = Reader::new(Arc::clone(&log));
    let mut cursor = log.seek(log.first_sequence());
    let mut read = std::collections::BTreeSet::new();
    loop {
        match reader.next(&mut cursor) {
            Ok(Some(record)) => {
                let sequence = usize::try_from(record.sequence).unwrap();
                let known = reached.bodies.get(sequence);
                let is_known =
                    known.is_some_and(|known| known.iter().any(|body| body == record.body));
                // A power cut may undo a truncation, which brings older bodies back.
                assert!(
                    is_known || is_power_cut,
                    "{at}: foreign body at {sequence}: {:?} in {:?} end {} {:?}",
                    String::from_utf8_lossy(&record.body[..8]),
                    reached.under_way,
                    reached.end,
                    reached
                        .bodies
                        .iter()
                        .map(|all| String::from_utf8_lossy(&all[0][..8]).into_owned())
                        .collect::<Vec<_>>()
                );
                read.insert(sequence);
            }
            Ok(None) => break,
            Err(ReadError::Damaged { .. }) => assert!(is_power_cut, "{at}: damage after a kill"),
            Err(ReadError::Io(error)) => panic!("{at}: {error}"),
        }
    }
    for sequence in released..must {
        assert!(
            read.contains(&sequence),
            "{at}: {sequence} of {must} is gone, {reached:?}, {recovery:?}"
        );
    }
    // The log can still be appended to.
    let body = body_of(7, 100);
    let record = NewRecord {
        id: 7,
        timestamp: 1,
        due: 0,
        attempts: 0,
        body: &body,
    };
    let sequence = writer.append([record].into_iter()).unwrap().start;
    let mut cursor = log.seek(sequence);
    let read = Reader::new(log)
        .next(&mut cursor)
        .unwrap()
        .map(|read| read.body.to_vec());
    assert_eq!(read, Some(body), "{at}");
}

/// Runs a seed to its end, then to a kill at each of its operations.
fn run(seed: u64) -> u64 {
    let run_once = |kill: Option<u64>| {
        let folder = tempfile::tempdir_in(fast_folder()).unwrap();
        disk::insert(folder.path().to_path_buf(), Random::new(seed));
        let reached = operate(folder.path(), seed, kill);
        let operations = disk::with(|disk| disk.operation_count).unwrap();
        let killed = disk::with(disk::Disk::take_killed).flatten();
        disk::with(disk::Disk::end_process);
        disk::remove();
        drop(folder);
        if let Some(medium) = killed {
            for cut in 0..4 {
                let at = format!("seed {seed}, operation {kill:?}, cut {cut}");
                let mut medium = medium.clone();
                let is_power_cut = cut > 0;
                if is_power_cut {
                    medium.cut_power(&mut Random::new(seed * 31 + cut));
                }
                let left = tempfile::tempdir_in(fast_folder()).unwrap();
                medium.write_out(left.path());
                check(left.path(), &reached, is_power_cut, &at);
            }
        }
        operations
    };
    let operations = run_once(None);
    for operation in 0..operations {
        run_once(Some(operation));
    }
    operations
}

#[test]
fn a_log_survives_a_kill_and_a_power_cut_at_each_of_its_operations() {
    let seeds = std::env::var("LOG_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok());
    let operations: u64 = (0..seeds.unwrap_or(15)).map(run).sum();
    assert!(
        operations > 300,
        "{operations} operations are hardly a test"
    );
}

#[test]
fn what_a_process_synced_after_the_failed_sync_of_another_survives_a_power_cut() {
    for seed in 0..20 {
        let folder = tempfile::tempdir_in(fast_folder()).unwrap();
        disk::insert(folder.path().to_path_buf(), Random::new(seed));
        std::fs::create_dir_all(folder.path().join("free")).unwrap();
        std::fs::create_dir_all(folder.path().join("log")).unwrap();
        disk::with(|disk| disk.medium.sync_folder(""));
        let body = body_of(1, 500);
        let append = |writer: &mut Writer| {
            let record = NewRecord {
                id: 1,
                timestamp: 1,
                due: 0,
                attempts: 0,
                body: &body,
            };
            writer.append([record].into_iter()).unwrap();
        };
        let (mut writer, _) = open(folder.path());
        append(&mut writer);
        let fault = disk::Fault {
            act: disk::Act::Sync,
            after: 0,
            errno: libc::EIO,
        };
        disk::with(|disk| disk.fault = Some(fault));
        writer.log().sync().unwrap_err();
        disk::with(|disk| disk.fault = None);
        // The process is killed before its next sync.
        drop(writer);
        let (mut writer, _) = open(folder.path());
        append(&mut writer);
        assert_eq!(writer.log().sync().unwrap(), 2);
        let mut medium = disk::with(|disk| disk.medium.clone()).unwrap();
        drop(writer);
        disk::with(disk::Disk::end_process);
        disk::remove();

        medium.cut_power(&mut Random::new(seed));
        let left = tempfile::tempdir_in(fast_folder()).unwrap();
        medium.write_out(left.path());
        let (_, recovery) = open(left.path());
        assert_eq!((recovery.records, recovery.end), (2, 2), "seed {seed}");
        assert!(recovery.damaged.is_empty(), "seed {seed}: {recovery:?}");
    }
}
