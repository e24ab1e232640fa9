use std::ffi::OsString;
use std::sync::Arc;

use crate::cluster::{NodeReport, NodeStats, Overview, Producer, Warnings};

use super::*;

/// 2025-01-27 12:00:00 UTC.
const START: i64 = 1_737_979_200;

fn history(flags: &[&str]) -> History {
    let args = [&["--nsqd-http-address=127.0.0.1:1"], flags].concat();
    History::new(&Settings::load(args.iter().map(OsString::from)).unwrap())
}

/// Nodes with these statistics, at so many seconds past the start.
fn overview(seconds: i64, nodes: &[(&str, &str)]) -> Overview {
    let report = |(address, stats): &(&str, &str)| NodeReport {
        address: Arc::from(*address),
        producer: Producer::default(),
        stats: Ok(Arc::new(serde_json::from_str::<NodeStats>(stats).unwrap())),
    };
    Overview {
        taken_at: jiff::Timestamp::from_second(START + seconds).unwrap(),
        took: Duration::ZERO,
        lookupds: Vec::new(),
        nodes: nodes.iter().map(report).collect(),
        topics: Vec::new(),
        inactive_topics: Vec::new(),
        warnings: Warnings::default(),
        unregistered: None,
    }
}

/// A topic `t` with a channel `c` that has had so many messages and has this depth.
fn stats(messages: i64, depth: i64) -> String {
    format!(
        r#"{{"topics":[{{"topic_name":"t","depth":1,"backend_depth":1,"message_count":{messages},"channels":[
            {{"channel_name":"c","depth":{depth},"backend_depth":2,"in_flight_count":3,"deferred_count":4,
              "message_count":{messages},"requeue_count":{messages},"timeout_count":0,"client_count":5,"oldest_message_age":7000000000}}]}}],
          "memory":{{"heap_in_use_bytes":1000}}}}"#
    )
}

fn topic() -> Key {
    Key::Topic("t".into())
}

fn channel() -> Key {
    Key::Channel("t".into(), "c".into())
}

fn last(seconds: i64, until: i64, step: u32) -> Range {
    Range {
        from: START + until - seconds,
        until: START + until + 1,
        step,
    }
}

#[test]
fn an_overview_becomes_a_value_for_everything_in_it() {
    let history = history(&[]);
    for seconds in [0, 5] {
        let stats = stats(100 + seconds * 10, 20);
        history.record(&overview(seconds, &[("a:1", &stats), ("b:1", &stats)]));
    }
    for (key, metric, value) in [
        (topic(), Metric::Depth, Some(2.0)),
        (topic(), Metric::Backlog, Some(40.0)),
        (topic(), Metric::DiskDepth, Some(6.0)),
        (topic(), Metric::Messages, Some(20.0)),
        (topic(), Metric::Clients, Some(10.0)),
        (topic(), Metric::Memory, None),
        (channel(), Metric::Depth, Some(40.0)),
        (channel(), Metric::Backlog, Some(40.0)),
        (channel(), Metric::InFlight, Some(6.0)),
        (channel(), Metric::Deferred, Some(8.0)),
        (channel(), Metric::Messages, Some(20.0)),
        (channel(), Metric::Requeues, Some(20.0)),
        (channel(), Metric::Timeouts, Some(0.0)),
        (channel(), Metric::Finishes, Some(20.0)),
        (Key::Node("a:1".into()), Metric::Depth, Some(21.0)),
        (Key::Node("a:1".into()), Metric::Messages, Some(10.0)),
        (Key::Node("a:1".into()), Metric::Memory, Some(1000.0)),
        (Key::Cluster, Metric::Depth, Some(42.0)),
        (Key::Cluster, Metric::Backlog, Some(40.0)),
        (Key::Cluster, Metric::Memory, Some(2000.0)),
        (
            Key::TopicOnNode("t".into(), "b:1".into()),
            Metric::Messages,
            Some(10.0),
        ),
        (
            Key::TopicOnNode("t".into(), "b:1".into()),
            Metric::Backlog,
            Some(20.0),
        ),
        (
            Key::ChannelOnNode("t".into(), "c".into(), "b:1".into()),
            Metric::Depth,
            Some(20.0),
        ),
        (channel(), Metric::OldestAge, Some(7.0)),
        (Key::Cluster, Metric::OldestAge, None),
        (Key::Topic("none".into()), Metric::Depth, None),
    ] {
        assert_eq!(history.latest(&key, metric), value, "{key:?} {metric:?}");
    }
}

#[test]
fn rates_begin_with_the_second_look_and_survive_a_restart() {
    let history = history(&[]);
    for (seconds, messages) in [(0, 1000), (5, 1050), (10, 20), (20, 120)] {
        history.record(&overview(seconds, &[("a:1", &stats(messages, 0))]));
    }
    let line = history.sparkline(&channel(), Metric::Messages, 5);
    assert_eq!(line, [None, Some(10.0), Some(4.0), None, Some(10.0)]);
    let points = history.series(&channel(), Metric::Messages, last(20, 20, 5));
    let values: Vec<_> = points.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [None, Some(10.0), Some(4.0), None, Some(10.0)]);
    let times: Vec<_> = points.iter().map(|(time, _)| time - START).collect();
    assert_eq!(times, [0, 5, 10, 15, 20]);
}

#[test]
fn the_same_look_twice_leaves_its_rates() {
    let history = history(&[]);
    for (seconds, messages) in [(0, 1000), (5, 1050), (5, 1050)] {
        history.record(&overview(seconds, &[("a:1", &stats(messages, 0))]));
    }
    let line = history.sparkline(&channel(), Metric::Messages, 1);
    assert_eq!(line, [Some(10.0)]);
}

#[test]
fn old_values_are_kept_by_the_minute() {
    let history = history(&["--history-retention=2h"]);
    let hours = 3 * 3600;
    for seconds in (0..hours).step_by(5) {
        // One more each minute.
        let stats = stats(0, seconds / 60);
        history.record(&overview(seconds, &[("a:1", &stats)]));
    }
    let points = history.series(&channel(), Metric::Depth, last(3600, hours - 5, 60));
    assert_eq!(points.len(), 61);
    for (time, value) in points {
        #[expect(clippy::cast_precision_loss, reason = "minutes of three hours")]
        let minute = ((time - START) / 60) as f64;
        assert_eq!(value, Some(minute));
    }
    // Finer than that, and beyond the last quarter of an hour: the minute's value.
    let earlier = Range {
        from: START + 7200,
        until: START + 7210,
        step: 5,
    };
    let points = history.series(&channel(), Metric::Depth, earlier);
    assert_eq!(
        points,
        [(START + 7200, Some(120.0)), (START + 7205, Some(120.0))]
    );
    // Values older than the retention are gone, and no answer has more points than a page can draw.
    let all = history.series(&channel(), Metric::Depth, last(100 * hours, hours, 1));
    assert!(all.len() <= 2001, "{}", all.len());
    let known = all
        .iter()
        .filter(|(_, value)| value.is_some())
        .map(|(time, _)| time - START);
    assert!(known.min().unwrap() >= 3600 - 60);
}

#[test]
fn memory_is_bounded_and_what_was_not_seen_for_longest_goes_first() {
    let one = history(&[]);
    one.record(&overview(0, &[("a:1", &stats(0, 0))]));
    let (count, bytes) = one.size();
    assert_eq!(count, 5);
    let flag = format!("--history-memory={}", bytes + bytes / 4);
    let history = history(&[&flag]);
    let of = |topic: &str| stats(0, 0).replace("\"t\"", &format!("\"{topic}\""));
    history.record(&overview(0, &[("a:1", &of("first"))]));
    history.record(&overview(5, &[("a:1", &of("second"))]));
    let depth = |topic: &str, history: &History| {
        history.series(&Key::Topic(topic.into()), Metric::Depth, last(60, 60, 5))
    };
    assert!(!depth("first", &history).is_empty());
    for seconds in [10, 15, 20, 25] {
        history.record(&overview(seconds, &[("a:1", &of("second"))]));
    }
    assert!(depth("first", &history).is_empty());
    assert!(!depth("second", &history).is_empty());
    let (_, used) = history.size();
    assert!(used <= bytes + bytes / 4, "{used}");
}

#[test]
fn a_big_cluster_fits_the_default() {
    let channels: Vec<_> = (0..4)
        .map(|c| format!(r#"{{"channel_name":"channel-{c}"}}"#))
        .collect();
    let channels = channels.join(",");
    let topics: Vec<_> = (0..500)
        .map(|t| format!(r#"{{"topic_name":"topic-{t}","channels":[{channels}]}}"#))
        .collect();
    let stats = format!(r#"{{"topics":[{}]}}"#, topics.join(","));
    let names: Vec<_> = (0..20).map(|node| format!("host-{node}:4151")).collect();
    let nodes: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), stats.as_str()))
        .collect();
    let history = history(&[]);
    history.record(&overview(0, &nodes));
    let (count, bytes) = history.size();
    assert_eq!(count, 1 + 20 + 500 + 2000 + 20 * 500);
    assert!(bytes < 100 << 20, "{bytes}");
}

#[test]
fn nothing_is_kept_when_it_is_off() {
    let history = history(&["--history-interval=0"]);
    assert!(!history.is_on());
    history.record(&overview(0, &[("a:1", &stats(0, 0))]));
    assert_eq!(history.latest(&topic(), Metric::Depth), None);
    assert_eq!(history.size(), (0, 0));
}

#[test]
fn a_channel_on_a_node_has_a_series_from_its_first_waiting_message_on() {
    let history = history(&[]);
    let key = Key::ChannelOnNode("t".into(), "c".into(), "a:1".into());
    for (seconds, depth, count) in [(0, 0, 5), (5, 3, 6), (10, 0, 6)] {
        history.record(&overview(seconds, &[("a:1", &stats(0, depth))]));
        assert_eq!(history.size().0, count);
    }
    let line = history.sparkline(&key, Metric::Depth, 3);
    assert_eq!(line, [None, Some(3.0), Some(0.0)]);
}
