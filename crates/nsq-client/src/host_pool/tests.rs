use super::*;

fn pool(count: usize, mode: Mode) -> HostPool {
    HostPool::with_random(count, mode, Random::seeded(1))
}

fn choices(pool: &mut HostPool, count: usize, now: Instant) -> Vec<usize> {
    (0..count).map(|_| pool.choose(now)).collect()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn round_robin_begins_at_the_second_and_skips_nobody() {
    let now = Instant::now();
    let mut pool = pool(3, Mode::RoundRobin);
    pool.failed(2, now);
    assert_eq!(choices(&mut pool, 5, now), [1, 2, 0, 1, 2]);
}

#[test]
fn a_host_that_failed_is_left_alone_and_tried_ever_less_often() {
    let start = Instant::now();
    let mut pool = pool(2, Mode::HostPool);
    assert_eq!(choices(&mut pool, 3, start), [0, 1, 0]);
    pool.failed(1, start);
    assert_eq!(choices(&mut pool, 3, start + 30 * SECOND), [0; 3]);
    let first = start + 31 * SECOND;
    assert_eq!(choices(&mut pool, 3, first), [1, 0, 0]);
    pool.failed(1, first);
    assert_eq!(choices(&mut pool, 3, first + 60 * SECOND), [0; 3]);
    let second = first + 61 * SECOND;
    assert!(choices(&mut pool, 2, second).contains(&1));
    pool.succeeded(1, second, SECOND);
    assert_eq!(choices(&mut pool, 4, second), [1, 0, 1, 0]);
}

#[test]
fn when_all_failed_all_begin_again() {
    let now = Instant::now();
    let mut pool = pool(3, Mode::HostPool);
    for host in 0..3 {
        pool.failed(host, now);
    }
    assert_eq!(choices(&mut pool, 4, now), [0, 1, 2, 0]);
}

#[test]
fn the_faster_host_is_chosen_more_often_but_not_alone() {
    let mut now = Instant::now();
    let mut pool = pool(2, Mode::EpsilonGreedy);
    let mut counts = [0_u32; 2];
    for _ in 0..10_000 {
        now += Duration::from_millis(50);
        let host = pool.choose(now);
        counts[host] += 1;
        let took = [Duration::from_millis(90), Duration::from_millis(10)][host];
        pool.succeeded(host, now, took);
    }
    // Weights are 1 to 9, and one choice in a hundred is free.
    assert!((800..1300).contains(&counts[0]), "{counts:?}");
}

#[test]
fn epsilon_greedy_leaves_hosts_alone_that_failed() {
    let mut now = Instant::now();
    let mut pool = pool(2, Mode::EpsilonGreedy);
    for host in 0..2 {
        pool.succeeded(host, now, 10 * SECOND);
    }
    pool.failed(0, now);
    for _ in 0..1000 {
        now += Duration::from_millis(20);
        assert_eq!(pool.choose(now), 1);
    }
}

#[test]
fn what_was_long_ago_is_forgotten() {
    let start = Instant::now();
    let mut speed = Speed::default();
    speed.add(start, SECOND);
    assert!(speed.weight(start) > 0.0);
    assert!(speed.weight(start + 301 * SECOND) <= 0.0);
}
