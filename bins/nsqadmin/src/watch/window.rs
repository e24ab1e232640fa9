//! The last minutes of one channel on one node: counters as they grew, for rates over a span.

use std::collections::VecDeque;

/// What one poll says of a channel on one node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Unix milliseconds.
    pub at: i64,
    /// Messages that wait.
    pub depth: i64,
    /// Messages that consumers hold.
    pub in_flight: i64,
    /// Messages with a delay that has not passed.
    pub deferred: i64,
    /// Messages received since nsqd started.
    pub received: i64,
    /// Messages finished since nsqd started; `None` from an nsqd that does not count them, as upstream's.
    pub finished: Option<i64>,
    /// Messages requeued since nsqd started.
    pub requeued: i64,
    /// Messages that timed out since nsqd started.
    pub timed_out: i64,
    /// Consumers on this node.
    pub consumers: i64,
    /// Consumers of the channel on all other nodes.
    pub consumers_elsewhere: i64,
    /// Whether the channel, or its topic, is paused.
    pub paused: bool,
    /// Milliseconds since the oldest waiting message was published; `None` from an nsqd that does not report it.
    pub oldest_age: Option<i64>,
}

/// What happened between two samples.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Change {
    /// Milliseconds.
    pub millis: i64,
    /// Messages received.
    pub received: i64,
    /// Messages finished.
    pub finished: i64,
    /// Messages requeued.
    pub requeued: i64,
    /// Messages that timed out.
    pub timed_out: i64,
    /// By how many messages the channel holds more than before, in whatever state.
    pub growth: i64,
}

impl Change {
    /// `count` per second.
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    pub fn per_second(&self, count: i64) -> f64 {
        count as f64 * 1000.0 / self.millis.max(1) as f64
    }

    /// From `before` to `now`. A counter that is lower than before began again at 0, with its nsqd.
    pub(super) fn between(before: &Sample, now: &Sample) -> Self {
        let increase = |before: i64, now: i64| {
            if now < before {
                now
            } else {
                now.saturating_sub(before)
            }
        };
        let received = increase(before.received, now.received);
        let growth = now.held().saturating_sub(before.held());
        let finished = match (before.finished, now.finished) {
            (Some(before), Some(now)) => increase(before, now),
            _ => received.saturating_sub(growth).max(0),
        };
        Self {
            millis: now.at.saturating_sub(before.at),
            received,
            finished,
            requeued: increase(before.requeued, now.requeued),
            timed_out: increase(before.timed_out, now.timed_out),
            growth,
        }
    }
}

impl Sample {
    /// Messages in the channel, in whatever state.
    pub fn held(&self) -> i64 {
        self.depth
            .saturating_add(self.in_flight)
            .saturating_add(self.deferred)
    }
}

/// Sums of all changes so far, at some moments of the last minutes.
///
/// Invariant: points ascend in time, at least [`SPACING`] apart but for the newest, and the oldest is no older than
/// [`SPAN`] before the newest.
#[derive(Debug, Default)]
pub(super) struct Window {
    points: VecDeque<Point>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Point {
    at: i64,
    received: i64,
    finished: i64,
    requeued: i64,
    timed_out: i64,
    held: i64,
}

impl Window {
    /// Begins again at `sample`: the samples before it say nothing about the rates after it.
    pub(super) fn restart(&mut self, sample: &Sample) {
        self.points.clear();
        self.points.push_back(Point {
            at: sample.at,
            held: sample.held(),
            ..Point::default()
        });
    }

    /// Adds what happened since the newest point.
    pub(super) fn add(&mut self, at: i64, change: &Change) {
        let newest = self.points.back().copied().unwrap_or_default();
        let point = Point {
            at,
            received: newest.received.saturating_add(change.received),
            finished: newest.finished.saturating_add(change.finished),
            requeued: newest.requeued.saturating_add(change.requeued),
            timed_out: newest.timed_out.saturating_add(change.timed_out),
            held: newest.held.saturating_add(change.growth),
        };
        // The newest point moves along until it is far enough from the one before it.
        let count = self.points.len();
        if count >= 2 && at - self.points[count - 2].at <= SPACING {
            self.points.pop_back();
        }
        self.points.push_back(point);
        while self.points.len() > 2 && at - self.points[0].at > SPAN {
            self.points.pop_front();
        }
    }

    /// What happened in the last `millis`, or for as long as is known.
    pub(super) fn last(&self, millis: i64) -> Change {
        let Some(newest) = self.points.back() else {
            return Change::default();
        };
        let first = self
            .points
            .iter()
            .find(|point| newest.at - point.at <= millis)
            .unwrap_or(newest);
        Change {
            millis: newest.at - first.at,
            received: newest.received.saturating_sub(first.received),
            finished: newest.finished.saturating_sub(first.finished),
            requeued: newest.requeued.saturating_sub(first.requeued),
            timed_out: newest.timed_out.saturating_sub(first.timed_out),
            growth: newest.held.saturating_sub(first.held),
        }
    }

    /// Of the steps from point to point, how many there are and in how many the channel grew.
    pub(super) fn rising_steps(&self) -> (usize, usize) {
        let steps = self.points.iter().zip(self.points.iter().skip(1));
        let rising = steps.filter(|(before, after)| after.held > before.held);
        (self.points.len().saturating_sub(1), rising.count())
    }
}

/// Milliseconds between points: a window has about twenty of them, whatever the interval of the polls.
const SPACING: i64 = 9_000;
/// How far back a window goes.
pub(super) const SPAN: i64 = 180_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn change(seconds: i64, received: i64, finished: i64) -> Change {
        Change {
            millis: seconds * 1000,
            received,
            finished,
            growth: received - finished,
            ..Change::default()
        }
    }

    #[test]
    fn a_window_remembers_some_minutes_at_few_points() {
        let mut window = Window::default();
        window.restart(&Sample::default());
        for second in 1..=3600 {
            window.add(second * 1000, &change(1, 10, 4));
        }
        assert!(window.points.len() < 25, "{}", window.points.len());
        let minute = window.last(60_000);
        assert!((50_000..=60_000).contains(&minute.millis), "{minute:?}");
        assert!((minute.per_second(minute.received) - 10.0).abs() < 0.01);
        assert!((minute.per_second(minute.finished) - 4.0).abs() < 0.01);
        let (steps, rising) = window.rising_steps();
        assert!(steps > 15 && rising == steps, "{rising} of {steps}");
    }

    #[test]
    fn a_restart_of_nsqd_counts_from_zero_and_emptying_is_not_finishing() {
        let before = Sample {
            depth: 1000,
            received: 5000,
            finished: Some(4000),
            ..Sample::default()
        };
        let restarted = Sample {
            at: 5000,
            depth: 1010,
            received: 20,
            finished: Some(10),
            ..Sample::default()
        };
        let change = Change::between(&before, &restarted);
        assert_eq!(
            (change.received, change.finished, change.growth),
            (20, 10, 10)
        );
        let emptied = Sample {
            at: 5000,
            depth: 0,
            ..before.clone()
        };
        let change = Change::between(&before, &emptied);
        assert_eq!((change.finished, change.growth), (0, -1000));
    }
}
