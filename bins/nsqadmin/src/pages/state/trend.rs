//! How a channel has been doing, as far as the history knows.

use crate::history::{History, Key, Metric};

/// The last minutes of a channel. Without a history nothing is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trend {
    /// A second, each.
    pub(crate) messages: Option<f64>,
    pub(crate) finishes: Option<f64>,
    pub(crate) timeouts: Option<f64>,
    pub(crate) requeues: Option<f64>,
}

impl Trend {
    /// Of a channel, or of anything else with these metrics.
    pub(crate) fn of(history: &History, key: &Key) -> Self {
        let rate = |metric| recent_mean(&history.sparkline(key, metric, RATE_POINTS));
        Self {
            messages: rate(Metric::Messages),
            finishes: rate(Metric::Finishes),
            timeouts: rate(Metric::Timeouts),
            requeues: rate(Metric::Requeues),
        }
    }
}

fn recent_mean(values: &[Option<f32>]) -> Option<f64> {
    let known: Vec<f64> = values
        .iter()
        .flatten()
        .map(|value| f64::from(*value))
        .collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / count(known.len()))
}

fn count(length: usize) -> f64 {
    u32::try_from(length).map_or(f64::MAX, f64::from)
}

/// A rate is the mean of that many values, so that one slow poll does not make it jump.
const RATE_POINTS: usize = 3;
