//! SIGINT and SIGTERM: what is under way is brought to its end, and the exit code is 0.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use nsq_tests::{Fake, Nsqd, PATIENCE, Tool, wait_until};
use rustix::process::Signal;

use crate::archive::Bench;
use crate::endpoint::{answer, post_to, to_http, told};
use crate::messages::{publish, take};

/// Shut until it is opened.
#[derive(Debug, Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn pass(&self) {
        let (is_open, opened) = &*self.0;
        let is_open = is_open.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = opened.wait_timeout_while(is_open, PATIENCE, |is_open| !*is_open);
        drop(passed);
    }

    fn open(&self) {
        let (is_open, opened) = &*self.0;
        *is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        opened.notify_all();
    }
}

#[test]
fn nsq_to_http_waits_for_the_answers_of_what_it_has_sent() {
    for signal in [Signal::TERM, Signal::INT] {
        let nsqd = Nsqd::start(&[]);
        let gate = Gate::default();
        let passing = gate.clone();
        let server = Fake::start(move |_| {
            passing.pass();
            Some(answer("200 OK"))
        });
        publish(&nsqd, "t", &["1", "2", "3"]);
        let mut tool = to_http(&nsqd, &[&post_to(&server, "/")]);
        nsqd.wait_for_channel("t", "c", &[("in_flight_count", 3)]);
        tool.notify(signal);
        tool.wait_for_line("stopping...");
        gate.open();
        assert_eq!(tool.wait_for_exit().code(), Some(0), "{signal:?}");
        let bodies: BTreeSet<_> = (0..3).map(|_| told(&server).body).collect();
        assert_eq!(bodies.len(), 3);
        let finished = [("depth", 0), ("requeue_count", 0), ("timeout_count", 0)];
        nsqd.wait_for_channel("t", "c", &finished);
        assert_eq!(nsqd.channel("t", "c")["in_flight_count"], 0);
        assert_eq!(server.told.try_iter().count(), 0);
    }
}

#[test]
fn nsq_to_nsq_loses_nothing_and_repeats_nothing_over_signals() {
    const COUNT: usize = 20_000;
    let (from, to) = (Nsqd::start(&[]), Nsqd::start(&[]));
    for nsqd in [&from, &to] {
        nsqd.order("/topic/create?topic=t");
        nsqd.order("/channel/create?topic=t&channel=c");
    }
    let body: Vec<_> = (0..COUNT).map(|number| number.to_string()).collect();
    assert_eq!(
        from.post("/mpub?topic=t", body.join("\n").as_bytes())
            .status,
        200
    );
    let flags = [
        "--topic=t".to_owned(),
        "--channel=c".to_owned(),
        format!("--nsqd-tcp-address={}", from.tcp()),
        format!("--destination-nsqd-tcp-address={}", to.tcp()),
    ];
    for signal in [Signal::TERM, Signal::INT, Signal::TERM] {
        let before = to.topic("t")["message_count"].as_u64();
        let mut tool = Tool::start("nsq_to_nsq", &flags);
        wait_until("some more have arrived", PATIENCE, || {
            to.topic("t")["message_count"].as_u64() > before || from.channel("t", "c")["depth"] == 0
        });
        tool.notify(signal);
        assert_eq!(tool.wait_for_exit().code(), Some(0), "{signal:?}");
        assert_eq!(from.channel("t", "c")["in_flight_count"], 0);
    }
    let mut last = Tool::start("nsq_to_nsq", &flags);
    from.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(last.terminate().code(), Some(0));
    let arrived = take(&to, "t", "c", COUNT);
    let different: BTreeSet<_> = arrived.iter().collect();
    assert_eq!(different.len(), COUNT);
    to.wait_for_channel("t", "c", &[("depth", 0), ("message_count", 20_000)]);
}

#[test]
fn nsq_to_file_brings_what_it_holds_to_disk() {
    for signal in [Signal::TERM, Signal::INT] {
        let bench = Bench::new();
        let mut tool = bench.archive(&["--sync-interval=1h", "--gzip"]);
        bench.publish(0..50);
        tool.wait_for_line("opening");
        tool.notify(signal);
        assert_eq!(tool.wait_for_exit().code(), Some(0), "{signal:?}");
        let mut rest = bench.archive(&["--gzip"]);
        rest.wait_for_line("connecting to nsqd");
        bench.wait_until_all_is_finished();
        assert!(rest.terminate().success());
        assert_eq!(bench.expect_numbers("out", 50), 50, "some are there twice");
    }
}

#[test]
fn to_nsq_publishes_what_it_has_read() {
    for signal in [Signal::TERM, Signal::INT] {
        let nsqd = Nsqd::start(&[]);
        let args = ["--topic=t", &format!("--nsqd-tcp-address={}", nsqd.tcp())];
        let mut tool = Tool::start_listening("to_nsq", &args);
        tool.feed(b"one\ntwo\nhal");
        wait_until("both have been published", PATIENCE, || {
            nsqd.topic("t")["message_count"] == 2
        });
        tool.notify(signal);
        assert_eq!(tool.wait_for_exit().code(), Some(0), "{signal:?}");
    }
}
