//! Whether a channel on one node is well, and since when: a state machine over samples.
//!
//! It reads no clock and asks no one: every step takes a [`Sample`] with its time. A condition begins as soon as there
//! is evidence for it, and ends only when there is evidence for the opposite, so that it does not flicker.
//!
//! ```text
//!            messages wait, no consumer ─▶ NoConsumers
//!   consumers hold them, none is finished ─▶ Slow ─▶ Stuck
//!   consumers hold none, none is finished ─▶ NotTaking
//!        more comes in than is finished ─▶ FallingBehind ─▶ CatchingUp ─▶ Fine
//!              the oldest waits for long ─▶ Backlog ─────────▶ CatchingUp
//! ```

#[cfg(test)]
mod tests;

use super::window::{Change, Sample, Window};

/// How bad it is, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing happens, and nothing has to.
    Idle,
    /// As it should be.
    Fine,
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// Messages wait, and it does not get better by itself.
    Bad,
}

/// How a channel is doing, about the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// No consumer, and no message waits.
    Idle,
    /// Messages are finished as they come.
    Fine,
    /// Deliveries are stopped.
    Paused,
    /// There was a backlog, and it gets smaller.
    CatchingUp,
    /// Messages wait for long, but not more and more of them.
    Backlog,
    /// More comes in than is finished.
    FallingBehind,
    /// Consumers hold messages and have finished none for a while.
    Slow,
    /// Consumers hold messages and have finished none for longer than they may hold one.
    Stuck,
    /// Consumers are connected, and hold no message although messages wait.
    NotTaking,
    /// Messages wait and there is no consumer.
    NoConsumers,
}

/// A channel on one node over time.
#[derive(Debug)]
pub struct Judge {
    condition: Condition,
    /// Unix milliseconds.
    since: i64,
    /// Whether the condition was there at the first sample, so that it may have begun before.
    since_before: bool,
    last: Sample,
    window: Window,
    /// Since when work has been there and nothing was finished; `None` while there is none, or something is finished.
    stalled_since: Option<i64>,
    /// Messages that timed out since then.
    stalled_timeouts: i64,
    /// How long the channel usually goes without a finished message, in milliseconds: long jobs are no stall.
    usual_pause: i64,
    /// A condition for which there was evidence at the last sample, and since when: two samples in a row begin it.
    candidate: Option<(Condition, i64)>,
    last_timeout: Option<i64>,
    last_requeues: Option<i64>,
    is_emptied: bool,
}

impl Judge {
    /// Begins with a first sample. What it alone proves holds at once.
    pub fn new(sample: Sample) -> Self {
        let mut judge = Self {
            condition: Condition::Fine,
            since: sample.at,
            since_before: true,
            window: Window::default(),
            stalled_since: None,
            stalled_timeouts: 0,
            usual_pause: 0,
            candidate: None,
            last_timeout: None,
            last_requeues: None,
            is_emptied: false,
            last: sample,
        };
        judge.window.restart(&judge.last);
        judge.note_stall(&Change::default());
        judge.condition = judge.first_condition();
        judge
    }

    /// The condition now.
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// Since when, in Unix milliseconds. A stall began when the last message was finished.
    pub fn since(&self) -> i64 {
        match (self.condition, self.stalled_since) {
            (Condition::Slow | Condition::Stuck | Condition::NotTaking, Some(since)) => since,
            _ => self.since,
        }
    }

    /// Whether it may have begun before the first sample.
    pub fn began_before(&self) -> bool {
        self.since_before
    }

    /// The newest sample.
    pub fn last(&self) -> &Sample {
        &self.last
    }

    /// What happened in the last minutes.
    pub fn recent(&self) -> Change {
        self.window.last(RATE_SPAN)
    }

    /// Whether messages timed out within the last minutes. They come in bursts, one for each timeout.
    pub fn has_timeouts(&self) -> bool {
        self.is_recent(self.last_timeout)
    }

    /// Whether consumers gave many messages back within the last minutes.
    pub fn has_requeues(&self) -> bool {
        self.is_recent(self.last_requeues)
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        let lasts = self.last.at - self.since();
        let oldest = self.last.oldest_age.unwrap_or(0);
        match self.condition {
            Condition::Fine => Severity::Fine,
            Condition::Idle => Severity::Idle,
            Condition::CatchingUp => Severity::Info,
            Condition::Paused if self.last.depth == 0 => Severity::Info,
            Condition::Paused | Condition::Backlog | Condition::Slow => Severity::Warn,
            Condition::FallingBehind if lasts < LONG && oldest < LONG => Severity::Warn,
            Condition::FallingBehind
            | Condition::Stuck
            | Condition::NotTaking
            | Condition::NoConsumers => Severity::Bad,
        }
    }

    /// In how many seconds nothing waits any more at the present rates; `None` for never, or not known.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn drains_in(&self) -> Option<f64> {
        let recent = self.recent();
        let net = recent.per_second(recent.finished.saturating_sub(recent.received));
        (recent.millis >= SHORT && net > 0.01).then(|| self.last.depth as f64 / net)
    }

    /// Notes that an administrator empties the channel: what is gone at the next sample was not finished.
    pub fn expect_emptied(&mut self) {
        self.is_emptied = true;
    }

    /// Takes the next sample. Returns the condition before, when it changed.
    pub fn step(&mut self, sample: Sample) -> Option<Condition> {
        if sample.at <= self.last.at {
            return None;
        }
        let mut change = Change::between(&self.last, &sample);
        let was_emptied = std::mem::take(&mut self.is_emptied);
        if was_emptied && sample.finished.is_none() {
            change.finished = 0;
        }
        let gap = change.millis > LONGEST_GAP;
        let emptied = was_emptied
            || sample.held() == 0
                && self.last.held() > EMPTIED.max(change.finished.saturating_mul(2));
        self.last = sample;
        if gap || emptied {
            // What happened in between is not known, or what waited is gone: rates begin here.
            self.window.restart(&self.last);
        } else {
            self.window.add(self.last.at, &change);
        }
        self.note_stall(&change);
        self.note_returns(&change);
        let wanted = self.wanted();
        self.turn_to(wanted)
    }

    /// The condition for which a first sample is evidence enough.
    fn first_condition(&self) -> Condition {
        let sample = &self.last;
        match sample {
            _ if sample.paused => Condition::Paused,
            _ if sample.consumers == 0 && sample.consumers_elsewhere == 0 && sample.depth > 0 => {
                Condition::NoConsumers
            }
            _ if sample.consumers == 0 && sample.held() == 0 => Condition::Idle,
            _ if sample.depth > 0 && sample.oldest_age.is_some_and(|age| age >= LATE) => {
                Condition::Backlog
            }
            _ => Condition::Fine,
        }
    }

    /// Whether work was there and nothing was finished, and for how long.
    fn note_stall(&mut self, change: &Change) {
        let sample = &self.last;
        let has_work = sample.depth > 0 || sample.in_flight > 0;
        if change.finished > 0 {
            let pause = self.stalled_since.map_or(0, |since| sample.at - since);
            self.usual_pause = pause.max(self.usual_pause * 3 / 4);
        }
        if change.finished > 0 || !has_work || sample.paused {
            self.stalled_since = None;
            self.stalled_timeouts = 0;
            return;
        }
        self.stalled_timeouts = self.stalled_timeouts.saturating_add(change.timed_out);
        if self.stalled_since.is_none() {
            self.stalled_since = Some(sample.at);
        }
    }

    fn note_returns(&mut self, change: &Change) {
        let at = self.last.at;
        if change.timed_out > 0 {
            self.last_timeout = Some(at);
        }
        let recent = self.recent();
        if recent.requeued >= FEWEST_REQUEUES
            && recent.requeued.saturating_mul(10) >= recent.finished
        {
            self.last_requeues = Some(at);
        }
    }

    fn is_recent(&self, moment: Option<i64>) -> bool {
        moment.is_some_and(|moment| self.last.at - moment <= RETURNS_LAST)
    }

    /// The condition that the samples so far speak for, given the one there is.
    fn wanted(&self) -> Condition {
        let sample = &self.last;
        if sample.paused {
            return Condition::Paused;
        }
        if sample.consumers == 0 && sample.held() == 0 {
            return Condition::Idle;
        }
        let stalled = self.stalled_since.map_or(0, |since| sample.at - since);
        if sample.consumers == 0 && sample.depth > 0 {
            // Consumers elsewhere may be given what waits here, as in a cluster.
            if sample.consumers_elsewhere == 0 || stalled >= SOON {
                return Condition::NoConsumers;
            }
        }
        if let Some(condition) = self.wanted_by_stall(stalled) {
            return condition;
        }
        self.wanted_by_rates()
    }

    fn wanted_by_stall(&self, stalled: i64) -> Option<Condition> {
        let sample = &self.last;
        if sample.consumers == 0 {
            return None;
        }
        let holds = sample.in_flight > 0 || self.stalled_timeouts > 0;
        let waits = sample.depth > 0 || self.stalled_timeouts > 0;
        if !waits || stalled == 0 {
            return None;
        }
        let was = self.condition;
        if holds {
            let usual = self.usual_pause.saturating_mul(2);
            let is_over =
                stalled >= PATIENCE.max(usual) || (stalled >= SHORT && self.stalled_timeouts > 0);
            return match was {
                _ if is_over => Some(Condition::Stuck),
                Condition::Stuck => Some(Condition::Stuck),
                _ if stalled >= STALLED.max(usual) => Some(Condition::Slow),
                _ => None,
            };
        }
        (stalled >= SHORT || was == Condition::NotTaking).then_some(Condition::NotTaking)
    }

    fn wanted_by_rates(&self) -> Condition {
        let sample = &self.last;
        let was = self.condition;
        let is_behind = was == Condition::FallingBehind;
        if sample.depth == 0 {
            return Condition::Fine;
        }
        if is_behind && !self.has_turned() {
            return Condition::FallingBehind;
        }
        if !is_behind && self.falls_behind() {
            return Condition::FallingBehind;
        }
        if !self.is_late() {
            return Condition::Fine;
        }
        let minute = self.window.last(RATE_SPAN);
        let shrinks = minute.growth.saturating_neg() > noise(&minute);
        match was {
            Condition::CatchingUp if minute.growth < 0 => Condition::CatchingUp,
            _ if shrinks && minute.millis >= SHORT => Condition::CatchingUp,
            _ => Condition::Backlog,
        }
    }

    /// Whether more comes in than is finished: clearly within half a minute, or steadily over minutes.
    fn falls_behind(&self) -> bool {
        let sample = &self.last;
        let lately = self.window.last(SOON);
        let young = sample.oldest_age.is_some_and(|age| age < YOUNG);
        if sample.depth < FEWEST_BEHIND || young || lately.millis < SHORT {
            return false;
        }
        if lately.growth > noise(&lately) {
            return true;
        }
        let minutes = self.window.last(super::window::SPAN);
        let (steps, rising) = self.window.rising_steps();
        steps >= FEWEST_STEPS && rising * 10 >= steps * 9 && minutes.growth >= FEWEST_BEHIND
    }

    /// Whether a channel that fell behind does so no longer: it has been shrinking for a while, or nothing much waits.
    fn has_turned(&self) -> bool {
        let minutes = self.window.last(TURN_SPAN);
        let has_seen_enough = minutes.millis >= TURN_SPAN / 2;
        (has_seen_enough && minutes.growth <= 0)
            || (minutes.growth.saturating_neg() > noise(&minutes) && minutes.millis >= SHORT)
            || self.last.depth < FEWEST_BEHIND / 4
    }

    /// Whether messages wait for long. Once late, a channel is late until it is half as bad.
    fn is_late(&self) -> bool {
        let was_late = matches!(
            self.condition,
            Condition::Backlog | Condition::CatchingUp | Condition::FallingBehind
        );
        let limit = if was_late { LATE / 2 } else { LATE };
        if let Some(age) = self.last.oldest_age {
            return age >= limit;
        }
        let recent = self.recent();
        if self.last.depth < FEWEST_BEHIND || recent.millis < SHORT {
            return was_late && self.last.depth >= FEWEST_BEHIND;
        }
        // As long as it takes to finish what waits.
        let (depth, finished) = (i128::from(self.last.depth), i128::from(recent.finished));
        depth * i128::from(recent.millis) >= finished * i128::from(limit)
    }

    /// Begins a condition: at once where one sample proves it, else at the second sample in a row.
    fn turn_to(&mut self, wanted: Condition) -> Option<Condition> {
        if wanted == self.condition {
            self.candidate = None;
            return None;
        }
        let at = self.last.at;
        let began = match self.candidate {
            Some((candidate, began)) if candidate == wanted => began,
            _ => at,
        };
        let is_proven = matches!(
            wanted,
            Condition::Paused
                | Condition::Idle
                | Condition::Stuck
                | Condition::Slow
                | Condition::NotTaking
        );
        if !is_proven && began == at {
            self.candidate = Some((wanted, at));
            return None;
        }
        self.candidate = None;
        self.since = began;
        self.since_before = false;
        Some(std::mem::replace(&mut self.condition, wanted))
    }
}

impl Severity {
    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Fine => "ok",
            Self::Info => "info",
            Self::Warn => "warning",
            Self::Bad => "critical",
        }
    }

    /// All, the least first.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Fine, Self::Info, Self::Warn, Self::Bad];
}

impl Condition {
    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Fine => "ok",
            Self::Paused => "paused",
            Self::CatchingUp => "catching_up",
            Self::Backlog => "backlog",
            Self::FallingBehind => "falling_behind",
            Self::Slow => "nothing_finished",
            Self::Stuck => "stuck",
            Self::NotTaking => "not_taking_messages",
            Self::NoConsumers => "no_consumers",
        }
    }

    /// Whether it is one of those that an operator wants to hear about.
    pub fn is_trouble(self) -> bool {
        !matches!(
            self,
            Self::Idle | Self::Fine | Self::Paused | Self::CatchingUp
        )
    }
}

/// A change of so many messages may be chance: twice the deviation of as many random arrivals and departures.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "an estimate"
)]
fn noise(change: &Change) -> i64 {
    let events = change.received.saturating_add(change.finished).max(0) as f64;
    (2.0 * events.sqrt()).ceil().max(10.0) as i64
}

/// All in milliseconds: the least time that rates are judged by.
const SHORT: i64 = 10_000;
/// Within this time, a clear problem has its name.
const SOON: i64 = 20_000;
/// So long without a finished message is worth a look.
const STALLED: i64 = 15_000;
/// How long a message may be held: nsqd's default, where no timeout has proven it shorter.
const PATIENCE: i64 = 60_000;
/// The span of the rates that are shown.
const RATE_SPAN: i64 = 60_000;
/// How long the channel must not have grown until it no longer falls behind.
const TURN_SPAN: i64 = 120_000;
/// A message that waits for this long is late.
const LATE: i64 = 60_000;
/// A message that waits for less is no sign of anything.
const YOUNG: i64 = 10_000;
/// A channel that falls behind for longer is critical.
const LONG: i64 = 300_000;
/// Timeouts and requeues are shown for this long after the last.
const RETURNS_LAST: i64 = 150_000;
/// Without samples for longer, rates begin again.
const LONGEST_GAP: i64 = 60_000;
/// Fewer messages are no backlog.
const FEWEST_BEHIND: i64 = 20;
/// Steps of a window before it shows a steady rise.
const FEWEST_STEPS: usize = 9;
const FEWEST_REQUEUES: i64 = 5;
/// More messages than these do not go within one sample unless the channel is emptied.
const EMPTIED: i64 = 100;
