//! The families of topics and channels, and of all of them together.

use std::time::Duration;

use nsq_core::latency::{BUCKET_BOUNDS, LatencyBuckets};
use nsq_core::stats::{ChannelStats, TopicStats, Totals};
use nsq_daemon::metrics::Exposition;
use nsq_protocol::TopicName;

use crate::clock;
use crate::settings::NsqdOptions;

/// The topics and channels with series of their own.
pub(super) struct Shown<'a> {
    pub(super) topics: Vec<&'a TopicStats>,
    pub(super) channels: Vec<(&'a TopicName, &'a ChannelStats)>,
}

impl<'a> Shown<'a> {
    /// The first of `topics`, which are in order.
    pub(super) fn choose(topics: &'a [TopicStats], options: &NsqdOptions) -> Shown<'a> {
        let bound = |option| usize::try_from(option).expect("checked not to be negative");
        let is_wanted = |is_ephemeral| !(is_ephemeral && options.metrics_exclude_ephemeral);
        let topics: Vec<_> = topics
            .iter()
            .filter(|topic| is_wanted(topic.name.is_ephemeral()))
            .take(bound(options.metrics_max_topics))
            .collect();
        let channels = topics.iter().flat_map(|topic| {
            let channels = topic.channels.iter();
            channels.map(|channel| (&topic.name, channel))
        });
        let channels = channels
            .filter(|(_, channel)| is_wanted(channel.name.is_ephemeral()))
            .take(bound(options.metrics_max_channels))
            .collect();
        Shown { topics, channels }
    }
}

/// A family: name, what it says, and where the figure is.
type Row<T> = (&'static str, &'static str, fn(&T) -> u64);

#[rustfmt::skip]
const TOPIC_GAUGES: &[Row<TopicStats>] = &[
    ("nsqd_topic_depth_messages", "Messages in the topic not yet offered to any channel.", |topic| topic.depth),
    ("nsqd_topic_backend_depth_messages", "What of the depth exceeds --mem-queue-size.", |topic| topic.backend_depth),
    ("nsqd_topic_paused", "Whether the topic is paused.", |topic| topic.paused.into()),
];

#[rustfmt::skip]
const TOPIC_COUNTERS: &[Row<TopicStats>] = &[
    ("nsqd_topic_published_messages_total", "Messages published to the topic.", |topic| topic.message_count),
    ("nsqd_topic_published_bytes_total", "Bytes of the bodies published to the topic.", |topic| topic.message_bytes),
    ("nsqd_topic_dropped_messages_total", "Messages dropped by a topic in memory without a channel, bounded by --mem-queue-size.", |topic| topic.dropped_count),
];

#[rustfmt::skip]
const CHANNEL_GAUGES: &[Row<ChannelStats>] = &[
    ("nsqd_channel_depth_messages", "Messages a client of the channel could have now.", |channel| channel.depth),
    ("nsqd_channel_backend_depth_messages", "What of the depth exceeds --mem-queue-size.", |channel| channel.backend_depth),
    ("nsqd_channel_in_flight_messages", "Messages that clients of the channel hold.", |channel| channel.in_flight_count),
    ("nsqd_channel_deferred_messages", "Messages held back until they are due.", |channel| channel.deferred_count),
    ("nsqd_channel_clients", "Clients subscribed to the channel.", |channel| channel.client_count),
    ("nsqd_channel_paused", "Whether the channel is paused.", |channel| channel.paused.into()),
];

#[rustfmt::skip]
const CHANNEL_COUNTERS: &[Row<ChannelStats>] = &[
    ("nsqd_channel_offered_messages_total", "Messages offered to the channel, each once.", |channel| channel.message_count),
    ("nsqd_channel_delivered_messages_total", "Messages sent to clients, each time counted.", |channel| channel.delivered_count),
    ("nsqd_channel_delivered_to_zone_messages_total", "Messages sent to clients in the zone of this nsqd.", |channel| channel.zone_local_count),
    ("nsqd_channel_delivered_to_region_messages_total", "Messages sent to clients in the region of this nsqd, but not its zone.", |channel| channel.region_local_count),
    ("nsqd_channel_finished_messages_total", "Messages that clients finished (FIN).", |channel| channel.buckets.as_ref().map_or(0, LatencyBuckets::count)),
    ("nsqd_channel_requeued_messages_total", "Messages that clients gave back (REQ).", |channel| channel.requeue_count),
    ("nsqd_channel_timed_out_messages_total", "Messages taken back because their time was up.", |channel| channel.timeout_count),
    ("nsqd_channel_dropped_messages_total", "Messages that gave way, in a channel bounded by --mem-queue-size.", |channel| channel.dropped_count),
    ("nsqd_channel_damaged_records_total", "Messages that could not be read from the disk and were skipped.", |channel| channel.damaged_count),
];

/// Writes a series for each topic and channel that is shown.
pub(super) fn write_series(out: &mut Exposition, shown: &Shown<'_>) {
    let of_topics = TOPIC_GAUGES
        .iter()
        .map(|row| (row, Exposition::gauge as Begin));
    let counters = TOPIC_COUNTERS
        .iter()
        .map(|row| (row, Exposition::counter as Begin));
    for (&(name, help, figure), begin) in of_topics.chain(counters) {
        let mut family = begin(out, name, help);
        for topic in &shown.topics {
            family.sample(&[("topic", topic.name.as_str())], figure(topic));
        }
    }
    let of_channels = CHANNEL_GAUGES
        .iter()
        .map(|row| (row, Exposition::gauge as Begin));
    let counters = CHANNEL_COUNTERS
        .iter()
        .map(|row| (row, Exposition::counter as Begin));
    for (&(name, help, figure), begin) in of_channels.chain(counters) {
        let mut family = begin(out, name, help);
        for (topic, channel) in &shown.channels {
            family.sample(&labels(topic, channel), figure(channel));
        }
    }
    let mut family = out.gauge(
        "nsqd_channel_oldest_message_age_seconds",
        "Time since the oldest waiting message of the channel was published; 0 when none waits.",
    );
    for (topic, channel) in &shown.channels {
        let age = channel.oldest_published.map_or(0, clock::age_nanos);
        let age = Duration::from_nanos(age).as_secs_f64();
        family.sample(&labels(topic, channel), age);
    }
    let mut family = out.histogram(
        "nsqd_channel_publish_to_finish_seconds",
        "Time from publish to FIN, of channels with a FIN.",
    );
    for (topic, channel) in &shown.channels {
        if let Some(buckets) = &channel.buckets {
            let labels = labels(topic, channel);
            family.sample(&labels, &BUCKET_BOUNDS, &buckets.counts, buckets.sum_nanos);
        }
    }
}

/// Begins a family of one kind or the other.
type Begin = for<'a> fn(&'a mut Exposition, &'static str, &str) -> nsq_daemon::metrics::Family<'a>;

fn labels<'a>(topic: &'a TopicName, channel: &'a ChannelStats) -> [(&'a str, &'a str); 2] {
    [
        ("topic", topic.as_str()),
        ("channel", channel.name.as_str()),
    ]
}

/// Writes the sums over all topics and channels.
pub(super) fn write_totals(out: &mut Exposition, topics: &[TopicStats], totals: &Totals) {
    let over_channels = |figure: fn(&ChannelStats) -> u64| {
        let channels = topics.iter().flat_map(|topic| &topic.channels);
        channels.map(figure).sum::<u64>()
    };
    let topic_depth = topics.iter().map(|topic| topic.depth).sum::<u64>();
    for (name, help, value) in [
        (
            "nsqd_all_topics_depth_messages",
            "Messages in topics not yet offered to any channel.",
            topic_depth,
        ),
        (
            "nsqd_all_channels_depth_messages",
            "Messages clients could have now, in all channels.",
            over_channels(|channel| channel.depth),
        ),
        (
            "nsqd_all_channels_in_flight_messages",
            "Messages that clients hold, of all channels.",
            over_channels(|channel| channel.in_flight_count),
        ),
        (
            "nsqd_all_channels_deferred_messages",
            "Messages held back until they are due, in all channels.",
            over_channels(|channel| channel.deferred_count),
        ),
        (
            "nsqd_all_channels_clients",
            "Subscribed clients.",
            over_channels(|channel| channel.client_count),
        ),
    ] {
        out.gauge(name, help).sample(&[], value);
    }
    let finished = totals.buckets.count();
    for (name, help, value) in [
        (
            "nsqd_all_topics_published_messages_total",
            "Messages published.",
            totals.published_messages,
        ),
        (
            "nsqd_all_topics_published_bytes_total",
            "Bytes of the bodies published.",
            totals.published_bytes,
        ),
        (
            "nsqd_all_channels_offered_messages_total",
            "Messages offered to channels, once for each.",
            totals.offered_messages,
        ),
        (
            "nsqd_all_channels_delivered_messages_total",
            "Messages sent to clients, each time counted.",
            totals.delivered_messages,
        ),
        (
            "nsqd_all_channels_finished_messages_total",
            "Messages that clients finished (FIN).",
            finished,
        ),
        (
            "nsqd_all_channels_requeued_messages_total",
            "Messages that clients gave back (REQ).",
            totals.requeued_messages,
        ),
        (
            "nsqd_all_channels_timed_out_messages_total",
            "Messages taken back because their time was up.",
            totals.timed_out_messages,
        ),
        (
            "nsqd_all_channels_dropped_messages_total",
            "Messages that gave way, in channels bounded by --mem-queue-size.",
            totals.dropped_messages,
        ),
        (
            "nsqd_all_channels_damaged_records_total",
            "Messages that could not be read from the disk and were skipped.",
            totals.damaged_records,
        ),
    ] {
        out.counter(name, help).sample(&[], value);
    }
    out.histogram(
        "nsqd_all_channels_publish_to_finish_seconds",
        "Time from publish to FIN, of all channels.",
    )
    .sample(
        &[],
        &BUCKET_BOUNDS,
        &totals.buckets.counts,
        totals.buckets.sum_nanos,
    );
}
