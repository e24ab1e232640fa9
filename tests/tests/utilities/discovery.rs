//! nsqlookupd as the source: of topics that are there, that come later, and of topics by pattern.

use std::fs;

use nsq_tests::{Fake, Lookupd, Nsqd, PATIENCE, Start, Tool, wait_until};

use crate::endpoint::{answer, told};
use crate::messages::{publish, take};

/// An nsqd, and the nsqlookupd that knows it.
fn known_nsqd() -> (Lookupd, Nsqd) {
    let lookupd = Start::default().lookupd();
    let nsqd = Start::default().registering_with(&[lookupd.tcp()]).now();
    (lookupd, nsqd)
}

/// What every consumer is told here.
fn source(lookupd: &Lookupd) -> [String; 2] {
    [
        format!("--lookupd-http-address={}", lookupd.http()),
        "--consumer-opt=lookupd_poll_interval,50ms".to_owned(),
    ]
}

fn start(program: &str, lookupd: &Lookupd, flags: &[&str]) -> Tool {
    let source = source(lookupd);
    let source: Vec<_> = source.iter().map(String::as_str).collect();
    Tool::start(program, &[&source[..], flags].concat())
}

#[test]
fn nsq_to_nsq_finds_a_topic_that_comes_later_on_any_nsqd() {
    let (lookupd, from) = known_nsqd();
    let to = Nsqd::start(&[]);
    let destination = format!("--destination-nsqd-tcp-address={}", to.tcp());
    let mut tool = start("nsq_to_nsq", &lookupd, &["--topic=t", &destination]);
    tool.wait_for_line("TOPIC_NOT_FOUND");
    publish(&from, "t", &["one"]);
    assert_eq!(take(&to, "t", "check", 1), ["one"]);

    let other = Start::default().registering_with(&[lookupd.tcp()]).now();
    publish(&other, "t", &["two"]);
    assert_eq!(take(&to, "t", "check", 1), ["two"]);
    assert_eq!(tool.terminate().code(), Some(0));
}

#[test]
fn nsq_to_http_finds_its_topic() {
    let (lookupd, nsqd) = known_nsqd();
    publish(&nsqd, "t", &["one"]);
    let server = Fake::start(|_| Some(answer("200 OK")));
    let post = format!("--post=http://{}/", server.address);
    let mut tool = start("nsq_to_http", &lookupd, &["--topic=t", &post]);
    assert_eq!(told(&server).body, b"one");
    nsqd.wait_for_channel("t", "nsq_to_http", &[("depth", 0), ("in_flight_count", 0)]);
    assert_eq!(tool.terminate().code(), Some(0));
}

#[test]
fn nsq_to_file_archives_the_topics_of_a_pattern_and_those_that_come_later() {
    let (lookupd, nsqd) = known_nsqd();
    publish(&nsqd, "orders_old", &["one"]);
    publish(&nsqd, "other", &["none of its business"]);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let out = format!("--output-dir={}", folder.path().display());
    let flags = [
        "--topic-pattern=^orders_",
        "--topic-refresh=50ms",
        "--sync-interval=50ms",
        "--filename-format=<TOPIC>.log",
        &out,
    ];
    let mut tool = start("nsq_to_file", &lookupd, &flags);
    let archived = |topic: &str, wanted: &str| {
        let path = folder.path().join(format!("{topic}.log"));
        wait_until(&format!("{topic} is archived"), PATIENCE, || {
            fs::read_to_string(&path).is_ok_and(|text| text == wanted)
        });
    };
    archived("orders_old", "one\n");
    publish(&nsqd, "orders_new", &["two"]);
    archived("orders_new", "two\n");
    tool.wait_for_line("skipping topic other (doesn't match pattern ^orders_)");
    assert_eq!(tool.terminate().code(), Some(0));
    assert!(!folder.path().join("other.log").exists());
    assert_eq!(tool.log().text().matches("skipping").count(), 1);
}
