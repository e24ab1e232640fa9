//! What the cluster was like, in bounded memory: time series of everything the pages draw.
//!
//! Every `--history-interval` one [`Overview`] is taken and recorded. A series has two rings: the last quarter of an
//! hour at that interval, and one value a minute for `--history-retention`. Their size is fixed when the series
//! begins, and the sum of all sizes is bounded by `--history-memory`: the series not seen for longest goes first, and
//! while all are current, new ones are not kept. Counters become rates, and a counter that starts again at 0 leaves
//! no dent.

mod counters;
mod metric;
mod poll;
mod record;
mod ring;
mod series;
mod store;
#[cfg(test)]
mod tests;

pub use self::metric::{Key, Metric};
pub use self::poll::poll;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cluster::Overview;
use crate::settings::Settings;

use self::store::Store;

/// The time series.
#[derive(Debug)]
pub struct History {
    /// `None` when `--history-interval` is 0. Held to record one overview, or to copy one series.
    store: Option<Mutex<Store>>,
    interval: Duration,
}

/// From when to when, and how coarse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first second wanted, Unix time.
    pub from: i64,
    /// The first second not wanted any more.
    pub until: i64,
    /// Seconds from one value to the next.
    pub step: u32,
}

/// One value of a series: `None` where nothing is known.
pub type Point = (i64, Option<f64>);

impl History {
    /// Empty.
    pub fn new(settings: &Settings) -> Self {
        let interval = settings.history_interval;
        let store = (!interval.is_zero()).then(|| {
            Mutex::new(Store::new(
                interval,
                settings.history_retention,
                usize::try_from(settings.history_memory).unwrap_or(usize::MAX),
            ))
        });
        Self { store, interval }
    }

    /// Whether anything is recorded.
    pub fn is_on(&self) -> bool {
        self.store.is_some()
    }

    /// Time between two recordings; zero when nothing is recorded.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Records the cluster as it was at `overview.taken_at`.
    pub fn record(&self, overview: &Overview) {
        self.with(|store| store.record(overview));
    }

    /// The values of a series, at most [`Range::MOST_POINTS`], oldest first, each the mean over its step. Empty for
    /// a series that is not kept.
    pub fn series(&self, key: &Key, metric: Metric, range: Range) -> Vec<Point> {
        self.with(|store| store.series(key, metric, range))
            .unwrap_or_default()
    }

    /// The last `count` values at the finest step, oldest first; empty for a series that is not kept.
    pub fn sparkline(&self, key: &Key, metric: Metric, count: usize) -> Vec<Option<f32>> {
        self.with(|store| store.sparkline(key, metric, count))
            .unwrap_or_default()
    }

    /// The newest value, if the last recording has one.
    pub fn latest(&self, key: &Key, metric: Metric) -> Option<f64> {
        let last = self.sparkline(key, metric, 1);
        last.last().copied().flatten().map(f64::from)
    }

    /// How many keys have series, and how many bytes those take.
    pub fn size(&self) -> (usize, usize) {
        self.with(|store| store.size()).unwrap_or_default()
    }

    fn with<T>(&self, work: impl FnOnce(&mut Store) -> T) -> Option<T> {
        let store = self.store.as_ref()?;
        // A panic while recording leaves numbers behind, none of which can be wrong enough to matter.
        Some(work(
            &mut store.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl Range {
    /// No more than this many values are returned: the step grows as needed.
    pub const MOST_POINTS: i64 = 2000;

    /// The last `span` up to `now` (Unix time), with about `points` values.
    #[cfg(test)]
    pub fn last(span: Duration, now: i64, points: u32) -> Self {
        let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        let step = seconds / i64::from(points.max(1));
        Self {
            from: now.saturating_sub(seconds),
            until: now.saturating_add(1),
            step: u32::try_from(step.max(1)).unwrap_or(u32::MAX),
        }
    }
}
