//! One replica, with a group and a task that leads and follows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nsq_cluster::codec::{Answer, Request};
use nsq_cluster::group::{Group, GroupLimits, GroupOptions, Role};
use nsq_cluster::lane::{Lane, ThreadLane};
use nsq_cluster::network::{CallError, Calling, Network, Transfers};
use nsq_cluster::wal::{Durability, Opening, Wal, WalLanes, WalOptions};
use nsq_cluster::{GroupId, Member, NodeId};
use nsq_core::{Now, Tick};
use tokio::task::JoinHandle;

use crate::simulation::node::options_in;
use crate::{Shard, ShardOptions};

/// The groups that are up, by their node.
pub(super) type Up = Arc<Mutex<BTreeMap<NodeId, Group>>>;

struct Wire {
    up: Up,
    me: NodeId,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "the wire of node {}", self.me)
    }
}

impl Network for Wire {
    fn call(&self, to: NodeId, _: &Member, request: Request, _: Option<Duration>) -> Calling {
        let group = self.up.lock().unwrap().get(&to).cloned();
        let me = self.me;
        Box::pin(async move {
            let group = group.ok_or_else(|| CallError::Unreachable("it is down".to_owned()))?;
            Ok::<Answer, CallError>(group.handle(me, request).await)
        })
    }
}

pub(super) fn now() -> Now {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Now {
        tick: Tick::from_nanos(1),
        unix_nanos: i64::try_from(unix.unwrap().as_nanos()).unwrap(),
    }
}

pub(super) fn member(node: NodeId) -> Member {
    Member {
        address: format!("node-{node}:4152"),
    }
}

/// One replica, with the task that leads and follows.
pub(super) struct Replica {
    pub(super) shard: Arc<Shard>,
    pub(super) group: Group,
    agent: JoinHandle<()>,
}

pub(super) async fn start(up: &Up, node: NodeId, root: &Path) -> Replica {
    let lane = || Arc::new(ThreadLane::start("test").unwrap()) as Arc<dyn Lane>;
    let options = ShardOptions {
        previous: None,
        clock: now,
        ..options_in(root, 1)
    };
    let folder = options.folder.clone();
    let (shard, machine) = Shard::open(options).unwrap();
    let lanes = WalLanes {
        writer: lane(),
        reader: lane(),
    };
    let options = WalOptions {
        segment_bytes: 64 << 10,
        ..WalOptions::new(Durability::Written)
    };
    let Opening::Ready(wal) = Wal::open(&folder.join("wal"), options, lanes).unwrap() else {
        panic!("node {node} is not trusted");
    };
    let options = GroupOptions {
        group: GroupId(7),
        node,
        folder: folder.join("raft"),
        network: Arc::new(Wire {
            up: Arc::clone(up),
            me: node,
        }),
        transfers: Arc::new(Transfers::new(node.0 << 32)),
        applier: lane(),
        reader: lane(),
        limits: GroupLimits {
            kept_log_bytes: 128 << 10,
            max_log_bytes: 256 << 10,
            ..GroupLimits::default()
        },
    };
    let group = Group::start(options, wal, Box::new(machine)).await.unwrap();
    up.lock().unwrap().insert(node, group.clone());
    let agent = tokio::spawn(lead_and_follow(Arc::clone(&shard), group.clone()));
    Replica {
        shard,
        group,
        agent,
    }
}

async fn lead_and_follow(shard: Arc<Shard>, group: Group) {
    let mut standing = group.standing();
    loop {
        let (role, term) = {
            let standing = standing.borrow_and_update();
            (standing.role, standing.term)
        };
        if role == Role::Leader && shard.led_term() != Some(term) {
            if group.confirm_leadership().await.is_ok() {
                let leading = Arc::clone(&shard);
                let led = tokio::task::spawn_blocking(move || leading.lead(term)).await;
                if led.unwrap().is_ok() {
                    tokio::spawn(Arc::clone(&shard).pump(group.clone()));
                }
            }
        } else if role != Role::Leader && shard.led_term().is_some() {
            let following = Arc::clone(&shard);
            let followed = tokio::task::spawn_blocking(move || following.follow()).await;
            followed.unwrap().unwrap();
        }
        let maintained = Arc::clone(&shard);
        let maintained = tokio::task::spawn_blocking(move || maintained.maintain()).await;
        maintained.unwrap().unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(300), standing.changed()).await;
    }
}

impl Replica {
    pub(super) async fn stop(self) {
        self.agent.abort();
        let _ = self.agent.await;
        self.group.shutdown().await;
        let shard = Arc::clone(&self.shard);
        let closed = tokio::task::spawn_blocking(move || shard.close()).await;
        closed.unwrap().unwrap();
    }
}
