//! `/stats` as JSON: the same keys in the same order as upstream's, and `null` where it has `null`.

use std::borrow::Cow;

use nsq_core::latency::{LatencyBuckets, LatencySummary};
use nsq_daemon::http::Reply;
use nsq_daemon::version::VERSION;
use nsq_protocol::TopicName;
use nsq_transport::Compression;
use nsq_transport::tls::Session;
use serde::Serialize;

use super::clients::ClientReport;
use super::heap_figures::HeapFigures;
use super::report::{ChannelReport, Stats, TopicReport};
use crate::clock;

pub(super) fn reply(stats: &Stats) -> Reply {
    let topics = stats.topics.as_ref();
    let producers: Vec<_> = stats.producers.iter().map(ClientJson::of).collect();
    Reply::json(&StatsJson {
        version: VERSION,
        health: &stats.health,
        start_time: stats.start_time,
        topics: topics.map(|topics| topics.iter().map(TopicJson::of).collect()),
        memory: stats.memory,
        // Compat: without any there is no list, not an empty one (GetStats, nsqd/stats.go).
        producers: Some(producers).filter(|producers| !producers.is_empty()),
    })
}

#[derive(Serialize)]
struct StatsJson<'a> {
    version: &'a str,
    health: &'a str,
    start_time: i64,
    topics: Option<Vec<TopicJson<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<HeapFigures>,
    producers: Option<Vec<ClientJson<'a>>>,
}

#[derive(Serialize)]
struct TopicJson<'a> {
    topic_name: &'a str,
    channels: Vec<ChannelJson<'a>>,
    depth: u64,
    backend_depth: u64,
    message_count: u64,
    message_bytes: u64,
    paused: bool,
    e2e_processing_latency: Latency,
}

impl<'a> TopicJson<'a> {
    fn of(report: &'a TopicReport) -> TopicJson<'a> {
        let stats = &report.stats;
        TopicJson {
            topic_name: stats.name.as_str(),
            channels: report.channels.iter().map(ChannelJson::of).collect(),
            depth: stats.depth,
            backend_depth: stats.backend_depth,
            message_count: stats.message_count,
            message_bytes: stats.message_bytes,
            paused: stats.paused,
            e2e_processing_latency: Latency::of(stats.latency.as_ref()),
        }
    }
}

#[derive(Serialize)]
struct ChannelJson<'a> {
    channel_name: &'a str,
    depth: u64,
    backend_depth: u64,
    in_flight_count: u64,
    deferred_count: u64,
    message_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    zone_local_msg_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    region_local_msg_count: u64,
    /// Compat: upstream counts every delivery from memory by where the client is, and all of them here unless nearby
    /// clients are preferred (nsqd/channel.go, `globalMsgCount`).
    #[serde(skip_serializing_if = "is_zero")]
    global_msg_count: u64,
    requeue_count: u64,
    timeout_count: u64,
    client_count: u64,
    clients: Option<Vec<ClientJson<'a>>>,
    paused: bool,
    e2e_processing_latency: Latency,
    /// Not in upstream: FINs since nsqd started.
    finish_count: u64,
    /// Not in upstream: nanoseconds since the oldest waiting message was published; 0 when none waits.
    oldest_message_age: u64,
}

impl<'a> ChannelJson<'a> {
    fn of(report: &'a ChannelReport) -> ChannelJson<'a> {
        let stats = &report.stats;
        let clients = report.clients.as_ref();
        ChannelJson {
            channel_name: stats.name.as_str(),
            depth: stats.depth,
            backend_depth: stats.backend_depth,
            in_flight_count: stats.in_flight_count,
            deferred_count: stats.deferred_count,
            message_count: stats.message_count,
            zone_local_msg_count: stats.zone_local_count,
            region_local_msg_count: stats.region_local_count,
            global_msg_count: stats
                .delivered_count
                .saturating_sub(stats.zone_local_count + stats.region_local_count),
            requeue_count: stats.requeue_count,
            timeout_count: stats.timeout_count,
            client_count: stats.client_count,
            clients: clients.map(|clients| clients.iter().map(ClientJson::of).collect()),
            paused: stats.paused,
            e2e_processing_latency: Latency::of(stats.latency.as_ref()),
            finish_count: stats.buckets.as_ref().map_or(0, LatencyBuckets::count),
            oldest_message_age: stats.oldest_published.map_or(0, clock::age_nanos),
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde asks for"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Times from publish to FIN. Without `--e2e-processing-latency-percentile`, and for a topic without channels, the list
/// is `null`; nsqadmin and nsq_stat do not survive a `null` in this object's place.
#[derive(Serialize, Default)]
struct Latency {
    count: u64,
    percentiles: Option<Vec<PercentileJson>>,
}

#[derive(Serialize)]
struct PercentileJson {
    quantile: f64,
    #[serde(rename = "value")]
    nanos: u64,
}

impl Latency {
    fn of(summary: Option<&LatencySummary>) -> Latency {
        let Some(summary) = summary else {
            return Latency::default();
        };
        let percentiles = summary.percentiles.iter().map(|percentile| PercentileJson {
            quantile: percentile.quantile,
            nanos: percentile.nanos,
        });
        Latency {
            count: summary.count,
            percentiles: Some(percentiles.collect()),
        }
    }
}

/// A connection.
#[derive(Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the shape of upstream's object"
)]
struct ClientJson<'a> {
    client_id: &'a str,
    hostname: &'a str,
    version: &'a str,
    remote_address: &'a str,
    state: u8,
    ready_count: u32,
    in_flight_count: u32,
    message_count: u64,
    finish_count: u64,
    requeue_count: u64,
    connect_ts: i64,
    sample_rate: u8,
    deflate: bool,
    snappy: bool,
    user_agent: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    authed: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    auth_identity: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    auth_identity_url: &'a str,
    topology_zone: &'a str,
    topology_region: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub_counts: Option<[PubCount<'a>; 1]>,
    tls: bool,
    tls_cipher_suite: Cow<'static, str>,
    tls_version: Cow<'static, str>,
    tls_negotiated_protocol: &'a str,
    tls_negotiated_protocol_is_mutual: bool,
    // Not upstream's: after all of its keys.
    /// Unix seconds; absent before its first FIN.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_finish_ts: Option<i64>,
    /// Every topic it published to, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    all_pub_counts: Vec<PubCount<'a>>,
}

#[derive(Serialize)]
struct PubCount<'a> {
    topic: &'a str,
    count: u64,
}

impl<'a> ClientJson<'a> {
    fn of(client: &'a ClientReport) -> ClientJson<'a> {
        let pub_count = client.pub_count.as_ref();
        let tls = client.tls.as_ref();
        ClientJson {
            client_id: &client.client_id,
            hostname: &client.hostname,
            version: "V2",
            remote_address: &client.remote_address,
            state: client.state,
            ready_count: client.consumer.ready_count,
            in_flight_count: client.consumer.in_flight_count,
            message_count: client.consumer.message_count,
            finish_count: client.consumer.finish_count,
            requeue_count: client.consumer.requeue_count,
            connect_ts: client.connect_ts,
            sample_rate: client.sample_rate,
            deflate: matches!(client.compression, Some(Compression::Deflate { .. })),
            snappy: client.compression == Some(Compression::Snappy),
            user_agent: &client.user_agent,
            authed: client.authed,
            auth_identity: &client.auth_identity,
            auth_identity_url: &client.auth_identity_url,
            topology_zone: &client.topology_zone,
            topology_region: &client.topology_region,
            pub_counts: pub_count.map(|published| [PubCount::of(published)]),
            tls: tls.is_some(),
            tls_cipher_suite: tls.map(Session::cipher_suite_name).unwrap_or_default(),
            tls_version: tls.map(Session::version_name).unwrap_or_default(),
            // No protocol is ever negotiated within TLS; Go calls that mutual.
            tls_negotiated_protocol: "",
            tls_negotiated_protocol_is_mutual: tls.is_some(),
            last_finish_ts: Some(client.consumer.last_finish / NANOS_PER_SECOND)
                .filter(|seconds| *seconds > 0),
            all_pub_counts: match client.published.as_slice() {
                [] | [_] => Vec::new(),
                several => several.iter().map(PubCount::of).collect(),
            },
        }
    }
}

impl<'a> PubCount<'a> {
    fn of((topic, count): &'a (TopicName, u64)) -> Self {
        Self {
            topic: topic.as_str(),
            count: *count,
        }
    }
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixtures::{a_consumer, a_latency, a_producer, a_topic, nothing};
    use super::*;

    #[track_caller]
    fn check(stats: &Stats, want: &str) {
        let reply = reply(stats);
        assert_eq!(std::str::from_utf8(reply.body()).unwrap(), want);
    }

    #[test]
    fn an_idle_nsqd_has_a_list_of_topics_and_no_producers() {
        let stats = Stats {
            memory: Some(HeapFigures::in_use(4096)),
            ..nothing()
        };
        check(
            &stats,
            "{\"version\":\"1.3.0\",\"health\":\"OK\",\"start_time\":1737972000,\"topics\":[],\
             \"memory\":{\"heap_objects\":0,\"heap_idle_bytes\":0,\"heap_in_use_bytes\":4096,\
             \"heap_released_bytes\":0,\"gc_pause_usec_100\":0,\"gc_pause_usec_99\":0,\"gc_pause_usec_95\":0,\
             \"next_gc_bytes\":0,\"gc_total_runs\":0},\"producers\":null}",
        );
    }

    #[test]
    fn an_unknown_topic_is_no_list_at_all() {
        let stats = Stats {
            topics: None,
            health: "NOK - cannot write <file>".to_owned(),
            ..nothing()
        };
        check(
            &stats,
            "{\"version\":\"1.3.0\",\"health\":\"NOK - cannot write \\u003cfile\\u003e\",\"start_time\":1737972000,\
             \"topics\":null,\"producers\":null}",
        );
    }

    #[test]
    fn keys_come_in_upstreams_order() {
        let mut topic = a_topic("t", "c");
        topic.channels[0].clients = Some(vec![a_consumer(Duration::ZERO)]);
        let stats = Stats {
            topics: Some(vec![topic]),
            producers: vec![a_producer(Duration::ZERO)],
            ..nothing()
        };
        check(
            &stats,
            "{\"version\":\"1.3.0\",\"health\":\"OK\",\"start_time\":1737972000,\"topics\":[{\"topic_name\":\"t\",\
             \"channels\":[{\"channel_name\":\"c\",\"depth\":5,\"backend_depth\":6,\"in_flight_count\":7,\
             \"deferred_count\":8,\"message_count\":9,\"zone_local_msg_count\":3,\"region_local_msg_count\":1,\"global_msg_count\":8,\
             \"requeue_count\":10,\"timeout_count\":11,\"client_count\":1,\
             \"clients\":[{\"client_id\":\"id\",\"hostname\":\"host\",\"version\":\"V2\",\
             \"remote_address\":\"[::1]:51234\",\"state\":3,\"ready_count\":1,\"in_flight_count\":2,\
             \"message_count\":3,\"finish_count\":4,\"requeue_count\":5,\"connect_ts\":1737972001,\
             \"sample_rate\":6,\"deflate\":false,\"snappy\":false,\"user_agent\":\"agent/1.0\",\
             \"authed\":true,\"auth_identity\":\"who\",\"auth_identity_url\":\"http://who\",\
             \"topology_zone\":\"zone\",\"topology_region\":\"region\",\"tls\":false,\"tls_cipher_suite\":\"\",\
             \"tls_version\":\"\",\"tls_negotiated_protocol\":\"\",\"tls_negotiated_protocol_is_mutual\":false,\
             \"last_finish_ts\":1737972003}],\
             \"paused\":false,\"e2e_processing_latency\":{\"count\":0,\"percentiles\":null},\
             \"finish_count\":0,\"oldest_message_age\":0}],\
             \"depth\":1,\"backend_depth\":2,\"message_count\":3,\"message_bytes\":4,\"paused\":false,\
             \"e2e_processing_latency\":{\"count\":0,\"percentiles\":null}}],\
             \"producers\":[{\"client_id\":\"id\",\"hostname\":\"host\",\"version\":\"V2\",\
             \"remote_address\":\"127.0.0.1:51235\",\"state\":0,\"ready_count\":0,\"in_flight_count\":0,\
             \"message_count\":0,\"finish_count\":0,\"requeue_count\":0,\"connect_ts\":1737972001,\
             \"sample_rate\":0,\"deflate\":true,\"snappy\":false,\"user_agent\":\"\",\
             \"topology_zone\":\"\",\"topology_region\":\"\",\"pub_counts\":[{\"topic\":\"t\",\"count\":10}],\
             \"tls\":true,\"tls_cipher_suite\":\"Unknown 4865\",\"tls_version\":\"TLS1.3\",\"tls_negotiated_protocol\":\"\",\
             \"tls_negotiated_protocol_is_mutual\":true}]}",
        );
    }

    #[test]
    fn latencies_are_in_nanoseconds_and_a_whole_quantile_has_no_fraction() {
        let mut topic = a_topic("t", "c");
        topic.channels[0].stats.latency = Some(a_latency());
        let stats = Stats {
            topics: Some(vec![topic]),
            ..nothing()
        };
        let reply = reply(&stats);
        let text = std::str::from_utf8(reply.body()).unwrap();
        assert!(
            text.contains(
                "\"paused\":false,\"e2e_processing_latency\":{\"count\":13,\"percentiles\":\
                 [{\"quantile\":1,\"value\":1500001},{\"quantile\":0.95,\"value\":0}]},\"finish_count\":0,"
            ),
            "{text}"
        );
    }

    #[test]
    fn clients_that_are_left_out_are_null() {
        let stats = Stats {
            topics: Some(vec![a_topic("t", "c")]),
            ..nothing()
        };
        let reply = reply(&stats);
        let text = std::str::from_utf8(reply.body()).unwrap();
        assert!(
            text.contains("\"client_count\":1,\"clients\":null,"),
            "{text}"
        );
    }
}
