//! Which of several hosts to send to next, by how they did before.
//!
//! The rules are those of upstream's nsq_to_http and nsq_to_nsq (go-hostpool v0.1.0): a host that failed is left
//! alone for 30 seconds, then gets one trial; every failed trial doubles the time, up to 15 minutes.

use std::time::{Duration, Instant};

use crate::random::Random;

/// How a [`HostPool`] chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One after the other, whether they fail or not.
    RoundRobin,
    /// One after the other, but those that failed are left alone for a while.
    HostPool,
    /// Mostly those that answer fast, and at times another one, as in `HostPool`, to learn how fast it is.
    EpsilonGreedy,
}

/// Chooses among hosts, which are numbers below their count. A state machine: the caller brings the time, and
/// tells how things went.
///
/// ```
/// use std::time::{Duration, Instant};
/// use nsq_client::{HostPool, Mode};
///
/// let mut pool = HostPool::new(2, Mode::HostPool);
/// let now = Instant::now();
/// let first = pool.choose(now);
/// pool.failed(first, now);
/// for _ in 0..3 {
///     let other = pool.choose(now);
///     assert_ne!(other, first);
///     pool.succeeded(other, now, Duration::from_millis(5));
/// }
/// ```
#[derive(Debug)]
pub struct HostPool {
    mode: Mode,
    hosts: Vec<Host>,
    next: usize,
    epsilon: f64,
    random: Random,
}

#[derive(Debug, Default)]
struct Host {
    /// Since it failed.
    dead: Option<Dead>,
    speed: Speed,
}

#[derive(Debug, Clone, Copy)]
struct Dead {
    next_trial: Instant,
    delay: Duration,
}

impl HostPool {
    /// Of `count` hosts, all well.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(count: usize, mode: Mode) -> Self {
        Self::with_random(count, mode, Random::new())
    }

    pub(crate) fn with_random(count: usize, mode: Mode, random: Random) -> Self {
        assert!(count > 0, "there is no host to choose");
        let next = match mode {
            // Compat: round robin counts before it chooses (nsq_to_http.go, HandleMessage).
            Mode::RoundRobin => 1 % count,
            Mode::HostPool | Mode::EpsilonGreedy => 0,
        };
        Self {
            mode,
            hosts: (0..count).map(|_| Host::default()).collect(),
            next,
            epsilon: FIRST_EPSILON,
            random,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.hosts.len()
    }

    /// The host to use now.
    pub fn choose(&mut self, now: Instant) -> usize {
        match self.mode {
            Mode::RoundRobin => self.advance(),
            Mode::HostPool => self.next_alive(now),
            Mode::EpsilonGreedy => self.fast_or_next(now),
        }
    }

    /// It did what it should, and took so long.
    pub fn succeeded(&mut self, host: usize, now: Instant, took: Duration) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.dead = None;
            host.speed.add(now, took);
        }
    }

    /// It did not.
    pub fn failed(&mut self, host: usize, now: Instant) {
        if let Some(host) = self.hosts.get_mut(host)
            && host.dead.is_none()
        {
            host.dead = Some(Dead {
                next_trial: now + FIRST_DELAY,
                delay: FIRST_DELAY,
            });
        }
    }

    fn advance(&mut self) -> usize {
        let chosen = self.next;
        self.next = (self.next + 1) % self.hosts.len();
        chosen
    }

    fn next_alive(&mut self, now: Instant) -> usize {
        for _ in 0..self.hosts.len() {
            let index = self.advance();
            match &mut self.hosts[index].dead {
                None => return index,
                Some(dead) if dead.next_trial < now => {
                    // One trial; only a success brings it back for good.
                    dead.delay = (dead.delay * 2).min(LONGEST_DELAY);
                    dead.next_trial = now + dead.delay;
                    return index;
                }
                Some(_) => {}
            }
        }
        // None is well: perhaps the fault is ours, so all start again.
        for host in &mut self.hosts {
            host.dead = None;
        }
        self.next = 1 % self.hosts.len();
        0
    }

    fn fast_or_next(&mut self, now: Instant) -> usize {
        if self.random.fraction() < self.epsilon {
            self.epsilon = (self.epsilon * EPSILON_DECAY).max(LEAST_EPSILON);
            return self.next_alive(now);
        }
        let weights: Vec<f64> = self
            .hosts
            .iter_mut()
            .map(|host| match host.dead {
                Some(dead) if dead.next_trial >= now => 0.0,
                _ => host.speed.weight(now),
            })
            .collect();
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            // Nothing is known of anyone.
            return self.next_alive(now);
        }
        let mut point = self.random.fraction() * total;
        for (index, weight) in weights.iter().enumerate() {
            if *weight > 0.0 && point < *weight {
                return index;
            }
            point -= weight;
        }
        self.next_alive(now)
    }
}

/// How long a host took lately: means over 120 times of 2.5 seconds, the later the heavier.
#[derive(Debug, Default)]
struct Speed {
    buckets: Vec<Bucket>,
    /// The newest one's place, and when it began.
    newest: usize,
    began: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Bucket {
    count: u32,
    total_millis: u64,
}

impl Speed {
    fn add(&mut self, now: Instant, took: Duration) {
        self.advance(now);
        if self.buckets.is_empty() {
            self.buckets = vec![Bucket::default(); BUCKET_COUNT];
        }
        let bucket = &mut self.buckets[self.newest];
        bucket.count = bucket.count.saturating_add(1);
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        bucket.total_millis = bucket.total_millis.saturating_add(millis);
    }

    /// The inverse of the weighted mean; 0 for what is not known, or too fast to tell.
    fn weight(&mut self, now: Instant) -> f64 {
        self.advance(now);
        let mut sum = 0.0;
        let mut mean = 0.0;
        let (before, since) = self
            .buckets
            .split_at(self.buckets.len().min(self.newest + 1));
        for (age, bucket) in since.iter().chain(before).enumerate() {
            if bucket.count > 0 {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of five minutes")]
                let total = bucket.total_millis as f64;
                mean = total / f64::from(bucket.count);
            }
            #[expect(clippy::cast_precision_loss, reason = "both are below 121")]
            let share = (age + 1) as f64 / BUCKET_COUNT as f64;
            sum += mean * share;
        }
        if sum > 0.0 { 1.0 / sum } else { 0.0 }
    }

    /// Begins new buckets, in place of the oldest, for the time that has passed.
    fn advance(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began).as_millis() / BUCKET_TIME.as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.began = Some(began + BUCKET_TIME * passed);
        if self.buckets.is_empty() {
            return;
        }
        for _ in 0..passed.min(BUCKET_LIMIT) {
            self.newest = (self.newest + 1) % BUCKET_COUNT;
            self.buckets[self.newest] = Bucket::default();
        }
    }
}

const FIRST_DELAY: Duration = Duration::from_secs(30);
const LONGEST_DELAY: Duration = Duration::from_mins(15);

/// How often another host than a fast one is tried: at first, how that changes, and at least.
const FIRST_EPSILON: f64 = 0.3;
const EPSILON_DECAY: f64 = 0.9;
const LEAST_EPSILON: f64 = 0.01;

const BUCKET_COUNT: usize = 120;
/// The same number.
const BUCKET_LIMIT: u32 = 120;
const BUCKET_TIME: Duration = Duration::from_millis(2500);

#[cfg(test)]
mod tests;
