//! An nsqd at the limit of its open files: who is there is served, who comes is told why not, and nothing spins.

use std::fs;
use std::time::Duration;

use nsq_tests::{Frame, Nsqd, PATIENCE, RawClient, Start, wait_until};

/// nsqd itself takes some thirty.
const LIMIT: &str = "--nofile=80:80";
const TOO_MANY: usize = 100;
/// What a loop that never waits takes of the processor in [`A_WHILE`] is more than ten times that.
const IDLE_TICKS: u64 = 15;
const A_WHILE: Duration = Duration::from_millis(1500);

#[test]
fn without_a_handle_left_clients_are_served_and_newcomers_are_refused() {
    check(&[], "t");
}

#[test]
fn without_a_handle_left_an_ephemeral_topic_goes_on() {
    check(&[], "t#ephemeral");
}

#[test]
fn without_a_handle_left_synced_publishes_are_answered_or_refused() {
    check(&["--sync-publish"], "t");
}

/// Uses `topic` and wants to make another, while others have taken all handles.
#[track_caller]
fn check(flags: &[&str], topic: &str) {
    let nsqd = Start::with(flags).through(&["prlimit", LIMIT]).now();
    let mut client = nsqd.subscribe(topic, "c", 10);
    client.publish(topic, "before");
    let message = client.expect_body("before");
    client.finish(&message);

    // The last handles are for the logs.
    let crowd: Vec<_> = (0..TOO_MANY)
        .map(|_| RawClient::connect(nsqd.tcp()))
        .collect();
    nsqd.wait_for_line("too few file handles are left for more connections");
    let before = processor_ticks(&nsqd);
    std::thread::sleep(A_WHILE);
    let spent = processor_ticks(&nsqd) - before;
    assert!(spent < IDLE_TICKS, "{spent} ticks of doing nothing");

    // Who is connected continues, with new topics too, until they would take what the logs there are may need.
    client.publish(topic, "meanwhile");
    let message = client.expect_body("meanwhile");
    client.finish(&message);
    for index in 0..TOO_MANY {
        client.send_with_body(&format!("PUB other{index}"), b"x");
        match client.next_frame(PATIENCE) {
            Ok(Frame::Response(text)) if text == "OK" => {}
            Ok(Frame::Error(text)) => {
                let wanted =
                    "E_PUB_FAILED PUB failed too few file handles are left for more topics";
                assert!(index > 0 && text.starts_with(wanted), "{index}: {text}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }

    drop(crowd);
    wait_until("newcomers are served again", PATIENCE, || {
        let mut newcomer = nsqd.connect();
        let sent = newcomer.try_send(&RawClient::command("PUB other", b"x"));
        sent.is_ok() && newcomer.next_frame(PATIENCE) == Ok(Frame::Response("OK".into()))
    });
    nsqd.subscribe("other", "c", 1).expect_body("x");
}

/// User and system time of all its threads so far, in hundredths of a second.
fn processor_ticks(nsqd: &Nsqd) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", nsqd.id())).expect("it runs");
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<_> = behind_name.split_whitespace().collect();
    [fields[11], fields[12]]
        .iter()
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum()
}
