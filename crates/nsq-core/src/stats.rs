//! Figures of topics, channels and clients, as `/stats` shows them.

use nsq_protocol::{ChannelName, TopicName};

use crate::latency::{LatencyBuckets, LatencySummary};

/// A topic's figures. Counts are since nsqd started.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicStats {
    /// Its name.
    pub name: TopicName,
    /// Messages not yet offered to any channel.
    pub depth: u64,
    /// Of these, what exceeds `--mem-queue-size`.
    pub backend_depth: u64,
    /// Messages accepted.
    pub message_count: u64,
    /// Bytes of their bodies.
    pub message_bytes: u64,
    /// Messages for which a topic in memory had no room, before there was a channel that could have had them.
    pub dropped_count: u64,
    /// Whether fan-out is stopped.
    pub paused: bool,
    /// Its channels, by name.
    pub channels: Vec<ChannelStats>,
    /// Of the messages of all channels; where percentiles are kept and were asked for, and there are channels.
    pub latency: Option<LatencySummary>,
}

/// A channel's figures. Counts are since nsqd started.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelStats {
    /// Its name.
    pub name: ChannelName,
    /// Messages a client could have now; those in flight or deferred do not count.
    pub depth: u64,
    /// Of these, what exceeds `--mem-queue-size`.
    pub backend_depth: u64,
    /// Messages that clients hold.
    pub in_flight_count: u64,
    /// Messages held back until they are due.
    pub deferred_count: u64,
    /// Messages offered to the channel.
    pub message_count: u64,
    /// Messages handed to clients; each delivery counts.
    pub delivered_count: u64,
    /// Of these, to clients in nsqd's zone; only counted where such are preferred.
    pub zone_local_count: u64,
    /// Of the rest, to clients in nsqd's region; likewise.
    pub region_local_count: u64,
    /// REQs.
    pub requeue_count: u64,
    /// Messages taken back because their time was up.
    pub timeout_count: u64,
    /// Messages that gave way in a channel bounded by `--mem-queue-size`.
    pub dropped_count: u64,
    /// Records that could not be read and were skipped.
    pub damaged_count: u64,
    /// Subscribed clients, without those of other nodes of a cluster.
    pub client_count: u64,
    /// When the oldest waiting message was published, in unix nanoseconds, as far as it is known without a search: of the
    /// messages that come next. `None` when none waits, and where it was not asked for.
    pub oldest_published: Option<i64>,
    /// Whether deliveries are stopped.
    pub paused: bool,
    /// From publish to FIN, of all messages finished so far; `None` before the first.
    pub buckets: Option<LatencyBuckets>,
    /// The same within the window, where percentiles are kept and were asked for.
    pub latency: Option<LatencySummary>,
}

/// What all topics and channels have counted together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Messages accepted.
    pub published_messages: u64,
    /// Bytes of their bodies.
    pub published_bytes: u64,
    /// Messages offered to channels, each once a channel.
    pub offered_messages: u64,
    /// Messages handed to clients; each delivery counts.
    pub delivered_messages: u64,
    /// REQs.
    pub requeued_messages: u64,
    /// Messages taken back because their time was up.
    pub timed_out_messages: u64,
    /// Messages that gave way.
    pub dropped_messages: u64,
    /// Records that could not be read and were skipped.
    pub damaged_records: u64,
    /// From publish to FIN, of all messages finished.
    pub buckets: LatencyBuckets,
}

impl Totals {
    /// Adds a topic's counts and those of its channels.
    pub fn add(&mut self, topic: &TopicStats) {
        self.add_published(topic.message_count, topic.message_bytes);
        for channel in &topic.channels {
            self.add_channel(channel);
        }
    }

    /// Adds the totals of another broker.
    pub fn merge(&mut self, other: &Totals) {
        self.published_messages += other.published_messages;
        self.published_bytes += other.published_bytes;
        self.offered_messages += other.offered_messages;
        self.delivered_messages += other.delivered_messages;
        self.requeued_messages += other.requeued_messages;
        self.timed_out_messages += other.timed_out_messages;
        self.dropped_messages += other.dropped_messages;
        self.damaged_records += other.damaged_records;
        self.buckets.add(&other.buckets);
    }

    /// Raises what is below `floor` to it.
    pub fn raise_to(&mut self, floor: &Totals) {
        for (count, floor) in [
            (&mut self.published_messages, floor.published_messages),
            (&mut self.published_bytes, floor.published_bytes),
            (&mut self.offered_messages, floor.offered_messages),
            (&mut self.delivered_messages, floor.delivered_messages),
            (&mut self.requeued_messages, floor.requeued_messages),
            (&mut self.timed_out_messages, floor.timed_out_messages),
            (&mut self.dropped_messages, floor.dropped_messages),
            (&mut self.damaged_records, floor.damaged_records),
        ] {
            *count = floor.max(*count);
        }
        let buckets = self.buckets.counts.iter_mut().zip(floor.buckets.counts);
        for (count, floor) in buckets {
            *count = floor.max(*count);
        }
        self.buckets.sum_nanos = floor.buckets.sum_nanos.max(self.buckets.sum_nanos);
    }

    pub(crate) fn add_published(&mut self, messages: u64, bytes: u64) {
        self.published_messages += messages;
        self.published_bytes += bytes;
    }

    pub(crate) fn add_channel(&mut self, channel: &ChannelStats) {
        self.offered_messages += channel.message_count;
        self.delivered_messages += channel.delivered_count;
        self.requeued_messages += channel.requeue_count;
        self.timed_out_messages += channel.timeout_count;
        self.dropped_messages += channel.dropped_count;
        self.damaged_records += channel.damaged_count;
        if let Some(buckets) = &channel.buckets {
            self.buckets.add(buckets);
        }
    }
}

/// A client's figures on its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConsumerStats {
    /// RDY: the most it may hold.
    pub ready_count: u32,
    /// What it holds.
    pub in_flight_count: u32,
    /// Messages sent to it.
    pub message_count: u64,
    /// Its FINs.
    pub finish_count: u64,
    /// Its REQs.
    pub requeue_count: u64,
    /// When it last finished a message, in Unix nanoseconds; 0 before the first.
    pub last_finish: i64,
}
