//! This nsqd as a node of a cluster.
//!
//! ```text
//! start    ClusterNode: what run.rs begins and ends
//!  ├─ logs, folders, lanes     what is on the disk, and the threads that work on it
//!  ├─ join                     becoming a member
//!  ├─ member                   what runs from then on: the directory's replica, and
//!  │   ├─ hold                 replicas of shards, opened and removed as the directory says
//!  │   ├─ lead                 serving a shard while this node leads it, handing it over
//!  │   ├─ reconcile            giving a group the members that the directory wants, as its leader
//!  │   └─ liveness             who answers, and where replicas are to be, as the directory's leader
//!  └─ handler                  the end that other nodes call
//! route      publishes on their way to the leader of the own shard
//! consume    messages that one node leads, for consumers of another one
//! registry   the topics and channels of a shard follow the directory
//! ops        what operators and connections ask of the cluster
//! status     what nodes say of their replicas
//! stopped    the replicas of a node that is not running; recover: one that continues without the others
//! ```

mod aside;
pub(crate) mod calls;
pub(crate) mod consume;
pub(crate) mod control;
mod differences;
pub(crate) mod directory_client;
pub(crate) mod folders;
mod handler;
mod hold;
mod join;
mod lanes;
mod lead;
mod liveness;
pub(crate) mod local_shard;
mod logs;
mod member;
mod metrics;
mod network;
mod node;
mod ops;
pub(crate) mod platform;
mod reconcile;
pub(crate) mod recover;
pub(crate) mod registry;
mod replica;
pub(crate) mod report;
pub(crate) mod route;
mod settled;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stopped;
pub(crate) mod this_node;

pub(crate) use self::start::ClusterNode;
