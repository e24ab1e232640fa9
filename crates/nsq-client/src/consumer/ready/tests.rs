use super::*;
use proptest::prelude::*;

fn counts(max_in_flight: u32) -> ReadyCounts {
    ReadyCounts::new(&Config {
        max_in_flight,
        ..Config::default()
    })
}

/// With connections 1 to `n`, whose nsqds allow 2500 each.
fn with_connections(max_in_flight: u32, n: u64, now: Instant) -> ReadyCounts {
    let mut ready = counts(max_in_flight);
    for id in 1..=n {
        ready.add(ConnectionId(id), 2500, now);
        ready.share_out(now, &mut Changes::new());
    }
    ready
}

fn all(ready: &ReadyCounts) -> Vec<u32> {
    ready.ids().map(|id| ready.count(id)).collect()
}

#[test]
fn connections_share_max_in_flight() {
    let now = Instant::now();
    for (max_in_flight, n, expected) in [
        (200, 1, vec![200]),
        (200, 2, vec![100, 100]),
        (200, 3, vec![66, 66, 66]),
        (5, 5, vec![1; 5]),
        (2, 4, vec![1, 1, 0, 0]),
        (0, 3, vec![0; 3]),
        (9000, 2, vec![2500, 2500]),
    ] {
        let ready = with_connections(max_in_flight, n, now);
        assert_eq!(all(&ready), expected, "{max_in_flight} over {n}");
    }
}

#[test]
fn those_there_give_up_their_part_before_the_new_one_gets_it() {
    let now = Instant::now();
    let mut ready = with_connections(100, 1, now);
    let mut changes = Changes::new();
    ready.add(ConnectionId(2), 2500, now);
    ready.share_out(now, &mut changes);
    assert_eq!(changes, [(ConnectionId(1), 50), (ConnectionId(2), 50)]);
}

#[test]
fn what_does_not_change_is_not_sent() {
    let now = Instant::now();
    let mut ready = with_connections(100, 3, now);
    let mut changes = Changes::new();
    ready.share_out(now, &mut changes);
    assert_eq!(changes, []);
}

#[test]
fn the_others_get_the_part_of_one_that_goes() {
    let now = Instant::now();
    let mut ready = with_connections(100, 2, now);
    assert!(ready.remove(ConnectionId(1)));
    ready.share_out(now, &mut Changes::new());
    assert_eq!(all(&ready), [100]);
}

#[test]
fn a_lower_max_in_flight_holds_at_once() {
    let now = Instant::now();
    let mut ready = with_connections(300, 3, now);
    ready.set_max_in_flight(2);
    ready.share_out(now, &mut Changes::new());
    assert_eq!(all(&ready).iter().sum::<u32>(), 2);
}

#[test]
fn who_got_nothing_is_tried_again() {
    let now = Instant::now();
    let mut ready = with_connections(1, 2, now);
    assert_eq!(all(&ready), [1, 0]);
    assert_eq!(ready.next_retry(), Some(now + RETRY));
    let mut changes = Changes::new();
    ready.set(ConnectionId(1), 0, now, &mut changes);
    ready.retry(now + RETRY, &mut changes);
    assert_eq!(changes, [(ConnectionId(1), 0), (ConnectionId(2), 1)]);
    assert_eq!(ready.next_retry(), None);
}

#[test]
fn an_idle_connection_gives_its_turn_to_another() {
    let start = Instant::now();
    let mut ready = with_connections(1, 2, start);
    let mut random = Random::seeded(1);
    let mut changes = Changes::new();
    let idle = Duration::from_secs(10);
    ready.redistribute(u32::MAX, start + idle, &mut random, &mut changes);
    assert_eq!(changes, [], "ten seconds are not more than ten seconds");
    let later = start + idle + Duration::from_millis(1);
    ready.redistribute(u32::MAX, later, &mut random, &mut changes);
    assert_eq!(changes, [(ConnectionId(1), 0), (ConnectionId(2), 1)]);
}

#[test]
fn a_busy_connection_gives_up_its_turn_later() {
    let start = Instant::now();
    let mut ready = with_connections(1, 2, start);
    let mut random = Random::seeded(1);
    let mut changes = Changes::new();
    for seconds in 1..=30 {
        let now = start + Duration::from_secs(seconds);
        ready.message_came(ConnectionId(1), now);
        ready.redistribute(u32::MAX, now, &mut random, &mut changes);
    }
    assert_eq!(changes, []);
    let now = start + Duration::from_millis(30_001);
    ready.redistribute(u32::MAX, now, &mut random, &mut changes);
    assert_eq!(changes, [(ConnectionId(1), 0), (ConnectionId(2), 1)]);
}

#[test]
fn every_idle_connection_gets_its_turn() {
    let mut now = Instant::now();
    let mut ready = with_connections(2, 7, now);
    let mut random = Random::seeded(5);
    let mut turns = [0; 8];
    for _ in 0..100 {
        now += Duration::from_secs(11);
        let mut changes = Changes::new();
        ready.redistribute(u32::MAX, now, &mut random, &mut changes);
        for (ConnectionId(id), count) in changes {
            turns[usize::try_from(id).unwrap()] += count;
        }
    }
    assert!(turns[1..].iter().all(|turns| *turns > 10), "{turns:?}");
}

#[derive(Debug, Clone)]
enum Step {
    Add { max: u32 },
    Remove { index: usize },
    MaxInFlight(u32),
    Message { index: usize },
    Pass(u64),
    ShareOut,
    StopAll,
    Retry,
    Redistribute { limit: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u32..20).prop_map(|max| Step::Add { max }),
        (0_usize..8).prop_map(|index| Step::Remove { index }),
        (0_u32..30).prop_map(Step::MaxInFlight),
        (0_usize..8).prop_map(|index| Step::Message { index }),
        (0_u64..40_000).prop_map(Step::Pass),
        Just(Step::ShareOut),
        Just(Step::StopAll),
        Just(Step::Retry),
        (0_u32..3).prop_map(|limit| Step::Redistribute { limit }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_counts_stay_within_bounds(
        steps in prop::collection::vec(step(), 0..200),
        seed: u64,
    ) {
        let mut ready = counts(10);
        let mut random = Random::seeded(seed);
        let mut now = Instant::now();
        // What each nsqd was told last, and allows.
        let mut told = BTreeMap::new();
        let mut last_id = 0;
        for step in steps {
            let nth = |index: usize| ready.ids().nth(index % ready.connection_count().max(1));
            let mut changes = Changes::new();
            let mut shared_out = false;
            match step {
                Step::Add { max } => {
                    last_id += 1;
                    ready.add(ConnectionId(last_id), max, now);
                    told.insert(ConnectionId(last_id), (0, max));
                }
                Step::Remove { index } => if let Some(id) = nth(index) {
                    ready.remove(id);
                    told.remove(&id);
                },
                Step::MaxInFlight(max) => {
                    ready.set_max_in_flight(max);
                    ready.share_out(now, &mut changes);
                    shared_out = true;
                }
                Step::Message { index } => if let Some(id) = nth(index) {
                    ready.message_came(id, now);
                },
                Step::Pass(millis) => now += Duration::from_millis(millis),
                Step::ShareOut => {
                    ready.share_out(now, &mut changes);
                    shared_out = true;
                }
                Step::StopAll => ready.stop_all(now, &mut changes),
                Step::Retry => ready.retry(now, &mut changes),
                Step::Redistribute { limit } => {
                    ready.redistribute(limit, now, &mut random, &mut changes);
                }
            }
            for (id, count) in changes {
                let (last, max) = told.get_mut(&id).expect("only those there are told");
                prop_assert_ne!(*last, count, "told again");
                let is_raised = count > *last;
                prop_assert!(count <= *max);
                *last = count;
                let sum: u32 = told.values().map(|(count, _)| count).sum();
                // Parts are given up before they are given away.
                prop_assert!(!is_raised || sum <= ready.max_in_flight());
            }
            let sum: u32 = told.values().map(|(count, _)| count).sum();
            prop_assert_eq!(sum, ready.total());
            prop_assert!(sum <= ready.max_in_flight());
            for (id, (count, _)) in &told {
                prop_assert_eq!(ready.count(*id), *count);
            }
            if shared_out {
                // No one who could have something has nothing while there is something left.
                let is_starved = told.values().any(|&(count, max)| count == 0 && max > 0);
                prop_assert!(!is_starved || sum == ready.max_in_flight());
            }
        }
    }
}
