//! Calls and answers come back as they went, and damage is no panic.

use super::*;
use crate::codec::Wire;

fn check<T: Wire + PartialEq + std::fmt::Debug + Clone>(value: &T) {
    let bytes = value.to_bytes();
    assert_eq!(T::from_bytes(bytes.clone()), Ok(value.clone()));
    for cut in 0..bytes.len() {
        assert!(T::from_bytes(bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = T::from_bytes(flipped.into()) {
            assert_eq!(T::from_bytes(other.to_bytes()), Ok(other), "bit {bit}");
        }
    }
}

fn introductions() -> Vec<Introduction> {
    let mut leader = member("a:1", 7, 1, Some("b:1"));
    leader.member.as_mut().unwrap().leads = BTreeSet::from([0, 5]);
    vec![
        fresh("a:1", &["a:1", "b:1"]),
        leader,
        stored("b:1", 7, &["a:1", "b:1"]),
    ]
}

#[test]
fn calls_come_back_as_they_went() {
    for introduction in introductions() {
        check(&Call::Hello(introduction));
    }
    check(&Call::Found(Found {
        process: u128::MAX - 1,
        founder: "a:1".to_owned(),
        cluster: ClusterId(7 << 100),
        founders: founders(&["a:1", "b:1"]),
    }));
    for was in [None, Some((ClusterId(7), NodeId(2)))] {
        let (process, info) = (5, info("a:1"));
        check(&Call::Join(Join { process, info, was }));
    }
}

#[test]
fn answers_come_back_as_they_went() {
    for introduction in introductions() {
        check(&CallAnswer::Hello(introduction));
    }
    let (cluster, node) = (ClusterId(7), NodeId(4));
    check(&CallAnswer::Joined { cluster, node });
    for leader in [None, Some("b:1".to_owned())] {
        check(&CallAnswer::NotLeader { leader });
    }
    check(&CallAnswer::Stored);
    check(&CallAnswer::Later("soon".to_owned()));
    check(&CallAnswer::Refused("no".to_owned()));
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let answer = CallAnswer::Refused("ü".repeat(5000));
    let CallAnswer::Refused(text) = CallAnswer::from_bytes(answer.to_bytes()).unwrap() else {
        panic!("another answer");
    };
    assert_eq!(text, "ü".repeat(2048));
}
