//! How often an address may be wrong.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Recent failed logins, by address.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    failures: HashMap<IpAddr, Failures>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    since: Instant,
}

impl Throttle {
    /// Whether the address has failed so often that it must wait.
    pub(super) fn is_exhausted(&self, address: IpAddr, now: Instant) -> bool {
        let failures = self.failures.get(&network(address));
        failures.is_some_and(|it| it.count >= MOST_FAILURES && now < it.since + WINDOW)
    }

    /// Notes a failure.
    pub(super) fn add_failure(&mut self, address: IpAddr, now: Instant) {
        if self.failures.len() >= MOST_ADDRESSES {
            self.failures.retain(|_, it| now < it.since + WINDOW);
        }
        if self.failures.len() >= MOST_ADDRESSES {
            let oldest = self.failures.iter().min_by_key(|(_, it)| it.since);
            let oldest = oldest.map(|(address, _)| *address);
            oldest.and_then(|address| self.failures.remove(&address));
        }
        let fresh = Failures {
            count: 0,
            since: now,
        };
        let failures = self.failures.entry(network(address)).or_insert(fresh);
        if now >= failures.since + WINDOW {
            failures.count = 0;
            failures.since = now;
        }
        failures.count = failures.count.saturating_add(1);
    }

    /// A right password resets the count.
    pub(super) fn forget(&mut self, address: IpAddr) {
        self.failures.remove(&network(address));
    }
}

/// An IPv6 user has a /64 to choose addresses from.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

/// Mistyping is forgiven, guessing is slow: 10 in 5 minutes.
const MOST_FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_mins(5);
const MOST_ADDRESSES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_failures_have_to_wait_and_others_do_not() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let [wrong, other]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        for _ in 0..MOST_FAILURES {
            assert!(!throttle.is_exhausted(wrong, start));
            throttle.add_failure(wrong, start);
        }
        assert!(throttle.is_exhausted(wrong, start));
        assert!(!throttle.is_exhausted(other, start));
        assert!(!throttle.is_exhausted(wrong, start + WINDOW));
        throttle.add_failure(wrong, start + WINDOW);
        assert!(!throttle.is_exhausted(wrong, start + WINDOW));
        throttle.forget(wrong);
        assert!(throttle.failures.is_empty());
    }

    #[test]
    fn a_network_of_addresses_counts_as_one() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        for host in 0..MOST_FAILURES {
            let address = format!("2001:db8::{host:x}").parse().unwrap();
            throttle.add_failure(address, now);
        }
        assert!(throttle.is_exhausted("2001:db8::ffff".parse().unwrap(), now));
        assert!(!throttle.is_exhausted("2001:db8:0:1::1".parse().unwrap(), now));
    }
}
