use nsq_core::latency::{LatencySummary, Percentile};
use nsq_core::stats::{ChannelStats, TopicStats};
use nsq_protocol::{ChannelName, TopicName};

use super::packets::Packets;
use super::report::Report;
use crate::settings::NsqdOptions;

fn report(change: impl FnOnce(&mut NsqdOptions)) -> Report {
    let mut options = NsqdOptions {
        statsd_prefix: "p.".to_owned(),
        ..NsqdOptions::default()
    };
    change(&mut options);
    Report::new(&options)
}

/// A topic with a figure of its own in every place.
fn topic(name: &str, channels: &[&str]) -> TopicStats {
    TopicStats {
        name: TopicName::parse(name).unwrap(),
        depth: 1,
        backend_depth: 2,
        message_count: 3,
        message_bytes: 4,
        dropped_count: 0,
        paused: false,
        channels: channels.iter().map(|name| channel(name)).collect(),
        latency: None,
    }
}

fn channel(name: &str) -> ChannelStats {
    ChannelStats {
        name: ChannelName::parse(name).unwrap(),
        depth: 5,
        backend_depth: 6,
        in_flight_count: 7,
        deferred_count: 8,
        message_count: 9,
        requeue_count: 10,
        timeout_count: 11,
        delivered_count: 12,
        zone_local_count: 0,
        region_local_count: 0,
        dropped_count: 13,
        damaged_count: 14,
        client_count: 15,
        oldest_published: None,
        paused: false,
        buckets: None,
        latency: None,
    }
}

fn latency() -> LatencySummary {
    let percentile = |quantile, nanos| Percentile { quantile, nanos };
    LatencySummary {
        count: 1,
        percentiles: vec![
            percentile(1.0, 30),
            percentile(0.999, 20),
            percentile(0.945, 10),
        ],
    }
}

#[track_caller]
fn text_of(packets: Packets) -> String {
    String::from_utf8(packets.into_vec().concat()).unwrap()
}

#[test]
fn a_report_has_upstreams_names_in_upstreams_order() {
    let mut topic = topic("t.x", &["c-1"]);
    topic.latency = Some(latency());
    topic.channels[0].latency = Some(latency());
    let packets = report(|_| ()).next([topic].into_iter(), Some(99));
    assert_eq!(
        text_of(packets),
        "p.topic.t.x.message_count:3|c\n\
         p.topic.t.x.message_bytes:4|c\n\
         p.topic.t.x.depth:1|g\n\
         p.topic.t.x.backend_depth:2|g\n\
         p.topic.t.x.e2e_processing_latency_100:30|g\n\
         p.topic.t.x.e2e_processing_latency_100:20|g\n\
         p.topic.t.x.e2e_processing_latency_94:10|g\n\
         p.topic.t.x.channel.c-1.message_count:9|c\n\
         p.topic.t.x.channel.c-1.depth:5|g\n\
         p.topic.t.x.channel.c-1.backend_depth:6|g\n\
         p.topic.t.x.channel.c-1.in_flight_count:7|g\n\
         p.topic.t.x.channel.c-1.deferred_count:8|g\n\
         p.topic.t.x.channel.c-1.requeue_count:10|c\n\
         p.topic.t.x.channel.c-1.timeout_count:11|c\n\
         p.topic.t.x.channel.c-1.clients:15|g\n\
         p.topic.t.x.channel.c-1.e2e_processing_latency_100:30|g\n\
         p.topic.t.x.channel.c-1.e2e_processing_latency_100:20|g\n\
         p.topic.t.x.channel.c-1.e2e_processing_latency_94:10|g\n\
         p.mem.heap_in_use_bytes:99|g\n"
    );
}

#[test]
fn counters_are_differences_and_gauges_are_not() {
    let mut report = report(|_| ());
    report.next([topic("t", &["c"])].into_iter(), None);
    let mut grown = topic("t", &["c", "d"]);
    grown.message_count += 100;
    grown.channels[0].requeue_count += 200;
    let text = text_of(report.next([grown, topic("u", &[])].into_iter(), None));
    for line in [
        "p.topic.t.message_count:100|c",
        "p.topic.t.message_bytes:0|c",
        "p.topic.t.depth:1|g",
        "p.topic.t.channel.c.message_count:0|c",
        "p.topic.t.channel.c.requeue_count:200|c",
        "p.topic.t.channel.c.timeout_count:0|c",
        "p.topic.t.channel.d.requeue_count:10|c",
        "p.topic.u.message_count:3|c",
    ] {
        assert!(text.lines().any(|got| got == line), "{line} in {text}");
    }
    assert!(!text.contains("mem."), "{text}");
}

#[test]
fn a_topic_made_anew_begins_at_nothing() {
    let mut report = report(|_| ());
    let mut before = topic("t", &["c"]);
    before.message_count = 1000;
    before.channels[0].message_count = 1000;
    report.next([before].into_iter(), None);
    let text = text_of(report.next([topic("t", &["c"])].into_iter(), None));
    assert!(text.starts_with("p.topic.t.message_count:3|c\n"), "{text}");
    assert!(text.contains("channel.c.message_count:9|c\n"), "{text}");
}

#[test]
fn ephemerals_are_left_out_where_that_was_asked_for() {
    let topics = || {
        [
            topic("t", &["c", "x#ephemeral"]),
            topic("u#ephemeral", &["c"]),
        ]
        .into_iter()
    };
    let all = text_of(report(|_| ()).next(topics(), None));
    assert!(all.contains("topic.t.channel.x#ephemeral.depth:5|g\n"));
    assert!(all.contains("topic.u#ephemeral.depth:1|g\n"));
    let kept = report(|options| options.statsd_exclude_ephemeral = true).next(topics(), None);
    let kept = text_of(kept);
    assert!(!kept.contains('#'), "{kept}");
    assert!(kept.contains("topic.t.channel.c.depth:5|g\n"), "{kept}");
}

#[test]
fn packets_hold_whole_lines_up_to_their_limit() {
    let mut packets = Packets::new(10);
    for line in ["aaaa\n", "bbbb\n", "c\n", "longer than ten\n", "d\n"] {
        packets.push(line);
    }
    let packets = packets.into_vec();
    let packets: Vec<_> = packets
        .iter()
        .map(|packet| std::str::from_utf8(packet).unwrap())
        .collect();
    assert_eq!(packets, ["aaaa\nbbbb\n", "c\n", "longer than ten\n", "d\n"]);
}

#[test]
fn a_limit_that_is_none_is_upstreams_default() {
    for limit in [0, -1] {
        let mut packets = Packets::new(limit);
        for _ in 0..=4096 / 4 {
            packets.push("abc\n");
        }
        let sizes: Vec<_> = packets.into_vec().iter().map(Vec::len).collect();
        assert_eq!(sizes, [4096, 4]);
    }
}
