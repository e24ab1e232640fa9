//! This node of the cluster: what its parts share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use nsq_cluster::blocking::run_blocking;
use nsq_cluster::bootstrap::Greeter;
use nsq_cluster::directory::Directory;
use nsq_cluster::group::{Group, Role};
use nsq_cluster::identity::{Identity, IdentityError};
use nsq_cluster::network::{Network, Transfers};
use nsq_cluster::placement::PlanOptions;
use nsq_cluster::{GroupId, Member, NodeId};
use nsq_core::Tick;
use nsq_server::Server;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::aside::SetAside;
use super::control::Control;
use super::folders::Folders;
use super::liveness::Heard;
use super::local_shard::LocalShard;
use super::platform::{Platform, Port};
use super::replica::ShardReplica;
use super::route::Target;
use super::this_node::{HeldShard, ThisNode};
use crate::settings::{ClusterSettings, Settings};
use crate::upkeep::Upkeep;

/// This node. Its parts are tasks that end when [`phase`](Node::phase) says so.
pub(crate) struct Node {
    /// All settings of nsqd.
    pub(super) settings: Arc<Settings>,
    pub(super) cluster: ClusterSettings,
    pub(super) folders: Folders,
    pub(super) platform: Arc<dyn Platform>,
    /// Who this node is, and what it says of itself.
    greeter: Mutex<Greeter>,
    /// Locked while a changed identity is stored.
    updating: tokio::sync::Mutex<()>,
    network: OnceLock<Arc<dyn Port>>,
    liveness: Heard,
    pub(super) transfers: Arc<Transfers>,
    /// Damaged replicas that were set aside.
    set_aside: Mutex<Vec<SetAside>>,
    directory: watch::Sender<Arc<Directory>>,
    directory_group: RwLock<Option<Group>>,
    replicas: RwLock<BTreeMap<u64, Arc<ShardReplica>>>,
    phase: watch::Sender<Phase>,
    /// An operator wants this node to lead nothing.
    is_stepping_down: watch::Sender<bool>,
    /// Where everything else of the node runs. It may have to wait for a lock that is held while a disk works.
    pub(super) runtime: Handle,
    /// Where the transport and the replicas run, and what an entry passes through: nothing here waits for a disk, so that no
    /// disk holds up elections.
    pub(super) raft: Handle,
    /// What the parts need of the rest of nsqd, once that exists.
    surroundings: OnceLock<Surroundings>,
}

/// What a node needs of the rest of nsqd.
pub(crate) struct Surroundings {
    pub(crate) server: Arc<Server>,
    /// The parts of the node that others turn to.
    pub(crate) control: Arc<Control>,
    pub(crate) upkeep: Arc<Upkeep>,
    /// The runtime for what serves clients.
    pub(crate) runtime: Handle,
}

/// How far this node's part in the cluster is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Running,
    /// It gives up what it leads, and takes nothing over.
    HandingOver,
    /// Everything ends.
    Stopping,
}

impl Node {
    pub(super) fn new(
        settings: Arc<Settings>,
        cluster: ClusterSettings,
        folders: Folders,
        platform: Arc<dyn Platform>,
        greeter: Greeter,
        first_transfer: u64,
        (runtime, raft): (Handle, Handle),
    ) -> Node {
        let transfers = Transfers::limited(first_transfer, cluster.transfer_rate);
        Node {
            settings,
            cluster,
            folders,
            platform,
            greeter: Mutex::new(greeter),
            updating: tokio::sync::Mutex::default(),
            network: OnceLock::new(),
            liveness: Heard::default(),
            transfers: Arc::new(transfers),
            set_aside: Mutex::default(),
            directory: watch::Sender::new(Arc::default()),
            directory_group: RwLock::default(),
            replicas: RwLock::default(),
            phase: watch::Sender::new(Phase::Running),
            is_stepping_down: watch::Sender::new(false),
            runtime,
            raft,
            surroundings: OnceLock::new(),
        }
    }

    /// To be called once, before anything else.
    pub(super) fn connect(&self, network: Arc<dyn Port>) {
        let is_first = self.network.set(network).is_ok();
        debug_assert!(is_first, "a node has one network");
    }

    /// To be called once, before any part begins.
    pub(super) fn surround(&self, surroundings: Surroundings) {
        let is_first = self.surroundings.set(surroundings).is_ok();
        debug_assert!(is_first, "a node is in one nsqd");
    }

    pub(super) fn around(&self) -> &Surroundings {
        self.surroundings().expect("parts begin after `surround`")
    }

    /// The rest of nsqd; `None` while it starts.
    pub(super) fn surroundings(&self) -> Option<&Surroundings> {
        self.surroundings.get()
    }

    pub(super) fn greeter(&self) -> MutexGuard<'_, Greeter> {
        self.greeter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who this node is; `None` until it belongs to a cluster.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.greeter().identity.clone()
    }

    /// Changes the stored identity, if `change` changes anything. Takes as long as the disk does, and holds nothing up
    /// meanwhile.
    pub(super) async fn update_identity(
        &self,
        change: impl FnOnce(&mut Identity),
    ) -> Result<(), IdentityError> {
        let _one_at_a_time = self.updating.lock().await;
        let Some(old) = self.identity() else {
            return Ok(());
        };
        let mut new = old.clone();
        change(&mut new);
        if new == old {
            return Ok(());
        }
        let (folder, storing) = (self.folders.root(), new.clone());
        let stored = self.blocking(move || storing.store(&folder)).await;
        stored.ok_or_else(|| std::io::Error::other(ENDED))??;
        self.greeter().identity = Some(new);
        Ok(())
    }

    /// Runs work that may have to wait for a disk. `None` when it has not come to its end, since nsqd is ending.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        run_blocking(&*self.platform.blocking(), work).await
    }

    /// Ends the process: a part of it has failed in a way that only a new process can repair.
    pub(super) fn fail(&self, why: &str) -> ! {
        tracing::error!("cluster: {why}; nsqd exits, so that its supervisor can start it again");
        self.platform.end_process()
    }

    /// This node's number.
    ///
    /// # Panics
    /// Before the node belongs to a cluster.
    pub(super) fn me(&self) -> NodeId {
        self.node()
            .expect("the parts of a member begin after it has a number")
    }

    pub(super) fn port(&self) -> &Arc<dyn Port> {
        let port = self.network.get();
        port.expect("a node is connected first of all")
    }

    /// Tells the transport who this node is, once it is stored.
    pub(super) fn introduce(&self) {
        if let Some(identity) = self.identity() {
            self.port().introduce(identity.cluster, identity.node);
        }
    }

    pub(super) fn liveness(&self) -> &Heard {
        &self.liveness
    }

    pub(super) fn plan_options(&self) -> PlanOptions {
        PlanOptions {
            replicas: self.cluster.replicas,
            replace_after: self.cluster.replace_after,
        }
    }

    pub(super) fn publish_directory(&self, directory: Arc<Directory>) {
        self.directory.send_replace(directory);
    }

    pub(super) fn newest_directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.borrow())
    }

    pub(super) fn set_directory_group(&self, group: Option<Group>) {
        let slot = self.directory_group.write();
        *slot.unwrap_or_else(PoisonError::into_inner) = group;
    }

    pub(super) fn add_replica(&self, replica: Arc<ShardReplica>) {
        let mut replicas = self
            .replicas
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        replicas.insert(replica.number, replica);
    }

    pub(super) fn remove_replica(&self, number: u64) -> Option<Arc<ShardReplica>> {
        let mut replicas = self
            .replicas
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        replicas.remove(&number)
    }

    pub(super) fn replica(&self, number: u64) -> Option<Arc<ShardReplica>> {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        replicas.get(&number).cloned()
    }

    pub(super) fn replicas(&self) -> Vec<Arc<ShardReplica>> {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        replicas.values().cloned().collect()
    }

    /// The replica of the group on this node.
    pub(super) fn group(&self, group: GroupId) -> Option<Group> {
        match group {
            GroupId::DIRECTORY => self.directory_group(),
            GroupId(number) => self.replica(number).map(|replica| replica.group.clone()),
        }
    }

    pub(super) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Moves on to a later phase.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let is_later = *current < phase;
            *current = phase.max(*current);
            is_later
        });
    }

    pub(super) fn is(&self, phase: Phase) -> bool {
        *self.phase.borrow() == phase
    }

    pub(super) fn note_set_aside(&self, damaged: Vec<SetAside>) {
        let noted = self.set_aside.lock();
        *noted.unwrap_or_else(PoisonError::into_inner) = damaged;
    }

    /// Whether this node is to lead what it can.
    pub(super) fn wants_to_lead(&self) -> bool {
        self.is(Phase::Running) && !*self.is_stepping_down.borrow()
    }

    /// Whether an operator wants this node to lead nothing, and every change of that.
    pub(super) fn stepped_down(&self) -> watch::Receiver<bool> {
        self.is_stepping_down.subscribe()
    }

    /// Whether another node has stepped down; `None` if it has not been heard of since then.
    pub(super) fn heard_since(&self, node: NodeId, since: Tick) -> Option<bool> {
        let heard = self.around().control.heard();
        let heard = heard.get(&node).filter(|heard| heard.at >= since)?;
        Some(heard.status.is_stepping_down)
    }

    /// The other nodes that have stepped down, as far as they have said so.
    pub(super) fn others_that_step_down(&self) -> BTreeSet<NodeId> {
        let Some(around) = self.surroundings() else {
            return BTreeSet::new();
        };
        let heard = around.control.heard().into_iter();
        let stepped_down = heard.filter(|(_, heard)| heard.status.is_stepping_down);
        stepped_down.map(|(node, _)| node).collect()
    }

    /// The member as the others reach it, if the directory lists it.
    pub(super) fn member(&self, node: NodeId) -> Option<Member> {
        let directory = self.directory.borrow();
        let listed = directory.members.get(&node)?;
        Some(Member {
            address: listed.info.address.clone(),
        })
    }

    /// A node as log lines name it.
    pub(super) fn name(&self, node: NodeId) -> String {
        match self.member(node) {
            Some(member) => format!("node {node} ({member})"),
            None => format!("node {node}"),
        }
    }

    /// Whether this node leads a group.
    pub(super) fn leads_any(&self) -> bool {
        let groups = self.directory_group().into_iter();
        let shards = self.replicas();
        let mut groups = groups.chain(shards.iter().map(|replica| replica.group.clone()));
        groups.any(|group| group.standing().borrow().role == Role::Leader)
    }

    /// Tells the router where publishes go from now on.
    pub(super) fn direct_publishes(&self, target: Target) {
        self.around().control.router().set_target(target);
    }
}

/// Why blocking work came to nothing.
pub(super) const ENDED: &str = "nsqd is ending";

impl ThisNode for Node {
    fn node(&self) -> Option<NodeId> {
        self.greeter()
            .identity
            .as_ref()
            .map(|identity| identity.node)
    }

    fn address(&self) -> &str {
        &self.cluster.broadcast_address
    }

    fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.directory.subscribe()
    }

    fn directory_group(&self) -> Option<Group> {
        let group = self.directory_group.read();
        group.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn shards(&self) -> Vec<HeldShard> {
        let replicas = self.replicas();
        let held = replicas.into_iter().map(|replica| HeldShard {
            number: replica.number,
            group: replica.group.clone(),
            shard: replica,
        });
        held.collect()
    }

    fn shard(&self, number: u64) -> Option<Arc<dyn LocalShard>> {
        self.replica(number).map(|replica| replica as _)
    }

    fn set_aside(&self) -> Vec<SetAside> {
        let noted = self.set_aside.lock();
        noted.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn network(&self) -> Arc<dyn Network> {
        Arc::clone(self.port()) as _
    }

    fn set_stepping_down(&self, is_stepping_down: bool) {
        self.is_stepping_down.send_if_modified(|current| {
            let is_news = *current != is_stepping_down;
            *current = is_stepping_down;
            is_news
        });
    }

    fn is_stepping_down(&self) -> bool {
        !self.wants_to_lead()
    }
}
