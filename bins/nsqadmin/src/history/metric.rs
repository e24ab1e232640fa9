//! What there are series of.

use std::sync::Arc;

/// Whose series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Everything together.
    Cluster,
    /// A topic over all nodes, its channels included where the metric is theirs.
    Topic(Arc<str>),
    /// A channel over all nodes: topic, channel.
    Channel(Arc<str>, Arc<str>),
    /// An nsqd, by `host:port` of its HTTP interface.
    Node(Arc<str>),
    /// A topic on one nsqd: topic, node. Only a few metrics, and not for long.
    TopicOnNode(Arc<str>, Arc<str>),
    /// A channel on one nsqd: topic, channel, node. Only [`Metric::Depth`], not for long, and not before messages wait
    /// there for the first time.
    ChannelOnNode(Arc<str>, Arc<str>, Arc<str>),
}

/// A quantity over time. Those that count are rates, per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Messages waiting: of a topic those not yet in its channels, of a channel its own, of a node or the cluster
    /// those of topics and channels together.
    Depth,
    /// Messages put in, per second.
    Messages,
    /// Of a topic: what waits in its channels. Else the same as [`Metric::Depth`].
    Backlog,
    /// Messages that clients have.
    InFlight,
    /// Messages held back.
    Deferred,
    /// Messages requeued by clients, per second.
    Requeues,
    /// Messages that timed out, per second.
    Timeouts,
    /// Messages done with, per second: what was put in and is no longer there. Emptying a channel
    /// counts only where nsqd does not report what was finished.
    Finishes,
    /// Consumers.
    Clients,
    /// Bytes of memory in use, of a node or of all.
    Memory,
    /// The part of [`Metric::Depth`] that is on disk.
    DiskDepth,
    /// Seconds since the oldest waiting message of a channel was published; over several nodes the longest.
    OldestAge,
}

impl Metric {
    /// All, in the order in which a series stores them.
    pub const ALL: [Metric; 12] = [
        Self::Depth,
        Self::Messages,
        Self::Backlog,
        Self::InFlight,
        Self::Deferred,
        Self::Requeues,
        Self::Timeouts,
        Self::Finishes,
        Self::Clients,
        Self::Memory,
        Self::DiskDepth,
        Self::OldestAge,
    ];

    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Depth => "depth",
            Self::Messages => "messages",
            Self::Backlog => "backlog",
            Self::InFlight => "in_flight",
            Self::Deferred => "deferred",
            Self::Requeues => "requeues",
            Self::Timeouts => "timeouts",
            Self::Finishes => "finishes",
            Self::Clients => "clients",
            Self::Memory => "memory",
            Self::DiskDepth => "disk_depth",
            Self::OldestAge => "oldest_age",
        }
    }
}

impl Key {
    /// The metrics that are kept, in the order of their columns.
    pub fn metrics(&self) -> &'static [Metric] {
        match self {
            Self::Cluster | Self::Node(_) => {
                const {
                    let (all, _) = Metric::ALL.split_at(Metric::ALL.len() - 1);
                    all
                }
            }
            Self::Topic(_) => {
                const {
                    &[
                        Metric::Depth,
                        Metric::Messages,
                        Metric::Backlog,
                        Metric::InFlight,
                        Metric::Deferred,
                        Metric::Requeues,
                        Metric::Timeouts,
                        Metric::Finishes,
                        Metric::Clients,
                        Metric::DiskDepth,
                    ]
                }
            }
            Self::Channel(..) => &[
                Metric::Depth,
                Metric::Messages,
                Metric::InFlight,
                Metric::Deferred,
                Metric::Requeues,
                Metric::Timeouts,
                Metric::Finishes,
                Metric::Clients,
                Metric::DiskDepth,
                Metric::OldestAge,
            ],
            Self::TopicOnNode(..) => &[Metric::Depth, Metric::Messages, Metric::Backlog],
            Self::ChannelOnNode(..) => &[Metric::Depth],
        }
    }

    /// Whether there is a value a minute for the whole retention, or only the last quarter of an hour.
    pub(super) fn is_kept_long(&self) -> bool {
        !matches!(self, Self::TopicOnNode(..) | Self::ChannelOnNode(..))
    }

    /// Whether a series begins only when messages wait: most channels have none on most nodes.
    pub(super) fn begins_with_a_message(&self) -> bool {
        matches!(self, Self::ChannelOnNode(..))
    }
}
