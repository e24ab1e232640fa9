//! How fast each consumer finishes messages at present: from its count of finished messages at two looks.
//!
//! nsqd counts what a connection has finished since it connected. Pages that show connections ask for those counts; from
//! one look to the next they make a rate. So a rate is known from the second look on, and only while someone looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cluster::Client;

/// The counts of all connections that pages showed lately.
#[derive(Debug, Default)]
pub struct FinishRates {
    seen: Mutex<HashMap<Connection, Seen>>,
}

/// A connection's node, and the address it comes from.
type Connection = (Arc<str>, String);

/// Two looks at a connection, some seconds apart.
#[derive(Debug, Clone, Copy)]
struct Seen {
    before: Option<Look>,
    latest: Look,
}

/// A count at a moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Unix milliseconds.
    at: i64,
    finished: i64,
}

impl FinishRates {
    /// Messages that this connection finishes per second; notes its count as it is at `at`, in Unix milliseconds.
    pub fn rate(&self, client: &Client, at: i64) -> Option<f64> {
        let look = Look {
            at,
            finished: client.finish_count,
        };
        let connection = (Arc::clone(&client.node), client.remote_address.clone());
        // What a panic leaves behind is a look, which the next one replaces.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.get_mut(&connection) {
            return known.advance(look);
        }
        if seen.len() >= MOST_CONNECTIONS {
            seen.retain(|_, seen| at.saturating_sub(seen.latest.at) <= LONGEST_GAP);
        }
        if seen.len() < MOST_CONNECTIONS {
            let before = None;
            seen.insert(
                connection,
                Seen {
                    before,
                    latest: look,
                },
            );
        }
        None
    }
}

impl Seen {
    fn advance(&mut self, look: Look) -> Option<f64> {
        let is_another = look.finished < self.latest.finished;
        if is_another || look.at.saturating_sub(self.latest.at) > LONGEST_GAP {
            self.before = None;
            self.latest = look;
            return None;
        }
        // Several viewers look at nearly the same time: a rate of so short a time would jump.
        if look.at.saturating_sub(self.latest.at) >= SHORTEST_GAP {
            self.before = Some(self.latest);
            self.latest = look;
        }
        let before = self.before?;
        let millis = look.at.saturating_sub(before.at);
        let finished = look.finished.saturating_sub(before.finished).max(0);
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let rate = finished as f64 * 1000.0 / millis.max(1) as f64;
        Some(rate)
    }
}

/// Milliseconds from one look to the next, at least.
const SHORTEST_GAP: i64 = 2000;
/// A rate over a longer time would not be the present one.
const LONGEST_GAP: i64 = 60_000;
/// About 10 MB.
const MOST_CONNECTIONS: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_was_finished_between_two_looks() {
        let rates = FinishRates::default();
        let look = |at, finish_count| {
            let client = Client {
                finish_count,
                ..Client::default()
            };
            rates.rate(&client, at)
        };
        for (at, finished, rate) in [
            (0, 100, None),
            // Too soon.
            (1000, 110, None),
            (5000, 150, Some(10.0)),
            // Another viewer: over the time since the look before.
            (5500, 155, Some(10.0)),
            (10_000, 150, Some(0.0)),
            // Another client has the address, and counts from zero.
            (15_000, 3, None),
            (20_000, 13, Some(2.0)),
            // No page was shown for a long time.
            (90_000, 500, None),
        ] {
            assert_eq!(look(at, finished), rate, "at {at}");
        }
    }
}
