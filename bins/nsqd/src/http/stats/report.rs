//! What `/stats` shows, whichever way.

use std::time::Duration;

use nsq_core::stats::{ChannelStats, TopicStats};

use super::clients::ClientReport;
use super::heap_figures::HeapFigures;

/// Everything `/stats` shows.
pub(super) struct Stats {
    pub(super) health: String,
    /// Unix seconds.
    pub(super) start_time: i64,
    pub(super) uptime: Duration,
    /// By name. `None` when a topic was asked for that is not there.
    pub(super) topics: Option<Vec<TopicReport>>,
    pub(super) memory: Option<HeapFigures>,
    /// Clients that published. Empty when clients are not included.
    pub(super) producers: Vec<ClientReport>,
}

/// A topic, with those of its channels that were asked for.
pub(super) struct TopicReport {
    pub(super) stats: TopicStats,
    pub(super) channels: Vec<ChannelReport>,
}

pub(super) struct ChannelReport {
    pub(super) stats: ChannelStats,
    /// `None` when clients are not included.
    pub(super) clients: Option<Vec<ClientReport>>,
}
