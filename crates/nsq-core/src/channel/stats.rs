//! The figures of a channel.

use std::sync::Arc;

use super::Channel;
use super::tracked_message::LogKind;
use super::wait_queue::Locality;
use crate::client::ClientId;
use crate::latency::{Latencies, PercentileSettings, Sketch};
use crate::stats::{ChannelStats, ConsumerStats};
use crate::time::Now;

/// What a channel has counted since it was made or opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requeued: u64,
    pub(super) timed_out: u64,
    pub(super) dropped: u64,
    /// By the client's locality.
    pub(super) delivered: [u64; Locality::COUNT],
    /// What had been offered before.
    pub(super) main_start: u64,
    pub(super) deferred_start: u64,
}

/// How long messages took from publish to FIN.
pub(super) struct LatencyRecorder {
    /// From the first FIN on: most channels of an idle nsqd never have one.
    recorded: Option<Box<Latencies>>,
    percentiles: Option<Arc<PercentileSettings>>,
}

impl LatencyRecorder {
    pub(super) fn new(percentiles: Option<Arc<PercentileSettings>>) -> LatencyRecorder {
        LatencyRecorder {
            recorded: None,
            percentiles,
        }
    }

    #[inline]
    pub(super) fn record(&mut self, published: i64, now: Now) {
        self.recorded
            .get_or_insert_with(|| Box::new(Latencies::new(self.percentiles.as_deref(), now)))
            .record(published, now);
    }
}

impl Channel {
    /// Messages a client could have now.
    pub fn depth(&self) -> u64 {
        self.logs.waiting_count() + self.tracked.requeued_count() as u64
    }

    /// Messages clients hold.
    pub fn in_flight_count(&self) -> usize {
        self.tracked.in_flight_count()
    }

    /// Messages held back until they are due.
    pub fn deferred_count(&self) -> usize {
        self.tracked.deferred_count()
    }

    /// Messages that are lost, since their records are damaged.
    pub fn damaged_count(&self) -> u64 {
        self.logs.damaged_count()
    }

    /// The channel's figures; `backend_depth` is what exceeds `mem_queue_size`.
    pub fn stats(&self, mem_queue_size: u64) -> ChannelStats {
        let depth = self.depth();
        let offered = self.logs.offered();
        let main_count = offered
            .end(LogKind::Main)
            .saturating_sub(self.counters.main_start);
        let deferred_count = offered
            .end(LogKind::Deferred)
            .saturating_sub(self.counters.deferred_start);
        ChannelStats {
            name: self.name.clone(),
            depth,
            backend_depth: if self.limits.depth.is_some() {
                0
            } else {
                depth.saturating_sub(mem_queue_size)
            },
            in_flight_count: self.tracked.in_flight_count() as u64,
            deferred_count: self.tracked.deferred_count() as u64,
            message_count: main_count + deferred_count,
            requeue_count: self.counters.requeued,
            timeout_count: self.counters.timed_out,
            delivered_count: self.counters.delivered.iter().sum(),
            zone_local_count: self.counters.delivered[Locality::Zone.index()],
            region_local_count: self.counters.delivered[Locality::Region.index()],
            dropped_count: self.counters.dropped,
            damaged_count: self.logs.damaged_count(),
            client_count: self.consumers.own_count() as u64,
            oldest_published: None,
            paused: self.paused,
            buckets: self
                .latencies
                .recorded
                .as_ref()
                .map(|latencies| *latencies.buckets()),
            latency: None,
        }
    }

    /// When the oldest of the messages that come next was published, in unix nanoseconds: the first of each queued log,
    /// and the first requeued one. A message that was published with a delay does not count: its time began later.
    pub(crate) fn oldest_published(&mut self) -> Option<i64> {
        let requeued = self.tracked.requeued().next();
        let requeued = requeued.map(|(message, _)| *message);
        let requeued = requeued.filter(|message| message.log != LogKind::Deferred);
        let of_requeued = requeued.and_then(|message| self.logs.published_at(&message));
        self.logs
            .oldest_waiting()
            .into_iter()
            .chain(of_requeued)
            .min()
    }

    /// The latencies of the window, as of `now`; empty where no percentiles are kept.
    pub(crate) fn latency_sketch(&mut self, now: Now) -> Sketch {
        self.latencies
            .recorded
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
            last_finish: consumer.last_finish,
        })
    }
}
