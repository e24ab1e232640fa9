//! When failures slow a consumer down, and when successes speed it up again.
//!
//! ```text
//!           failure                    time is up             success at level 1
//! level 0 ──────────▶ waiting, level 1 ──────────▶ testing ──────────────────────▶ level 0
//!                        ▲                            │ any other outcome
//!                        └────────────────────────────┘
//! ```
//! While waiting, nothing is let through and outcomes count for nothing: many messages that fail
//! together are one failure. While testing, one message at a time is let through.
//! Source: `startStopContinueBackoff`, go-nsq, consumer.go.

use std::time::{Duration, Instant};

use crate::config::{BackoffStrategy, Config};
use crate::random::Random;

/// How a message came out, as far as backing off goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It failed.
    Failure,
    /// It was put back for reasons that are no failure.
    Neutral,
    /// It was finished.
    Success,
}

/// What an outcome changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// Nothing may come for this long.
    Wait(Duration),
    /// Everything may come again.
    Over,
}

#[derive(Debug)]
pub(crate) struct Backoff {
    strategy: BackoffStrategy,
    unit: Duration,
    max: Duration,
    level: u32,
    /// Some while nothing is let through.
    until: Option<Instant>,
}

impl Backoff {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            strategy: config.backoff_strategy,
            unit: config.backoff_multiplier,
            max: config.max_backoff_duration,
            level: 0,
            until: None,
        }
    }

    /// 0 unless backing off.
    pub(crate) fn level(&self) -> u32 {
        self.level
    }

    /// Until when nothing is let through.
    pub(crate) fn waiting_until(&self) -> Option<Instant> {
        self.until
    }

    pub(crate) fn on(&mut self, signal: Signal, now: Instant, random: &mut Random) -> Change {
        if self.until.is_some() {
            return Change::None;
        }
        let before = self.level;
        match signal {
            Signal::Failure => {
                let next = self.level.saturating_add(1);
                if self.max > Duration::ZERO && self.duration(next, random) <= self.max {
                    self.level = next;
                }
            }
            Signal::Neutral => {}
            Signal::Success => self.level = self.level.saturating_sub(1),
        }
        if self.level > 0 {
            let wait = self.duration(self.level, random).min(self.max);
            self.until = Some(now + wait);
            Change::Wait(wait)
        } else if before > 0 {
            Change::Over
        } else {
            Change::None
        }
    }

    /// The wait is over: a message may be let through to see how it goes.
    pub(crate) fn test(&mut self) {
        self.until = None;
    }

    /// There was nothing to test with.
    pub(crate) fn wait_on(&mut self, now: Instant, wait: Duration) {
        self.until = Some(now + wait);
    }

    fn duration(&self, level: u32, random: &mut Random) -> Duration {
        let factor = 2_u32.checked_pow(level).unwrap_or(u32::MAX);
        let full = self.unit.checked_mul(factor).unwrap_or(Duration::MAX);
        match self.strategy {
            BackoffStrategy::Exponential => full,
            // Past the maximum is past the maximum; the cut keeps the product finite.
            BackoffStrategy::FullJitter => full.min(LONGEST).mul_f64(random.fraction()),
        }
    }
}

/// Longer than any maximum can be set to.
const LONGEST: Duration = Duration::from_secs(1 << 32);

#[cfg(test)]
mod tests;
