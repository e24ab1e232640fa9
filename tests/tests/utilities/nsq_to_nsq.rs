//! nsq_to_nsq: messages from one nsqd to others.

use std::net::SocketAddr;

use nsq_tests::{Nsqd, Tool, free_port};

use crate::messages::{publish, take};

#[track_caller]
fn to_nsq(from: &Nsqd, to: &[SocketAddr], flags: &[&str]) -> Tool {
    let mut words = vec![
        "--topic=t".to_owned(),
        "--channel=c".to_owned(),
        format!("--nsqd-tcp-address={}", from.tcp()),
        "--consumer-opt=default_requeue_delay,1ms".to_owned(),
        "--consumer-opt=backoff_multiplier,1ms".to_owned(),
    ];
    words.extend(
        to.iter()
            .map(|address| format!("--destination-nsqd-tcp-address={address}")),
    );
    words.extend(flags.iter().map(ToString::to_string));
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    Tool::start("nsq_to_nsq", &words)
}

#[test]
fn nsq_to_nsq_moves_messages_in_order_and_finishes_them() {
    let (from, to) = (Nsqd::start(&[]), Nsqd::start(&[]));
    publish(&from, "t", &["one", "two", "three"]);
    let mut tool = to_nsq(&from, &[to.tcp()], &["--destination-topic=d"]);
    assert_eq!(take(&to, "d", "check", 3), ["one", "two", "three"]);
    from.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(tool.terminate().code(), Some(0));
    assert!(!tool.log().text().contains("ERR"), "{}", tool.log().text());
}

#[test]
fn nsq_to_nsq_passes_what_the_json_filter_lets_through() {
    let (from, to) = (Nsqd::start(&[]), Nsqd::start(&[]));
    let bodies = [
        r#"{"kind":"a","n":1.0,"secret":"x"}"#,
        r#"{"kind":"b","n":2}"#,
        "no json",
        r#"{"kind":"a","n":12345678901234567890}"#,
    ];
    publish(&from, "t", &bodies);
    let flags = [
        "--require-json-field=kind",
        "--require-json-value=a",
        "--whitelist-json-field=n",
        "--whitelist-json-field=kind",
    ];
    let mut tool = to_nsq(&from, &[to.tcp()], &flags);
    assert_eq!(
        take(&to, "t", "check", 2),
        [
            r#"{"kind":"a","n":1}"#,
            r#"{"kind":"a","n":12345678901234567000}"#
        ]
    );
    tool.wait_for_line("ERROR: Unable to decode json: no json");
    from.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(tool.terminate().code(), Some(0));
    assert_eq!(to.topic("t")["message_count"], 2);
}

#[test]
fn nsq_to_nsq_gets_past_a_destination_that_is_down() {
    let (from, to) = (Nsqd::start(&[]), Nsqd::start(&[]));
    publish(&from, "t", &["one", "two", "three"]);
    let mut tool = to_nsq(&from, &[free_port(), to.tcp()], &[]);
    let mut taken = take(&to, "t", "check", 3);
    taken.sort_unstable();
    assert_eq!(taken, ["one", "three", "two"]);
    tool.wait_for_line("connection refused");
    from.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(tool.terminate().code(), Some(0));
}

#[test]
fn nsq_to_nsq_says_at_its_end_what_it_gave_up() {
    let from = Nsqd::start(&[]);
    publish(&from, "t", &["one"]);
    let flags = ["--consumer-opt=max_attempts,2"];
    let mut tool = to_nsq(&from, &[free_port()], &flags);
    tool.wait_for_line("attempted 3 times, giving up");
    from.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(tool.terminate().code(), Some(0));
    tool.wait_for_line("WARNING: [t/c] gave up 1 messages after too many attempts");
}
