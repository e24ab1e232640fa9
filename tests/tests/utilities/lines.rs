//! to_nsq and nsq_tail: lines in, lines out.

use nsq_tests::{Nsqd, PATIENCE, Tool};

use crate::messages::{publish, take};

#[test]
fn to_nsq_publishes_records_to_every_nsqd() {
    let nsqds = [Nsqd::start(&[]), Nsqd::start(&[])];
    let addresses = nsqds.each_ref().map(tcp_flag);
    let base = ["--topic=t", &addresses[0], &addresses[1]];
    for (delimiter, input) in [("\n", "one\n\ntwo\nthree"), (",", "one,,two,three\n")] {
        let flag = format!("--delimiter={delimiter}");
        let args = [&base[..], &[&flag]].concat();
        let mut tool = Tool::start_reading("to_nsq", &args, input.as_bytes());
        assert_eq!(tool.wait_for_exit().code(), Some(0));
        for nsqd in &nsqds {
            assert_eq!(take(nsqd, "t", "c", 3), ["one", "two", "three"]);
            nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
        }
    }
}

#[test]
fn to_nsq_ends_with_1_at_the_first_refusal() {
    let nsqd = Nsqd::start(&["--max-msg-size=10"]);
    let args = ["--topic=t", &tcp_flag(&nsqd)];
    let input = b"short\nfar too long for it\n";
    let mut tool = Tool::start_reading("to_nsq", &args, input);
    assert_eq!(tool.wait_for_exit().code(), Some(1));
    tool.wait_for_line("E_BAD_MESSAGE PUB message too big");
}

#[test]
fn nsq_tail_prints_as_many_as_it_is_asked_for_and_takes_no_more() {
    let nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    publish(&nsqd, "t", &["one", "two", "three"]);
    let base = ["--topic=t", "--channel=c", &tcp_flag(&nsqd)];
    let mut tool = Tool::start(
        "nsq_tail",
        &[&base[..], &["-n=2", "--print-topic"]].concat(),
    );
    assert_eq!(tool.wait_for_exit().code(), Some(0));
    assert!(tool.output().wait_for("t | two", PATIENCE).is_some());
    assert_eq!(tool.output().text(), "t | one\nt | two");
    nsqd.wait_for_channel("t", "c", &[("depth", 1), ("in_flight_count", 0)]);

    let mut tool = Tool::start("nsq_tail", &base);
    assert!(tool.output().wait_for("three", PATIENCE).is_some());
    assert_eq!(tool.terminate().code(), Some(0));
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
}

fn tcp_flag(nsqd: &Nsqd) -> String {
    format!("--nsqd-tcp-address={}", nsqd.tcp())
}
