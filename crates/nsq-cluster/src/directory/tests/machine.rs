//! Replicas of the directory agree, whatever is killed and however they have received the state.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::*;
use crate::codec::{Batch, BatchBuilder, LogId, Wire};
use crate::state_machine::StateMachine;
use crate::testing::fast_folder;

struct Replica {
    machine: DirectoryMachine,
    seen: watch::Receiver<Arc<Directory>>,
}

impl Replica {
    fn open(folder: &Path) -> Self {
        let (machine, seen) = DirectoryMachine::open(folder).unwrap();
        Self { machine, seen }
    }

    fn state(&self) -> Directory {
        Directory::clone(&self.seen.borrow())
    }

    /// Applies the entries that it lacks, as Raft does after a start.
    fn catch_up(&mut self, entries: &[Batch]) -> Vec<Vec<Bytes>> {
        let first = self.machine.applied().map_or(0, |id| id.index + 1);
        let missing = entries
            .iter()
            .enumerate()
            .skip(usize::try_from(first).unwrap());
        missing
            .map(|(index, batch)| self.machine.apply(id(index), batch).unwrap())
            .collect()
    }

    /// Takes over the whole state of `other`.
    fn install(&mut self, other: &mut Self) {
        let checkpoint = other.machine.checkpoint().unwrap();
        let applied = other.machine.applied().unwrap();
        let mut staging = self.machine.stage(&checkpoint.manifest).unwrap();
        let size = usize::try_from(checkpoint.manifest.files[0].bytes).unwrap();
        let bytes = checkpoint.files.read(0, 0, size).unwrap();
        for (number, piece) in bytes.chunks(100).enumerate() {
            staging.write(0, number as u64 * 100, piece).unwrap();
        }
        self.machine.install(staging, applied).unwrap();
    }
}

fn id(index: usize) -> LogId {
    LogId {
        term: 1 + index as u64 / 3,
        index: index as u64,
    }
}

fn batch(changes: &[Change]) -> Batch {
    let mut batch = BatchBuilder::default();
    for change in changes {
        batch.push(&change.to_bytes());
    }
    batch.build()
}

fn founding() -> Batch {
    let members = BTreeMap::from([(NodeId(1), info("a:1")), (NodeId(2), info("b:1"))]);
    let cluster = ClusterId(9);
    batch(&[Change::Found { cluster, members }])
}

#[test]
fn a_damaged_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir_in(fast_folder()).unwrap();
    let mut replica = Replica::open(folder.path());
    replica.catch_up(&[founding()]);
    drop(replica);
    let path = folder.path().join("state");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = DirectoryMachine::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("state is damaged"), "{error}");
    DirectoryMachine::forget(folder.path()).unwrap();
    assert_eq!(Replica::open(folder.path()).state(), Directory::default());
}

#[test]
fn a_proposal_that_cannot_be_read_is_refused_and_the_others_of_its_entry_are_applied() {
    let folder = tempfile::tempdir_in(fast_folder()).unwrap();
    let mut replica = Replica::open(folder.path());
    let mut entry = BatchBuilder::default();
    entry.push(&[99]);
    entry.push(&Change::DeleteTopic(topic("t")).to_bytes());
    let outcomes = replica.catch_up(&[founding(), entry.build()]);
    let outcome = |number: usize| Outcome::from_bytes(outcomes[1][number].clone()).unwrap();
    assert!(matches!(
        outcome(0),
        Outcome::Refused(Refused::Unreadable(_))
    ));
    assert_eq!(
        outcome(1),
        Outcome::Refused(Refused::NoSuchTopic(topic("t")))
    );
}

#[test]
fn members_and_shards_survive_a_kill_and_applied_never_lies_after_the_state() {
    let folder = tempfile::tempdir_in(fast_folder()).unwrap();
    let create = Change::CreateTopic {
        topic: topic("t"),
        channels: Vec::new(),
    };
    let mut replica = Replica::open(folder.path());
    replica.catch_up(&[founding(), batch(&[create])]);
    drop(replica);
    let replica = Replica::open(folder.path());
    assert_eq!(replica.machine.applied(), Some(id(0)));
    assert_eq!(replica.state().members.len(), 2);
    assert!(replica.state().topics.is_empty());
}

#[test]
fn a_checkpoint_of_something_else_is_refused_and_changes_nothing() {
    let folders = [(); 2].map(|()| tempfile::tempdir_in(fast_folder()).unwrap());
    let [mut one, mut two] = [0, 1].map(|number: usize| Replica::open(folders[number].path()));
    one.catch_up(&[founding()]);
    let checkpoint = one.machine.checkpoint().unwrap();
    let mut manifest = checkpoint.manifest.clone();
    manifest.files[0].name = "other".to_owned();
    assert!(two.machine.stage(&manifest).is_err());
    let mut staging = two.machine.stage(&checkpoint.manifest).unwrap();
    assert!(staging.write(0, 1, b"x").is_err());
    staging.write(0, 0, b"garbage").unwrap();
    assert!(two.machine.install(staging, id(0)).is_err());
    assert_eq!(two.state(), Directory::default());
    assert_eq!(two.machine.applied(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn replicas_agree_after_kills_and_installed_checkpoints(
        entries in prop::collection::vec(prop::collection::vec(change(), 0..4), 1..20),
        kills: u64,
        install_at in 0..20usize,
    ) {
        let entries: Vec<_> = std::iter::once(founding())
            .chain(entries.iter().map(|changes| batch(changes)))
            .collect();
        let folders = [(); 3].map(|()| tempfile::tempdir_in(fast_folder()).unwrap());
        let [mut steady, mut killed, mut late] =
            [0, 1, 2].map(|number: usize| Replica::open(folders[number].path()));
        let install_at = install_at.min(entries.len() - 1);
        for end in 1..=entries.len() {
            let outcomes = steady.catch_up(&entries[..end]);
            if kills >> (end % 64) & 1 == 1 {
                killed = Replica::open(folders[1].path());
            }
            let again = killed.catch_up(&entries[..end]);
            prop_assert_eq!(again.last(), outcomes.last());
            prop_assert_eq!(killed.state(), steady.state());
            if end - 1 == install_at {
                late.install(&mut steady);
            }
            if end > install_at {
                late.catch_up(&entries[..end]);
                prop_assert_eq!(late.state(), steady.state());
                prop_assert_eq!(late.machine.applied(), steady.machine.applied());
            }
        }
        // An installed state is stored at once.
        let stored = Replica::open(folders[2].path()).machine.applied();
        prop_assert!(stored >= Some(id(install_at)));
    }
}
