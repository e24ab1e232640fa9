use nsq_core::stats::{ChannelStats, TopicStats};
use nsq_protocol::{ChannelName, TopicName};

use super::series::Shown;
use crate::settings::NsqdOptions;

fn topic(name: &str, channels: &[&str]) -> TopicStats {
    let channels = channels.iter().map(|name| ChannelStats {
        name: ChannelName::parse(name).unwrap(),
        depth: 0,
        backend_depth: 0,
        in_flight_count: 0,
        deferred_count: 0,
        message_count: 0,
        requeue_count: 0,
        timeout_count: 0,
        delivered_count: 0,
        zone_local_count: 0,
        region_local_count: 0,
        dropped_count: 0,
        damaged_count: 0,
        client_count: 0,
        oldest_published: None,
        paused: false,
        buckets: None,
        latency: None,
    });
    TopicStats {
        name: TopicName::parse(name).unwrap(),
        depth: 0,
        backend_depth: 0,
        message_count: 0,
        message_bytes: 0,
        dropped_count: 0,
        paused: false,
        channels: channels.collect(),
        latency: None,
    }
}

/// The shown of a few topics, as `topics; topic/channels`.
#[track_caller]
fn check(change: impl FnOnce(&mut NsqdOptions), want: &str) {
    let mut options = NsqdOptions::default();
    change(&mut options);
    let topics = [
        topic("a", &["x", "y#ephemeral", "z"]),
        topic("b#ephemeral", &["x"]),
        topic("c", &["x"]),
    ];
    let shown = Shown::choose(&topics, &options);
    let topics: Vec<_> = shown
        .topics
        .iter()
        .map(|topic| topic.name.as_str())
        .collect();
    let channels = shown.channels.iter();
    let channels: Vec<_> = channels
        .map(|(topic, channel)| format!("{topic}/{}", channel.name))
        .collect();
    assert_eq!(
        format!("{}; {}", topics.join(" "), channels.join(" ")),
        want
    );
}

#[test]
fn the_first_by_name_have_series_of_their_own_and_ephemerals_if_wanted() {
    check(|_| (), "a c; a/x a/z c/x");
    check(|o| o.metrics_max_topics = 1, "a; a/x a/z");
    check(|o| o.metrics_max_topics = 0, "; ");
    check(|o| o.metrics_max_channels = 2, "a c; a/x a/z");
    check(|o| o.metrics_max_channels = 0, "a c; ");
    check(
        |o| o.metrics_exclude_ephemeral = false,
        "a b#ephemeral c; a/x a/y#ephemeral a/z b#ephemeral/x c/x",
    );
}
