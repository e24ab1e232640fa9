//! What the directory's leader answers to a node that wants to join.

use super::*;
use crate::directory::{Change, Directory, Outcome, ZONES_FORMAT};

const ABC: [&str; 3] = ["a:1", "b:1", "c:1"];

fn directory() -> Directory {
    let mut directory = Directory::default();
    let cluster = ClusterId(7);
    let members = founders(&ABC);
    directory.apply(&Change::Found { cluster, members });
    directory
}

fn join(address: &str, was: Option<(u128, u64)>) -> Join {
    Join {
        process: process_of(address),
        info: info(address),
        was: was.map(|(cluster, node)| (ClusterId(cluster), NodeId(node))),
    }
}

/// The leader's decision once it has asked; `answers` are the nodes that answer.
fn decide(join: &Join, answers: &[Introduction]) -> Admission {
    let directory = directory();
    let Admission::Ask(addresses) = admit(&directory, join, &Asked::new()) else {
        return admit(&directory, join, &Asked::new());
    };
    let asked = addresses.into_iter().map(|address| {
        let answer = answers.iter().find(|node| node.address() == address);
        (address, answer.cloned().ok_or_else(|| "refused".to_owned()))
    });
    admit(&directory, join, &asked.collect())
}

fn check_replaces(admission: Admission, expected: Option<u64>) {
    match admission {
        Admission::Propose(change) => match *change {
            Change::AddMember { replaces, .. } => assert_eq!(replaces, expected.map(NodeId)),
            other => panic!("{other:?}"),
        },
        other => panic!("not admitted: {other:?}"),
    }
}

fn check_refused(admission: &Admission, parts: &[&str]) {
    match admission {
        Admission::Refuse(text) => check_text(text, parts),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_node_that_can_be_reached_at_its_address_is_admitted() {
    let joining = join("x:1", None);
    check_replaces(decide(&joining, &[fresh("x:1", &[])]), None);
    let Admission::Later(text) = decide(&joining, &[]) else {
        panic!("a node that no one reaches is admitted");
    };
    check_text(&text, &["x:1", "--cluster-broadcast-address"]);
}

#[test]
fn a_node_at_a_members_address_replaces_it_unless_the_member_answers() {
    let joining = join("b:1", None);
    check_replaces(decide(&joining, &[fresh("b:1", &[])]), Some(2));
    let mut alive = member("b:1", 7, 2, None);
    alive.process += 1;
    check_refused(
        &decide(&joining, &[alive]),
        &["node 2 itself answers at b:1"],
    );
    let mut other = fresh("b:1", &[]);
    other.process += 1;
    check_refused(
        &decide(&joining, &[other]),
        &["another node answers at b:1"],
    );
}

#[test]
fn a_node_that_does_not_trust_its_disk_replaces_itself_even_at_another_address() {
    let mut itself = member("b:1", 7, 2, None);
    let joining = join("b:1", Some((7, 2)));
    check_replaces(decide(&joining, std::slice::from_ref(&itself)), Some(2));
    let moved = join("x:1", Some((7, 2)));
    itself.process += 1;
    check_refused(
        &decide(&moved, &[fresh("x:1", &[]), itself]),
        &["node 2 itself answers at b:1"],
    );
    check_replaces(decide(&moved, &[fresh("x:1", &[])]), Some(2));
    let taken = join("c:1", Some((7, 2)));
    check_refused(
        &decide(&taken, &[]),
        &["node 3", "--cluster-broadcast-address"],
    );
    // It was removed meanwhile: it joins like any other.
    check_replaces(
        decide(&join("x:1", Some((7, 9))), &[fresh("x:1", &[])]),
        None,
    );
}

#[test]
fn a_node_of_another_cluster_is_refused_with_both_ids() {
    let foreign = decide(&join("x:1", Some((8, 2))), &[]);
    check_refused(&foreign, &["00000008", "00000007", "--cluster-peer"]);
}

#[test]
fn the_same_process_gets_the_same_number_again() {
    let mut directory = directory();
    let joining = join("x:1", None);
    let asked = Asked::from([("x:1".to_owned(), Ok(fresh("x:1", &[])))]);
    let Admission::Propose(change) = admit(&directory, &joining, &asked) else {
        panic!("not admitted");
    };
    assert_eq!(directory.apply(&change), Outcome::Member(NodeId(4)));
    assert_eq!(
        admit(&directory, &joining, &Asked::new()),
        Admission::Accept(NodeId(4))
    );
}

#[test]
fn a_directory_that_is_not_founded_admits_no_one_yet() {
    let admission = admit(&Directory::default(), &join("x:1", None), &Asked::new());
    assert!(matches!(admission, Admission::Later(_)));
}

#[test]
fn a_node_that_does_not_know_zones_is_refused_where_members_have_them() {
    let mut directory = directory();
    let mut joining = join("x:1", None);
    let refuses = |directory: &Directory, join: &Join| {
        matches!(admit(directory, join, &Asked::new()), Admission::Refuse(_))
    };
    joining.info.entry_format = ZONES_FORMAT - 1;
    assert!(!refuses(&directory, &joining));
    let named = Change::SetZone {
        node: NodeId(1),
        zone: "a".to_owned(),
    };
    directory.apply(&named);
    assert!(refuses(&directory, &joining));
    joining.info.entry_format = ZONES_FORMAT;
    assert!(!refuses(&directory, &joining));
}
