use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn backoff(set: impl FnOnce(&mut Config)) -> Backoff {
    let mut config = Config::default();
    set(&mut config);
    Backoff::new(&config)
}

/// Feeds one outcome after each wait, and returns how long the waits were in seconds, 0 for none.
fn check(backoff: &mut Backoff, outcomes: &[Signal], expected: &[u64]) {
    let now = Instant::now();
    let mut random = Random::seeded(1);
    let mut waits = Vec::new();
    for &outcome in outcomes {
        waits.push(match backoff.on(outcome, now, &mut random) {
            Change::Wait(wait) => wait.as_secs(),
            Change::None | Change::Over => 0,
        });
        backoff.test();
    }
    assert_eq!(waits, expected);
}

use Signal::{Failure, Neutral, Success};

#[test]
fn every_failure_doubles_the_wait_up_to_the_maximum() {
    check(
        &mut backoff(|_| {}),
        &[Failure; 8],
        &[2, 4, 8, 16, 32, 64, 64, 64],
    );
}

#[test]
fn every_success_halves_it_and_a_neutral_outcome_keeps_it() {
    check(
        &mut backoff(|_| {}),
        &[
            Failure, Failure, Neutral, Success, Failure, Success, Success, Success,
        ],
        &[2, 4, 4, 2, 4, 2, 0, 0],
    );
}

#[test]
fn without_failures_nothing_happens() {
    let mut backoff = backoff(|_| {});
    let now = Instant::now();
    for signal in [Success, Neutral] {
        let change = backoff.on(signal, now, &mut Random::seeded(1));
        assert_eq!(change, Change::None);
    }
    assert_eq!((backoff.level(), backoff.waiting_until()), (0, None));
}

#[test]
fn while_waiting_outcomes_count_for_nothing() {
    let mut backoff = backoff(|_| {});
    let mut random = Random::seeded(1);
    let now = Instant::now();
    backoff.on(Failure, now, &mut random);
    for signal in [Failure, Success, Neutral, Failure] {
        assert_eq!(backoff.on(signal, now, &mut random), Change::None);
    }
    assert_eq!(backoff.level(), 1);
    assert_eq!(backoff.waiting_until(), Some(now + 2 * SECOND));
    backoff.test();
    assert_eq!(backoff.on(Success, now, &mut random), Change::Over);
}

#[test]
fn a_maximum_of_zero_turns_it_off() {
    for strategy in [BackoffStrategy::Exponential, BackoffStrategy::FullJitter] {
        let mut backoff = backoff(|config| {
            config.max_backoff_duration = Duration::ZERO;
            config.backoff_multiplier = Duration::ZERO;
            config.backoff_strategy = strategy;
        });
        check(&mut backoff, &[Failure; 4], &[0; 4]);
        assert_eq!(backoff.level(), 0);
    }
}

#[test]
fn full_jitter_waits_at_most_as_long() {
    let mut backoff = backoff(|config| config.backoff_strategy = BackoffStrategy::FullJitter);
    let mut random = Random::seeded(3);
    let now = Instant::now();
    let mut differing = Vec::new();
    for _ in 0..50 {
        let change = backoff.on(Failure, now, &mut random);
        let Change::Wait(wait) = change else {
            panic!("a failure waits: {change:?}")
        };
        let full = SECOND * 2_u32.saturating_pow(backoff.level());
        assert!(wait <= full.min(Duration::from_mins(2)), "{wait:?}");
        differing.push(wait);
        backoff.test();
    }
    differing.dedup();
    assert!(differing.len() > 20, "{differing:?}");
}

proptest! {
    /// The model: a level that goes up and down by one, between 0 and the last whose time fits.
    #[test]
    fn the_level_is_failures_less_successes(
        outcomes in prop::collection::vec(prop::sample::select(vec![Failure, Neutral, Success]), 0..200),
        unit in 1_u64..5000,
        max in 0_u64..3_600_000,
    ) {
        let mut backoff = backoff(|config| {
            config.backoff_multiplier = Duration::from_millis(unit);
            config.max_backoff_duration = Duration::from_millis(max);
        });
        let time = |level: u32| 2_u64.pow(level) * unit;
        let mut level = 0;
        let now = Instant::now();
        for outcome in outcomes {
            let change = backoff.on(outcome, now, &mut Random::seeded(1));
            let before = level;
            match outcome {
                Failure if time(level + 1) <= max => level += 1,
                Failure | Neutral => {}
                Success => level = level.saturating_sub(1),
            }
            let expected = match (level, before) {
                (0, 0) => Change::None,
                (0, _) => Change::Over,
                _ => Change::Wait(Duration::from_millis(time(level))),
            };
            prop_assert_eq!(change, expected);
            prop_assert_eq!(backoff.level(), level);
            backoff.test();
        }
    }
}
