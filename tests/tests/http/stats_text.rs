//! `/stats` as text: people and scripts read it line by line.

use nsq_tests::Nsqd;
use serde_json::json;

/// The text with what differs from run to run made plain: times, addresses, depths on disk.
fn plain(text: &str) -> String {
    let mut lines: Vec<String> = vec![];
    for line in text.lines() {
        let first_word = line.split(' ').next().unwrap_or_default();
        lines.push(match first_word {
            "nsqd" => without(line, "(built w/", ")"),
            "start_time" | "uptime" => first_word.into(),
            _ => without(&without(line, "be-depth: ", "msgs"), "connected: ", "\n"),
        });
    }
    lines.join("\n")
}

/// Cuts what stands between `from` and `to`, or the end.
fn without(line: &str, from: &str, to: &str) -> String {
    let Some((before, rest)) = line.split_once(from) else {
        return line.into();
    };
    let after = rest.find(to).map_or("", |at| &rest[at..]);
    format!("{before}{from}{after}")
}

#[test]
fn an_idle_nsqd_says_so() {
    let nsqd = Nsqd::start(&[]);
    let reply = nsqd.get("/stats?include_mem=false");
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(
        plain(&reply.text()),
        "nsqd v1.3.0 (built w/)\nstart_time\nuptime\n\nHealth: OK\n\nTopics: None\n\nProducers: None"
    );
}

#[test]
fn memory_is_nine_rows() {
    let nsqd = Nsqd::start(&[]);
    let text = nsqd.get("/stats").text();
    let rows = text
        .split_once("\nHealth: OK\n\nMemory:\n")
        .expect("memory comes after health")
        .1;
    let rows: Vec<_> = rows.lines().take(9).collect();
    assert!(
        rows[0].starts_with("   heap_objects             \t"),
        "{rows:?}"
    );
    assert!(
        rows[8].starts_with("   gc_total_runs            \t"),
        "{rows:?}"
    );
    for row in rows {
        let number = row
            .split_once('\t')
            .expect("a tab stands before the number")
            .1;
        assert!(number.parse::<u64>().is_ok(), "{row:?}");
    }
}

#[test]
fn topics_channels_and_clients_have_their_columns() {
    let nsqd = Nsqd::start(&[]);
    let mut consumer = nsqd.connect();
    consumer.identify(&json!({"client_id": "id", "hostname": "host", "user_agent": "agent/1.0"}));
    consumer.subscribe("t", "c");
    consumer.send_line("RDY 1");
    let mut producer = nsqd.connect();
    producer.identify(&json!({"client_id": "id", "hostname": "host", "user_agent": "agent/2.0"}));
    producer.publish_many("t", &["a", "b"]);
    consumer.expect_message();
    nsqd.order("/topic/create?topic=z");
    nsqd.order("/topic/pause?topic=z");
    nsqd.order("/channel/create?topic=z&channel=paused");
    nsqd.order("/channel/pause?topic=z&channel=paused");
    nsqd.wait_for_channel("t", "c", &[("depth", 1), ("in_flight_count", 1)]);

    let stats = nsqd.stats();
    let port = |address: &serde_json::Value| {
        address
            .as_str()
            .and_then(|text| text.rsplit(':').next())
            .unwrap_or_default()
            .to_string()
    };
    let consumer_port = port(&nsqd.channel("t", "c")["clients"][0]["remote_address"]);
    let producer_port = port(&stats["producers"][0]["remote_address"]);
    let text = nsqd.get("/stats?include_mem=0").text();
    let lines = plain(&text);
    let (_, shown) = lines
        .split_once("Health: OK\n")
        .expect("health comes first");
    let columns_of_consumer =
        "state: 3 inflt: 1    rdy: 1    fin: 0        re-q: 0        msgs: 1        connected: ";
    let wanted = format!(
        "
Topics:
   [t              ] depth: 0     be-depth: msgs: 2        e2e%: 
      [c                        ] depth: 1     be-depth: msgs: 2        e2e%: 
        [V2 {consumer_name:<21}] {columns_of_consumer}

*P [z              ] depth: 0     be-depth: msgs: 0        e2e%: 
   *P [paused                   ] depth: 0     be-depth: msgs: 0        e2e%: 

Producers:
   [V2 {producer_name:<21}] msgs: 2        topics: t=2 connected: ",
        consumer_name = format!("host:{consumer_port} agent/1.0"),
        producer_name = format!("host:{producer_port} agent/2.0"),
    );
    assert_eq!(shown, wanted);
    let channel_line = text
        .lines()
        .find(|line| line.contains("[c  "))
        .expect("the channel is shown");
    let (_, columns) = channel_line.split_once("inflt").expect("it has columns");
    assert_eq!(
        columns,
        ": 1    def: 0    re-q: 0     timeout: 0     msgs: 2        e2e%: "
    );
}
