//! What a node of a cluster needs of the process and the machine that it runs on.
//!
//! nsqd runs on [`Process`]. The simulation of a whole cluster has its own: one thread for all nodes, virtual time, and a
//! network and disks that fail.

use std::fmt;
use std::future::Future;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;

use nsq_cluster::NodeId;
use nsq_cluster::blocking::{Blocking, BlockingThreads};
use nsq_cluster::identity::ClusterId;
use nsq_cluster::lane::{Lane, ThreadLane};
use nsq_cluster::network::Network;
use nsq_cluster::transport::{Handler, Transport, TransportError};
use nsq_cluster::wal::{Durability, WalOptions};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::network;
use crate::settings::ClusterSettings;

/// What a node of a cluster runs on.
pub trait Platform: fmt::Debug + Send + Sync + 'static {
    /// Runs work that may wait for a disk.
    fn blocking(&self) -> Arc<dyn Blocking>;

    /// A lane for a part of a group's disk work; `name` is at most 15 bytes long.
    ///
    /// # Errors
    /// When the system has no thread left.
    fn lane(&self, name: &str) -> io::Result<Arc<dyn Lane>>;

    /// Where a part of a node's tasks runs; `name` is at most 15 bytes long.
    ///
    /// # Errors
    /// When the threads cannot be had.
    fn runtime(&self, name: &str) -> io::Result<NodeRuntime>;

    /// Listens for other nodes; those of the clusters `former` are told that theirs was recovered without them. Called in the runtime that is to serve them.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    fn listen(
        &self,
        settings: &ClusterSettings,
        handler: Arc<dyn Handler>,
        former: Vec<ClusterId>,
    ) -> Result<Arc<dyn Port>, TransportError>;

    /// How write-ahead logs are kept.
    fn wal_options(&self, durability: Durability) -> WalOptions;

    /// Fills `bytes` with random ones.
    ///
    /// # Errors
    /// When the system has none.
    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()>;

    /// Ends the process: only a new one can repair what has failed.
    fn end_process(&self) -> !;
}

/// The way to other nodes, and theirs to this one.
pub trait Port: Network {
    /// Says who this node is: from now on it is a member.
    fn introduce(&self, cluster: ClusterId, node: NodeId);

    /// Closes everything, and listens no more.
    fn stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl Port for Transport {
    fn introduce(&self, cluster: ClusterId, node: NodeId) {
        Transport::introduce(self, cluster, node);
    }

    fn stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(Transport::stop(self))
    }
}

/// Where the tasks of a node run.
#[derive(Debug)]
pub enum NodeRuntime {
    /// On a thread of its own: what clients and operators do must not hold up elections.
    Own(OwnThread),
    /// Together with everything else.
    Shared(Handle),
}

impl NodeRuntime {
    pub(super) fn handle(&self) -> &Handle {
        match self {
            NodeRuntime::Own(thread) => &thread.handle,
            NodeRuntime::Shared(handle) => handle,
        }
    }
}

/// A runtime with one thread, for as long as this value exists. Dropping it does not wait for the thread.
///
/// tokio's runtime of several threads would do with one thread too, but there a task that a timer or a socket makes ready
/// costs two system calls more: one to wake the thread, which is awake, and one to notice that.
#[derive(Debug)]
pub struct OwnThread {
    handle: Handle,
    /// Never sent: the thread ends when it is dropped.
    _until: oneshot::Sender<()>,
}

impl OwnThread {
    fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (until, dropped) = oneshot::channel();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _ = runtime.block_on(dropped);
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            _until: until,
        })
    }
}

/// A process of its own, with threads and sockets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process;

impl Platform for Process {
    fn blocking(&self) -> Arc<dyn Blocking> {
        Arc::new(BlockingThreads)
    }

    fn lane(&self, name: &str) -> io::Result<Arc<dyn Lane>> {
        Ok(Arc::new(ThreadLane::start(name)?))
    }

    fn runtime(&self, name: &str) -> io::Result<NodeRuntime> {
        Ok(NodeRuntime::Own(OwnThread::start(name)?))
    }

    fn listen(
        &self,
        settings: &ClusterSettings,
        handler: Arc<dyn Handler>,
        former: Vec<ClusterId>,
    ) -> Result<Arc<dyn Port>, TransportError> {
        Ok(Arc::new(network::listen(settings, handler, former)?))
    }

    fn wal_options(&self, durability: Durability) -> WalOptions {
        WalOptions::new(durability)
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        std::fs::File::open("/dev/urandom")?.read_exact(bytes)
    }

    fn end_process(&self) -> ! {
        std::process::exit(1)
    }
}
