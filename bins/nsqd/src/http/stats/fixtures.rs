//! Figures to test the two formats with: a number of its own in every place.

use std::time::Duration;

use nsq_core::latency::{LatencySummary, Percentile};
use nsq_core::stats::{ChannelStats, ConsumerStats, TopicStats};
use nsq_protocol::{ChannelName, TopicName};

use super::clients::ClientReport;
use super::report::{ChannelReport, Stats, TopicReport};

/// What a started nsqd has to tell.
pub(super) fn nothing() -> Stats {
    Stats {
        health: "OK".to_owned(),
        start_time: 1_737_972_000,
        uptime: Duration::from_nanos(62_345_678_901),
        topics: Some(Vec::new()),
        memory: None,
        producers: Vec::new(),
    }
}

/// A topic with one channel and a figure of its own in every place.
pub(super) fn a_topic(topic: &str, channel: &str) -> TopicReport {
    let stats = TopicStats {
        name: TopicName::parse(topic).unwrap(),
        depth: 1,
        backend_depth: 2,
        message_count: 3,
        message_bytes: 4,
        dropped_count: 0,
        paused: false,
        channels: Vec::new(),
        latency: None,
    };
    let channel = ChannelStats {
        name: ChannelName::parse(channel).unwrap(),
        depth: 5,
        backend_depth: 6,
        in_flight_count: 7,
        deferred_count: 8,
        message_count: 9,
        requeue_count: 10,
        timeout_count: 11,
        delivered_count: 12,
        zone_local_count: 3,
        region_local_count: 1,
        dropped_count: 0,
        damaged_count: 0,
        client_count: 1,
        oldest_published: None,
        paused: false,
        buckets: None,
        latency: None,
    };
    TopicReport {
        stats,
        channels: vec![ChannelReport {
            stats: channel,
            clients: None,
        }],
    }
}

/// Percentiles, one of them of nothing.
pub(super) fn a_latency() -> LatencySummary {
    let percentile = |quantile, nanos| Percentile { quantile, nanos };
    LatencySummary {
        count: 13,
        percentiles: vec![percentile(1.0, 1_500_001), percentile(0.95, 0)],
    }
}

pub(super) fn a_consumer(connected: Duration) -> ClientReport {
    ClientReport {
        client_id: "id".to_owned(),
        hostname: "host".to_owned(),
        remote_address: "[::1]:51234".to_owned(),
        state: 3,
        consumer: ConsumerStats {
            ready_count: 1,
            in_flight_count: 2,
            message_count: 3,
            finish_count: 4,
            requeue_count: 5,
            last_finish: 1_737_972_003_900_000_000,
        },
        connect_ts: 1_737_972_001,
        connected,
        sample_rate: 6,
        tls: None,
        compression: None,
        user_agent: "agent/1.0".to_owned(),
        authed: true,
        auth_identity: "who".to_owned(),
        auth_identity_url: "http://who".to_owned(),
        topology_zone: "zone".to_owned(),
        topology_region: "region".to_owned(),
        published: Vec::new(),
        pub_count: None,
    }
}

pub(super) fn a_producer(connected: Duration) -> ClientReport {
    ClientReport {
        client_id: "id".to_owned(),
        hostname: "host".to_owned(),
        remote_address: "127.0.0.1:51235".to_owned(),
        state: 0,
        consumer: ConsumerStats::default(),
        connect_ts: 1_737_972_001,
        connected,
        sample_rate: 0,
        tls: Some(nsq_transport::tls::Session {
            version: 0x0304,
            cipher_suite: 4865,
            peer_common_name: String::new(),
        }),
        compression: Some(nsq_transport::Compression::Deflate { level: 3 }),
        user_agent: String::new(),
        authed: false,
        auth_identity: String::new(),
        auth_identity_url: String::new(),
        topology_zone: String::new(),
        topology_region: String::new(),
        published: vec![(TopicName::parse("t").unwrap(), 10)],
        pub_count: Some((TopicName::parse("t").unwrap(), 10)),
    }
}
