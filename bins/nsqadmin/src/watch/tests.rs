//! The watch over a cluster of nodes, through long simulated times.

use std::time::Duration;

use crate::cluster::{DaemonKind, Failure, NodeReport, NodeStats, Producer, Topic, Warnings};

use super::*;

/// 2025-01-27 12:00:00 UTC.
const START: i64 = 1_737_979_200;

/// A node of the simulated cluster: topic `t` with channel `c`.
#[derive(Clone)]
struct Node {
    address: &'static str,
    waiting: i64,
    received: i64,
    finished: i64,
    consumers: i64,
    paused: bool,
    responds: bool,
    registered: bool,
}

fn node(address: &'static str, waiting: i64) -> Node {
    Node {
        address,
        waiting,
        received: waiting,
        finished: 0,
        consumers: 1,
        paused: false,
        responds: true,
        registered: true,
    }
}

impl Node {
    fn work(&mut self, seconds: i64, incoming: i64, outgoing: i64) {
        self.received += incoming * seconds;
        let done = (outgoing * seconds).min(self.waiting + incoming * seconds);
        self.finished += done;
        self.waiting += incoming * seconds - done;
    }

    fn report(&self) -> NodeReport {
        let stats = format!(
            r#"{{"topics":[{{"topic_name":"t","message_count":{0},"channels":[{{"channel_name":"c","depth":{1},
               "in_flight_count":{2},"message_count":{0},"finish_count":{3},"oldest_message_age":{4},
               "client_count":{2},"paused":{5}}}]}}]}}"#,
            self.received,
            self.waiting,
            self.consumers,
            self.finished,
            self.waiting * 1_000_000_000,
            self.paused
        );
        let mut stats: NodeStats = serde_json::from_str(&stats).unwrap();
        let producer = Producer::default();
        stats.place(&self.address.into(), &producer);
        NodeReport {
            address: self.address.into(),
            producer,
            stats: if self.responds {
                Ok(Arc::new(stats))
            } else {
                Err(Failure {
                    kind: DaemonKind::Nsqd,
                    address: self.address.to_owned(),
                    status: None,
                    cause: "timeout".to_owned(),
                    text: "timeout".to_owned(),
                })
            },
        }
    }
}

/// The cluster at so many seconds past the start.
fn look(watch: &Watch, seconds: i64, nodes: &[Node]) {
    let nodes: Vec<_> = nodes
        .iter()
        .filter(|node| node.registered)
        .map(Node::report)
        .collect();
    look_at(watch, seconds, nodes);
}

fn look_at(watch: &Watch, seconds: i64, nodes: Vec<NodeReport>) {
    let parts: Vec<Arc<Topic>> = nodes
        .iter()
        .filter_map(|node| node.stats.as_ref().ok())
        .flat_map(|stats| stats.topics.iter().cloned())
        .collect();
    let topics = if parts.is_empty() {
        Vec::new()
    } else {
        vec![Arc::new(Topic::of_many("t", parts))]
    };
    watch.observe(&Arc::new(Overview {
        taken_at: jiff::Timestamp::from_second(START + seconds).unwrap(),
        took: Duration::ZERO,
        lookupds: Vec::new(),
        nodes,
        topics,
        inactive_topics: Vec::new(),
        warnings: Warnings::default(),
        unregistered: None,
    }));
}

fn state(watch: &Watch) -> ChannelState {
    watch.channel("t", "c").expect("the channel is known")
}

fn kinds(watch: &Watch) -> Vec<EventKind> {
    let mut events = watch.events(100, |_| true);
    events.reverse();
    events.into_iter().map(|event| event.kind).collect()
}

#[test]
fn a_lost_node_does_not_make_a_channel_fine_and_is_remembered_until_dismissed() {
    for is_killed in [true, false] {
        let watch = Watch::default();
        let mut nodes = [node("a:1", 0), node("b:1", 11_000)];
        let mut seconds = 0;
        let mut run = |nodes: &mut [Node; 2], polls: i64| {
            for _ in 0..polls {
                seconds += 5;
                nodes[0].work(5, 5, 10);
                nodes[1].work(5, 12, 2);
                look(&watch, seconds, nodes);
            }
        };
        run(&mut nodes, 24);
        assert_eq!(state(&watch).condition, Condition::FallingBehind);
        assert_eq!(state(&watch).nodes, (1, 2));
        let since = state(&watch).since;
        if is_killed {
            nodes[1].registered = false;
        } else {
            nodes[1].responds = false;
        }
        // Ten minutes.
        run(&mut nodes, 120);
        let lost = watch.lost_nodes();
        assert_eq!(lost.len(), 1);
        assert_eq!((&*lost[0].address, lost[0].consumers()), ("b:1", 1));
        assert!(lost[0].waiting() > 11_000);
        assert_eq!(lost[0].loss == Loss::Gone, is_killed);
        let now = state(&watch);
        assert_eq!(
            (now.condition, now.since, now.missing.len()),
            (Condition::FallingBehind, since, 1)
        );
        assert_eq!(watch.counts().critical + watch.counts().warnings, 1);
        assert!(kinds(&watch).iter().any(|kind| matches!(
            kind,
            EventKind::NodeLost { is_gone, consumers: 1, .. } if *is_gone == is_killed
        )));
        if is_killed {
            assert!(watch.dismiss("b:1") && !watch.dismiss("b:1"));
            assert_eq!(state(&watch).condition, Condition::Fine);
            assert_eq!(
                (watch.lost_nodes().len(), watch.counts()),
                (0, Counts::default())
            );
        } else {
            assert!(!watch.dismiss("b:1"), "it may be back at any time");
            nodes[1].responds = true;
            run(&mut nodes, 1);
            assert!(watch.lost_nodes().is_empty());
            assert_eq!(kinds(&watch).last(), Some(&EventKind::NodeBack));
            assert_eq!(state(&watch).condition, Condition::FallingBehind);
        }
    }
}

#[test]
fn what_is_deleted_is_forgotten_and_what_is_lost_is_not() {
    let watch = Watch::default();
    let mut nodes = [node("a:1", 5), node("b:1", 5)];
    look(&watch, 0, &nodes);
    nodes[0].responds = false;
    nodes[1].responds = false;
    look(&watch, 5, &nodes);
    assert_eq!(state(&watch).missing.len(), 2);
    nodes[0].responds = true;
    look(&watch, 10, &nodes);
    assert_eq!(state(&watch).missing.len(), 1);
    // Deleted on both.
    watch.observe(&Arc::new(Overview {
        taken_at: jiff::Timestamp::from_second(START + 15).unwrap(),
        took: Duration::ZERO,
        lookupds: Vec::new(),
        nodes: nodes
            .iter()
            .map(|node| NodeReport {
                stats: Ok(Arc::default()),
                ..node.report()
            })
            .collect(),
        topics: Vec::new(),
        inactive_topics: Vec::new(),
        warnings: Warnings::default(),
        unregistered: None,
    }));
    assert_eq!(watch.channel("t", "c"), None);
}

#[test]
fn what_happens_is_listed_once() {
    let watch = Watch::default();
    let mut nodes = [node("a:1", 0)];
    look(&watch, 0, &nodes);
    assert!(kinds(&watch).is_empty(), "the first look is no event");
    nodes[0].consumers = 3;
    look(&watch, 5, &nodes);
    nodes[0].consumers = 0;
    look(&watch, 100, &nodes);
    nodes[0].paused = true;
    look(&watch, 105, &nodes);
    assert_eq!(
        kinds(&watch),
        [
            EventKind::Joined(2),
            EventKind::Left(3),
            EventKind::Paused(true)
        ]
    );
    // What an administrator does here is not listed a second time when it is seen.
    let place = Place {
        topic: Some("t".into()),
        channel: Some("c".into()),
        node: None,
    };
    watch.note(Event {
        at: (START + 108) * 1000,
        kind: EventKind::Action {
            what: "Unpaused".to_owned(),
            by: Some("ann".to_owned()),
        },
        place,
    });
    nodes[0].paused = false;
    look(&watch, 110, &nodes);
    assert_eq!(kinds(&watch).len(), 4);
}

#[test]
fn an_idle_channel_is_no_trouble_and_a_stuck_one_is() {
    let watch = Watch::default();
    let mut nodes = [node("a:1", 0)];
    nodes[0].consumers = 0;
    for poll in 0..20 {
        look(&watch, poll * 5, &nodes);
    }
    assert_eq!(watch.counts(), Counts::default());
    nodes[0].consumers = 1;
    nodes[0].waiting = 50;
    nodes[0].received = 50;
    for poll in 20..60 {
        look(&watch, poll * 5, &nodes);
    }
    assert_eq!(state(&watch).condition, Condition::Stuck);
    assert_eq!(watch.counts().critical, 1);
}

#[test]
fn what_was_published_never_falls() {
    let watch = Watch::default();
    let (mut a, mut b) = (node("a:1", 100), node("b:1", 50));
    let mut seconds = 0;
    let mut published = |nodes: &[Node]| {
        seconds += 5;
        look(&watch, seconds, nodes);
        let total = watch.counted();
        assert_eq!(total.published, total.received, "each message once");
        (watch.published("t"), total.published)
    };
    assert_eq!(published(&[a.clone(), b.clone()]), (Some(150), 150));
    b.responds = false;
    a.work(5, 1, 1);
    assert_eq!(published(&[a.clone(), b.clone()]), (Some(155), 155));
    // It was only slow.
    b.responds = true;
    assert_eq!(published(&[a.clone(), b.clone()]), (Some(155), 155));
    // It has restarted, and counts from zero.
    b.received = 7;
    assert_eq!(published(&[a.clone(), b.clone()]), (Some(162), 162));
    a.registered = false;
    assert_eq!(published(&[a.clone(), b.clone()]), (Some(162), 162));
    assert!(watch.dismiss("a:1"));
    b.work(5, 1, 1);
    assert_eq!(published(&[a.clone(), b.clone()]), (Some(167), 167));
    // The topic is gone with its last node, but was published to.
    b.registered = false;
    published(&[b.clone()]);
    assert!(watch.dismiss("b:1"));
    assert_eq!(published(&[]), (None, 167));
}

#[test]
fn a_restart_is_known_by_its_time_too() {
    let watch = Watch::default();
    let report = |start_time: i64, count: i64| {
        let mut report = node("a:1", count).report();
        let stats = Arc::get_mut(report.stats.as_mut().unwrap()).unwrap();
        stats.start_time = start_time;
        report
    };
    let mut seconds = 0;
    for (start_time, count, published) in [(10, 5, 5), (20, 8, 13), (20, 9, 14)] {
        seconds += 5;
        look_at(&watch, seconds, vec![report(start_time, count)]);
        assert_eq!(watch.published("t"), Some(published));
    }
}
