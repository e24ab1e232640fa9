//! Where an axis has its ticks: round numbers upwards, round times sidewards.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::pages::format::Unit;

/// The upward axis: from zero to `step * steps`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ValueAxis {
    pub(super) step: f64,
    pub(super) steps: u32,
}

impl ValueAxis {
    /// The smallest round axis that holds `highest`. Without anything above zero it goes to one step.
    pub(super) fn holding(highest: f64, unit: Unit) -> Self {
        let highest = if highest.is_finite() {
            highest.max(0.0)
        } else {
            0.0
        };
        if highest < SMALLEST {
            let step = if unit == Unit::Nanos { 1e6 } else { 1.0 };
            return Self { step, steps: 1 };
        }
        let mut step = round_up(highest / f64::from(MOST_STEPS), unit);
        if unit == Unit::Count {
            step = step.max(1.0);
        }
        let steps = (1..MOST_STEPS)
            .find(|steps| step * f64::from(*steps) >= highest)
            .unwrap_or(MOST_STEPS);
        Self { step, steps }
    }

    pub(super) fn top(self) -> f64 {
        self.step * f64::from(self.steps)
    }

    /// Tick values from the top down to zero.
    pub(super) fn ticks_downwards(self) -> impl Iterator<Item = f64> {
        (0..=self.steps)
            .rev()
            .map(move |n| self.step * f64::from(n))
    }

    /// How far below the top `value` lies, 0 at the top and 1 at zero.
    pub(super) fn below_top(self, value: f64) -> f64 {
        1.0 - (value / self.top()).clamp(0.0, 1.0)
    }
}

/// One tick of the time axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TimeTick {
    /// How far from the left, 0 to 1.
    pub(super) across: f64,
    pub(super) label: String,
}

/// Ticks at round local times within `from..=to`, in Unix seconds, six at most.
pub(super) fn time_ticks(from: i64, to: i64, zone: &TimeZone) -> Vec<TimeTick> {
    let length = to.saturating_sub(from);
    if length <= 0 {
        return Vec::new();
    }
    let step = TIME_STEPS
        .into_iter()
        .find(|step| length / step <= MOST_TIME_TICKS)
        .unwrap_or(length / MOST_TIME_TICKS);
    let offset =
        Timestamp::from_second(from).map_or(0, |at| i64::from(zone.to_offset(at).seconds()));
    let local = from.saturating_add(offset);
    let past_a_step = local.rem_euclid(step);
    let to_the_next = if past_a_step == 0 {
        0
    } else {
        step - past_a_step
    };
    let first = from.saturating_add(to_the_next);
    let format = match step {
        ..60 => "%H:%M:%S",
        60..86_400 => "%H:%M",
        _ => "%b %-d",
    };
    let mut ticks = Vec::new();
    for n in 0..=MOST_TIME_TICKS {
        let at = first.saturating_add(n.saturating_mul(step));
        if at > to {
            break;
        }
        if let Ok(moment) = Timestamp::from_second(at) {
            ticks.push(TimeTick {
                across: ratio(at.saturating_sub(from), length),
                label: moment.to_zoned(zone.clone()).strftime(format).to_string(),
            });
        }
    }
    ticks
}

/// `part / whole` of two spans in seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "spans of seconds are far below 2^52"
)]
pub(super) fn ratio(part: i64, whole: i64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// The next 1, 2 or 5 times a power of the base at or above `value`; of seconds, the next that is round on a clock.
fn round_up(value: f64, unit: Unit) -> f64 {
    if unit == Unit::Seconds
        && value > 1.0
        && let Some(step) = CLOCK_STEPS.into_iter().find(|step| *step >= value)
    {
        return step;
    }
    let (base, factors): (f64, &[f64]) = match unit {
        Unit::Bytes => (
            1024.0,
            &[
                1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
            ],
        ),
        _ => (10.0, &[1.0, 2.0, 5.0, 10.0]),
    };
    let power = base.powf(value.log(base).floor());
    factors
        .iter()
        .map(|factor| factor * power)
        .find(|step| *step >= value * (1.0 - 1e-9))
        .filter(|step| step.is_finite() && (step * f64::from(MOST_STEPS)).is_finite())
        .unwrap_or(value)
}

/// Seconds.
const CLOCK_STEPS: [f64; 20] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0,
    10_800.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0,
];
/// Less than this is drawn as nothing.
const SMALLEST: f64 = 1e-9;
/// More lines than these only make a chart grey.
const MOST_STEPS: u32 = 4;
/// Labels of a time that still stand apart on a phone.
const MOST_TIME_TICKS: i64 = 5;
const TIME_STEPS: [i64; 17] = [
    5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800,
    604_800,
];
