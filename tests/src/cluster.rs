//! Several nsqd that are one cluster, on one machine or on hosts of a network.

use std::net::SocketAddr;
use std::ops::{Index, IndexMut};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::delay::delayed;
use crate::network::Network;
use crate::nsqd::Nsqd;
use crate::start::{Start, free_port};
use crate::wait::wait_until;

/// The nodes of a cluster, by number. Their ports stay the same over restarts.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Nsqd>,
    cluster_addresses: Vec<SocketAddr>,
}

impl Cluster {
    /// So many nodes on loopback with these flags besides those of the cluster, complete and ready.
    #[track_caller]
    pub fn start(count: usize, flags: &[&str]) -> Self {
        let mut cluster = Self::later(count, flags);
        for node in &mut cluster.nodes {
            node.start_again();
        }
        cluster.wait_until_ok();
        cluster
    }

    /// As [`Cluster::start`], with no node running yet.
    pub fn later(count: usize, flags: &[&str]) -> Self {
        let addresses: Vec<_> = (0..count).map(|_| free_port()).collect();
        let nodes = (0..count).map(|number| {
            let mut own = vec!["--broadcast-address=127.0.0.1".to_owned()];
            own.extend(peer_flags(&addresses, addresses[number]));
            let own = own.iter().map(String::as_str);
            let all: Vec<_> = own.chain(flags.iter().copied()).collect();
            Start::with(&all).keeping_ports().later()
        });
        Self {
            nodes: nodes.collect(),
            cluster_addresses: addresses,
        }
    }

    /// Nodes on loopback of which the first `founders` begin the cluster, and the others may join it. Each has the flags that
    /// `flags` names for its number, and listens for clients where `clients` says. None is running yet.
    pub fn with_spares(
        founders: usize,
        clients: &[SocketAddr],
        flags: impl Fn(usize) -> Vec<String>,
    ) -> Self {
        let addresses: Vec<_> = clients.iter().map(|_| free_port()).collect();
        let nodes = clients.iter().enumerate().map(|(number, tcp)| {
            let mut own = vec!["--broadcast-address=127.0.0.1".to_owned()];
            own.extend(peer_flags(&addresses[..founders], addresses[number]));
            own.extend(flags(number));
            let all: Vec<_> = own.iter().map(String::as_str).collect();
            Start::with(&all).on_ports(*tcp, free_port()).later()
        });
        Self {
            nodes: nodes.collect(),
            cluster_addresses: addresses,
        }
    }

    /// Waits until all of these nodes answer that they are the whole cluster, every shard has all its replicas and is led by its
    /// owner, and no replica lags.
    #[track_caller]
    pub fn wait_until_whole(&self, nodes: &[usize]) {
        let mut last = Vec::new();
        let deadline = std::time::Instant::now() + CLUSTER_PATIENCE;
        loop {
            last.clear();
            last.extend(nodes.iter().map(|node| self.report(*node)));
            let is_whole = |report: &Value| {
                let members = report["members"].as_array().map_or(0, Vec::len);
                is_ok(report) && members == nodes.len()
            };
            if last
                .iter()
                .all(|report| report.as_ref().is_some_and(is_whole))
            {
                return;
            }
            if std::time::Instant::now() > deadline {
                for (node, report) in nodes.iter().zip(&last) {
                    let log = self.nodes[*node].log().tail();
                    eprintln!("{report:#?}\n--- log of node {node} ---\n{log}");
                }
                panic!("waited {CLUSTER_PATIENCE:?} in vain: nodes {nodes:?} are a whole cluster");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// As [`Cluster::start`], with links between the nodes that take so long in each direction.
    #[track_caller]
    pub fn with_delay(count: usize, delay: Duration, flags: &[&str]) -> Self {
        let listening: Vec<_> = (0..count).map(|_| free_port()).collect();
        let addresses: Vec<_> = listening.iter().map(|to| delayed(*to, delay)).collect();
        let nodes = (0..count).map(|number| {
            let mut own = vec![
                "--broadcast-address=127.0.0.1".to_owned(),
                format!("--cluster-address={}", listening[number]),
                format!("--cluster-broadcast-address={}", addresses[number]),
            ];
            own.extend(
                addresses
                    .iter()
                    .map(|peer| format!("--cluster-peer={peer}")),
            );
            let own = own.iter().map(String::as_str);
            let all: Vec<_> = own.chain(flags.iter().copied()).collect();
            Start::with(&all).keeping_ports().now()
        });
        let cluster = Self {
            nodes: nodes.collect(),
            cluster_addresses: addresses,
        };
        cluster.wait_until_ok();
        cluster
    }

    /// One node on each of the first hosts of a network, complete and ready. To be called on a host of the network.
    #[track_caller]
    pub fn on_hosts(network: &Network, count: u8, secret: &Path, flags: &[&str]) -> Self {
        let address = |host| SocketAddr::from((Network::address(host), CLUSTER_PORT));
        let addresses: Vec<_> = (0..count).map(address).collect();
        let secret = format!("--cluster-secret-file={}", secret.display());
        let nodes = (0..count).map(|host| {
            let mut own = peer_flags(&addresses, addresses[usize::from(host)]);
            own.push(secret.clone());
            let own = own.iter().map(String::as_str);
            let all: Vec<_> = own.chain(flags.iter().copied()).collect();
            let start = Start::with(&all).keeping_ports();
            start.on_host(network, host).now()
        });
        let cluster = Self {
            nodes: nodes.collect(),
            cluster_addresses: addresses,
        };
        cluster.wait_until_ok();
        cluster
    }

    /// A node for this cluster that is not one of the first members; not running yet.
    pub fn newcomer(&self, flags: &[&str]) -> Nsqd {
        let own_address = free_port();
        let mut own = vec!["--broadcast-address=127.0.0.1".to_owned()];
        own.extend(peer_flags(&self.cluster_addresses, own_address));
        let own = own.iter().map(String::as_str);
        let all: Vec<_> = own.chain(flags.iter().copied()).collect();
        Start::with(&all).keeping_ports().later()
    }

    /// How many nodes it has.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Nsqd] {
        &self.nodes
    }

    /// All nodes.
    pub fn nodes_mut(&mut self) -> &mut [Nsqd] {
        &mut self.nodes
    }

    /// The cluster's flags of a node on loopback, for one that was started without them in between.
    pub fn flags(&self, node: usize) -> Vec<String> {
        let mut flags = vec!["--broadcast-address=127.0.0.1".to_owned()];
        flags.extend(peer_flags(
            &self.cluster_addresses,
            self.cluster_addresses[node],
        ));
        flags
    }

    /// Where the other nodes reach a node.
    pub fn cluster_address(&self, node: usize) -> SocketAddr {
        self.cluster_addresses[node]
    }

    /// Kills a node and removes everything in its data folder.
    #[track_caller]
    pub fn lose(&mut self, node: usize) {
        self.nodes[node].kill9();
        let folder = self.nodes[node].folder();
        for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
            let path = entry.expect("the folder can be listed").path();
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.expect("our own file can be removed");
        }
    }

    /// What a node says of the cluster, if it answers.
    pub fn report(&self, node: usize) -> Option<Value> {
        report_of(&self.nodes[node])
    }

    /// The number of the shard that a node owns, as the node itself says.
    #[track_caller]
    pub fn own_shard(&self, node: usize) -> u64 {
        let report = self.report(node).expect("it answers");
        let members = report["members"].as_array().cloned().unwrap_or_default();
        let own = members
            .iter()
            .find(|member| member["id"] == report["node"]["id"]);
        let shard = own.and_then(|own| own["shard"].as_u64());
        shard.expect("it owns a shard")
    }

    /// Waits until every node answers that the cluster is complete, every shard has all its replicas, and each is led by
    /// its owner.
    #[track_caller]
    pub fn wait_until_ok(&self) {
        self.wait_until_ok_within(CLUSTER_PATIENCE);
    }

    /// As [`Cluster::wait_until_ok`], for as long as it may take.
    #[track_caller]
    pub fn wait_until_ok_within(&self, patience: Duration) {
        let mut last = Vec::new();
        let is_ok = || {
            last = (0..self.len()).map(|node| self.report(node)).collect();
            last.iter().all(|report| report.as_ref().is_some_and(is_ok))
        };
        let deadline = std::time::Instant::now() + patience;
        let mut is_ok = is_ok;
        while !is_ok() {
            if std::time::Instant::now() > deadline {
                for (node, report) in self.nodes.iter().zip(&last) {
                    eprintln!("{report:#?}\n--- log ---\n{}", node.log().tail());
                }
                panic!("waited {patience:?} in vain: the cluster is complete");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the node `asked` says that another one leads the shard of `owner`.
    #[track_caller]
    pub fn wait_for_another_leader(&self, owner: usize, asked: usize) {
        let address = self.cluster_addresses[owner].to_string();
        wait_until("another node leads", CLUSTER_PATIENCE, || {
            let report = self.report(asked).unwrap_or_default();
            let all = |list: &str| report[list].as_array().cloned().unwrap_or_default();
            let members = all("members");
            let member = members.iter().find(|member| member["address"] == *address);
            let Some(id) = member.map(|member| &member["id"]) else {
                return false;
            };
            all("shards").iter().any(|shard| {
                shard["owner"] == *id && shard["leader"].is_u64() && shard["leader"] != *id
            })
        });
    }

    /// Waits until a node says that the cluster is in this state.
    #[track_caller]
    pub fn wait_for_state(&self, node: usize, state: &str) {
        wait_until(&format!("the cluster is {state}"), CLUSTER_PATIENCE, || {
            self.report(node)
                .is_some_and(|report| report["state"] == state)
        });
    }
}

impl Index<usize> for Cluster {
    type Output = Nsqd;

    fn index(&self, node: usize) -> &Nsqd {
        &self.nodes[node]
    }
}

impl IndexMut<usize> for Cluster {
    fn index_mut(&mut self, node: usize) -> &mut Nsqd {
        &mut self.nodes[node]
    }
}

fn report_of(node: &Nsqd) -> Option<Value> {
    let reply = node.try_request("GET", "/cluster", b"").ok()?;
    (reply.status == 200).then(|| reply.json())
}

/// Whether the report has no complaint, and every shard is led by its owner.
fn is_ok(report: &Value) -> bool {
    let shards = report["shards"].as_array();
    report["state"] == "ok"
        && shards.is_some_and(|shards| {
            !shards.is_empty() && shards.iter().all(|shard| shard["leader"] == shard["owner"])
        })
}

fn peer_flags(addresses: &[SocketAddr], own: SocketAddr) -> Vec<String> {
    let peers = addresses.iter();
    let mut flags: Vec<_> = peers.map(|peer| format!("--cluster-peer={peer}")).collect();
    flags.push(format!("--cluster-address={own}"));
    flags.push(format!("--cluster-broadcast-address={own}"));
    flags
}

/// Where the nodes of a network listen for each other.
const CLUSTER_PORT: u16 = 4152;

/// How long elections, transfers and hand-overs may take on a busy machine.
const CLUSTER_PATIENCE: Duration = Duration::from_mins(1);
