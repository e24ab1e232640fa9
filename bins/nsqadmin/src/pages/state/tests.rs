use std::sync::Arc;

use super::*;
use crate::cluster::{Client, List};

fn channel(depth: i64, client_count: i64) -> Channel {
    Channel {
        channel_name: "c".into(),
        depth,
        client_count,
        in_flight_count: client_count,
        ..Channel::default()
    }
}

fn ids(marks: &[Mark]) -> Vec<&str> {
    marks.iter().map(|mark| mark.id).collect()
}

fn state(condition: Condition, severity: Severity) -> ChannelState {
    ChannelState {
        condition,
        severity,
        since: 0,
        began_before: false,
        nodes: (1, 1),
        rates: Some((12.0, 2.5)),
        oldest_age: Some(1_200_000),
        drains_in: None,
        timeouts: None,
        requeued_share: None,
        missing: Vec::new(),
    }
}

#[test]
fn a_channel_that_was_just_created_is_judged_by_its_numbers() {
    assert_eq!(of_channel(&channel(0, 0), None)[0].severity, Severity::Idle);
    assert_eq!(of_channel(&channel(5, 0), None)[0].severity, Severity::Bad);
    assert!(of_channel(&channel(5, 1), None).is_empty());
}

#[test]
fn every_condition_but_fine_has_a_mark_of_its_own() {
    let mut seen = std::collections::HashSet::new();
    for condition in [
        Condition::Idle,
        Condition::CatchingUp,
        Condition::Backlog,
        Condition::FallingBehind,
        Condition::Slow,
        Condition::Stuck,
        Condition::NotTaking,
        Condition::NoConsumers,
    ] {
        let marks = of_channel(&channel(5, 1), Some(&state(condition, Severity::Warn)));
        assert_eq!(marks.len(), 1, "{condition:?}: {marks:?}");
        assert!(seen.insert(marks[0].id), "{condition:?}");
    }
    let fine = state(Condition::Fine, Severity::Fine);
    assert!(of_channel(&channel(5, 1), Some(&fine)).is_empty());
}

#[test]
fn a_lost_node_timeouts_and_requeues_are_marks_of_their_own() {
    let troubled = ChannelState {
        timeouts: Some(2.0),
        requeued_share: Some(0.5),
        missing: vec![("n:1".into(), 11_000)],
        ..state(Condition::Fine, Severity::Fine)
    };
    let marks = of_channel(&channel(0, 1), Some(&troubled));
    assert_eq!(ids(&marks), ["node-lost", "timeouts", "requeues"]);
    assert_eq!(marks[0].severity, Severity::Bad);
    assert!(marks[0].why.contains("11,000 messages waited there"));
}

#[test]
fn consumers_that_are_not_ready_are_told_by_their_ready_count() {
    let mut stuck = channel(5, 2);
    let not_taking = state(Condition::NotTaking, Severity::Bad);
    let word = |channel: &Channel| of_channel(channel, Some(&not_taking))[0].word.clone();
    assert_eq!(word(&stuck), "not taking messages");
    stuck.clients = List::from(vec![Client::default()]);
    assert_eq!(word(&stuck), "not taking messages (RDY 0)");
}

#[test]
fn half_a_pause_is_not_a_pause() {
    let mut sum = Channel::of_many("t", "c");
    for paused in [true, false, false] {
        sum.add(Arc::new(Channel {
            paused,
            client_count: 1,
            ..Channel::default()
        }));
    }
    let marks = of_channel(&sum, None);
    assert_eq!(
        (marks[0].id, marks[0].word.as_str()),
        ("partly-paused", "paused on 1 of 3")
    );
}

#[test]
fn a_topic_gathers_its_channels_marks() {
    let part = Topic {
        topic_name: "t".into(),
        channels: List::from(vec![
            Arc::new(Channel {
                channel_name: "a".into(),
                ..channel(1, 0)
            }),
            Arc::new(Channel {
                channel_name: "b".into(),
                ..channel(0, 0)
            }),
        ]),
        ..Topic::default()
    };
    let topic = Topic::of_many("t", [Arc::new(part)]);
    let marks = of_topic(&topic, &[None, None]);
    assert_eq!(marks[0].word, "no consumers");
    assert_eq!(marks[0].severity, Severity::Bad);
    assert!(marks[0].why.starts_with("In a."), "{}", marks[0].why);
    // A channel that is idle says nothing of a topic that is not.
    assert_eq!(marks.len(), 1);
    let lost = state(Condition::NoConsumers, Severity::Bad);
    let marks = of_topic(&topic, &[Some(lost.clone()), Some(lost)]);
    assert_eq!(marks[0].word, "no consumers ×2");
    assert!(marks[0].why.starts_with("In a, b."), "{}", marks[0].why);
    assert_eq!(
        ids(&of_topic(&Topic::of_many("t", []), &[])),
        ["no-channels"]
    );
    assert!(rank(&marks, 5) > rank(&marks, 4));
    assert!(rank(&marks, 0) > rank(&[], i64::MAX));
    let idle = [idle()];
    assert!(rank(&idle, 0) < rank(&[], 0));
}
