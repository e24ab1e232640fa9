//! Three replicas whose nodes talk through real sockets.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{Sum, leader, start_on, wait_for};
use crate::codec::{Answer, Refusal, Request};
use crate::group::{ChangeError, Group};
use crate::identity::ClusterId;
use crate::transport::tests::proxy::Proxy;
use crate::transport::{Handler, Peer, Security, Transport, TransportLimits, TransportOptions};
use crate::{Member, NodeId};

/// Hands requests to the group, once there is one.
#[derive(Default)]
struct ToGroup(OnceLock<Group>);

struct Handed(Arc<ToGroup>);

impl Handler for Handed {
    fn handle(&self, from: Peer, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let to = Arc::clone(&self.0);
        Box::pin(async move {
            match (to.0.get(), from.node) {
                (Some(group), Some(node)) => group.handle(node, request).await,
                _ => Answer::Refused(Refusal::NoSuchGroup),
            }
        })
    }
}

struct Node {
    transport: Transport,
    /// Others reach the node through it.
    proxy: Proxy,
    group: Arc<ToGroup>,
    sum: Sum,
}

async fn node(number: NodeId) -> Node {
    let group = Arc::new(ToGroup::default());
    let transport = Transport::start(TransportOptions {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        security: Security::Secret(b"the secret of this test".to_vec()),
        handler: Arc::new(Handed(Arc::clone(&group))),
        former: Vec::new(),
        limits: TransportLimits::default(),
    });
    let transport = transport.unwrap();
    transport.introduce(ClusterId(7), number);
    let proxy = Proxy::start(transport.address(), None).await;
    Node {
        transport,
        proxy,
        group,
        sum: Sum::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_elects_and_replicates_over_sockets_and_survives_cut_connections() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = BTreeMap::new();
    for number in (1..=3).map(NodeId) {
        nodes.insert(number, node(number).await);
    }
    let members: BTreeMap<_, _> = nodes
        .iter()
        .map(|(number, node)| {
            let address = node.proxy.address.to_string();
            (*number, Member { address })
        })
        .collect();
    let mut groups = BTreeMap::new();
    for (number, node) in &nodes {
        let network = Arc::new(node.transport.clone());
        let path = folder.path().join(number.to_string());
        let group = start_on(network, *number, &path, &node.sum).await;
        assert!(node.group.0.set(group.clone()).is_ok());
        groups.insert(*number, group);
    }
    for group in groups.values() {
        match group.initialize(members.clone()).await {
            Ok(()) | Err(ChangeError::Refused(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let (first, group) = leader(&groups).await;
    let propose = |group: &Group| {
        let proposals = (0..100).map(|_| {
            let group = group.clone();
            tokio::spawn(async move { group.propose(Bytes::from_static(&[7; 100])).await })
        });
        futures_util::future::join_all(proposals.collect::<Vec<_>>())
    };
    for outcome in propose(&group).await {
        outcome.unwrap().unwrap();
    }
    let has = |bytes: u64| {
        nodes
            .values()
            .all(|node| node.sum.0.lock().unwrap().1 == bytes)
    };
    wait_for("agreement", || has(10_000)).await;

    // A follower is cut off: the others continue, and it catches up.
    let follower = *nodes.keys().find(|number| **number != first).unwrap();
    nodes[&follower].proxy.cut();
    for outcome in propose(&group).await {
        outcome.unwrap().unwrap();
    }
    nodes[&follower].proxy.mend();
    wait_for("the follower", || has(20_000)).await;

    // The leader falls silent in both directions: another one leads.
    let (last, _) = leader(&groups).await;
    let others: BTreeMap<_, _> = groups
        .iter()
        .filter(|(number, _)| **number != last)
        .map(|(number, group)| (*number, group.clone()))
        .collect();
    nodes[&last].transport.stop().await;
    let (_, second) = leader(&others).await;
    for outcome in propose(&second).await {
        outcome.unwrap().unwrap();
    }
    let both_have = || {
        let mut nodes = nodes.iter().filter(|(number, _)| **number != last);
        nodes.all(|(_, node)| node.sum.0.lock().unwrap().1 == 30_000)
    };
    wait_for("the others", both_have).await;
    for group in groups.values() {
        group.shutdown().await;
    }
    for node in nodes.values() {
        node.transport.stop().await;
    }
}
