//! What is kept over one kill -9 or one orderly end, exactly.

use std::time::{Duration, Instant};

use nsq_tests::{Nsqd, PATIENCE, wait_until};

#[test]
fn a_kill_keeps_what_is_deferred_and_when_it_is_due() {
    let mut nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    let mut client = nsqd.connect();
    let start = Instant::now();
    client.send_with_body("DPUB t 2500", b"later");
    client.expect_ok();
    nsqd.wait_for_channel("t", "c", &[("deferred_count", 1)]);
    nsqd.kill9();
    nsqd.start_again();
    let mut client = nsqd.subscribe("t", "c", 5);
    nsqd.wait_for_channel("t", "c", &[("deferred_count", 1), ("depth", 0)]);
    client.expect_body("later");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(2500), "early: {waited:?}");
    assert!(waited < Duration::from_secs(4), "late: {waited:?}");
}

#[test]
fn an_orderly_end_keeps_what_is_deferred_and_when_it_is_due() {
    let mut nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    let start = Instant::now();
    let mut client = nsqd.subscribe("t", "c", 1);
    client.publish("t", "tried");
    let tried = client.expect_body("tried");
    client.send_line(&format!("REQ {} 2500", tried.id));
    client.send_with_body("DPUB t 2500", b"later");
    client.expect_ok();
    nsqd.wait_for_channel("t", "c", &[("deferred_count", 2)]);
    assert!(nsqd.terminate().success());
    nsqd.start_again();
    let mut client = nsqd.subscribe("t", "c", 5);
    let mut came = [client.expect_message(), client.expect_message()];
    assert!(
        start.elapsed() >= Duration::from_millis(2500),
        "early: {:?}",
        start.elapsed()
    );
    came.sort_by_key(|message| message.attempts);
    assert_eq!([came[0].attempts, came[1].attempts], [1, 2]);
    assert_eq!(came[1].id, tried.id);
}

#[test]
fn what_was_finished_before_a_kill_stays_finished() {
    let mut nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 10);
    let bodies: Vec<_> = (0..1000).map(|index| index.to_string()).collect();
    nsqd.connect().publish_many("t", &bodies);
    for _ in 0..600 {
        let message = client.expect_message();
        client.finish(&message);
    }
    client.send_line("RDY 0");
    wait_until("every FIN has been seen", PATIENCE, || {
        nsqd.channel("t", "c")["clients"][0]["finish_count"] == 600
    });
    nsqd.kill9();
    nsqd.start_again();
    let unfinished = |nsqd: &Nsqd| {
        let channel = nsqd.channel("t", "c");
        ["depth", "in_flight_count", "deferred_count"]
            .iter()
            .filter_map(|key| channel[*key].as_i64())
            .sum::<i64>()
    };
    assert_eq!(unfinished(&nsqd), 400);
}

#[test]
fn only_what_was_not_finished_comes_back_after_an_orderly_end() {
    let mut nsqd = Nsqd::start(&[]);
    let mut client = nsqd.subscribe("t", "c", 100);
    let bodies: Vec<_> = (0..200).map(|index| index.to_string()).collect();
    nsqd.connect().publish_many("t", &bodies);
    // Finish every second one, so that what is left has holes.
    let held: Vec<_> = (0..100).map(|_| client.expect_message()).collect();
    client.send_line("RDY 0");
    let mut left = vec![];
    for pair in held.chunks(2) {
        client.finish(&pair[0]);
        left.push(pair[1].id.clone());
    }
    nsqd.wait_for_channel("t", "c", &[("in_flight_count", 50), ("depth", 100)]);
    for _ in 0..3 {
        assert!(nsqd.terminate().success());
        nsqd.start_again();
    }
    let mut client = nsqd.subscribe("t", "c", 200);
    let mut ids: Vec<_> = (0..150).map(|_| client.expect_message().id).collect();
    client.expect_silence();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 150);
    assert!(left.iter().all(|id| ids.contains(id)));
}
