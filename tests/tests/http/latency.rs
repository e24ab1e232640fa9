//! `e2e_processing_latency` in `/stats`: how long messages took from publish to FIN.

use nsq_tests::{Nsqd, PATIENCE, RawClient, wait_until};
use serde_json::{Value, json};

/// Publishes `count` messages to topic `t`, has `consumer` finish them, and waits until that is done.
#[track_caller]
fn finish_some(nsqd: &Nsqd, consumer: &mut RawClient, count: usize) {
    let bodies = vec!["x"; count];
    nsqd.connect().publish_many("t", &bodies);
    for _ in 0..count {
        let message = consumer.expect_message();
        consumer.send_line(&format!("FIN {}", message.id));
    }
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
}

#[track_caller]
fn value(latency: &Value, index: usize) -> f64 {
    let value = &latency["percentiles"][index]["value"];
    value.as_f64().unwrap_or_else(|| panic!("{latency}"))
}

#[test]
fn percentiles_come_in_the_order_of_the_flag_largest_first() {
    let nsqd = Nsqd::start(&[
        "--e2e-processing-latency-percentile=0.5,1.0",
        "--e2e-processing-latency-percentile=0.99",
    ]);
    let mut consumer = nsqd.subscribe("t", "c", 100);
    let nothing = json!({"count": 0, "percentiles": [
        {"quantile": 1, "value": 0}, {"quantile": 0.99, "value": 0}, {"quantile": 0.5, "value": 0}]});
    assert_eq!(nsqd.channel("t", "c")["e2e_processing_latency"], nothing);

    finish_some(&nsqd, &mut consumer, 20);
    let stats = nsqd.get("/stats?format=json&include_clients=false").text();
    // Byte for byte but for the times: whole numbers have no fraction.
    assert!(
        stats.contains(
            "\"e2e_processing_latency\":{\"count\":20,\"percentiles\":[{\"quantile\":1,\"value\":"
        ),
        "{stats}"
    );
    for latency in [
        &nsqd.channel("t", "c")["e2e_processing_latency"],
        &nsqd.topic("t")["e2e_processing_latency"],
    ] {
        assert_eq!(latency["count"], 20);
        let [longest, most, half] = [0, 1, 2].map(|index| value(latency, index));
        assert!(
            half > 0.0 && half <= most && most <= longest,
            "{half} {most} {longest}"
        );
        let patience = PATIENCE.as_nanos().to_string().parse().unwrap_or(f64::MAX);
        assert!(longest < patience, "nanoseconds: {longest}");
    }
}

#[test]
fn a_topics_latencies_are_those_of_all_its_channels() {
    let nsqd = Nsqd::start(&["--e2e-processing-latency-percentile=1.0"]);
    nsqd.order("/topic/create?topic=t");
    let without_channels = json!({"count": 0, "percentiles": null});
    assert_eq!(nsqd.topic("t")["e2e_processing_latency"], without_channels);
    nsqd.order("/channel/create?topic=t&channel=other");
    let mut consumer = nsqd.subscribe("t", "c", 10);
    finish_some(&nsqd, &mut consumer, 3);
    let mut other = nsqd.subscribe("t", "other", 1);
    let message = other.expect_message();
    other.send_line(&format!("FIN {}", message.id));
    wait_until("four latencies", PATIENCE, || {
        nsqd.topic("t")["e2e_processing_latency"]["count"] == 4
    });
    let topic = value(&nsqd.topic("t")["e2e_processing_latency"], 0);
    let channels =
        ["c", "other"].map(|name| value(&nsqd.channel("t", name)["e2e_processing_latency"], 0));
    let longest = channels[0].max(channels[1]);
    assert!((topic - longest).abs() < 0.5, "{topic} of {channels:?}");
}

#[test]
fn the_text_has_them_behind_their_mark() {
    let nsqd = Nsqd::start(&["--e2e-processing-latency-percentile=1.0,0.5"]);
    let mut consumer = nsqd.subscribe("t", "c", 10);
    let line_of = |name: &str| {
        let text = nsqd.get("/stats").text();
        let line = text.lines().find(|line| line.contains(name));
        line.unwrap_or_else(|| panic!("{text}")).to_string()
    };
    assert!(line_of("[c ").ends_with(" e2e%: 0.0ns, 0.0ns"));
    finish_some(&nsqd, &mut consumer, 2);
    for name in ["[t ", "[c "] {
        let line = line_of(name);
        let times = line.split_once(" e2e%: ").expect("the mark is there").1;
        let times: Vec<_> = times.split(", ").collect();
        assert_eq!(times.len(), 2, "{line}");
        for time in times {
            let number = time.trim_end_matches(char::is_alphabetic);
            let unit = &time[number.len()..];
            assert!(["s", "ms", "us"].contains(&unit), "{line}");
            let (whole, tenths) = number.split_once('.').expect("one decimal");
            assert!(whole.parse::<u32>().is_ok() && tenths.len() == 1, "{line}");
        }
    }
}

#[test]
fn the_window_forgets() {
    let nsqd = Nsqd::start(&[
        "--e2e-processing-latency-percentile=1.0",
        "--e2e-processing-latency-window-time=400ms",
    ]);
    let mut consumer = nsqd.subscribe("t", "c", 10);
    finish_some(&nsqd, &mut consumer, 5);
    wait_until("all are forgotten", PATIENCE, || {
        let latency = &nsqd.channel("t", "c")["e2e_processing_latency"];
        *latency == json!({"count": 0, "percentiles": [{"quantile": 1, "value": 0}]})
    });
}
