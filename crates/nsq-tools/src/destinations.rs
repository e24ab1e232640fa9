//! Where messages go to: which of several addresses is next, and how long each of them took.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nsq_client::{HostPool, Mode};

use crate::timing::Timings;

/// Several addresses, known by their index. Shared by all that send.
#[derive(Debug)]
pub struct Destinations {
    addresses: Vec<String>,
    // Held for one choice or one note only.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    hosts: HostPool,
    aggregate: Timings,
    /// One for each address; none if there is only one, whose times are the aggregate's.
    each: Vec<Timings>,
}

impl Destinations {
    /// Chosen by `mode`, with a timing line after `status_every` of them; 0 or less for none.
    ///
    /// # Panics
    /// If there are no addresses.
    pub fn new(addresses: &[String], mode: Mode, status_every: i64) -> Self {
        let every = usize::try_from(status_every).unwrap_or(0);
        let each = match addresses {
            [_] => Vec::new(),
            several => several
                .iter()
                .map(|address| Timings::new(every, &format!("[{address}]")))
                .collect(),
        };
        let state = State {
            hosts: HostPool::new(addresses.len(), mode),
            aggregate: Timings::new(every, "[aggregate]"),
            each,
        };
        Self {
            addresses: addresses.to_vec(),
            state: Mutex::new(state),
        }
    }

    /// All addresses, in the order in which they were given.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The one to send to now.
    pub fn choose(&self) -> usize {
        self.state().hosts.choose(Instant::now())
    }

    /// It took what was sent to it at `since`.
    pub fn succeeded(&self, index: usize, since: Instant) {
        let now = Instant::now();
        let took = now.saturating_duration_since(since);
        self.state().hosts.succeeded(index, now, took);
    }

    /// It did not.
    pub fn failed(&self, index: usize) {
        self.state().hosts.failed(index, Instant::now());
    }

    /// Counts what took so long into the address's timing line.
    pub fn note(&self, index: usize, took: Duration) {
        if let Some(timings) = self.state().each.get_mut(index) {
            timings.note(took);
        }
    }

    /// Counts what took so long into the aggregate's timing line.
    pub fn note_aggregate(&self, took: Duration) {
        self.state().aggregate.note(took);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mode that `--mode` names; `None` for a word that is none.
pub fn mode(word: &str) -> Option<Mode> {
    match word {
        "round-robin" => Some(Mode::RoundRobin),
        "hostpool" => Some(Mode::HostPool),
        "epsilon-greedy" => Some(Mode::EpsilonGreedy),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_failed_is_passed_over() {
        let addresses = ["a:1".to_owned(), "b:2".to_owned()];
        let destinations = Destinations::new(&addresses, Mode::HostPool, 0);
        let bad = destinations.choose();
        destinations.failed(bad);
        for _ in 0..3 {
            let good = destinations.choose();
            assert_ne!(good, bad);
            destinations.succeeded(good, Instant::now());
        }
    }

    #[test]
    fn a_single_address_has_no_line_of_its_own() {
        let one = ["a:1".to_owned()];
        let destinations = Destinations::new(&one, Mode::HostPool, 250);
        assert!(destinations.state().each.is_empty());
        let two = ["a:1".to_owned(), "b:2".to_owned()];
        let destinations = Destinations::new(&two, Mode::HostPool, 250);
        assert_eq!(destinations.state().each.len(), 2);
    }
}
