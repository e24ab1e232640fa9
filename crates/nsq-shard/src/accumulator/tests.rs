//! The accumulator.

use nsq_core::command::Command;
use nsq_core::{Tick, TicketWaiter};

use super::*;
use crate::codec::{CommandError, Item, ProposalReader};

struct NoWaiter;

impl TicketWaiter for NoWaiter {
    fn ticket_settled(&self) {}
}

fn pending() -> Arc<Pending> {
    Pending::new(Arc::new(NoWaiter))
}

fn publish(
    to: &mut Accumulator,
    topic: &str,
    bodies: &[&[u8]],
    due: Option<i64>,
) -> Result<(), usize> {
    let topic = TopicName::try_from(topic).unwrap();
    let now = Now {
        tick: Tick::from_nanos(1),
        unix_nanos: 1_000_000_000,
    };
    let mut ids = IdGenerator::after(1, None);
    let mut bodies = bodies.iter().copied();
    to.publish(&topic, &mut bodies, due, now, &mut ids, &pending())
}

/// What a proposal has: the topic, log and count of each publish, and the kinds of other parts.
fn parts(proposal: &Proposal) -> Vec<String> {
    let mut parts = Vec::new();
    let read = ProposalReader::new(&proposal.bytes).unwrap();
    let outcome: Result<(), CommandError<()>> = read.read(|item| {
        parts.push(match item {
            Item::Command(Command::Publish {
                topic,
                log,
                records,
            }) => format!("{topic} {log:?} {}", records.len()),
            Item::Command(command) => format!("{}", command.topic()),
            Item::Followed(index) => format!("followed {index}"),
        });
        Ok(())
    });
    outcome.unwrap();
    parts
}

#[test]
fn consecutive_publishes_to_one_log_are_one_command() {
    let mut accumulator = Accumulator::new(1, 0, 1 << 20, 1 << 20);
    publish(&mut accumulator, "a", &[b"1", b"2"], None).unwrap();
    publish(&mut accumulator, "a", &[b"3"], None).unwrap();
    publish(&mut accumulator, "a", &[b"4"], Some(5)).unwrap();
    publish(&mut accumulator, "b", &[b"5"], None).unwrap();
    let mut followed = Vec::new();
    codec::put_followed(&mut followed, 8);
    accumulator.append(&followed, Some(&pending()));
    publish(&mut accumulator, "b", &[b"6"], None).unwrap();
    let proposal = accumulator.take().unwrap();
    let wanted = [
        "a Main 3",
        "a Deferred 1",
        "b Main 1",
        "followed 8",
        "b Main 1",
    ];
    assert_eq!(parts(&proposal), wanted);
    assert_eq!(proposal.waiting.len(), 6);
    assert_eq!(accumulator.bytes(), 0);
    assert!(accumulator.take().is_none());
}

#[test]
fn a_publish_that_is_too_large_leaves_nothing() {
    let mut accumulator = Accumulator::new(1, 0, 1 << 20, 1000);
    publish(&mut accumulator, "a", &[b"1"], None).unwrap();
    let size = publish(&mut accumulator, "a", &[&[7; 600], &[7; 600]], None).unwrap_err();
    assert!(size > 1000);
    publish(&mut accumulator, "a", &[b"2"], None).unwrap();
    let proposal = accumulator.take().unwrap();
    assert_eq!(parts(&proposal), ["a Main 1", "a Main 1"]);
    assert_eq!(proposal.waiting.len(), 2);
}

#[test]
fn proposals_are_closed_by_bytes_and_the_whole_is_bounded() {
    let mut accumulator = Accumulator::new(1, 0, 3 << 20, 4 << 20);
    let body = vec![1; 600 << 10];
    let mut accepted = 0;
    while accumulator.has_room() {
        publish(&mut accumulator, "a", &[&body], None).unwrap();
        accepted += 1;
    }
    assert_eq!(accepted, 6);
    let mut proposals = Vec::new();
    while let Some(proposal) = accumulator.take() {
        proposals.push(proposal.waiting.len());
    }
    assert_eq!(proposals, [2, 2, 2]);
    assert!(accumulator.has_room());
}

#[test]
fn a_publish_that_does_not_fit_into_the_proposal_begins_the_next_one() {
    let mut accumulator = Accumulator::new(1, 0, 1 << 20, 1000);
    publish(&mut accumulator, "a", &[&[7; 600]], None).unwrap();
    publish(&mut accumulator, "a", &[&[8; 300], &[8; 300]], None).unwrap();
    publish(&mut accumulator, "a", &[b"9"], None).unwrap();
    let first = accumulator.take().unwrap();
    let second = accumulator.take().unwrap();
    assert_eq!((first.waiting.len(), second.waiting.len()), (1, 2));
    assert_eq!(parts(&first), ["a Main 1"]);
    assert_eq!(parts(&second), ["a Main 3"]);
    assert!(first.bytes.len() <= 1000 && second.bytes.len() <= 1000);
    assert_eq!(accumulator.bytes(), 0);
}

#[test]
fn ids_are_higher_than_those_that_were_given_before() {
    let above = 77 << 50;
    let mut accumulator = Accumulator::new(1, above, 1 << 20, 1 << 20);
    publish(&mut accumulator, "a", &[b"1"], None).unwrap();
    let highest = accumulator.highest_id();
    assert!(highest > above, "{highest}");
}
