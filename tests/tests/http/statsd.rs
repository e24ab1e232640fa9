//! What nsqd sends to a statsd, here a UDP socket of the test's own.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nsq_tests::{Nsqd, PATIENCE, Start, wait_until};

/// The shortest interval that upstream takes too.
const INTERVAL: &str = "--statsd-interval=1100ms";

/// Collects what is sent to it.
struct Statsd {
    socket: UdpSocket,
    packets: Vec<String>,
}

impl Statsd {
    fn listen() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let packets = vec![];
        Self { socket, packets }
    }

    fn flag(&self) -> String {
        let address = self.socket.local_addr().expect("it is bound");
        format!("--statsd-address={address}")
    }

    /// Waits for a line with this beginning and returns the rest of it.
    #[track_caller]
    fn wait_for(&mut self, begin: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut lines = self.packets.iter().flat_map(|packet| packet.lines());
            if let Some(rest) = lines.find_map(|line| line.strip_prefix(begin)) {
                return rest.to_string();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {begin} in {:#?}", self.packets);
            self.socket
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .expect("a time above zero");
            let mut packet = vec![0; 65536];
            if let Ok(count) = self.socket.recv(&mut packet) {
                packet.truncate(count);
                self.packets
                    .push(String::from_utf8(packet).expect("statsd speaks text"));
            }
        }
    }
}

#[test]
fn figures_come_every_interval_under_the_nodes_name() {
    let mut statsd = Statsd::listen();
    let nsqd = Nsqd::start(&[
        &statsd.flag(),
        INTERVAL,
        "--broadcast-address=host.example",
        "--broadcast-http-port=4151",
        "--e2e-processing-latency-percentile=0.99",
    ]);
    let mut consumer = nsqd.subscribe("t", "c", 1);
    nsqd.connect().publish_many("t", &["one", "two"]);
    let message = consumer.expect_body("one");
    consumer.send_line(&format!("FIN {}", message.id));
    let message = consumer.expect_body("two");
    consumer.send_line(&format!("REQ {} 60000", message.id));
    nsqd.wait_for_channel("t", "c", &[("deferred_count", 1)]);

    // The push that first shows all of it is followed by one about nothing new.
    let last = "nsq.host_example_4151.mem.heap_in_use_bytes:";
    let mut text = String::new();
    while !text.contains("topic.t.channel.c.deferred_count:1|g\n") {
        statsd.packets.clear();
        statsd.wait_for(last);
        text += &statsd.packets.concat();
    }
    statsd.packets.clear();
    statsd.wait_for(last);
    for (name, total) in [
        ("t.message_count", 2),
        ("t.message_bytes", 6),
        ("t.channel.c.message_count", 2),
        ("t.channel.c.requeue_count", 1),
        ("t.channel.c.timeout_count", 0),
    ] {
        let begin = format!("nsq.host_example_4151.topic.{name}:");
        let values = text.lines().filter_map(|line| line.strip_prefix(&begin));
        let counts = values.map(|value| {
            let count = value
                .strip_suffix("|c")
                .and_then(|count| count.parse().ok());
            count.unwrap_or_else(|| panic!("{name}: {value}"))
        });
        let counts: Vec<i64> = counts.collect();
        assert_eq!(counts.iter().sum::<i64>(), total, "{name}: {counts:?}");
    }
    let second = statsd.packets.concat();
    let lines: Vec<_> = second
        .lines()
        .map(|line| {
            let line = line.strip_prefix("nsq.host_example_4151.").expect(line);
            line.split_once("_99:").map_or(line, |(name, _)| name)
        })
        .collect();
    assert_eq!(
        lines[..14],
        [
            "topic.t.message_count:0|c",
            "topic.t.message_bytes:0|c",
            "topic.t.depth:0|g",
            "topic.t.backend_depth:0|g",
            "topic.t.e2e_processing_latency",
            "topic.t.channel.c.message_count:0|c",
            "topic.t.channel.c.depth:0|g",
            "topic.t.channel.c.backend_depth:0|g",
            "topic.t.channel.c.in_flight_count:0|g",
            "topic.t.channel.c.deferred_count:1|g",
            "topic.t.channel.c.requeue_count:0|c",
            "topic.t.channel.c.timeout_count:0|c",
            "topic.t.channel.c.clients:1|g",
            "topic.t.channel.c.e2e_processing_latency",
        ]
    );
    assert_eq!(lines.len(), 15, "{lines:?}");
}

#[test]
fn packets_are_no_larger_than_asked_for_and_end_with_a_line() {
    let mut statsd = Statsd::listen();
    let nsqd = Nsqd::start(&[
        &statsd.flag(),
        INTERVAL,
        "--statsd-prefix=",
        "--statsd-udp-packet-size=100",
        "--statsd-exclude-ephemeral",
    ]);
    for name in ["a", "b", "c#ephemeral", "d"] {
        let name = name.replace('#', "%23");
        nsqd.order(&format!("/topic/create?topic={name}"));
    }
    nsqd.order("/channel/create?topic=d&channel=x%23ephemeral");
    statsd.wait_for("topic.d.backend_depth:");
    statsd.wait_for("mem.heap_in_use_bytes:");
    let text = statsd.packets.concat();
    assert!(!text.contains("ephemeral"), "{text}");
    assert!(statsd.packets.len() > 3, "{:?}", statsd.packets);
    for packet in &statsd.packets {
        assert!(packet.len() <= 100 && packet.ends_with('\n'), "{packet:?}");
    }
    let bytes = statsd.packets[0].len() + statsd.packets[1].lines().next().map_or(0, str::len);
    assert!(
        bytes >= 100,
        "filled as far as it goes: {:?}",
        statsd.packets
    );
}

#[test]
fn a_statsd_that_is_not_there_costs_a_line_in_the_log() {
    let statsd = Statsd::listen();
    let flag = statsd.flag();
    drop(statsd);
    for (flag, line) in [
        (flag.as_str(), " could not be sent: "),
        (
            "--statsd-address=nowhere.invalid:8125",
            "failed to create UDP socket to statsd(nowhere.invalid:8125)",
        ),
        (
            "--statsd-address=no port",
            "failed to create UDP socket to statsd(no port)",
        ),
    ] {
        // Of several packets, so that the first one's refusal is heard.
        let nsqd = Nsqd::start(&[flag, INTERVAL, "--statsd-udp-packet-size=1"]);
        nsqd.order("/topic/create?topic=t");
        assert!(nsqd.log().wait_for(line, PATIENCE).is_some(), "{line}");
        assert_eq!(nsqd.get("/ping").text(), "OK");
    }
}

#[test]
fn what_is_left_goes_out_at_once_when_nsqd_ends() {
    let mut statsd = Statsd::listen();
    let flags = [
        &statsd.flag(),
        "--statsd-interval=3s",
        "--statsd-prefix=x",
        "--statsd-udp-packet-size=1",
    ];
    let mut nsqd = Start::with(&flags).now();
    for number in 0..10 {
        nsqd.order(&format!("/topic/create?topic=t{number}"));
    }
    // Two seconds for 41 packets: the last would come long after the first.
    statsd.wait_for("x.topic.t0.message_count:");
    let asked = Instant::now();
    nsqd.terminate();
    statsd.wait_for("x.topic.t9.backend_depth:");
    assert!(asked.elapsed() < Duration::from_millis(1500));
    wait_until("it says so", PATIENCE, || {
        nsqd.log().text().contains("STATSD: closing")
    });
}
