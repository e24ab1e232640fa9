//! What a channel tells of itself.

use super::line::Locality;
use super::out_message::LogKind;
use super::{Channel, OwnLog};
use crate::client::ClientId;
use crate::latency::Sketch;
use crate::stats::{ChannelStats, ConsumerStats};
use crate::time::Now;

impl Channel {
    /// Messages a client could have now.
    pub fn depth(&self) -> u64 {
        self.main.behind(self.offered.end(LogKind::Main))
            + self.backlog.as_ref().map_or(0, OwnLog::behind)
            + self.out.requeued_count() as u64
    }

    /// Messages clients hold.
    pub fn in_flight_count(&self) -> usize {
        self.out.in_flight_count()
    }

    /// Messages held back until they are due.
    pub fn deferred_count(&self) -> usize {
        self.out.deferred_count()
    }

    pub(super) fn out_count(&self) -> usize {
        self.out.in_flight_count() + self.out.deferred_count() + self.out.requeued_count()
    }

    /// The channel's figures; `backend_depth` is what exceeds `mem_queue_size`.
    pub fn stats(&self, mem_queue_size: u64) -> ChannelStats {
        let depth = self.depth();
        let offered = self
            .offered
            .end(LogKind::Main)
            .saturating_sub(self.main_start)
            + self
                .offered
                .end(LogKind::Deferred)
                .saturating_sub(self.deferred_start);
        ChannelStats {
            name: self.name.clone(),
            depth,
            backend_depth: if self.max_depth.is_some() {
                0
            } else {
                depth.saturating_sub(mem_queue_size)
            },
            in_flight_count: self.out.in_flight_count() as u64,
            deferred_count: self.out.deferred_count() as u64,
            message_count: offered,
            requeue_count: self.requeue_count,
            timeout_count: self.timeout_count,
            delivered_count: self.delivered_counts.iter().sum(),
            zone_local_count: self.delivered_counts[Locality::Zone.index()],
            region_local_count: self.delivered_counts[Locality::Region.index()],
            dropped_count: self.dropped_count,
            damaged_count: self.main.damaged_count
                + self
                    .deferred
                    .as_ref()
                    .map_or(0, |source| source.damaged_count)
                + self
                    .private
                    .as_ref()
                    .map_or(0, |private| private.source.damaged_count)
                + self
                    .backlog
                    .as_ref()
                    .map_or(0, |backlog| backlog.source.damaged_count),
            client_count: self.consumers.len() as u64,
            paused: self.paused,
            buckets: self
                .latencies
                .as_ref()
                .map(|latencies| *latencies.buckets()),
            latency: None,
        }
    }

    /// The latencies of the window, as of `now`; empty where no percentiles are kept.
    pub(crate) fn latency_sketch(&mut self, now: Now) -> Sketch {
        self.latencies
            .as_mut()
            .map_or_else(Sketch::new, |latencies| latencies.sketch(now))
    }

    /// One client's figures on this channel.
    pub fn consumer_stats(&self, client: ClientId) -> Option<ConsumerStats> {
        let consumer = self.consumers.get(client)?;
        Some(ConsumerStats {
            ready_count: self.consumers.ready_count(client),
            in_flight_count: consumer.in_flight,
            message_count: consumer.message_count,
            finish_count: consumer.finish_count,
            requeue_count: consumer.requeue_count,
        })
    }
}
