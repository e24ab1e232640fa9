//! Where replicas go, and how a group gets there.

mod membership;
mod shards;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::codec::Membership;
use crate::directory::{Change, Directory, MemberInfo, Outcome};
use crate::{ClusterId, Member, NodeId};

fn founded(count: u64) -> Directory {
    let members = (1..=count).map(|node| (NodeId(node), info(node)));
    let mut directory = Directory::default();
    directory.apply(&Change::Found {
        cluster: ClusterId(1),
        members: members.collect(),
    });
    directory
}

fn info(node: u64) -> MemberInfo {
    MemberInfo {
        address: format!("n{node}:1"),
        broadcast_address: "host".to_owned(),
        tcp_port: 1,
        http_port: 2,
        version: "1".to_owned(),
        entry_format: 1,
        joined: 0,
    }
}

const OPTIONS: PlanOptions = PlanOptions {
    replicas: 3,
    replace_after: Duration::from_mins(5),
};

fn away(nodes: &[(u64, u64)]) -> BTreeMap<NodeId, Liveness> {
    let away = nodes.iter().map(|(node, seconds)| {
        let away_for = Some(Duration::from_secs(*seconds));
        (NodeId(*node), Liveness { away_for })
    });
    away.collect()
}
