//! Whether the directory's leader lets a node join.

use std::collections::BTreeMap;

use super::call::{Introduction, Join};
use crate::NodeId;
use crate::directory::{Change, Directory, ZONES_FORMAT};

/// What the leader does with a [`Join`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Say hello to these addresses, and ask [`admit`] again with what they answer.
    Ask(Vec<String>),
    /// Propose the change; its outcome is the node's number.
    Propose(Box<Change>),
    /// The node has joined already, with this number.
    Accept(NodeId),
    /// Answer [`CallAnswer::Later`](super::CallAnswer::Later).
    Later(String),
    /// Answer [`CallAnswer::Refused`](super::CallAnswer::Refused).
    Refuse(String),
}

/// What came of a hello: the answer, or why there is none.
pub type Asked = BTreeMap<String, Result<Introduction, String>>;

/// Decides on a join. `asked` is what the nodes at some addresses have answered so far, nothing at first.
///
/// A node that joins must be reachable at the address it gives: otherwise it would be a member that no other one can reach.
/// If a member has that address already, the joining node is that one after it lost its disk, unless the member itself answers.
pub fn admit(directory: &Directory, join: &Join, asked: &Asked) -> Admission {
    let address = &join.info.address;
    if !directory.is_founded() {
        return Admission::Later("the cluster is still being founded".to_owned());
    }
    let mut members = directory.members.iter();
    if let Some((node, _)) = members.find(|(_, member)| member.token == join.process) {
        return Admission::Accept(*node);
    }
    if let Some((cluster, node)) = join.was
        && cluster != directory.cluster
    {
        return Admission::Refuse(format!(
            "{address} is node {node} of the cluster {cluster}, and this is the cluster {}: see --cluster-peer",
            directory.cluster
        ));
    }
    if let Err(error) = join.info.check() {
        return Admission::Refuse(error.to_string());
    }
    if directory.has_zones() && join.info.entry_format < ZONES_FORMAT {
        return Admission::Refuse(format!(
            "the members of this cluster have zones (--topology-zone), which the nsqd {} of {address} does not know: upgrade it",
            join.info.version
        ));
    }
    let was = join.was.map(|(_, node)| node);
    let was = was.filter(|node| directory.members.contains_key(node));
    let resident = directory.member_at(address);
    if let (Some(was), Some(resident)) = (was, resident)
        && was != resident
    {
        return Admission::Refuse(format!(
            "{address} is the address of node {resident}, and it was node {was} that asked: two nodes must not have the same \
             --cluster-broadcast-address"
        ));
    }
    let replaces = was.or(resident);
    let earlier = replaces.and_then(|node| directory.members.get(&node));
    let earlier = earlier.map(|member| &member.info.address);
    let mut wanted = vec![address.clone()];
    wanted.extend(earlier.filter(|earlier| *earlier != address).cloned());
    wanted.retain(|address| !asked.contains_key(address));
    if !wanted.is_empty() {
        return Admission::Ask(wanted);
    }
    for (at, answer) in asked {
        if let Some(no) = check_answer(directory, join, replaces, at, answer) {
            return no;
        }
    }
    Admission::Propose(Box::new(Change::AddMember {
        info: join.info.clone(),
        token: join.process,
        replaces,
    }))
}

/// Why the answer of the node at `at` speaks against the join, if it does.
fn check_answer(
    directory: &Directory,
    join: &Join,
    replaces: Option<NodeId>,
    at: &str,
    answer: &Result<Introduction, String>,
) -> Option<Admission> {
    let is_joining = at == join.info.address;
    let answer = match answer {
        Ok(answer) if answer.process == join.process => return None,
        Ok(answer) => answer,
        Err(error) if is_joining => {
            return Some(Admission::Later(format!(
                "the leader of the directory cannot reach {at}: {error}; is it what --cluster-broadcast-address should be?"
            )));
        }
        // The earlier member is away, and may not come back under its number.
        Err(_) => return None,
    };
    let member = answer.member.as_ref();
    let member = member.filter(|member| member.cluster == directory.cluster);
    let member = member.map(|member| member.node);
    match (member, replaces) {
        (Some(node), Some(replaced)) if node == replaced => Some(Admission::Refuse(format!(
            "node {node} itself answers at {at}: two nodes must not have the same --cluster-broadcast-address"
        ))),
        _ if is_joining => Some(Admission::Refuse(format!(
            "another node answers at {at}: two nodes must not have the same --cluster-broadcast-address"
        ))),
        _ => None,
    }
}
