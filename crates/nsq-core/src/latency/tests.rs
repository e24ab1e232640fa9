use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::testing::{ALICE, MORNING, SECOND, TestBroker};

const HALF: Duration = Duration::from_mins(5);
const NANOSECOND: Duration = Duration::from_nanos(1);

fn percentiles(quantiles: &[f64]) -> PercentileSettings {
    PercentileSettings {
        quantiles: quantiles.to_vec(),
        window: HALF * 2,
    }
}

fn house() -> TestBroker {
    TestBroker::with(|settings| {
        settings.percentiles = Some(std::sync::Arc::new(percentiles(&[1.0, 0.5])));
    })
}

/// What the sketch makes of `latencies`.
fn summary(latencies: &[u64], quantiles: &[f64]) -> LatencySummary {
    let mut sketch = Sketch::new();
    for &nanos in latencies {
        sketch.record(nanos);
    }
    sketch.summary(quantiles)
}

/// The smallest value that as many as `quantile` of the sorted `latencies` do not exceed.
fn exact(latencies: &[u64], quantile: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts of a test are small"
    )]
    let rank = (quantile * latencies.len() as f64).ceil() as usize;
    latencies[rank.clamp(1, latencies.len()) - 1]
}

proptest! {
    #[test]
    fn percentiles_are_within_one_percent(
        mut latencies in prop::collection::vec(prop_oneof![0..5_000_000_u64, 0..100_000_000_000_u64, 0..MAX_NANOS], 1..400),
        quantile in prop_oneof![Just(1.0), Just(0.999), Just(0.99), Just(0.95), Just(0.5), 0.001..1.0],
    ) {
        let got = summary(&latencies, &[quantile]);
        latencies.sort_unstable();
        let want = exact(&latencies, quantile);
        prop_assert_eq!(got.count, latencies.len() as u64);
        let off = got.percentiles[0].nanos.abs_diff(want);
        prop_assert!(off <= want / 100 + RESOLUTION_NANOS, "{} for {want}", got.percentiles[0].nanos);
    }

    #[test]
    fn every_latency_is_in_the_bucket_of_the_first_bound_that_holds_it(nanos in prop_oneof![
        0..u64::MAX,
        prop::sample::select(&BUCKET_BOUNDS[..]),
        prop::sample::select(&BUCKET_BOUNDS[..]).prop_map(|bound| bound + 1),
    ], guess in 0..=BUCKET_BOUNDS.len()) {
        let mut buckets = LatencyBuckets::default();
        let bucket = buckets.record(nanos, guess);
        let holds = |&bound: &u64| nanos <= bound;
        let want = BUCKET_BOUNDS.iter().position(holds).unwrap_or(BUCKET_BOUNDS.len());
        prop_assert_eq!((bucket, buckets.counts[want]), (want, 1));
        prop_assert_eq!((buckets.count(), buckets.sum_nanos), (1, u128::from(nanos)));
    }
}

#[test]
fn the_longest_latency_is_exact_and_none_is_zero() {
    let longest = |latencies: &[u64]| summary(latencies, &[1.0]).percentiles[0].nanos;
    assert_eq!(longest(&[123_456_789]), 123_456_789);
    assert_eq!(longest(&[1_000_003, 999]), 1_000_003);
    assert_eq!(longest(&[0]), 0);
    assert_eq!(longest(&[]), 0);
    assert_eq!(longest(&[u64::MAX]), MAX_NANOS);
}

#[test]
fn memory_has_a_bound() {
    let mut sketch = Sketch::new();
    for shift in 0..64 {
        sketch.record(1 << shift);
    }
    sketch.record(u64::MAX);
    assert!(sketch.histogram.distinct_values() * size_of::<u32>() < 30 << 10);
}

#[test]
fn a_latency_is_forgotten_after_half_a_window_to_a_whole_one() {
    let mut window = Window::new(HALF * 2, MORNING.tick);
    let at = |span: Duration| MORNING.tick.after(span);
    window.record(1, at(HALF));
    window.record(2, at(HALF + NANOSECOND));
    let mut count = |span| window.all(at(span)).summary(&[]).count;
    assert_eq!(count(HALF * 2), 2);
    assert_eq!(count(HALF * 2 + NANOSECOND), 1);
    assert_eq!(count(HALF * 3), 1);
    assert_eq!(count(HALF * 3 + NANOSECOND), 0);
}

#[test]
fn a_window_that_nobody_looked_at_for_long_is_empty_and_begins_anew() {
    let mut window = Window::new(HALF * 2, MORNING.tick);
    window.record(1, MORNING.tick);
    let later = MORNING.tick.after(HALF * 1_000_000);
    assert_eq!(window.all(later).summary(&[]).count, 0);
    window.record(2, later);
    assert_eq!(window.all(later.after(HALF)).summary(&[]).count, 1);
}

#[test]
fn a_message_is_measured_from_publish_to_finish() {
    let mut house = house();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    house.publish("t", &["a"]);
    house.publish_deferred("t", "b", SECOND);
    house.pass(SECOND * 2);
    house.handle_timeout(&cell);
    for message in house.take(&cell, ALICE) {
        cell.lock().finish(ALICE, message.id, house.now).unwrap();
        house.pass(SECOND);
    }
    let stats = house.topic("t").stats_with_percentiles(house.now);
    let latency = stats.latency.unwrap();
    let nanos: Vec<_> = latency.percentiles.iter().map(|each| each.nanos).collect();
    assert_eq!((latency.count, nanos[0]), (2, 3_000_000_000));
    assert!(nanos[1].abs_diff(2_000_000_000) <= 20_000_000, "{nanos:?}");
    let buckets = stats.channels[0].buckets.unwrap();
    assert_eq!(
        (buckets.count(), buckets.sum_nanos),
        (2, 5_000_000_000),
        "{buckets:?}"
    );
    assert_eq!(buckets.counts[12], 1, "above 2.5 s, within 5 s");
}

#[test]
fn what_was_not_finished_by_its_holder_is_not_measured() {
    let house = house();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    house.publish("t", &["a"]);
    let message = house.take_one(&cell, ALICE);
    house.requeue(&cell, ALICE, message.id, SECOND).unwrap();
    let late = cell.lock().finish(ALICE, message.id, house.now);
    assert!(late.is_err());
    assert_eq!(house.topic("t").stats().channels[0].buckets, None);
}

#[test]
fn a_message_keeps_its_time_over_a_restart() {
    let mut house = house();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    house.publish("t", &["plain", "requeued"]);
    let got = house.take(&cell, ALICE);
    house.requeue(&cell, ALICE, got[1].id, SECOND).unwrap();
    house.restart();
    house.pass(SECOND * 9);
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    house.handle_timeout(&cell);
    for message in house.take(&cell, ALICE) {
        cell.lock().finish(ALICE, message.id, house.now).unwrap();
    }
    let buckets = house.topic("t").stats().channels[0].buckets.unwrap();
    assert_eq!((buckets.count(), buckets.sum_nanos), (2, 20_000_000_000));
}

#[test]
fn a_clock_that_was_set_back_makes_no_negative_latency() {
    let house = house();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 1);
    house.publish("t", &["a"]);
    let message = house.take_one(&cell, ALICE);
    let mut earlier = house.now;
    earlier.unix_nanos -= 1;
    cell.lock().finish(ALICE, message.id, earlier).unwrap();
    let buckets = house.topic("t").stats().channels[0].buckets.unwrap();
    assert_eq!((buckets.counts[0], buckets.sum_nanos), (1, 0));
}

#[test]
fn a_topics_percentiles_are_those_of_all_its_channels_messages() {
    let mut house = house();
    let topic = house.topic("t");
    assert_eq!(topic.stats_with_percentiles(house.now).latency, None);
    for (name, wait) in [("quick", SECOND), ("slow", SECOND * 8)] {
        let cell = house.channel("t", name);
        house.subscribe(&cell, ALICE, 10);
        house.publish("t", &["x"]);
        let got = house.take(&cell, ALICE);
        house.pass(wait);
        cell.lock().finish(ALICE, got[0].id, house.now).unwrap();
        house.bells.take_all();
    }
    let stats = topic.stats_with_percentiles(house.now);
    let summary = |latency: &Option<LatencySummary>| {
        let latency = latency.as_ref().unwrap();
        (latency.count, latency.percentiles[0].nanos / 1_000_000_000)
    };
    assert_eq!(summary(&stats.channels[0].latency), (1, 1));
    assert_eq!(summary(&stats.channels[1].latency), (1, 8));
    assert_eq!(summary(&stats.latency), (2, 8));
    assert_eq!(topic.stats().latency, None, "only where they are asked for");
}

#[test]
fn totals_remember_what_was_deleted() {
    let house = TestBroker::new();
    let cell = house.channel("t", "c");
    house.subscribe(&cell, ALICE, 10);
    house.publish("t", &["a", "b"]);
    for message in house.take(&cell, ALICE) {
        cell.lock().finish(ALICE, message.id, house.now).unwrap();
    }
    let living = || {
        let mut totals = house.broker().departed();
        for topic in house.broker().topics() {
            totals.add(&topic.stats());
        }
        totals
    };
    let before = living();
    assert_eq!((before.published_messages, before.buckets.count()), (2, 2));
    house.topic("t").delete_channel("c");
    assert_eq!(living(), before);
    house.broker().delete_topic("t");
    assert_eq!(living(), before);
}
