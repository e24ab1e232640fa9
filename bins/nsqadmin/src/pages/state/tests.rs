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

fn depths(values: impl Iterator<Item = f32>) -> Course {
    Course {
        depth: values.map(Some).collect(),
        ..Course::default()
    }
}

#[test]
fn a_channel_without_consumers_is_worse_when_messages_wait() {
    let calm = Course::default();
    assert_eq!(
        of_channel(&channel(0, 0), &calm)[0].severity,
        Severity::Warn
    );
    assert_eq!(of_channel(&channel(5, 0), &calm)[0].severity, Severity::Bad);
    assert!(of_channel(&channel(5, 1), &calm).is_empty());
}

#[test]
fn consumers_that_take_nothing_are_told_from_busy_ones() {
    let mut stuck = channel(5, 2);
    stuck.in_flight_count = 0;
    let marks = of_channel(&stuck, &Course::default());
    assert_eq!(
        (marks[0].id, marks[0].word.as_str()),
        ("ready-zero", "RDY 0?")
    );
    stuck.clients = List::from(vec![Client::default()]);
    assert_eq!(of_channel(&stuck, &Course::default())[0].word, "RDY 0");
    let busy = Course {
        finishes: Some(10.0),
        ..Course::default()
    };
    assert!(of_channel(&stuck, &busy).is_empty());
    let young = Course {
        is_young: true,
        ..Course::default()
    };
    assert!(of_channel(&stuck, &young).is_empty());
}

#[test]
fn a_rising_number_is_told_from_a_wavering_one() {
    assert!(
        depths((0_u16..60).map(|n| f32::from(n) * 10.0))
            .growth()
            .is_some()
    );
    assert!(
        depths((0_u16..60).map(|n| 1000.0 + f32::from(n % 7) * 20.0))
            .growth()
            .is_none()
    );
    assert!(
        depths((0_u16..60).map(|n| 600.0 - f32::from(n) * 10.0))
            .growth()
            .is_none()
    );
    assert!(
        depths((0_u16..5).map(|n| f32::from(n) * 1000.0))
            .growth()
            .is_none()
    );
    // A hill that is over.
    assert!(
        depths((0..60).map(|n| if n == 50 { 1e6 } else { 1.0 }))
            .growth()
            .is_none()
    );
    assert!(Course::default().growth().is_none());
}

#[test]
fn timeouts_and_requeues_are_marks_only_while_they_happen() {
    let course = Course {
        timeouts: Some(2.0),
        requeues: Some(5.0),
        finishes: Some(5.0),
        ..Course::default()
    };
    assert_eq!(
        ids(&of_channel(&channel(0, 1), &course)),
        ["timeouts", "requeues"]
    );
    let course = Course {
        timeouts: Some(0.0),
        requeues: Some(0.1),
        finishes: Some(500.0),
        ..Course::default()
    };
    assert!(of_channel(&channel(0, 1), &course).is_empty());
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
    let marks = of_channel(&sum, &Course::default());
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
    let marks = of_topic(&topic, &[Course::default(), Course::default()]);
    assert_eq!(marks[0].word, "no consumers ×2");
    assert_eq!(marks[0].severity, Severity::Bad);
    assert!(marks[0].why.starts_with("In a, b."), "{}", marks[0].why);
    assert_eq!(
        ids(&of_topic(&Topic::of_many("t", []), &[])),
        ["no-channels"]
    );
    assert!(rank(&marks, 5) > rank(&marks, 4));
    assert!(rank(&marks, 0) > rank(&[], i64::MAX));
}
