//! One tracked message of a channel: in flight, deferred or requeued.

use nsq_queue::Position;

use crate::client::ClientId;
use crate::error::NotInFlight;
use crate::time::{Now, Tick};

/// Which of the channel's logs a message lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LogKind {
    /// The topic's log of plain messages.
    Main = 0,
    /// The topic's log of messages published with a deferral.
    Deferred = 1,
    /// The channel's own log: old messages that were moved out of the way of the topic's segments, and deferred ones
    /// that a draining nsqd gave.
    Private = 2,
    /// The messages that upstream's nsqd, or one that drained, had queued for this channel alone. They are older than
    /// those of the topic.
    Inherited = 3,
}

impl LogKind {
    pub(crate) const ALL: [LogKind; 4] = [
        LogKind::Main,
        LogKind::Deferred,
        LogKind::Private,
        LogKind::Inherited,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Whether its messages are read in order as clients ask for them; those of the other logs are tracked as soon as
    /// they are offered.
    #[inline]
    pub(super) fn is_queued(self) -> bool {
        match self {
            LogKind::Inherited | LogKind::Main => true,
            LogKind::Deferred | LogKind::Private => false,
        }
    }

    /// The place among a channel's logs: the queued ones first, older messages before newer ones.
    pub(super) fn reading_order(self) -> u8 {
        match self {
            LogKind::Inherited => 0,
            LogKind::Main => 1,
            LogKind::Deferred => 2,
            LogKind::Private => 3,
        }
    }

    /// The file of a channel's finished set for that log.
    pub(crate) fn finished_file(self) -> &'static str {
        match self {
            LogKind::Main => "main.marks",
            LogKind::Deferred => "deferred.marks",
            LogKind::Private => "private.marks",
            LogKind::Inherited => "backlog.marks",
        }
    }

    pub(crate) fn from_index(index: u8) -> Option<LogKind> {
        LogKind::ALL.get(usize::from(index)).copied()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    InFlight,
    Deferred,
    Requeued,
}

impl State {
    /// The state of a message that no client holds, and that may be delivered from `due` on, in unix nanoseconds.
    pub(super) fn until_due(due: i64, now: Now) -> State {
        if due > now.unix_nanos {
            State::Deferred
        } else {
            State::Requeued
        }
    }
}

/// One tracked message: where its record lies, and what it waits for. No body.
///
/// Packed to 52 bytes instead of 56: a channel may track millions.
#[derive(Debug, Clone, Copy)]
#[repr(Rust, packed(4))]
pub(crate) struct TrackedMessage {
    pub(crate) id: u64,
    pub(crate) sequence: u64,
    pub(crate) position: Position,
    /// When it was published, in unix nanoseconds.
    pub(crate) published: i64,
    /// In flight: the deadline. Deferred: the due time. Requeued: [`Tick::NEVER`].
    pub(crate) until: Tick,
    /// When it was last handed to a client; meaningful while it is in flight.
    pub(crate) delivered: Delivered,
    /// The client that holds it, while in flight.
    pub(crate) client: ClientId,
    pub(crate) attempts: u16,
    pub(crate) log: LogKind,
    pub(crate) state: State,
}

impl TrackedMessage {
    /// Whether it is in flight to that client; the error says what it is instead.
    pub(crate) fn held_by(&self, client: ClientId) -> Result<(), NotInFlight> {
        match self.state {
            State::InFlight if self.client == client => Ok(()),
            State::InFlight => Err(NotInFlight::NotOwner),
            State::Deferred | State::Requeued => Err(NotInFlight::Unknown),
        }
    }

    /// When it was handed to the client that holds it, rounded up to a millisecond: no limit counted from it is early.
    pub(crate) fn delivered_at(&self) -> Tick {
        self.delivered.before(self.until)
    }
}

/// When a message was handed out: the low 32 bits of the milliseconds since the caller's start. The deadline is less than
/// 49 days later, so the two together give the moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Delivered(u32);

impl Delivered {
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    pub(crate) fn at(tick: Tick) -> Delivered {
        Delivered(tick.nanos().div_ceil(NANOS_PER_MILLI) as u32)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    fn before(self, deadline: Tick) -> Tick {
        let deadline = deadline.nanos().div_ceil(NANOS_PER_MILLI);
        let held = u64::from((deadline as u32).wrapping_sub(self.0));
        Tick::from_nanos(
            deadline
                .saturating_sub(held)
                .saturating_mul(NANOS_PER_MILLI),
        )
    }
}

const NANOS_PER_MILLI: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_tracked_message_takes_52_bytes() {
        assert_eq!(size_of::<TrackedMessage>(), 52);
    }

    #[test]
    fn a_delivery_is_known_to_the_millisecond_however_long_nsqd_runs() {
        let days = |days: u64| Duration::from_hours(24 * days);
        for age in [0, 1, 49, 50, 99, 100, 4000].map(days) {
            for held in [0, 1, 2_000_000, 60_000_000_000, 3_000_000_000_000_001] {
                let held = Duration::from_nanos(held);
                let delivered = Tick::from_nanos(123_456_789).after(age);
                let told = Delivered::at(delivered).before(delivered.after(held));
                assert!(told >= delivered, "{age:?} {held:?}");
                assert!(told.since(delivered) < Duration::from_millis(1));
            }
        }
    }
}
