//! nsq_to_http with several endpoints, and with only some of the messages.

use nsq_tests::{Fake, Nsqd};

use crate::endpoint::{answer, post_to, to_http, told};
use crate::messages::publish;

/// One that takes everything, and one that takes nothing.
fn good_and_bad() -> [Fake; 2] {
    [
        Fake::start(|_| Some(answer("200 OK"))),
        Fake::start(|_| Some(answer("500 Internal Server Error"))),
    ]
}

/// One message at a time, so that an outcome is known before the next choice.
const ONE_BY_ONE: [&str; 2] = ["-n=1", "--max-in-flight=1"];

#[track_caller]
fn publish_numbers(nsqd: &Nsqd, count: usize) {
    let body: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    let reply = nsqd.post("/mpub?topic=t", body.join("\n").as_bytes());
    assert_eq!(reply.status, 200);
}

#[test]
fn round_robin_takes_turns_and_begins_with_the_second() {
    let nsqd = Nsqd::start(&[]);
    let servers = [(); 2].map(|()| Fake::start(|_| Some(answer("200 OK"))));
    publish_numbers(&nsqd, 6);
    let posts = servers.each_ref().map(|server| post_to(server, "/"));
    let flags = [
        &["--mode=round-robin", &posts[0], &posts[1]],
        &ONE_BY_ONE[..],
    ]
    .concat();
    let mut tool = to_http(&nsqd, &flags);
    for (server, expected) in [
        (&servers[1], ["0", "2", "4"]),
        (&servers[0], ["1", "3", "5"]),
    ] {
        let bodies = [(); 3].map(|()| told(server).text());
        assert_eq!(bodies, expected);
    }
    assert_eq!(tool.terminate().code(), Some(0));
}

#[test]
fn round_robin_goes_on_asking_one_that_fails() {
    let nsqd = Nsqd::start(&[]);
    let [good, bad] = good_and_bad();
    let posts = [post_to(&good, "/"), post_to(&bad, "/")];
    let flags = [
        &["--mode=round-robin", &posts[0], &posts[1]],
        &ONE_BY_ONE[..],
    ]
    .concat();
    let mut tool = to_http(&nsqd, &flags);
    for round in 1..=3 {
        publish(&nsqd, "t", &["1"]);
        assert_eq!(told(&bad).text(), "1", "round {round}");
        // It comes again, and the next in turn takes it.
        assert_eq!(told(&good).text(), "1", "round {round}");
    }
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("requeue_count", 3)]);
    assert_eq!(tool.terminate().code(), Some(0));
}

#[test]
fn epsilon_greedy_leaves_one_alone_that_fails() {
    let nsqd = Nsqd::start(&[]);
    let [good, bad] = good_and_bad();
    publish_numbers(&nsqd, 20);
    let posts = [post_to(&good, "/"), post_to(&bad, "/")];
    let flags = [
        &["--mode=epsilon-greedy", &posts[0], &posts[1]],
        &ONE_BY_ONE[..],
    ]
    .concat();
    let mut tool = to_http(&nsqd, &flags);
    let mut numbers: Vec<usize> = (0..20)
        .map(|_| told(&good).text().parse().expect("it is a number"))
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..20));
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert!(bad.told.try_iter().count() <= 1);
    assert_eq!(tool.terminate().code(), Some(0));
}

#[test]
fn a_sample_is_sent_and_the_rest_is_finished_all_the_same() {
    for (share, expected) in [("0", 0..=0), ("0.5", 50..=150), ("1", 200..=200)] {
        let nsqd = Nsqd::start(&[]);
        let server = Fake::start(|_| Some(answer("200 OK")));
        publish_numbers(&nsqd, 200);
        let sample = format!("--sample={share}");
        let mut tool = to_http(&nsqd, &[&post_to(&server, "/"), &sample]);
        nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
        assert_eq!(tool.terminate().code(), Some(0));
        let sent = server.told.try_iter().count();
        assert!(expected.contains(&sent), "{sent} of 200 with {share}");
    }
}
