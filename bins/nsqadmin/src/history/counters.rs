//! Counters seen before, from which rates follow.

use std::collections::HashMap;
use std::sync::Arc;

/// Where a counter stands: node, topic, and channel if it is one's.
pub(super) type Place = (Arc<str>, Arc<str>, Option<Arc<str>>);

/// What nsqd counts since its start, and what it has.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) messages: i64,
    pub(super) requeues: i64,
    pub(super) timeouts: i64,
    /// Messages that are there, in whatever state.
    pub(super) held: i64,
    /// Messages finished; `None` from an nsqd that does not count them. Without it they are those that were put in and
    /// are no longer there.
    pub(super) finishes: Option<i64>,
}

/// Per second, since the place was last seen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) messages: f64,
    pub(super) requeues: f64,
    pub(super) timeouts: f64,
    pub(super) finishes: f64,
}

/// The counts of every place as they were last seen.
#[derive(Debug, Default)]
pub(super) struct Counters {
    last: HashMap<Place, Seen>,
}

#[derive(Debug)]
struct Seen {
    millis: i64,
    counts: Counts,
}

impl Counters {
    /// Takes note of `counts`; the rates since the last time, `None` the first time.
    pub(super) fn advance(&mut self, place: Place, millis: i64, counts: Counts) -> Option<Rates> {
        let seen = Seen { millis, counts };
        let before = self.last.insert(place, seen)?;
        let elapsed_millis = millis - before.millis;
        if elapsed_millis <= 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let per_second = |count: i64| count.max(0) as f64 * 1000.0 / elapsed_millis as f64;
        let messages = increase(before.counts.messages, counts.messages);
        let held = counts.held.saturating_sub(before.counts.held);
        let finishes = match (before.counts.finishes, counts.finishes) {
            (Some(before), Some(now)) => increase(before, now),
            _ => messages.saturating_sub(held),
        };
        Some(Rates {
            messages: per_second(messages),
            requeues: per_second(increase(before.counts.requeues, counts.requeues)),
            timeouts: per_second(increase(before.counts.timeouts, counts.timeouts)),
            finishes: per_second(finishes),
        })
    }

    /// Forgets places not seen since `millis`.
    pub(super) fn forget_before(&mut self, millis: i64) {
        self.last.retain(|_, seen| seen.millis >= millis);
    }

    /// About how much memory this takes, in bytes, names included.
    pub(super) fn bytes(&self) -> usize {
        self.last.len() * (size_of::<(Place, Seen)>() + TYPICAL_NAMES_BYTES)
    }
}

/// A counter that is lower than before began again at 0, with its nsqd.
fn increase(before: i64, now: i64) -> i64 {
    if now < before { now } else { now - before }
}

/// The texts of a [`Place`], with the counters that share them.
const TYPICAL_NAMES_BYTES: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: &[(i64, Counts, Option<Rates>)]) {
        let mut counters = Counters::default();
        let place: Place = ("n".into(), "t".into(), Some("c".into()));
        for (millis, counts, rates) in steps {
            let got = counters.advance(place.clone(), *millis, *counts);
            assert_eq!(got, *rates, "at {millis}");
        }
    }

    fn counts(messages: i64, held: i64) -> Counts {
        Counts {
            messages,
            held,
            ..Counts::default()
        }
    }

    fn rates(messages: f64, finishes: f64) -> Rates {
        Rates {
            messages,
            finishes,
            ..Rates::default()
        }
    }

    #[test]
    fn a_rate_is_the_increase_over_the_time() {
        check(&[
            (0, counts(100, 10), None),
            (5000, counts(150, 10), Some(rates(10.0, 10.0))),
            (7000, counts(150, 4), Some(rates(0.0, 3.0))),
            (9000, counts(160, 14), Some(rates(5.0, 0.0))),
            (9000, counts(170, 14), None),
        ]);
    }

    #[test]
    fn emptying_is_not_finishing_where_nsqd_counts_what_is_finished() {
        let with = |finishes, held| Counts {
            finishes: Some(finishes),
            ..counts(1000, held)
        };
        check(&[
            (0, with(400, 600), None),
            (1000, with(410, 0), Some(rates(0.0, 10.0))),
        ]);
    }

    #[test]
    fn a_restart_counts_from_zero() {
        check(&[
            (0, counts(1000, 10), None),
            (10_000, counts(20, 10), Some(rates(2.0, 2.0))),
            (20_000, counts(40, 10), Some(rates(2.0, 2.0))),
        ]);
    }
}
