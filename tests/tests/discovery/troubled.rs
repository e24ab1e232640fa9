//! nsqlookupds that are down, hang or talk nonsense: nsqd continues, and its log says which.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use nsq_tests::{Lookupd, Nsqd, PATIENCE, RawClient, Start, free_port, say_loudly, wait_until};

use crate::fakes::{self, Hanging};

/// A time that does not count as waiting: shorter than every timeout, but enough for a slow machine.
const AT_ONCE: Duration = Duration::from_millis(500);

#[track_caller]
fn within<T>(limit: Duration, what: &str, act: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = act();
    let took = start.elapsed();
    assert!(took < limit, "{what} took {took:?}");
    done
}

#[track_caller]
fn expect_logged(nsqd: &Nsqd, text: &str) {
    let line = nsqd.log().wait_for(text, PATIENCE);
    assert!(line.is_some(), "no {text:?} in\n{}", nsqd.log().tail());
}

#[test]
fn one_that_works_is_enough() {
    let good = Lookupd::start();
    let hanging = Hanging::start();
    let (down, garbage) = (free_port(), fakes::talking_garbage());
    let bad = [down, hanging.address(), garbage];
    let nsqd = Start::default()
        .registering_with(&[bad[0], bad[1], good.tcp(), bad[2]])
        .now();
    wait_until("it is registered", PATIENCE, || good.nodes().len() == 1);
    good.order("/channel/create?topic=t&channel=c");

    let mut publisher = nsqd.connect();
    within(AT_ONCE, "the first publish", || publisher.publish("t", "x"));
    let mut subscriber = within(AT_ONCE, "the first SUB", || nsqd.subscribe("t", "c", 1));
    let first = subscriber.expect_body("x");
    subscriber.finish(&first);
    within(AT_ONCE, "a SUB to a new topic", || {
        nsqd.subscribe("new", "c", 1)
    });
    within(AT_ONCE, "twenty new topics", || {
        for index in 0..20 {
            publisher.publish(&format!("t{index}"), "x");
        }
    });
    good.wait_for_producers("t19", &[nsqd.tcp()]);
    for (address, why) in bad.iter().zip(["dial - ", "timeout", ""]) {
        expect_logged(&nsqd, &format!("LOOKUPD({address}): "));
        let log = nsqd.log().text();
        let named = format!("LOOKUPD({address}): ");
        let mut failures = log
            .lines()
            .filter(|line| line.contains(" ERROR: ") && line.contains(&named));
        assert!(
            failures.any(|line| line.contains(why)),
            "{address} {why:?}\n{log}"
        );
    }
}

#[test]
fn none_that_works_is_no_reason_to_wait() {
    let hanging = Hanging::start();
    let nsqd = Start::default()
        .registering_with(&[free_port(), hanging.address(), fakes::talking_garbage()])
        .now();
    within(AT_ONCE, "the first publish", || {
        nsqd.connect().publish("t", "x");
    });
    expect_logged(
        &nsqd,
        "no available nsqlookupd to query for channels to pre-create for topic t",
    );
    let mut subscriber = within(AT_ONCE, "SUB", || nsqd.subscribe("t", "c", 1));
    subscriber.expect_body("x");
}

#[test]
fn one_that_does_not_tell_its_channels_costs_its_time_out_and_no_more() {
    let hanging = Hanging::start();
    let good = Lookupd::start();
    good.order("/channel/create?topic=t&channel=c");
    let fake = fakes::pointing_to(hanging.address());
    let nsqd = Start::with(&["--http-client-request-timeout=2s"])
        .registering_with(&[fake, good.tcp()])
        .now();
    for address in [fake, good.tcp()] {
        expect_logged(&nsqd, &format!("LOOKUPD({address}): peer info"));
    }
    // One topic is there already.
    let mut existing = nsqd.subscribe("existing", "c", 10);
    let publishing = std::thread::spawn({
        let mut publisher = nsqd.connect();
        move || {
            let start = Instant::now();
            let before = RawClient::command("PUB existing", b"before");
            publisher.send(&[before, RawClient::command("PUB t", b"x")].concat());
            within(AT_ONCE, "the answer before", || publisher.expect_ok());
            publisher.expect_ok();
            start.elapsed()
        }
    });
    wait_until("the new topic is there", PATIENCE, || {
        !nsqd.topic("t").is_null()
    });
    within(AT_ONCE, "publishing to an existing topic", || {
        existing.expect_body("before");
        nsqd.connect().publish("existing", "meanwhile");
        existing.expect_body("meanwhile");
    });
    within(AT_ONCE, "another's publish to the new topic", || {
        nsqd.connect().publish("t", "y");
    });
    let took = publishing.join().expect("it publishes");
    assert!(took < Duration::from_secs(4), "it took {took:?}");
    // The other's answer still counts, and nothing went past it.
    nsqd.wait_for_channel("t", "c", &[("message_count", 2)]);
    expect_logged(
        &nsqd,
        "failed to query nsqlookupd for channels to pre-create for topic t",
    );
    expect_logged(
        &nsqd,
        &format!("http://{}/channels?topic=t", hanging.address()),
    );
}

#[test]
fn a_hanging_one_does_not_hold_the_end_up() {
    let hanging = Hanging::start();
    let mut nsqd = Start::default()
        .registering_with(&[hanging.address(), free_port()])
        .now();
    nsqd.connect().publish("t", "x");
    within(Duration::from_secs(1), "the end", || {
        assert!(nsqd.terminate().success());
    });
}

#[test]
fn a_question_without_an_answer_does_not_hold_the_end_up() {
    let hanging = Hanging::start();
    let fake = fakes::pointing_to(hanging.address());
    let mut nsqd = Start::with(&["--http-client-request-timeout=30s"])
        .registering_with(&[fake])
        .now();
    expect_logged(&nsqd, &format!("LOOKUPD({fake}): peer info"));
    let mut publisher = nsqd.connect();
    publisher.send_with_body("PUB t", b"x");
    wait_until("the new topic is there", PATIENCE, || {
        !nsqd.topic("t").is_null()
    });
    within(Duration::from_secs(3), "the end", || {
        assert!(nsqd.terminate().success());
    });
    publisher.expect_closed();
    // The topic is as if the publish had not been sent.
    nsqd.start_again();
    assert_eq!(nsqd.topic("t")["depth"], 0);
}

#[test]
fn a_hanging_name_server_does_not_hold_the_end_up() {
    // Only a privileged user can be a name server, and have one process ask it.
    let may_mount = Command::new("unshare").args(["-m", "true"]).status();
    let name_server = UdpSocket::bind("127.0.0.77:53");
    let (true, Ok(name_server)) = (may_mount.is_ok_and(|status| status.success()), name_server)
    else {
        say_loudly("SKIPPED: this user may not run a name server, one test did not run");
        return;
    };
    let ask_it = "echo nameserver 127.0.0.77 > {folder}/resolv.conf \
        && mount --bind {folder}/resolv.conf /etc/resolv.conf && exec \"$@\"";
    let mut nsqd = Start::with(&["--lookupd-tcp-address=lookup.nowhere.example:4160"])
        .through(&["unshare", "-m", "sh", "-c", ask_it, "sh"])
        .now();
    name_server
        .recv(&mut [0; 512])
        .expect("the name is asked for");
    within(Duration::from_secs(3), "the end", || {
        assert!(nsqd.terminate().success());
    });
}
