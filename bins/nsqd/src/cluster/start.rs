//! The part of nsqd that makes it a node of a cluster, from its start to its end.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nsq_cluster::blocking::run_blocking;
use nsq_cluster::bootstrap::{
    Bootstrap, BootstrapError, BootstrapOptions, Greeter, Start, UntrustedNode, must_found,
};
use nsq_cluster::directory::{Directory, DirectoryMachine, MemberInfo, ZONES_FORMAT};
use nsq_cluster::group::{Role, Standing, stored_members};
use nsq_cluster::identity::{Identity, IdentityError, Recovering, former_clusters};
use nsq_cluster::transport::TransportError;
use nsq_cluster::wal::Durability;
use nsq_cluster::{ClusterId, GroupId};
use nsq_core::broker::{self, Host, OpenError};
use nsq_core::import::{self, ImportError};
use nsq_core::{Broker, ChannelCell, Tick};
use nsq_server::Server;
use tokio::runtime::Handle;

use super::control::Control;
use super::folders::Folders;
use super::handler::Answerer;
use super::hold;
use super::logs::{self, Logs};
use super::member::{self, Found};
use super::node::{ENDED, Node, Phase, Surroundings};
use super::platform::{NodeRuntime, Platform};
use super::this_node::ThisNode;
use crate::clock;
use crate::embedded::Replica;
use crate::registration::Registration;
use crate::run::core_settings;
use crate::settings::Settings;
use crate::upkeep::Upkeep;

/// Why nsqd does not start as a node of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterStartError {
    /// A file in the data path.
    #[error("the folder {ROOT} of the data path: {0}", ROOT = super::folders::ROOT)]
    File(#[from] io::Error),
    /// The identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The flags.
    #[error(transparent)]
    Flags(#[from] BootstrapError),
    /// The disk queues of an upstream nsqd cannot be imported.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// They cannot be looked for.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// They turned up later.
    #[error(
        "the data path holds disk queues of an upstream nsqd, *.diskqueue.*, and a member of a cluster does not import them: move \
         them to a folder of their own, start a single nsqd on that folder, and have nsq_to_nsq publish its messages to the \
         cluster"
    )]
    Upstream,
    /// A recovery was interrupted.
    #[error(
        "--cluster-recover was interrupted, and only a part of the replicas is recovered: run it again, with \
         --cluster-recover={0}"
    )]
    Recovering(ClusterId),
    /// The port for other nodes.
    #[error(transparent)]
    Listen(#[from] TransportError),
}

/// This nsqd as a node of a cluster.
pub(crate) struct ClusterNode {
    node: Arc<Node>,
    control: Arc<Control>,
    /// A thread of its own: what clients and operators do must not hold it up.
    runtime: NodeRuntime,
    /// Another one, for Raft and the transport; see [`Node::raft`].
    _raft: NodeRuntime,
    /// What was found on the disk, until it begins.
    found: Mutex<Option<Found>>,
    /// Whether it was a member before, and can trust its disk.
    is_member: bool,
}

impl ClusterNode {
    /// Reads what an earlier run left, and listens for other nodes. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the files cannot be used, or the port.
    pub(crate) async fn prepare(
        settings: &Arc<Settings>,
        data_path: &Path,
        platform: &Arc<dyn Platform>,
    ) -> Result<ClusterNode, ClusterStartError> {
        let folders = Folders::new(data_path);
        let (settings, owned) = (Arc::clone(settings), folders.clone());
        let found = {
            let platform = Arc::clone(platform);
            run_blocking(&*Arc::clone(&platform).blocking(), move || {
                find(&settings, &owned, &*platform).map(|found| (settings, found))
            })
            .await
        };
        let (settings, (found, greeter)) = found.ok_or_else(|| io::Error::other(ENDED))??;
        let cluster = settings
            .cluster()
            .expect("it is a node of a cluster")
            .clone();
        let first_transfer = random(&**platform)?;
        let (runtime, raft) = (platform.runtime("cluster")?, platform.runtime("raft")?);
        let handles = (runtime.handle().clone(), raft.handle().clone());
        let node = Node::new(
            settings,
            cluster,
            folders,
            Arc::clone(platform),
            greeter,
            first_transfer,
            handles,
        );
        let node = Arc::new(node);
        let port = {
            let _raft = raft.handle().enter();
            platform.listen(
                &node.cluster,
                Arc::new(Answerer(Arc::clone(&node))),
                found.former.clone(),
            )?
        };
        node.connect(port);
        let this: Arc<dyn ThisNode> = Arc::clone(&node) as _;
        Ok(ClusterNode {
            control: Control::new(this, &node.cluster),
            node,
            runtime,
            _raft: raft,
            is_member: found.bootstrap.is_none(),
            found: Mutex::new(Some(found)),
        })
    }

    /// The parts that the rest of nsqd turns to.
    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Becomes a member and serves what it leads, however long that takes. Must be called in the runtime that serves
    /// clients, once.
    pub(crate) fn begin(
        &self,
        server: &Arc<Server>,
        registration: &Arc<Registration>,
        upkeep: &Arc<Upkeep>,
    ) {
        let found = self
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(found) = found else {
            return;
        };
        self.node.surround(Surroundings {
            server: Arc::clone(server),
            control: Arc::clone(&self.control),
            upkeep: Arc::clone(upkeep),
            runtime: Handle::current(),
        });
        let raft = &self.node.raft;
        self.control
            .consuming()
            .begin(server, &Handle::current(), raft);
        let (control, server) = (Arc::clone(&self.control), Arc::clone(server));
        let registration = Arc::clone(registration);
        let runtime = self.runtime.handle();
        runtime.spawn(async move { control.run(&server, &registration).await });
        runtime.spawn(member::run(Arc::clone(&self.node), found));
    }

    /// Completes once this node knows where its publishes go, or after [`LOOKING`]. Until then it could only hold them, and a
    /// client does better with another node. One that is no member yet does not wait: becoming one can take any time.
    pub(crate) async fn ready_for_clients(&self) {
        if self.is_member {
            let directed = self.control.router().directed();
            let _ = tokio::time::timeout(LOOKING, directed).await;
        }
    }

    /// What this node's replicas are at the moment.
    pub(crate) fn replicas(&self) -> Vec<Replica> {
        let replica = |group: u64, standing: &Standing| Replica {
            group,
            term: standing.term,
            leads: standing.role == Role::Leader,
        };
        let directory = self.node.directory_group().into_iter();
        let directory = directory.map(|group| replica(0, &group.standing().borrow()));
        let shards = self.node.replicas().into_iter();
        let shards = shards.map(|held| replica(held.number, &held.group.standing().borrow()));
        directory.chain(shards).collect()
    }

    /// Hands everything that this node leads over to others, as far as that is possible in a short time.
    pub(crate) async fn hand_over(&self) {
        self.node.enter(Phase::HandingOver);
        let handed_over = async {
            while self.node.leads_any() {
                tokio::time::sleep(POLL).await;
            }
        };
        if tokio::time::timeout(HANDING_OVER, handed_over)
            .await
            .is_err()
        {
            tracing::info!(
                "cluster: not everything that this node leads could be handed over in time"
            );
        }
    }

    /// Ends it cleanly. The others continue without it.
    pub(crate) async fn stop(self) {
        self.control.router().close();
        self.control.consuming().stop().await;
        let node = Arc::clone(&self.node);
        let port = Arc::clone(node.port());
        let closing = self.runtime.handle().spawn(async move {
            node.enter(Phase::Stopping);
            for replica in node.replicas() {
                hold::close(&node, &replica).await;
            }
            if let Some(group) = node.directory_group() {
                group.shutdown().await;
            }
            port.stop().await;
        });
        if tokio::time::timeout(CLOSING, closing).await.is_err() {
            tracing::warn!("cluster: closing took too long; the next start still finds everything");
        }
    }
}

/// What an earlier run left, and what this node will tell others.
fn find(
    settings: &Settings,
    folders: &Folders,
    platform: &dyn Platform,
) -> Result<(Found, Greeter), ClusterStartError> {
    let cluster = settings.cluster().expect("it is a node of a cluster");
    folders.prepare()?;
    if let Some(begun) = Recovering::load(&folders.root())? {
        return Err(ClusterStartError::Recovering(begun.from));
    }
    let former = former_clusters(&folders.root())?;
    let info = MemberInfo {
        address: cluster.broadcast_address.clone(),
        broadcast_address: settings.broadcast_address.clone(),
        tcp_port: settings.broadcast_tcp_port,
        http_port: settings.broadcast_http_port,
        version: nsq_daemon::version::RELEASE.to_owned(),
        entry_format: announced_format(),
        joined: clock::unix_nanos() / 1_000_000_000,
    };
    let process = random_wide(platform)?;
    let identity = Identity::load(&folders.root())?;
    let durability = if settings.sync_publish {
        Durability::Synced
    } else {
        Durability::Written
    };
    if identity.is_none() {
        folders.check_that_no_replica_is_left()?;
    }
    if import::is_needed(folders.data_path())? {
        if identity.is_some() {
            return Err(ClusterStartError::Upstream);
        }
        import_queues(settings, folders)?;
    }
    let logs = match &identity {
        Some(identity) => Logs::open(folders, identity, durability, platform)?,
        None => Logs::default(),
    };
    let start = match identity.clone() {
        None => Start::Fresh,
        Some(identity) => match logs.distrust() {
            Some((why, can_trust)) => {
                tracing::warn!("cluster: this node must not vote with the files it has: {why}");
                Start::Untrusted(Box::new(untrusted(folders, identity, can_trust, why)))
            }
            None if must_found(&identity, logs.has_directory_entries()) => {
                Start::Founding(identity)
            }
            None => {
                let peers = cluster.peers.iter().cloned().collect();
                let mut greeter = Greeter::new(info, peers, process);
                greeter.has_entries = logs.has_directory_entries();
                greeter.stored(identity);
                let bootstrap = None;
                let found = Found {
                    logs,
                    bootstrap,
                    former,
                };
                return Ok((found, greeter));
            }
        },
    };
    let options = BootstrapOptions {
        info,
        peers: cluster.peers.clone(),
        process,
        new_cluster: ClusterId(random_wide(platform)?),
        patience: PATIENCE,
        start,
    };
    let (bootstrap, greeter) = Bootstrap::new(options)?;
    let bootstrap = Some(bootstrap);
    let found = Found {
        logs,
        bootstrap,
        former,
    };
    Ok((found, greeter))
}

/// The newest format of entries that this node says it reads. `NSQD_TEST_ENTRY_FORMAT` has it announce an older one, as an older
/// build does: with that, tests of a cluster in the middle of an upgrade need no older program.
fn announced_format() -> u32 {
    let given = std::env::var("NSQD_TEST_ENTRY_FORMAT").ok();
    let Some(older) = given.and_then(|text| text.parse::<u32>().ok()) else {
        return ENTRY_FORMAT;
    };
    let format = older.clamp(1, ENTRY_FORMAT);
    tracing::warn!(
        "cluster: NSQD_TEST_ENTRY_FORMAT: this node announces format {format} of entries, as an older nsqd"
    );
    format
}

/// Imports what an upstream nsqd left, before the data path is replicated.
fn import_queues(settings: &Settings, folders: &Folders) -> Result<(), OpenError> {
    struct Quiet;
    impl Host for Quiet {
        fn arm(&self, _: &Arc<ChannelCell>, _: Tick) {}
        fn registry_changed(&self, _: broker::Change) {}
    }
    let core = core_settings(settings, folders.data_path().to_owned());
    let opened = Broker::open(core, Arc::new(Quiet), clock::now())?;
    opened.save_metadata()?;
    opened.close(clock::now());
    Ok(())
}

/// What a node that does not trust its disk knows of the others, as far as it can still be read.
fn untrusted(folders: &Folders, identity: Identity, can_trust: bool, why: String) -> UntrustedNode {
    let founders = identity.founders.iter().flatten();
    let mut addresses: BTreeMap<_, _> = founders
        .map(|(node, info)| (*node, info.address.clone()))
        .collect();
    let mut voters = BTreeMap::new();
    let shards = identity.shards.iter().copied().map(GroupId);
    for group in std::iter::once(GroupId::DIRECTORY).chain(shards) {
        let stored = stored_members(&logs::folder_of(folders, group).join("raft"));
        let Ok(Some(members)) = stored else { continue };
        let known = members.nodes.into_iter();
        addresses.extend(known.map(|(node, member)| (node, member.address)));
        // During a change of voters, the later set will count.
        if let Some(set) = members.voters.into_iter().next_back()
            && set.contains(&identity.node)
        {
            voters.insert(group.0, set);
        }
    }
    if let Ok((_, directory)) = DirectoryMachine::open(&folders.directory().join("state")) {
        let directory: Arc<Directory> = Arc::clone(&directory.borrow());
        for (number, shard) in &directory.shards {
            if shard.voters.contains(&identity.node) {
                let listed = || shard.voters.clone();
                voters.entry(*number).or_insert_with(listed);
            }
        }
        let members = directory.members.iter();
        addresses.extend(members.map(|(node, member)| (*node, member.info.address.clone())));
    }
    UntrustedNode {
        addresses,
        identity,
        voters,
        can_trust,
        why,
    }
}

fn random_bytes<const COUNT: usize>(platform: &dyn Platform) -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    platform.fill_random(&mut bytes)?;
    Ok(bytes)
}

fn random(platform: &dyn Platform) -> io::Result<u64> {
    random_bytes(platform).map(u64::from_le_bytes)
}

/// Never 0.
fn random_wide(platform: &dyn Platform) -> io::Result<u128> {
    Ok(u128::from_le_bytes(random_bytes(platform)?).max(1))
}

/// The newest format of entries that this nsqd reads.
const ENTRY_FORMAT: u32 = ZONES_FORMAT;
/// How long a node that does not trust its disk waits for those that it would need.
const PATIENCE: Duration = Duration::from_mins(5);
const HANDING_OVER: Duration = Duration::from_secs(2);
const CLOSING: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// How long a member that starts refuses clients while it knows no leader. After that it holds their publishes, for as long.
const LOOKING: Duration = Duration::from_secs(3);
