//! Sums of the figures that one topic has in several brokers.
//!
//! Counts and depths add up. Three figures do not:
//! - *Clients of a channel*: a client is subscribed in each broker, so the largest count is the number of clients.
//! - *Paused*: it is shown as paused if any part is, since messages may be waiting there.
//! - *Percentiles*: the worst part's is shown. No merged percentile can be above it.

use std::cmp::Ordering;

use nsq_core::latency::LatencySummary;
use nsq_core::stats::{ChannelStats, ConsumerStats, TopicStats};

/// Adds `other`, the figures of the same topic in another broker.
pub(crate) fn add_topic(sum: &mut TopicStats, other: TopicStats) {
    let TopicStats {
        name: _,
        depth,
        backend_depth,
        message_count,
        message_bytes,
        dropped_count,
        paused,
        channels,
        latency,
    } = other;
    sum.depth += depth;
    sum.backend_depth += backend_depth;
    sum.message_count += message_count;
    sum.message_bytes += message_bytes;
    sum.dropped_count += dropped_count;
    sum.paused |= paused;
    add_channels(&mut sum.channels, channels);
    add_latency(&mut sum.latency, latency);
}

/// Adds channels to channels; both are in the order of their names.
fn add_channels(sum: &mut Vec<ChannelStats>, others: Vec<ChannelStats>) {
    let mut at = 0;
    for other in others {
        while sum.get(at).is_some_and(|known| known.name < other.name) {
            at += 1;
        }
        match sum.get_mut(at) {
            Some(known) if known.name.cmp(&other.name) == Ordering::Equal => {
                add_channel(known, other);
            }
            _ => sum.insert(at, other),
        }
    }
}

fn add_channel(sum: &mut ChannelStats, other: ChannelStats) {
    let ChannelStats {
        name: _,
        depth,
        backend_depth,
        in_flight_count,
        deferred_count,
        message_count,
        delivered_count,
        zone_local_count,
        region_local_count,
        requeue_count,
        timeout_count,
        dropped_count,
        damaged_count,
        client_count,
        oldest_published,
        paused,
        buckets,
        latency,
    } = other;
    for (sum, other) in [
        (&mut sum.depth, depth),
        (&mut sum.backend_depth, backend_depth),
        (&mut sum.in_flight_count, in_flight_count),
        (&mut sum.deferred_count, deferred_count),
        (&mut sum.message_count, message_count),
        (&mut sum.delivered_count, delivered_count),
        (&mut sum.zone_local_count, zone_local_count),
        (&mut sum.region_local_count, region_local_count),
        (&mut sum.requeue_count, requeue_count),
        (&mut sum.timeout_count, timeout_count),
        (&mut sum.dropped_count, dropped_count),
        (&mut sum.damaged_count, damaged_count),
    ] {
        *sum += other;
    }
    sum.client_count = sum.client_count.max(client_count);
    sum.oldest_published = [sum.oldest_published, oldest_published]
        .into_iter()
        .flatten()
        .min();
    sum.paused |= paused;
    match (&mut sum.buckets, buckets) {
        (Some(sum), Some(other)) => sum.add(&other),
        (sum, other) => *sum = sum.take().or(other),
    }
    add_latency(&mut sum.latency, latency);
}

/// The quantiles are those of the settings, the same and in the same order in every broker.
fn add_latency(sum: &mut Option<LatencySummary>, other: Option<LatencySummary>) {
    match (sum, other) {
        (Some(sum), Some(other)) => {
            sum.count += other.count;
            for (sum, other) in sum.percentiles.iter_mut().zip(other.percentiles) {
                sum.nanos = sum.nanos.max(other.nanos);
            }
        }
        (sum, other) => *sum = sum.take().or(other),
    }
}

/// Adds the figures that one client has in another broker. Its ready count holds for all brokers together.
pub(crate) fn add_consumer(sum: &mut ConsumerStats, other: &ConsumerStats) {
    sum.ready_count = sum.ready_count.max(other.ready_count);
    sum.in_flight_count += other.in_flight_count;
    sum.message_count += other.message_count;
    sum.finish_count += other.finish_count;
    sum.requeue_count += other.requeue_count;
    sum.last_finish = sum.last_finish.max(other.last_finish);
}
