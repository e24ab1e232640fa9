//! Links that are cut without a word, so that connections hang half open, and that come back.

use std::time::Duration;

use nsq_tests::{Network, PATIENCE, RawClient, ReadEnd, Start, Tool, wait_until};
use serde_json::json;

const NSQLOOKUPD: u8 = 0;
const NSQD: u8 = 1;
const CLIENT: u8 = 2;

#[test]
fn what_a_client_beyond_a_cut_link_holds_goes_to_others_and_it_comes_back() {
    let Some(network) = Network::of_hosts(3) else {
        return;
    };
    network.on(CLIENT, || {
        let nsqd = Start::with(&["--msg-timeout=1s"])
            .on_host(&network, NSQD)
            .now();
        let address = nsqd.tcp();
        let mut consumer = nsqd.connect();
        consumer.identify(&json!({"heartbeat_interval": 1000}));
        consumer.subscribe("t", "c");
        consumer.send_line("RDY 1");
        let mut publisher = nsqd.connect();
        publisher.publish("t", "held");
        consumer.expect_body("held");

        network.cut(CLIENT);
        publisher.send_with_body("PUB t", b"on its way");
        assert_eq!(
            publisher.next_frame(Duration::from_millis(300)),
            Err(ReadEnd::Silence)
        );
        let mut other = network.on(NSQD, || RawClient::connect(address));
        other.subscribe("t", "c");
        other.send_line("RDY 1");
        let message = other.expect_body("held");
        assert!(message.attempts > 1);
        other.finish(&message);
        // The half-open connection went after two heartbeats; `other` is the one that is left.
        network.on(NSQD, || {
            nsqd.wait_for_channel("t", "c", &[("client_count", 1)]);
        });

        network.mend(CLIENT);
        // What was sent meanwhile arrives, once.
        publisher.expect_ok();
        let message = other.expect_body("on its way");
        other.finish(&message);
        // The consumer's own end learns of it when it says something, if not before.
        wait_until("the old connection is gone", PATIENCE, || {
            let _ = consumer.try_send(b"NOP\n");
            loop {
                match consumer.next_frame(Duration::from_millis(50)) {
                    Ok(_) => {}
                    Err(end) => break end == ReadEnd::Closed,
                }
            }
        });
        nsqd.subscribe("t", "c", 1);
    });
}

#[test]
fn a_consumer_finds_its_way_back_when_the_link_does() {
    let Some(network) = Network::of_hosts(3) else {
        return;
    };
    network.on(CLIENT, || {
        let nsqd = Start::default().on_host(&network, NSQD).now();
        let address = format!("--nsqd-tcp-address={}", nsqd.tcp());
        let wrapper = network.wrapper(CLIENT);
        let consumer = Tool::start_through(
            &wrapper.each_ref().map(String::as_str),
            "nsq_tail",
            &[
                "--topic=t",
                "--channel=c",
                &address,
                "--consumer-opt=heartbeat_interval,1s",
                "--consumer-opt=lookupd_poll_interval,100ms",
            ],
        );
        nsqd.wait_for_channel("t", "c", &[("client_count", 1)]);
        network.cut(CLIENT);
        network.on(NSQD, || {
            nsqd.wait_for_channel("t", "c", &[("client_count", 0)]);
            nsqd.connect().publish("t", "published meanwhile");
        });
        network.mend(CLIENT);
        wait_until("the message comes", PATIENCE, || {
            consumer.output().text().contains("published meanwhile")
        });
    });
}

#[test]
fn an_nsqlookupd_beyond_a_cut_link_holds_nobody_up_and_hears_everything_later() {
    let Some(network) = Network::of_hosts(3) else {
        return;
    };
    network.on(CLIENT, || {
        let lookupd = Start::default().on_host(&network, NSQLOOKUPD).lookupd();
        let nsqd = Start::default()
            .on_host(&network, NSQD)
            .registering_with(&[lookupd.tcp()]);
        let nsqd = nsqd.now();
        nsqd.connect().publish("before", "x");
        lookupd.wait_for_producers("before", &[nsqd.tcp()]);

        network.cut(NSQLOOKUPD);
        // The first message of a topic asks for its channels elsewhere, and continues without an answer.
        nsqd.connect().publish("meanwhile", "y");
        nsqd.order("/topic/delete?topic=before");
        nsqd.subscribe("meanwhile", "c", 1).expect_body("y");

        network.mend(NSQLOOKUPD);
        lookupd.wait_for_producers("meanwhile", &[nsqd.tcp()]);
        lookupd.wait_for_producers("before", &[]);
        assert_eq!(lookupd.nodes().len(), 1);
    });
}
