//! Clients that ask and never read the answers.

use std::io::Write as _;

use nsq_tests::{Nsqd, PATIENCE, RawClient, wait_until};

use crate::footprint::Footprint;
use crate::neighbour::Neighbour;
use crate::sockets::crowd;

const CONSUMERS: usize = 5;
const MESSAGES: usize = 4000;
const BODY_BYTES: usize = 10_000;

#[test]
fn consumers_that_never_read_are_given_little_and_lose_nothing() {
    let nsqd = Nsqd::start(&["--msg-timeout=1s"]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    let neighbour = Neighbour::of(&nsqd);
    let before = Footprint::of(&nsqd);
    let unread = crowd(nsqd.tcp(), CONSUMERS, b"  V2SUB t c\nRDY 2500\n");
    wait_until("all have subscribed", PATIENCE, || {
        nsqd.channel("t", "c")["client_count"] == CONSUMERS
    });
    let body = vec![b'x'; BODY_BYTES];
    let mut producer = nsqd.connect();
    for _ in 0..MESSAGES / 100 {
        producer.publish_many("t", &vec![&body; 100]);
    }
    // 40 MB are there; of each consumer's share only what sockets and one buffer take is on its way. The log's own
    // pages are memory too, as long as the system has enough of it.
    wait_until("some is on its way", PATIENCE, || {
        nsqd.channel("t", "c")["in_flight_count"].as_u64() > Some(0)
    });
    before.check_memory(&nsqd, 160);
    drop(unread);
    // What they held times out.
    wait_until("all of it is back", PATIENCE, || {
        let channel = nsqd.channel("t", "c");
        channel["client_count"] == 0 && channel["depth"] == MESSAGES
    });
    neighbour.leave();
    nsqd.order("/channel/empty?topic=t&channel=c");
    before.check_left_alone(&nsqd, 160);
}

#[test]
fn answers_that_nobody_reads_do_not_pile_up() {
    let nsqd = Nsqd::start(&[]);
    let neighbour = Neighbour::of(&nsqd);
    let before = Footprint::of(&nsqd);
    // Each command has an answer of its own, and none is read.
    let mut askers = crowd(nsqd.tcp(), 10, b"  V2SUB t c\n");
    let commands = "FIN 0123456789abcdef\n".repeat(10_000);
    for asker in &mut askers {
        asker.set_nonblocking(true).expect("it can be set");
        for _ in 0..20 {
            // Until nsqd stops to read as well.
            let _ = asker.write(commands.as_bytes());
        }
    }
    let mut browsers = crowd(nsqd.http(), 10, b"");
    let requests = "GET /stats HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    for browser in &mut browsers {
        browser.set_nonblocking(true).expect("it can be set");
        let _ = browser.write(requests.as_bytes());
    }
    let mut client = RawClient::connect(nsqd.tcp());
    client.publish("other", "x");
    before.check_memory(&nsqd, 64);
    drop((askers, browsers));
    neighbour.leave();
    before.check_left_alone(&nsqd, 64);
}
