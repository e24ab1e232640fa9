//! Founding and joining.

use super::*;

const ABC: [&str; 3] = ["a:1", "b:1", "c:1"];

#[test]
fn the_smallest_address_founds_once_all_have_answered_with_the_same_list() {
    let mut node = Node::fresh("a:1", &ABC);
    let next = node.round(&[fresh("b:1", &ABC)]);
    check_wait(&next, &["--cluster-peer=c:1", "connection refused"]);
    let next = node.round(&[fresh("b:1", &ABC), fresh("c:1", &ABC)]);
    let identity = node.store(&next);
    assert_eq!(identity.cluster, ClusterId(0xc1));
    assert_eq!(identity.node, NodeId(1));
    assert_eq!(identity.founders, Some(founders(&ABC)));
    // b has stored it, then c; then the founder initialises.
    let found = |next: &Next, to: &[&str]| match next {
        Next::Call(calls) => {
            let is_found = |call: &Call| matches!(call, Call::Found(found) if found.cluster == ClusterId(0xc1));
            assert!(calls.iter().all(|(_, call)| is_found(call)));
            let addresses: Vec<_> = calls.iter().map(|(address, _)| address.as_str()).collect();
            assert_eq!(addresses, to);
        }
        other => panic!("{other:?}"),
    };
    let next = node.round(&[fresh("b:1", &ABC), fresh("c:1", &ABC)]);
    found(&next, &["b:1", "c:1"]);
    node.bootstrap.answered("b:1", Ok(CallAnswer::Stored));
    node.bootstrap.answered("c:1", Err("timed out".to_owned()));
    check_wait(&node.next(), &["c:1", "timed out"]);
    let next = node.round(&[stored("b:1", 0xc1, &ABC), fresh("c:1", &ABC)]);
    found(&next, &["c:1"]);
    node.bootstrap.answered("c:1", Ok(CallAnswer::Stored));
    let done = Next::Done(Done::Initialize(identity));
    assert_eq!(node.next(), done);
    assert_eq!(node.next(), done);
}

#[test]
fn the_others_wait_for_the_founder_and_start_once_they_have_stored_what_it_sends() {
    let mut node = Node::fresh("b:1", &ABC);
    let next = node.round(&[fresh("a:1", &ABC), fresh("c:1", &ABC)]);
    check_wait(&next, &["waiting for a:1"]);
    let hello = Call::Hello(fresh("a:1", &ABC));
    assert!(matches!(
        node.greeter.handle(&hello),
        Handled::Answer(CallAnswer::Hello(_))
    ));
    let found = found_by("a:1", &ABC, 0xc1);
    let Handled::Store(identity, answer) = node.greeter.handle(&found) else {
        panic!("it does not take part");
    };
    assert_eq!(answer, CallAnswer::Stored);
    // While it is being stored nothing else happens.
    check_wait(&node.next(), &["storing"]);
    assert!(matches!(
        node.greeter.handle(&found),
        Handled::Answer(CallAnswer::Later(_))
    ));
    node.greeter.stored(Identity::clone(&identity));
    assert_eq!(identity.node, NodeId(2));
    assert_eq!(node.next(), Next::Done(Done::Start(*identity)));
    assert_eq!(
        node.greeter.handle(&found),
        Handled::Answer(CallAnswer::Stored)
    );
}

fn found_by(address: &str, addresses: &[&str], cluster: u128) -> Call {
    Call::Found(Found {
        process: process_of(address),
        founder: address.to_owned(),
        cluster: ClusterId(cluster),
        founders: founders(addresses),
    })
}

/// The answer of the node b, which has the list a, b, c, to a founding by a, after a has said hello.
fn answer_to(found: &Call, hello: bool) -> CallAnswer {
    let mut node = Node::fresh("b:1", &ABC);
    if hello {
        node.greeter.handle(&Call::Hello(fresh("a:1", &ABC)));
    }
    match node.greeter.handle(found) {
        Handled::Answer(answer) | Handled::Store(_, answer) => answer,
        Handled::ForLeader => panic!("it is no leader"),
    }
}

#[test]
fn a_founding_counts_only_from_a_process_that_has_said_hello_and_for_the_own_list() {
    assert_eq!(
        answer_to(&found_by("a:1", &ABC, 7), true),
        CallAnswer::Stored
    );
    let unknown = answer_to(&found_by("a:1", &ABC, 7), false);
    assert!(matches!(unknown, CallAnswer::Later(_)));
    let CallAnswer::Refused(text) = answer_to(&found_by("a:1", &["a:1", "b:1"], 7), true) else {
        panic!("another list is not refused");
    };
    check_text(
        &text,
        &["--cluster-peer", "a:1 has a:1, b:1, and", "a:1, b:1, c:1"],
    );
    let mut node = Node::fresh("b:1", &ABC);
    node.greeter.identity = Some(Identity::new(ClusterId(8), NodeId(2)));
    let Handled::Answer(CallAnswer::Refused(text)) = node.greeter.handle(&found_by("a:1", &ABC, 7))
    else {
        panic!("a second cluster is not refused");
    };
    check_text(&text, &["b:1", "a:1", "belongs to the cluster 0000"]);
}

#[test]
fn lists_that_differ_are_named_with_the_flag() {
    let mut node = Node::fresh("a:1", &ABC);
    let next = node.round(&[fresh("b:1", &["a:1", "b:1"])]);
    check_wait(
        &next,
        &["--cluster-peer", "a:1, b:1, c:1", "b:1 has a:1, b:1"],
    );
}

#[test]
fn a_node_outside_its_own_list_does_not_found_and_is_told_why() {
    let mut node = Node::fresh("x:1", &["b:1", "c:1"]);
    let others = [fresh("b:1", &["b:1", "c:1"]), fresh("c:1", &["b:1", "c:1"])];
    check_wait(
        &node.round(&others),
        &["--cluster-broadcast-address=x:1", "--cluster-peer=b:1, c:1"],
    );
    check_wait(&node.round(&[]), &["--cluster-broadcast-address=x:1"]);
}

#[test]
fn two_nodes_with_one_address_and_one_node_with_two_fail() {
    let mut node = Node::fresh("a:1", &ABC);
    let mut other = fresh("a:1", &ABC);
    other.process += 1;
    match node.round(&[other, fresh("b:1", &ABC), fresh("c:1", &ABC)]) {
        Next::Fail(text) => check_text(&text, &["a:1", "--cluster-broadcast-address"]),
        other => panic!("{other:?}"),
    }
    let mut node = Node::fresh("a:1", &["a:1", "localhost:1"]);
    let mut itself = fresh("a:1", &ABC);
    itself.info.address = "localhost:1".to_owned();
    match node.round(&[itself]) {
        Next::Fail(text) => check_text(&text, &["--cluster-peer=localhost:1", "a:1"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_peer_under_another_name_than_its_own_does_not_found() {
    let mut node = Node::fresh("a:1", &ABC);
    node.next();
    node.answer("b:1", Ok(fresh("elsewhere:1", &ABC)));
    check_wait(
        &node.next(),
        &[
            "--cluster-peer=b:1",
            "elsewhere:1",
            "--cluster-broadcast-address",
        ],
    );
}

#[test]
fn a_later_node_joins_by_way_of_any_live_member() {
    let mut node = Node::fresh("x:1", &["b:1"]);
    check_wait(&node.round(&[member("b:1", 7, 2, None)]), &["leader"]);
    let next = node.round(&[member("b:1", 7, 2, Some("c:1"))]);
    let join = Join {
        process: process_of("x:1"),
        info: info("x:1"),
        was: None,
    };
    assert_eq!(
        next,
        Next::Call(vec![("c:1".to_owned(), Call::Join(join.clone()))])
    );
    // The answer is lost; the same process asks again.
    node.bootstrap.answered("c:1", Err("timed out".to_owned()));
    check_wait(&node.next(), &["c:1", "timed out"]);
    let next = node.round(&[member("b:1", 7, 2, Some("c:1"))]);
    assert_eq!(next, Next::Call(vec![("c:1".to_owned(), Call::Join(join))]));
    let joined = CallAnswer::Joined {
        cluster: ClusterId(7),
        node: NodeId(4),
    };
    node.bootstrap.answered("c:1", Ok(joined));
    let next = node.next();
    let identity = node.store(&next);
    assert_eq!(identity, Identity::new(ClusterId(7), NodeId(4)));
    assert_eq!(node.next(), Next::Done(Done::Start(identity)));
}

/// Such as those that were removed while they led, or that are cut off.
#[test]
fn members_that_name_a_former_leader_do_not_keep_a_node_from_joining() {
    let mut node = Node::fresh("x:1", &ABC);
    let answers = [
        member("a:1", 7, 1, Some("a:1")),
        member("b:1", 7, 2, Some("b:1")),
        member("c:1", 7, 3, Some("c:1")),
    ];
    for wanted in ["a:1", "b:1", "c:1", "a:1"] {
        let next = node.round(&answers);
        assert!(
            matches!(&next, Next::Call(calls) if calls[0].0 == wanted),
            "not by way of {wanted}: {next:?}"
        );
        let later = CallAnswer::Later("the replica has stopped".to_owned());
        node.bootstrap.answered(wanted, Ok(later));
        check_wait(&node.next(), &[wanted, "the replica has stopped"]);
    }
}

#[test]
fn one_member_of_a_running_cluster_is_enough_to_join_whatever_the_lists() {
    let mut node = Node::fresh("a:1", &ABC);
    let next = node.round(&[fresh("c:1", &["x:1"]), member("b:1", 7, 2, Some("b:1"))]);
    assert!(
        matches!(&next, Next::Call(calls) if matches!(calls[0].1, Call::Join(_))),
        "{next:?}"
    );
    let refused = CallAnswer::Refused("node 1 itself answers".to_owned());
    node.bootstrap.answered("b:1", Ok(refused));
    check_wait(&node.next(), &["by way of b:1", "node 1 itself answers"]);
}

#[test]
fn peers_of_different_clusters_are_named() {
    let mut node = Node::fresh("a:1", &ABC);
    let next = node.round(&[member("b:1", 7, 2, None), member("c:1", 8, 2, None)]);
    check_wait(
        &next,
        &["--cluster-peer", "b:1", "c:1", "different clusters"],
    );
}

#[test]
fn a_founder_that_lost_its_disk_carries_on_with_the_cluster_it_began() {
    let mut node = Node::fresh("a:1", &ABC);
    let next = node.round(&[stored("b:1", 7, &ABC)]);
    check_wait(&next, &["--cluster-peer=c:1"]);
    let next = node.round(&[stored("b:1", 7, &ABC), fresh("c:1", &ABC)]);
    let identity = node.store(&next);
    assert_eq!((identity.cluster, identity.node), (ClusterId(7), NodeId(1)));
    // Another node that lost its disk meanwhile waits for the founder.
    let mut node = Node::fresh("b:1", &ABC);
    let next = node.round(&[stored("a:1", 7, &ABC), stored("c:1", 7, &ABC)]);
    check_wait(&next, &["waiting for a:1"]);
}

#[test]
fn a_founder_whose_list_has_changed_asks_the_founders_all_the_same() {
    let mut node = Node::fresh("a:1", &["a:1", "b:1"]);
    let next = node.round(&[stored("b:1", 7, &ABC)]);
    check_wait(&next, &["c:1"]);
    let next = node.round(&[stored("b:1", 7, &ABC), stored("c:1", 7, &ABC)]);
    assert_eq!(node.store(&next).cluster, ClusterId(7));
}

#[test]
fn a_founder_that_starts_again_carries_on_and_does_not_initialise_a_running_directory() {
    let identity = Identity {
        founders: Some(founders(&ABC)),
        ..Identity::new(ClusterId(7), NodeId(1))
    };
    assert!(must_found(&identity, false));
    assert!(!must_found(&identity, true));
    let start = || Node::new(options("a:1", &ABC, Start::Founding(identity.clone())));
    let mut node = start();
    let next = node.round(&[stored("b:1", 7, &ABC), stored("c:1", 7, &ABC)]);
    assert_eq!(next, Next::Done(Done::Initialize(identity.clone())));
    let mut node = start();
    let next = node.round(&[member("b:1", 7, 2, None), stored("c:1", 7, &ABC)]);
    assert_eq!(next, Next::Done(Done::Start(identity.clone())));
    let mut node = start();
    let next = node.round(&[member("b:1", 8, 2, None), stored("c:1", 7, &ABC)]);
    check_wait(&next, &["b:1 belongs to the cluster"]);
}

#[test]
fn a_single_node_founds_for_itself() {
    let mut node = Node::fresh("a:1", &["a:1"]);
    let next = node.round(&[]);
    let identity = node.store(&next);
    assert_eq!(node.round(&[]), Next::Done(Done::Initialize(identity)));
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let error = |address: &str, peers: &[&str]| {
        let error = Bootstrap::new(options(address, peers, Start::Fresh)).unwrap_err();
        error.to_string()
    };
    check_text(&error("a:1", &[]), &["--cluster-peer"]);
    check_text(&error("a:1", &["b"]), &["--cluster-peer=b"]);
    check_text(
        &error("a:0", &["a:1"]),
        &["--cluster-broadcast-address", "a:0"],
    );
}
