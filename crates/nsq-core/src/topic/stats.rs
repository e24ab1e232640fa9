//! What a topic reports about itself and its channels.

use super::{State, Topic};
use crate::channel::LogKind;
use crate::latency::{PercentileSettings, Sketch};
use crate::stats::TopicStats;
use crate::time::Now;

impl Topic {
    /// The topic's figures, with those of its channels. Without percentiles, which cost more.
    pub fn stats(&self) -> TopicStats {
        self.gather_stats(None)
    }

    /// The topic's figures, with those of its channels and the percentiles of their latencies as of `now`.
    pub fn stats_with_percentiles(&self, now: Now) -> TopicStats {
        let percentiles = self.context.settings.percentiles.as_deref();
        self.gather_stats(percentiles.map(|settings| (settings, now)))
    }

    fn gather_stats(&self, percentiles: Option<(&PercentileSettings, Now)>) -> TopicStats {
        let mem_queue_size = self.context.settings.mem_queue_size;
        let (mut stats, cells) = {
            let state = self.lock();
            let depth = self.waiting_count(&state);
            let stats = TopicStats {
                name: self.name.clone(),
                depth,
                backend_depth: if self.folder.is_some() {
                    depth.saturating_sub(mem_queue_size)
                } else {
                    0
                },
                message_count: state.message_count,
                message_bytes: state.message_bytes,
                dropped_count: state.dropped_count,
                paused: state.paused,
                channels: Vec::with_capacity(state.channels.len()),
                latency: None,
            };
            (stats, state.channels.values().cloned().collect::<Vec<_>>())
        };
        // One lock at a time, and percentiles under none: publishers and consumers continue meanwhile.
        let mut of_all: Option<Sketch> = None;
        for cell in cells {
            let mut channel = cell.lock();
            channel.trim_to_max_depth();
            let mut figures = channel.stats(mem_queue_size);
            figures.oldest_published = channel.oldest_published();
            if let Some((settings, now)) = percentiles {
                let sketch = channel.latency_sketch(now);
                drop(channel);
                figures.latency = Some(sketch.summary(&settings.quantiles));
                match &mut of_all {
                    None => of_all = Some(sketch),
                    Some(others) => others.add(&sketch),
                }
            }
            stats.channels.push(figures);
        }
        if let (Some(sketch), Some((settings, _))) = (of_all, percentiles) {
            stats.latency = Some(sketch.summary(&settings.quantiles));
        }
        stats
    }

    /// Messages not yet offered.
    pub(super) fn waiting_count(&self, state: &State) -> u64 {
        let main = state
            .main
            .end()
            .sequence
            .saturating_sub(self.offered.end(LogKind::Main));
        let deferred = state.deferred.as_ref().map_or(0, |deferred| {
            deferred
                .end()
                .sequence
                .saturating_sub(self.offered.end(LogKind::Deferred))
        });
        main + deferred
    }
}
