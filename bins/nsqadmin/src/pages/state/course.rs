//! How a channel has been doing, as far as the history knows.

use crate::history::{History, Key, Metric};

/// The last minutes of a channel. Without a history nothing is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Course {
    /// Waiting messages, oldest first, some minutes long.
    pub(crate) depth: Vec<Option<f32>>,
    /// A second, each.
    pub(crate) messages: Option<f64>,
    pub(crate) finishes: Option<f64>,
    pub(crate) timeouts: Option<f64>,
    pub(crate) requeues: Option<f64>,
    /// Seen too few times to judge it by what it does not do.
    pub(crate) is_young: bool,
}

impl Course {
    /// Of a channel, or of anything else with these metrics.
    pub(crate) fn of(history: &History, key: &Key) -> Self {
        let rate = |metric| recent_mean(&history.sparkline(key, metric, RATE_POINTS));
        let depth = history.sparkline(key, Metric::Depth, COURSE_POINTS);
        Self {
            messages: rate(Metric::Messages),
            finishes: rate(Metric::Finishes),
            timeouts: rate(Metric::Timeouts),
            requeues: rate(Metric::Requeues),
            is_young: depth.iter().flatten().count() < RATE_POINTS,
            depth,
        }
    }

    /// By how much more waits than some minutes ago, if it is clearly more and still is.
    pub(crate) fn growth(&self) -> Option<f64> {
        let known: Vec<f64> = self
            .depth
            .iter()
            .flatten()
            .map(|value| f64::from(*value))
            .collect();
        if known.len() < FEWEST_FOR_A_TREND {
            return None;
        }
        let third = known.len() / 3;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / count(values.len());
        let before = mean(&known[..third]);
        let lately = mean(&known[known.len() - third..]);
        let now = *known.last()?;
        let grows = lately > before * 1.2 + 50.0 && now >= lately * 0.9;
        grows.then(|| now - known[0])
    }

    /// Which part of the deliveries came back by REQ.
    pub(crate) fn requeued_share(&self) -> Option<f64> {
        let (requeues, finishes) = (self.requeues?, self.finishes?);
        let all = requeues + finishes;
        (requeues >= 0.05 && all > 0.0).then(|| requeues / all)
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
/// Five minutes at the usual interval.
const COURSE_POINTS: usize = 60;
const FEWEST_FOR_A_TREND: usize = 12;
