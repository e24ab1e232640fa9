//! When the messages of an open-loop run are due, whatever the server does meanwhile.
//!
//! Latency is counted from these times, not from the moments of sending: were it counted from
//! sending, a server that stalls would delay the very messages that should show the stall
//! ("coordinated omission").

/// Evenly spaced due times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start_nanos: u64,
    messages_per_second: u64,
}

impl Schedule {
    /// Messages are due from `start_nanos` on, `messages_per_second` (at least 1) of them.
    pub(crate) fn new(start_nanos: u64, messages_per_second: u64) -> Self {
        Self {
            start_nanos,
            messages_per_second: messages_per_second.max(1),
        }
    }

    /// The due time of message `index`, counted from 0, in unix nanoseconds.
    pub(crate) fn due(&self, index: u64) -> u64 {
        // Multiplied before dividing, so that odd rates do not drift.
        let offset = u128::from(index) * NANOS_PER_SECOND / u128::from(self.messages_per_second);
        self.start_nanos
            .saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    }
}

/// The commands of one connection: every `step`th of the run, beginning with `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    first: u64,
    step: u64,
    count: u64,
}

impl Share {
    /// Deals `total` commands (`None` for no end) to `connections`; this is number `connection`'s
    /// part.
    pub(crate) fn deal(total: Option<u64>, connection: u64, connections: u64) -> Self {
        let count = total.map_or(u64::MAX, |total| {
            total.saturating_sub(connection).div_ceil(connections)
        });
        Self {
            first: connection,
            step: connections,
            count,
        }
    }

    /// How many commands the connection sends.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Where in the run the connection's own command number `nth` stands.
    pub(crate) fn index(&self, nth: u64) -> u64 {
        self.first + nth * self.step
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_evenly_and_an_odd_rate_does_not_drift() {
        let schedule = Schedule::new(500, 3);
        assert_eq!(schedule.due(0), 500);
        assert_eq!(schedule.due(1), 500 + 333_333_333);
        assert_eq!(schedule.due(2), 500 + 666_666_666);
        assert_eq!(schedule.due(3_000_000), 500 + 1_000_000 * 1_000_000_000);
    }

    #[test]
    fn the_shares_of_all_connections_cover_every_command_once() {
        for (total, connections) in [(10, 3), (2, 5), (0, 2), (16, 16), (7, 1)] {
            let mut indices: Vec<u64> = (0..connections)
                .map(|connection| Share::deal(Some(total), connection, connections))
                .flat_map(|share| (0..share.count()).map(move |nth| share.index(nth)))
                .collect();
            indices.sort_unstable();
            assert_eq!(indices, (0..total).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_run_without_a_message_bound_never_runs_out_of_commands() {
        assert_eq!(Share::deal(None, 1, 4).count(), u64::MAX);
    }
}
