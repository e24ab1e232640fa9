//! nsq_stat: a channel watched.

use nsq_tests::{Nsqd, PATIENCE, Start, Tool, free_port, wait_until};
use rustix::process::Signal;

use crate::messages::publish;

#[test]
fn nsq_stat_reports_what_changed_and_ends_after_its_count() {
    let lookupd = Start::default().lookupd();
    let nsqd = Start::default().registering_with(&[lookupd.tcp()]).now();
    publish(&nsqd, "t", &["1", "2", "3"]);
    nsqd.post("/channel/create?topic=t&channel=c", b"");
    nsqd.wait_for_channel("t", "c", &[("depth", 3)]);
    let direct = format!("--nsqd-http-address={}", nsqd.http());
    let looked_up = format!("--lookupd-http-address={}", lookupd.http());
    wait_until("nsqlookupd knows the topic", PATIENCE, || {
        let reply = lookupd.get("/lookup?topic=t");
        reply.status == 200 && !reply.json()["producers"].as_array().unwrap().is_empty()
    });
    for address in [direct, looked_up] {
        let base = ["--topic=t", "--channel=c", &address];
        let mut tool = Tool::start(
            "nsq_stat",
            &[&base[..], &["--count=2", "--interval=10ms"]].concat(),
        );
        assert_eq!(
            tool.wait_for_exit().code(),
            Some(0),
            "{}",
            tool.log().text()
        );
        let line = "      0       0 |       3       3       0     0     0 |       0       0            3       0";
        let output = tool.output().text();
        let lines: Vec<_> = output.lines().collect();
        assert_eq!(
            lines[0],
            "------rate------+----------------depth----------------+--------------metadata---------------"
        );
        assert_eq!(lines[2..], [line, line]);

        let mut tool = Tool::start("nsq_stat", &[&base[..], &["--interval=1h"]].concat());
        assert!(tool.output().wait_for("ingress", PATIENCE).is_some());
        tool.notify(Signal::HUP);
        assert_eq!(tool.wait_for_exit().code(), Some(0));

        let no_channel = ["--topic=t", "--channel=other", &address];
        let mut tool = Tool::start("nsq_stat", &no_channel);
        assert_eq!(tool.wait_for_exit().code(), Some(1));
        tool.wait_for_line("ERROR: failed to find channel(other) in stats metadata for topic(t)");
    }
}

#[test]
fn nsq_stat_ends_when_nobody_has_the_topic_or_answers() {
    let nsqd = Nsqd::start(&[]);
    let address = format!("--nsqd-http-address={}", nsqd.http());
    let mut tool = Tool::start("nsq_stat", &["--topic=t", "--channel=c", &address]);
    assert_eq!(tool.wait_for_exit().code(), Some(1));
    let line = tool.wait_for_line("ERROR: failed to get nsqd stats - failed to query any nsqd: ");
    assert!(line.ends_with("any nsqd: "), "{line}");
    let nobody = free_port();
    let address = format!("--nsqd-http-address={nobody}");
    let mut tool = Tool::start("nsq_stat", &["--topic=t", "--channel=c", &address]);
    assert_eq!(tool.wait_for_exit().code(), Some(1));
    tool.wait_for_line(&format!("dial tcp {nobody}: connect: connection refused"));
}
