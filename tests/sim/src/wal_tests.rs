//! A replica's write-ahead log, its process killed and its machine cut off at every change of a file in a run: of the log, the
//! vote, and the small files next to them.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nsq_cluster::NodeId;
use nsq_cluster::codec::{BatchBuilder, Entry, EntryBody, LogId, Vote};
use nsq_cluster::lane::{Job, Lane};
use nsq_cluster::wal::{Distrust, Durability, Opening, Wal, WalLanes, WalOptions};

use crate::disk;
use crate::random::Random;
use crate::tests::fast_folder;

/// A lane that does everything at once, on the thread that has the disk; what is to be tried again waits.
#[derive(Clone, Default)]
struct SameThread(Arc<Mutex<VecDeque<Job>>>);

impl std::fmt::Debug for SameThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SameThread")
    }
}

impl SameThread {
    fn try_again(&self) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap());
        for job in waiting {
            job();
        }
    }
}

impl Lane for SameThread {
    fn submit(&self, job: Job) {
        job();
    }

    fn submit_later(&self, _: Duration, job: Job) {
        self.0.lock().unwrap().push_back(job);
    }
}

/// The outcome of what is done by the time it is asked for; `None` if it is not.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

fn open(folder: &Path, durability: Durability, boot_id: &str) -> (Opening, SameThread) {
    let lane = SameThread::default();
    let lanes = WalLanes {
        writer: Arc::new(lane.clone()),
        reader: Arc::new(lane.clone()),
    };
    let options = WalOptions {
        segment_bytes: 4096,
        cache_bytes: 0,
        boot_id: boot_id.to_owned(),
        ..WalOptions::new(durability)
    };
    (
        Wal::open(&folder.join("wal"), options, lanes).unwrap(),
        lane,
    )
}

fn entry(term: u64, index: u64, size: usize) -> Entry {
    let mut batch = BatchBuilder::default();
    batch.push(&crate::model::body_of(
        u32::try_from(term * 1000 + index).unwrap(),
        size,
    ));
    Entry {
        id: LogId { term, index },
        body: EntryBody::Proposals(batch.build()),
    }
}

/// What a run had come to when its process died.
#[derive(Default)]
struct Reached {
    is_open: bool,
    purged: Option<LogId>,
    /// What the log holds after the purged ones, as promised.
    entries: Vec<Entry>,
    /// Everything that was ever appended.
    ever: Vec<Entry>,
    vote: Option<Vote>,
    under_way: Option<UnderWay>,
}

impl std::fmt::Debug for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<_> = self.entries.iter().map(|entry| entry.id).collect();
        write!(f, "purged {:?}, then {ids:?}, {:?}", self.purged, self.vote)?;
        write!(f, ", under way: {:?}", self.under_way)
    }
}

#[derive(Debug)]
enum UnderWay {
    Append,
    /// To this many entries.
    Truncate(usize),
    Purge(LogId),
    Vote(Vote),
}

impl Reached {
    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.id).or(self.purged)
    }
}

/// Runs the seed's operations until the planned kill, if there is one.
fn operate(folder: &Path, seed: u64, durability: Durability, kill: Option<u64>) -> Reached {
    let mut chance = Random::new(seed);
    let mut reached = Reached::default();
    std::fs::create_dir_all(folder.join("wal")).unwrap();
    disk::with(|disk| {
        disk.medium.sync_folder("");
        disk.operation_count = 0;
        if let Some(operation) = kill {
            disk.plan_kill(operation);
        }
    });
    let is_dead = || disk::with(|disk| disk.is_killed()).unwrap_or(false);
    let (Opening::Ready(wal), _) = open(folder, durability, "one") else {
        panic!("a new log is trusted");
    };
    if is_dead() {
        return reached;
    }
    reached.is_open = true;
    let mut term = 1;
    for _ in 0..20 {
        term += chance.below(2);
        match chance.below(10) {
            0 if !reached.entries.is_empty() => {
                let keep = chance.index(reached.entries.len());
                term += 1;
                reached.under_way = Some(UnderWay::Truncate(keep));
                let last = keep.checked_sub(1).map(|at| reached.entries[at].id);
                wal.truncate_after(last.or(reached.purged)).unwrap();
                if is_dead() {
                    return reached;
                }
                reached.entries.truncate(keep);
            }
            1 if !reached.entries.is_empty() => {
                let at = chance.index(reached.entries.len());
                let id = reached.entries[at].id;
                reached.under_way = Some(UnderWay::Purge(id));
                wal.purge(id).unwrap();
                if is_dead() {
                    return reached;
                }
                reached.entries.drain(..=at);
                reached.purged = Some(id);
            }
            2 => {
                let index = reached.last().map_or(0, |last| last.index + 1) + chance.below(5);
                term += 1;
                let id = LogId { term, index };
                reached.under_way = Some(UnderWay::Purge(id));
                wal.purge(id).unwrap();
                if is_dead() {
                    return reached;
                }
                reached.entries.clear();
                reached.purged = Some(id);
            }
            3 | 4 => {
                term += 1;
                let vote = Vote {
                    term,
                    node: NodeId(chance.below(3)),
                    is_committed: false,
                };
                reached.under_way = Some(UnderWay::Vote(vote));
                now(wal.save_vote(vote)).unwrap().unwrap();
                if is_dead() {
                    return reached;
                }
                reached.vote = Some(vote);
            }
            _ => {
                let first = reached.last().map_or(0, |last| last.index + 1);
                let entries: Vec<_> = (0..=chance.below(6))
                    .map(|more| entry(term, first + more, 8 + chance.index(900)))
                    .collect();
                reached.under_way = Some(UnderWay::Append);
                reached.ever.extend(entries.iter().cloned());
                wal.append(entries.clone(), Box::new(|| ())).unwrap();
                if is_dead() {
                    return reached;
                }
                reached.entries.extend(entries);
            }
        }
        if is_dead() {
            return reached;
        }
        reached.under_way = None;
    }
    reached
}

/// Checks that a log holds what it must, and nothing that was never in it.
fn check(wal: &Wal, reached: &Reached, at: &str) {
    let mut votes = vec![reached.vote];
    let mut purged = vec![reached.purged];
    let mut entries = &reached.entries[..];
    match &reached.under_way {
        Some(UnderWay::Vote(vote)) => votes.push(Some(*vote)),
        Some(UnderWay::Purge(id)) => purged.push(Some(*id)),
        Some(UnderWay::Truncate(keep)) => entries = &entries[..*keep],
        Some(UnderWay::Append) | None => {}
    }
    assert!(
        votes.contains(&wal.vote()),
        "{at}: {:?} of {reached:?}",
        wal.vote()
    );
    assert!(
        purged.contains(&wal.purged()),
        "{at}: {:?} of {reached:?}",
        wal.purged()
    );
    let first = wal.purged().map_or(0, |purged| purged.index + 1);
    let entries = entries.iter().filter(|entry| entry.id.index >= first);
    let entries: Vec<_> = entries.cloned().collect();
    let read = now(wal.read(0..u64::MAX, usize::MAX)).unwrap();
    let read = read.unwrap_or_else(|error| panic!("{at}: {error}, {reached:?}"));
    let must = read.get(..entries.len()).unwrap_or_default();
    assert!(
        must == entries,
        "{at}: {} entries of {reached:?}",
        read.len()
    );
    for more in &read[entries.len()..] {
        // What was cut off may be back, and what was being appended may be there.
        let id = more.id;
        assert!(reached.ever.contains(more), "{at}: {id} was never there");
    }
    // And it continues.
    let next = wal.last().map_or(0, |last| last.index + 1);
    let new = entry(900, next, 100);
    wal.append(vec![new.clone()], Box::new(|| ())).unwrap();
    let read = now(wal.read(next..next + 1, usize::MAX)).unwrap().unwrap();
    assert_eq!(read, [new], "{at}");
}

/// Runs a seed to its end, then to a kill at each of its operations.
fn run(seed: u64, durability: Durability) -> u64 {
    let run_once = |kill: Option<u64>| {
        let folder = tempfile::tempdir_in(fast_folder()).unwrap();
        disk::insert(folder.path().to_path_buf(), Random::new(seed));
        let reached = operate(folder.path(), seed, durability, kill);
        let operations = disk::with(|disk| disk.operation_count).unwrap();
        let killed = disk::with(disk::Disk::take_killed).flatten();
        disk::with(disk::Disk::end_process);
        disk::remove();
        drop(folder);
        let Some(medium) = killed else {
            return operations;
        };
        for cut in 0..4 {
            let at = format!("seed {seed}, {durability:?}, operation {kill:?}, cut {cut}");
            let mut medium = medium.clone();
            let is_power_cut = cut > 0;
            if is_power_cut {
                medium.cut_power(&mut Random::new(seed * 31 + cut));
            }
            let left = tempfile::tempdir_in(fast_folder()).unwrap();
            medium.write_out(left.path());
            let boot_id = if is_power_cut { "two" } else { "one" };
            match open(left.path(), durability, boot_id).0 {
                // A log that was never opened has promised nothing, and may be there in part.
                Opening::Ready(wal) => {
                    let may_have_lost = is_power_cut && durability == Durability::Written;
                    assert!(!may_have_lost || !reached.is_open, "{at}: it may vote");
                    check(&wal, &reached, &at);
                }
                Opening::Untrusted(untrusted) => {
                    assert!(is_power_cut, "{at}: {}", untrusted.reason);
                    assert_eq!(
                        durability,
                        Durability::Written,
                        "{at}: {}",
                        untrusted.reason
                    );
                    assert_eq!(untrusted.reason, Distrust::MachineCrash, "{at}");
                    let wal = untrusted.reset().unwrap();
                    check(&wal, &Reached::default(), &at);
                }
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

fn check_seeds(durability: Durability) {
    let seeds = std::env::var("LOG_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok());
    let operations: u64 = (0..seeds.unwrap_or(8))
        .map(|seed| run(seed, durability))
        .sum();
    assert!(
        operations > 300,
        "{operations} operations are hardly a test"
    );
}

#[test]
fn a_replica_that_syncs_keeps_its_promises_through_a_kill_and_a_power_cut_at_each_operation() {
    check_seeds(Durability::Synced);
}

#[test]
fn a_replica_that_writes_survives_kills_and_does_not_vote_after_a_power_cut() {
    check_seeds(Durability::Written);
}

/// Runs `work` while the disk refuses, and checks that nothing is reported stored before it works again.
fn check_refusal(durability: Durability, refuse: impl Fn(&mut disk::Disk)) {
    let folder = tempfile::tempdir_in(fast_folder()).unwrap();
    disk::insert(folder.path().to_path_buf(), Random::new(1));
    let (Opening::Ready(wal), lane) = open(folder.path(), durability, "one") else {
        panic!("a new log is trusted");
    };
    wal.append(vec![entry(1, 0, 100)], Box::new(|| ())).unwrap();
    disk::with(&refuse);
    let stored = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&stored);
    let entries: Vec<_> = (1..9).map(|index| entry(1, index, 900)).collect();
    wal.append(
        entries.clone(),
        Box::new(move || note.store(true, Ordering::Relaxed)),
    )
    .unwrap();
    assert!(!stored.load(Ordering::Relaxed), "it was reported stored");
    assert!(wal.trouble().is_some());
    // Still readable.
    let read = now(wal.read(1..9, usize::MAX)).unwrap().unwrap();
    assert_eq!(read, entries);
    disk::with(|disk| {
        disk.is_full = false;
        disk.fault = None;
    });
    lane.try_again();
    assert!(stored.load(Ordering::Relaxed));
    assert_eq!(wal.trouble(), None);
    assert_eq!(now(wal.read(1..9, usize::MAX)).unwrap().unwrap(), entries);
    disk::with(disk::Disk::end_process);
    disk::remove();
}

#[test]
fn a_full_or_failing_disk_delays_the_report_and_nothing_else() {
    check_refusal(Durability::Written, |disk| disk.is_full = true);
    for act in [disk::Act::Allocate, disk::Act::Create, disk::Act::Write] {
        check_refusal(Durability::Written, |disk| {
            disk.fault = Some(disk::Fault {
                act,
                after: 0,
                errno: libc::EIO,
            });
        });
    }
    check_refusal(Durability::Synced, |disk| {
        disk.fault = Some(disk::Fault {
            act: disk::Act::Sync,
            after: 0,
            errno: libc::EIO,
        });
    });
}
