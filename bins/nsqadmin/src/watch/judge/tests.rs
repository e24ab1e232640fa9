//! Long simulated times: a queue with arrivals and departures, polled every five seconds.

use super::*;

/// A queue as nsqd would report it. Nothing here is shared with the judge.
struct Queue {
    now: i64,
    /// Publish times of those that wait, oldest first.
    waiting: std::collections::VecDeque<i64>,
    in_flight: i64,
    received: i64,
    finished: i64,
    timed_out: i64,
    consumers: i64,
    paused: bool,
    counts_finishes: bool,
    /// Parts of messages that have come or gone.
    arriving: f64,
    leaving: f64,
}

impl Queue {
    fn new(waiting: i64) -> Self {
        Self {
            now: 0,
            waiting: (0..waiting).map(|_| -1000).collect(),
            in_flight: 0,
            received: waiting,
            finished: 0,
            timed_out: 0,
            consumers: 1,
            paused: false,
            counts_finishes: true,
            arriving: 0.0,
            leaving: 0.0,
        }
    }

    fn sample(&self) -> Sample {
        let depth = i64::try_from(self.waiting.len()).unwrap();
        Sample {
            at: self.now,
            depth,
            in_flight: self.in_flight,
            received: self.received,
            finished: self.counts_finishes.then_some(self.finished),
            timed_out: self.timed_out,
            consumers: self.consumers,
            paused: self.paused,
            oldest_age: self.counts_finishes.then(|| {
                self.waiting
                    .front()
                    .map_or(0, |published| self.now - published)
            }),
            ..Sample::default()
        }
    }

    /// One second with so many messages coming and being finished.
    fn second(&mut self, incoming: f64, outgoing: f64) {
        self.now += 1000;
        self.arriving += incoming;
        while self.arriving >= 1.0 {
            self.arriving -= 1.0;
            self.received += 1;
            self.waiting.push_back(self.now);
        }
        self.leaving += outgoing;
        while self.leaving >= 1.0 {
            self.leaving -= 1.0;
            if self.waiting.pop_front().is_some() {
                self.finished += 1;
            }
        }
        self.in_flight =
            i64::from(self.consumers > 0 && outgoing > 0.0 && !self.waiting.is_empty());
    }
}

/// Runs `seconds`, polling every five; the conditions with the time at which each began to be shown.
fn run(
    judge: &mut Judge,
    queue: &mut Queue,
    seconds: i64,
    mut second: impl FnMut(&mut Queue),
) -> Vec<(i64, Condition)> {
    let mut seen = Vec::new();
    for _ in 0..seconds {
        second(queue);
        if queue.now % 5000 == 0 && judge.step(queue.sample()).is_some() {
            seen.push((queue.now, judge.condition()));
        }
    }
    seen
}

/// A small generator of numbers in 0..1, the same each time.
fn random(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    f64::from(u32::try_from(*state >> 32).unwrap()) / f64::from(u32::MAX)
}

#[test]
fn falling_behind_by_five_a_second_is_named_within_half_a_minute_and_for_hours() {
    for counts_finishes in [true, false] {
        let mut queue = Queue::new(20_000);
        queue.counts_finishes = counts_finishes;
        let mut judge = Judge::new(queue.sample());
        let seen = run(&mut judge, &mut queue, 2 * 3600, |queue| {
            queue.second(12.0, 7.0);
        });
        let named: Vec<_> = seen
            .iter()
            .filter(|(_, c)| *c == Condition::FallingBehind)
            .collect();
        assert_eq!(named.len(), 1, "{seen:?}");
        assert!(named[0].0 <= 25_000, "{seen:?}");
        assert_eq!(judge.condition(), Condition::FallingBehind);
        assert_eq!(judge.severity(), Severity::Bad);
        assert!(judge.since() <= 20_000);
        assert_eq!(judge.drains_in(), None);
        let recent = judge.recent();
        assert!(
            (recent.per_second(recent.received) - 12.0).abs() < 1.0,
            "{recent:?}"
        );
        assert!(
            (recent.per_second(recent.finished) - 7.0).abs() < 1.0,
            "{recent:?}"
        );
    }
}

#[test]
fn a_rise_that_is_small_against_the_traffic_is_named_after_minutes() {
    let mut queue = Queue::new(20_000);
    let mut judge = Judge::new(queue.sample());
    let seen = run(&mut judge, &mut queue, 600, |queue| {
        queue.second(1000.0, 998.0);
    });
    assert_eq!(judge.condition(), Condition::FallingBehind, "{seen:?}");
}

#[test]
fn noise_around_a_balance_is_no_trouble() {
    let mut state = 7;
    for rate in [0.2, 3.0, 50.0] {
        let mut queue = Queue::new(0);
        let mut judge = Judge::new(queue.sample());
        let seen = run(&mut judge, &mut queue, 3 * 3600, |queue| {
            let incoming = rate * 2.0 * random(&mut state);
            queue.second(incoming, rate * 1.5);
        });
        let trouble: Vec<_> = seen.iter().filter(|(_, c)| c.is_trouble()).collect();
        assert!(trouble.is_empty(), "{rate}: {trouble:?}");
    }
}

#[test]
fn a_backlog_that_shrinks_says_so_until_it_is_gone_and_does_not_flicker() {
    let mut queue = Queue::new(0);
    let mut judge = Judge::new(queue.sample());
    run(&mut judge, &mut queue, 900, |queue| {
        queue.second(20.0, 10.0);
    });
    assert_eq!(judge.condition(), Condition::FallingBehind);
    let mut state = 3;
    let seen = run(&mut judge, &mut queue, 900, |queue| {
        queue.second(20.0 * random(&mut state), 30.0);
    });
    let conditions: Vec<_> = seen.iter().map(|(_, condition)| *condition).collect();
    assert_eq!(
        conditions,
        [Condition::CatchingUp, Condition::Fine],
        "{seen:?}"
    );
}

#[test]
fn a_steady_backlog_is_never_fine() {
    let mut queue = Queue::new(14_145);
    queue.now = 20 * 60 * 1000;
    let mut judge = Judge::new(queue.sample());
    assert_eq!(judge.condition(), Condition::Backlog);
    for _ in 0..3600 {
        queue.second(12.0, 12.0);
        if queue.now % 5000 == 0 {
            judge.step(queue.sample());
            assert!(
                judge.severity() >= Severity::Warn,
                "{:?}",
                judge.condition()
            );
        }
    }
}

#[test]
fn a_consumer_that_finishes_nothing_is_named_all_the_time() {
    let mut queue = Queue::new(100);
    let mut judge = Judge::new(queue.sample());
    let hold = |queue: &mut Queue| {
        // It holds five messages for a minute; then they are back for a moment.
        queue.second(0.0, 0.0);
        queue.in_flight = 5;
        if queue.now % 60_000 == 0 {
            queue.timed_out += 5;
            queue.in_flight = 0;
        }
    };
    let seen = run(&mut judge, &mut queue, 3600, hold);
    assert_eq!(seen[0].1, Condition::Slow, "{seen:?}");
    assert!(seen[0].0 <= 25_000, "{seen:?}");
    assert_eq!(seen[1].1, Condition::Stuck, "{seen:?}");
    assert!(seen[1].0 <= 70_000 && seen.len() == 2, "{seen:?}");
    assert!(judge.since() <= 5000 && judge.has_timeouts());
    run(&mut judge, &mut queue, 60, |queue| {
        queue.second(0.0, 5.0);
    });
    assert_eq!(judge.condition(), Condition::Fine);
}

#[test]
fn jobs_that_take_long_are_no_stall_once_they_are_known() {
    let mut queue = Queue::new(100);
    let mut judge = Judge::new(queue.sample());
    let seen = run(&mut judge, &mut queue, 1800, |queue| {
        // One message waits all the time for the one consumer, which needs forty seconds for each.
        let comes = queue.now % 40_000 == 0;
        queue.second(if comes { 1.0 } else { 0.0 }, if comes { 1.0 } else { 0.0 });
        queue.in_flight = 1;
    });
    let slow = seen.iter().filter(|(_, c)| *c == Condition::Slow).count();
    assert!(slow <= 1, "{seen:?}");
    assert!(seen.iter().all(|(_, c)| *c != Condition::Stuck), "{seen:?}");
}

#[test]
fn a_short_timeout_proves_a_stuck_consumer_sooner() {
    let mut queue = Queue::new(100);
    let mut judge = Judge::new(queue.sample());
    run(&mut judge, &mut queue, 20, |queue| {
        queue.second(0.0, 0.0);
        queue.in_flight = 5;
        queue.timed_out += 1;
    });
    assert_eq!(judge.condition(), Condition::Stuck);
}

#[test]
fn consumers_that_take_nothing_are_not_stuck_ones() {
    let mut queue = Queue::new(100);
    let mut judge = Judge::new(queue.sample());
    let seen = run(&mut judge, &mut queue, 600, |queue| {
        queue.second(0.0, 0.0);
    });
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].1, Condition::NotTaking);
    assert!(seen[0].0 <= 20_000, "{seen:?}");
}

#[test]
fn idle_is_not_bad_and_waiting_without_a_consumer_is() {
    let mut queue = Queue::new(0);
    queue.consumers = 0;
    let mut judge = Judge::new(queue.sample());
    assert_eq!(judge.severity(), Severity::Idle);
    let seen = run(&mut judge, &mut queue, 600, |queue| {
        queue.second(0.0, 0.0);
    });
    assert!(seen.is_empty(), "{seen:?}");
    let seen = run(&mut judge, &mut queue, 60, |queue| {
        queue.second(1.0, 0.0);
    });
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(judge.condition(), Condition::NoConsumers);
    assert_eq!(judge.severity(), Severity::Bad);
}

#[test]
fn what_waits_here_may_be_finished_by_consumers_elsewhere() {
    let mut queue = Queue::new(50);
    queue.consumers = 0;
    let elsewhere = |queue: &Queue| Sample {
        consumers_elsewhere: 2,
        ..queue.sample()
    };
    let mut judge = Judge::new(elsewhere(&queue));
    for _ in 0..60 {
        queue.second(5.0, 5.0);
        judge.step(elsewhere(&queue));
        assert_eq!(judge.condition(), Condition::Fine);
    }
    for _ in 0..60 {
        queue.second(5.0, 0.0);
        judge.step(elsewhere(&queue));
    }
    assert_eq!(judge.condition(), Condition::NoConsumers);
}

#[test]
fn emptying_a_channel_is_no_rate_and_a_gap_keeps_the_condition() {
    let mut queue = Queue::new(20_000);
    let mut judge = Judge::new(queue.sample());
    run(&mut judge, &mut queue, 120, |queue| {
        queue.second(12.0, 2.0);
    });
    assert_eq!(judge.condition(), Condition::FallingBehind);
    // The node does not respond for ten minutes, and is as before when it is back.
    for _ in 0..600 {
        queue.second(12.0, 2.0);
    }
    judge.step(queue.sample());
    assert_eq!(judge.condition(), Condition::FallingBehind);
    run(&mut judge, &mut queue, 30, |queue| {
        queue.second(12.0, 2.0);
    });
    assert_eq!(judge.condition(), Condition::FallingBehind);
    queue.waiting.clear();
    run(&mut judge, &mut queue, 10, |queue| {
        queue.second(0.0, 0.0);
    });
    let recent = judge.recent();
    assert!(recent.per_second(recent.finished) < 3.0, "{recent:?}");
    assert_eq!(judge.condition(), Condition::Fine);
}

#[test]
fn a_paused_channel_is_paused_and_no_more() {
    let mut queue = Queue::new(10);
    queue.paused = true;
    let mut judge = Judge::new(queue.sample());
    let seen = run(&mut judge, &mut queue, 600, |queue| {
        queue.second(3.0, 0.0);
    });
    assert!(seen.is_empty(), "{seen:?}");
    assert_eq!(judge.severity(), Severity::Warn);
}
