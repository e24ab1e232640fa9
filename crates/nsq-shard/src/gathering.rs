//! How much is gathered for one proposal.
//!
//! An entry costs the same for one publish as for hundreds. Publishers that wait for their answers send their next message
//! when they have got it, all of them at about the same time. A proposal that began with the first of these messages would
//! leave the others to the next one, and so on with each proposal. So after an outcome the pump waits for a moment until as
//! many publishes are there as were answered or waited just then. Where they do not come in time, since the publishers do
//! not wait for answers or have ended, this is tried more and more rarely.

use std::time::Duration;

use tokio::time::Instant;

/// What is enough for a proposal: so many bytes, or so many publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Enough {
    bytes: usize,
    publishes: usize,
}

impl Enough {
    /// Anything at all.
    pub(crate) const ANYTHING: Enough = Enough {
        bytes: 0,
        publishes: 0,
    };
    /// So much that the cost of an entry no longer counts.
    pub(crate) const MUCH: Enough = Enough {
        bytes: 256 << 10,
        publishes: usize::MAX,
    };
    /// No amount.
    pub(crate) const NEVER: Enough = Enough {
        bytes: usize::MAX,
        publishes: usize::MAX,
    };

    pub(crate) fn is_met(self, bytes: usize, publishes: usize) -> bool {
        bytes >= self.bytes || publishes >= self.publishes
    }
}

/// What the pump waits for while no proposal is under way.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// Publishes that are expected until then.
    expected: Option<(usize, Instant)>,
    /// How often in a row they did not come.
    misses: u32,
    /// Outcomes after which it is not tried.
    skipped: u32,
}

impl Gathering {
    /// The last proposal under way has its outcome: so many publishes are answered, and so many wait.
    pub(crate) fn begin(&mut self, answered: usize, waiting: usize, now: Instant) {
        self.expected = None;
        if answered == 0 || answered + waiting < 2 {
            return;
        }
        if self.skipped > 0 {
            self.skipped -= 1;
            return;
        }
        self.expected = Some((answered + waiting, now + MOMENT));
    }

    /// What is enough for the next proposal.
    pub(crate) fn enough(&mut self, now: Instant) -> Enough {
        match self.expected {
            Some((publishes, until)) if now < until => Enough {
                publishes,
                ..Enough::MUCH
            },
            Some(_) => {
                self.expected = None;
                self.misses = (self.misses + 1).min(MAX_MISSES);
                self.skipped = (1 << self.misses) - 1;
                Enough::ANYTHING
            }
            None => Enough::ANYTHING,
        }
    }

    /// Until when it waits at most.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.expected.map(|(_, until)| until)
    }

    /// The next proposal is made.
    pub(crate) fn end(&mut self) {
        if self.expected.take().is_some() {
            (self.misses, self.skipped) = (0, 0);
        }
    }
}

/// Longer than publishers on a machine nearby take, shorter than an entry on its way between machines usually does.
const MOMENT: Duration = Duration::from_micros(500);
/// After so many misses it is tried after each 1024th outcome.
const MAX_MISSES: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_publishes_are_awaited_as_were_answered_or_waited() {
        let now = Instant::now();
        let mut gathering = Gathering::default();
        assert_eq!(gathering.enough(now), Enough::ANYTHING);
        gathering.begin(3, 2, now);
        let enough = gathering.enough(now);
        assert!(!enough.is_met(1000, 4));
        assert!(enough.is_met(1000, 5));
        assert!(enough.is_met(1 << 20, 1));
        gathering.end();
        assert_eq!(gathering.enough(now), Enough::ANYTHING);
    }

    #[test]
    fn one_publisher_alone_is_never_waited_for() {
        let now = Instant::now();
        let mut gathering = Gathering::default();
        gathering.begin(1, 0, now);
        assert_eq!(gathering.enough(now), Enough::ANYTHING);
        assert_eq!(gathering.until(), None);
    }

    #[test]
    fn what_does_not_come_in_time_is_awaited_more_and_more_rarely() {
        let mut now = Instant::now();
        let mut gathering = Gathering::default();
        let mut tries = 0;
        for _ in 0..1000 {
            gathering.begin(2, 0, now);
            tries += u32::from(gathering.until().is_some());
            now += MOMENT;
            assert_eq!(gathering.enough(now), Enough::ANYTHING);
        }
        assert_eq!(tries, 9);
        // Once they come, it is tried each time again.
        loop {
            gathering.begin(2, 0, now);
            if gathering.until().is_some() {
                break;
            }
        }
        gathering.end();
        gathering.begin(2, 0, now);
        assert!(gathering.until().is_some());
    }
}
