//! A node that does not trust its disk.

use std::collections::BTreeMap;

use super::*;

/// Node 1 of a cluster of `count` nodes, with a replica of each group of `voters`.
fn node(count: u64, voters: &[(u64, &[u64])]) -> UntrustedNode {
    let voters = voters.iter().map(|(group, voters)| {
        let voters = voters.iter().copied().map(NodeId).collect();
        (*group, voters)
    });
    UntrustedNode {
        identity: Identity::new(ClusterId(7), NodeId(1)),
        voters: voters.collect(),
        addresses: (1..=count)
            .map(|node| (NodeId(node), address(node)))
            .collect(),
        can_trust: true,
        why: "a crash".to_owned(),
    }
}

fn address(node: u64) -> String {
    format!("n{node}:1")
}

#[derive(Clone, Copy)]
enum Other {
    Trusted(u64),
    Untrusted(u64),
    Silent(u64),
    Wiped(u64),
    Leads(u64, &'static [u64]),
}

use Other::{Leads, Silent, Trusted, Untrusted, Wiped};

fn answers(others: &[Other]) -> BTreeMap<String, Result<Introduction, String>> {
    let answers = others.iter().map(|other| match *other {
        Trusted(node) => (address(node), Ok(member(&address(node), 7, node, None))),
        Untrusted(node) => {
            let mut answer = member(&address(node), 7, node, None);
            answer.member.as_mut().unwrap().is_trusted = false;
            (address(node), Ok(answer))
        }
        Silent(node) => (address(node), Err("refused".to_owned())),
        Wiped(node) => (address(node), Ok(fresh(&address(node), &[]))),
        Leads(node, groups) => {
            let mut answer = member(&address(node), 7, node, None);
            answer.member.as_mut().unwrap().leads.extend(groups);
            (address(node), Ok(answer))
        }
    });
    answers.collect()
}

fn wait(nodes: &[u64]) -> Verdict {
    Verdict::Wait(nodes.iter().copied().map(NodeId).collect())
}

fn check(groups: &[(u64, &[u64])], others: &[Other], expected: &Verdict) {
    let node = node(5, groups);
    assert_eq!(node.decide(&answers(others), false), *expected);
}

#[test]
fn it_joins_under_another_number_where_the_others_can_do_without_it() {
    let groups: [(u64, &[u64]); 2] = [(0, &[1, 2, 3]), (1, &[1, 2, 3])];
    check(&groups, &[Trusted(2), Trusted(3)], &Verdict::Rejoin);
    // One of the others lost its disk but there is a leader, so there is a majority.
    let led = [Leads(2, &[0, 1]), Silent(3)];
    check(&groups, &led, &Verdict::Rejoin);
}

#[test]
fn it_waits_for_members_that_decide() {
    let groups: [(u64, &[u64]); 1] = [(0, &[1, 2, 3])];
    check(&groups, &[Silent(2), Silent(3)], &wait(&[2, 3]));
    check(&groups, &[Trusted(2), Silent(3)], &wait(&[3]));
    check(&groups, &[Untrusted(2), Silent(3)], &wait(&[3]));
    check(&groups, &[], &wait(&[2, 3]));
}

#[test]
fn it_trusts_its_disk_when_no_majority_can_be_trusted_and_all_are_there() {
    let groups: [(u64, &[u64]); 1] = [(0, &[1, 2, 3])];
    check(&groups, &[Untrusted(2), Untrusted(3)], &Verdict::Trust);
    check(&groups, &[Untrusted(2), Trusted(3)], &Verdict::Trust);
    check(&groups, &[Wiped(2), Trusted(3)], &Verdict::Trust);
    check(&[(0, &[1])], &[], &Verdict::Trust);
    check(&[(0, &[1, 2])], &[Trusted(2)], &Verdict::Trust);
}

#[test]
fn one_shard_that_cannot_do_without_it_decides() {
    let groups: [(u64, &[u64]); 2] = [(0, &[1, 2, 3, 4, 5]), (1, &[1, 4, 5])];
    let others = [Leads(2, &[0]), Trusted(3), Untrusted(4), Trusted(5)];
    check(&groups, &others, &Verdict::Trust);
    // Not if the node has no vote there.
    let groups: [(u64, &[u64]); 2] = [(0, &[1, 2, 3, 4, 5]), (1, &[2, 4, 5])];
    check(&groups, &others, &Verdict::Rejoin);
}

#[test]
fn members_that_stay_silent_for_long_count_as_lost() {
    let node = node(3, &[(0, &[1, 2, 3])]);
    let answers = answers(&[Untrusted(2), Silent(3)]);
    assert_eq!(node.decide(&answers, true), Verdict::Trust);
    let damaged = UntrustedNode {
        can_trust: false,
        ..node
    };
    assert_eq!(damaged.decide(&answers, true), Verdict::Rejoin);
}

#[test]
fn a_damaged_node_without_which_a_group_has_no_majority_leaves_everything_as_it_is() {
    let damaged = UntrustedNode {
        can_trust: false,
        ..node(3, &[(0, &[1, 2, 3]), (1, &[1, 2, 3])])
    };
    let stay = |groups: &[u64]| Verdict::Stay(groups.iter().copied().collect());
    let others = [Untrusted(2), Trusted(3)];
    assert_eq!(damaged.decide(&answers(&others), false), stay(&[0, 1]));
    let others = [Untrusted(2), Leads(3, &[0])];
    assert_eq!(damaged.decide(&answers(&others), false), stay(&[1]));
    let others = [Trusted(2), Trusted(3)];
    assert_eq!(damaged.decide(&answers(&others), false), Verdict::Rejoin);
    let start = Start::Untrusted(Box::new(damaged));
    let mut node = Node::new(options("n1:1", &["n2:1"], start));
    let mut other = member("n2:1", 7, 2, None);
    other.member.as_mut().unwrap().is_trusted = false;
    let next = node.round(&[other, member("n3:1", 7, 3, None)]);
    check_wait(&next, &["removes nothing", "a crash"]);
}

#[test]
fn it_asks_the_leader_for_another_number_and_keeps_what_it_holds() {
    let mut untrusted = node(3, &[(0, &[1, 2, 3])]);
    untrusted.identity.own_shard = Some(5);
    untrusted.identity.shards = BTreeSet::from([5, 6]);
    let start = Start::Untrusted(Box::new(untrusted.clone()));
    let mut node = Node::new(options("n1:1", &["n2:1"], start));
    let leader = Some("n2:1");
    let next = node.round(&[member("n2:1", 7, 2, leader), member("n3:1", 7, 3, leader)]);
    let Next::Call(calls) = next else {
        panic!("{next:?}");
    };
    assert!(matches!(&calls[..], [(via, Call::Join(join))]
        if via == "n2:1" && join.was == Some((ClusterId(7), NodeId(1)))));
    let joined = CallAnswer::Joined {
        cluster: ClusterId(7),
        node: NodeId(4),
    };
    node.bootstrap.answered("n2:1", Ok(joined));
    let next = node.next();
    let identity = node.store(&next);
    let expected = Identity {
        node: NodeId(4),
        ..untrusted.identity
    };
    assert_eq!(identity, expected);
    assert_eq!(node.next(), Next::Done(Done::Rejoined(identity)));
    assert!(node.greeter.is_trusted);
}

#[test]
fn a_power_loss_while_the_cluster_is_being_founded_does_not_stop_it() {
    let addresses = ["n1:1", "n2:1", "n3:1"];
    let mut untrusted = node(3, &[]);
    untrusted.identity.founders = Some(founders(&addresses));
    let start = Start::Untrusted(Box::new(untrusted.clone()));
    let mut founder = Node::new(options("n1:1", &addresses, start));
    let mut others = [stored("n2:1", 7, &addresses), stored("n3:1", 7, &addresses)];
    for other in &mut others {
        other.member.as_mut().unwrap().is_trusted = false;
    }
    let next = founder.round(&others);
    assert_eq!(
        next,
        Next::Done(Done::Initialize(untrusted.identity.clone()))
    );
    assert!(founder.greeter.is_trusted);
    // The others see that it continues.
    untrusted.identity.node = NodeId(2);
    let start = Start::Untrusted(Box::new(untrusted.clone()));
    let mut other = Node::new(options("n2:1", &addresses, start));
    let next = other.round(&[founder.greeter.introduction(), others[1].clone()]);
    check_wait(&next, &["unless a leader turns up"]);
    // The third one trusts its disk a moment earlier.
    others[1].member.as_mut().unwrap().is_trusted = true;
    other.now = Duration::from_secs(5);
    let next = other.round(&[founder.greeter.introduction(), others[1].clone()]);
    assert_eq!(next, Next::Done(Done::Trust(untrusted.identity)));
}

#[test]
fn a_leader_that_turns_up_while_a_node_is_about_to_trust_its_disk_is_joined() {
    let start = Start::Untrusted(Box::new(node(3, &[(0, &[1, 2, 3])])));
    let mut node = Node::new(options("n1:1", &["n2:1"], start));
    // Node 2 was replaced by node 4, of which this node does not know.
    let replaced = member("n2:1", 7, 4, None);
    let next = node.round(&[replaced, member("n3:1", 7, 3, None)]);
    check_wait(&next, &["unless a leader turns up"]);
    node.now = Duration::from_secs(5);
    let mut leader = member("n2:1", 7, 4, Some("n2:1"));
    leader.member.as_mut().unwrap().leads = BTreeSet::from([0]);
    let next = node.round(&[leader, member("n3:1", 7, 3, Some("n2:1"))]);
    assert!(
        matches!(&next, Next::Call(calls) if matches!(calls[0].1, Call::Join(_))),
        "{next:?}"
    );
}
