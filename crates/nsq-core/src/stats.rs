//! Figures of topics, channels and clients, as `/stats` shows them.

use nsq_protocol::{ChannelName, TopicName};

/// A topic's figures. Counts are since nsqd started.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Whether fan-out is stopped.
    pub paused: bool,
    /// Its channels, by name.
    pub channels: Vec<ChannelStats>,
}

/// A channel's figures. Counts are since nsqd started.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Messages handed to clients, again and again counted.
    pub delivered_count: u64,
    /// REQs.
    pub requeue_count: u64,
    /// Messages taken back because their time was up.
    pub timeout_count: u64,
    /// Messages that gave way in a channel bounded by `--mem-queue-size`.
    pub dropped_count: u64,
    /// Records that could not be read and were skipped.
    pub damaged_count: u64,
    /// Subscribed clients.
    pub client_count: u64,
    /// Whether deliveries are stopped.
    pub paused: bool,
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
}
