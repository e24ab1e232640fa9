//! One node of the simulation: a replica on a folder that survives it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nsq_cluster::codec::LogId;
use nsq_cluster::state_machine::{Checkpoint, StateMachine};
use nsq_core::broker::{Change, Host};
use nsq_core::inspect::Inspection;
use nsq_core::{ChannelCell, Now, SafeOnce, Settings, StoreError, Tick};
use nsq_queue::LogOptions;

use super::model::Model;
use crate::{Shard, ShardMachine, ShardOptions};

pub(super) struct Quiet;

impl Host for Quiet {
    fn arm(&self, _: &Arc<ChannelCell>, _: Tick) {}

    fn registry_changed(&self, _: Change) {}
}

pub(crate) const NOON: Now = Now {
    tick: Tick::from_nanos(1 << 40),
    unix_nanos: 1_700_000_000_000_000_000,
};

pub(crate) fn settings() -> Settings {
    Settings {
        data_path: PathBuf::new(),
        node_id: 0,
        mem_queue_size: 10_000,
        max_msg_timeout: Duration::from_mins(15),
        max_req_timeout: Duration::from_hours(1),
        max_msg_size: 1 << 20,
        safe_once: SafeOnce::default(),
        sync_every: 2500,
        max_free_segment_bytes: 1 << 20,
        log_options: LogOptions {
            first_segment_bytes: 4096,
            max_segment_bytes: 4096,
        },
        percentiles: None,
        is_replicated: false,
    }
}

/// Where node number `number` keeps the shard: the first one owns it.
pub(crate) fn options_in(root: &Path, number: usize) -> ShardOptions {
    let folder = root.join("cluster").join("shard-7");
    let data_path = if number == 0 {
        root.to_owned()
    } else {
        folder.join("data")
    };
    ShardOptions {
        previous: None,
        number: 7,
        data_path,
        folder,
        core: settings(),
        boot_id: "one boot".to_owned(),
        host: Arc::new(Quiet),
        clock: || NOON,
        publish_timeout: Duration::from_secs(5),
        max_entry_bytes: 8 << 20,
        max_pending_bytes: 64 << 20,
    }
}

pub(super) struct Node {
    number: usize,
    /// Of its machine.
    boots: usize,
    root: tempfile::TempDir,
    pub(super) shard: Arc<Shard>,
    pub(super) machine: ShardMachine,
}

impl Node {
    pub(super) fn new(number: usize) -> Node {
        let root = new_root();
        std::fs::write(root.path().join("nsqd.lock"), "of nsqd").unwrap();
        Node::open(number, 1, root)
    }

    fn open(number: usize, boots: usize, root: tempfile::TempDir) -> Node {
        let options = ShardOptions {
            boot_id: format!("boot {boots}"),
            ..options_in(root.path(), number)
        };
        let (shard, machine) = Shard::open(options).unwrap();
        Node {
            number,
            boots,
            root,
            shard,
            machine,
        }
    }

    /// What a kill leaves is what is in the files at that moment; the old process lives on, unseen.
    pub(super) fn kill(&mut self) {
        let root = new_root();
        copy_folder(self.root.path(), root.path());
        *self = Node::open(self.number, self.boots, root);
    }

    /// The machine crashes, and had written everything to its disk by then.
    pub(super) fn crash(&mut self) {
        self.boots += 1;
        self.kill();
    }

    pub(super) fn restart(&mut self) {
        self.shard.close().unwrap();
        self.kill();
    }

    /// Loses its disk.
    pub(super) fn wipe(&mut self) {
        *self = Node::new(self.number);
    }

    pub(super) fn receive(&mut self, from: &Checkpoint, applied: LogId) {
        let mut staged = self.machine.stage(&from.manifest).unwrap();
        for (number, file) in from.manifest.files.iter().enumerate() {
            let mut offset = staged.needed_from(number, file).unwrap();
            while offset < file.bytes {
                let piece = (file.bytes - offset).min(3000);
                let piece = usize::try_from(piece).unwrap();
                let bytes = from.files.read(number, offset, piece).unwrap();
                staged.write(number, offset, &bytes).unwrap();
                offset += piece as u64;
            }
        }
        self.machine.install(staged, applied).unwrap();
    }

    /// How many entries it has applied.
    pub(super) fn applied(&self) -> usize {
        let applied = self.machine.applied();
        applied.map_or(0, |id| usize::try_from(id.index).unwrap())
    }

    fn contents(&self) -> Contents {
        Contents::of(&options_in(self.root.path(), self.number).data_path)
    }

    /// The replica knows all finished messages that the leader knows.
    pub(super) fn check_against(&self, leader: &Node) {
        let (own, leaders) = (self.contents(), leader.contents());
        for (topic, channels) in &own.channels {
            for (channel, found) in channels {
                let back = found.difference(&leaders.channels[topic][channel]);
                let back: Vec<_> = back.map(|body| body.trim()).collect();
                assert!(
                    back.is_empty(),
                    "node {}: {topic}/{channel} has {back:?}, which node {} has finished",
                    self.number,
                    leader.number
                );
            }
        }
    }

    /// The replica holds what the model says, give or take what was finished and not committed.
    pub(super) fn check(&self, model: &Model) {
        let contents = self.contents();
        let names: Vec<_> = model.topics.keys().collect();
        assert_eq!(contents.waiting.keys().collect::<Vec<_>>(), names);
        for (name, topic) in &model.topics {
            let waiting = contents.waiting[name].symmetric_difference(&topic.waiting);
            let waiting: Vec<_> = waiting.map(|body| body.trim()).collect();
            assert!(
                waiting.is_empty(),
                "node {}: {waiting:?} waits in {name}",
                self.number
            );
            let channels = &contents.channels[name];
            assert!(channels.keys().eq(topic.channels.keys()), "{channels:?}");
            for (channel, known) in &topic.channels {
                let found = &channels[channel];
                let node = self.number;
                let lost = known.all.difference(&known.finished);
                let lost: Vec<_> = lost.filter(|body| !found.contains(*body)).collect();
                assert!(
                    lost.is_empty(),
                    "node {node}: {name}/{channel} lost {lost:?}"
                );
                let back = found
                    .difference(&known.all)
                    .chain(found.intersection(&known.known));
                let back: Vec<_> = back.collect();
                assert!(
                    back.is_empty(),
                    "node {node}: {name}/{channel} has {back:?}"
                );
            }
        }
        assert_eq!(self.shard.registry_index(), model.followed);
        let stranger = std::fs::read_to_string(self.root.path().join("nsqd.lock"));
        assert_eq!(stranger.unwrap(), "of nsqd");
    }
}

/// The unfinished bodies in a data path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) waiting: BTreeMap<String, BTreeSet<String>>,
    pub(crate) channels: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Contents {
    pub(crate) fn of(path: &Path) -> Contents {
        let inspection = Inspection::of(path, true).unwrap();
        assert_eq!(inspection.damage_count(), 0, "{:?}", inspection.findings);
        let mut contents = Contents::default();
        for topic in &inspection.topics {
            let mut waiting = BTreeSet::new();
            let visited = topic.for_each_waiting(|message| {
                assert!(waiting.insert(String::from_utf8_lossy(message.body).into_owned()));
                Ok::<_, StoreError>(())
            });
            visited.unwrap();
            contents.waiting.insert(topic.name.to_string(), waiting);
            let channels = contents.channels.entry(topic.name.to_string()).or_default();
            for channel in &topic.channels {
                let found = channels.entry(channel.name.to_string()).or_default();
                let visited = channel.for_each_unfinished(|message| {
                    assert!(found.insert(String::from_utf8_lossy(message.body).into_owned()));
                    Ok::<_, StoreError>(())
                });
                visited.unwrap();
            }
        }
        contents
    }
}

/// Where syncs cost nothing, if there is such a place.
fn new_root() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        return tempfile::tempdir_in(memory).unwrap();
    }
    tempfile::tempdir().unwrap()
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}
