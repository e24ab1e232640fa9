//! `/stats` as text, which people and scripts read line by line.
//!
//! Source: `printStats`, nsq 1.3.0, nsqd/http.go, and `ClientV2Stats.String`, nsqd/client_v2.go.

use std::fmt::{self, Write as _};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use nsq_core::latency::LatencySummary;
use nsq_daemon::go_duration::GoDuration;
use nsq_daemon::version;

use super::clients::ClientReport;
use super::report::{ChannelReport, Stats, TopicReport};

pub(super) fn render(stats: &Stats) -> String {
    let mut text = String::with_capacity(1024);
    write_stats(&mut text, stats, TimeZone::system()).expect("a String takes everything");
    text
}

fn write_stats(out: &mut String, stats: &Stats, zone: TimeZone) -> fmt::Result {
    writeln!(out, "{}", version::line("nsqd"))?;
    let start_time = Timestamp::from_second(stats.start_time).unwrap_or_default();
    writeln!(out, "start_time {}", rfc3339(&start_time.to_zoned(zone)))?;
    writeln!(out, "uptime {}", GoDuration::from(stats.uptime))?;
    writeln!(out, "\nHealth: {}", stats.health)?;
    if let Some(memory) = &stats.memory {
        writeln!(out, "\nMemory:")?;
        for (name, value) in memory.rows() {
            writeln!(out, "   {name:<25}\t{value}")?;
        }
    }
    let topics = stats.topics.as_deref().unwrap_or_default();
    // Compat: the first topic's blank line ends this one.
    out.push_str(if topics.is_empty() {
        "\nTopics: None\n"
    } else {
        "\nTopics:"
    });
    for topic in topics {
        write_topic(out, topic)?;
    }
    if stats.producers.is_empty() {
        writeln!(out, "\nProducers: None")?;
    } else {
        writeln!(out, "\nProducers:")?;
        for producer in &stats.producers {
            write!(out, "   ")?;
            write_client(out, producer)?;
        }
    }
    Ok(())
}

fn write_topic(out: &mut String, topic: &TopicReport) -> fmt::Result {
    let stats = &topic.stats;
    writeln!(
        out,
        "\n{}[{:<15}] depth: {:<5} be-depth: {:<5} msgs: {:<8} e2e%: {}",
        paused_mark(stats.paused),
        stats.name,
        stats.depth,
        stats.backend_depth,
        stats.message_count,
        percentiles(stats.latency.as_ref()),
    )?;
    topic
        .channels
        .iter()
        .try_for_each(|channel| write_channel(out, channel))
}

fn write_channel(out: &mut String, channel: &ChannelReport) -> fmt::Result {
    let stats = &channel.stats;
    write!(
        out,
        "   {}[{:<25}] depth: {:<5} be-depth: {:<5} inflt: {:<4} def: {:<4} ",
        paused_mark(stats.paused),
        stats.name,
        stats.depth,
        stats.backend_depth,
        stats.in_flight_count,
        stats.deferred_count,
    )?;
    writeln!(
        out,
        "re-q: {:<5} timeout: {:<5} msgs: {:<8} e2e%: {}",
        stats.requeue_count,
        stats.timeout_count,
        stats.message_count,
        percentiles(stats.latency.as_ref()),
    )?;
    for client in channel.clients.iter().flatten() {
        write!(out, "        ")?;
        write_client(out, client)?;
    }
    Ok(())
}

fn write_client(out: &mut String, client: &ClientReport) -> fmt::Result {
    let port = client
        .remote_address
        .rsplit_once(':')
        .map_or("", |(_, port)| port);
    let name = format!("{}:{port} {}", client.hostname, client.user_agent);
    write!(out, "[V2 {name:<21}] ")?;
    if let Some((topic, count)) = &client.pub_count {
        write!(out, "msgs: {count:<8} topics: {topic}={count} ")?;
    } else {
        let consumer = &client.consumer;
        write!(
            out,
            "state: {} inflt: {:<4} rdy: {:<4} fin: {:<8} re-q: {:<8} msgs: {:<8} ",
            client.state,
            consumer.in_flight_count,
            consumer.ready_count,
            consumer.finish_count,
            consumer.requeue_count,
            consumer.message_count,
        )?;
    }
    let whole_seconds = Duration::from_secs(client.connected.as_secs());
    writeln!(out, "connected: {}", GoDuration::from(whole_seconds))
}

/// The values alone, in the order of the settings.
fn percentiles(latency: Option<&LatencySummary>) -> String {
    let percentiles = latency.iter().flat_map(|latency| &latency.percentiles);
    let texts: Vec<_> = percentiles.map(|each| in_words(each.nanos)).collect();
    texts.join(", ")
}

/// Source: `NanoSecondToHuman`, nsq 1.3.0, internal/stringy/template.go.
fn in_words(nanos: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal of it is shown")]
    let value = nanos as f64;
    let (unit, word) = match nanos {
        1_000_000_001.. => (1e9, "s"),
        1_000_001.. => (1e6, "ms"),
        1_001.. => (1e3, "us"),
        _ => (1.0, "ns"),
    };
    format!("{:.1}{word}", value / unit)
}

fn paused_mark(paused: bool) -> &'static str {
    if paused { "*P " } else { "   " }
}

/// To the second, as Go's `time.RFC3339`: `Z` in place of an offset of nothing.
fn rfc3339(time: &Zoned) -> String {
    let offset = if time.offset().is_zero() { "Z" } else { "%:z" };
    time.strftime(&format!("%Y-%m-%dT%H:%M:%S{offset}"))
        .to_string()
}

#[cfg(test)]
mod tests {
    use jiff::tz::offset;

    use super::super::fixtures::{a_consumer, a_latency, a_producer, a_topic, nothing};
    use super::super::heap_figures::HeapFigures;
    use super::*;

    #[track_caller]
    fn check(stats: &Stats, want: &str) {
        let mut text = String::new();
        write_stats(&mut text, stats, TimeZone::UTC).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        assert_eq!(first, version::line("nsqd"));
        assert_eq!(rest, want);
    }

    #[test]
    fn an_idle_nsqd_says_so() {
        check(
            &nothing(),
            "start_time 2025-01-27T10:00:00Z\nuptime 1m2.345678901s\n\nHealth: OK\n\nTopics: None\n\nProducers: None\n",
        );
        check(
            &Stats {
                topics: None,
                ..nothing()
            },
            "start_time 2025-01-27T10:00:00Z\nuptime 1m2.345678901s\n\nHealth: OK\n\nTopics: None\n\nProducers: None\n",
        );
    }

    #[test]
    fn memory_is_a_table_behind_the_health() {
        let stats = Stats {
            memory: Some(HeapFigures::in_use(12345)),
            ..nothing()
        };
        check(
            &stats,
            "start_time 2025-01-27T10:00:00Z\nuptime 1m2.345678901s\n\nHealth: OK\n\nMemory:\n\
             \x20  heap_objects             \t0\n\
             \x20  heap_idle_bytes          \t0\n\
             \x20  heap_in_use_bytes        \t12345\n\
             \x20  heap_released_bytes      \t0\n\
             \x20  gc_pause_usec_100        \t0\n\
             \x20  gc_pause_usec_99         \t0\n\
             \x20  gc_pause_usec_95         \t0\n\
             \x20  next_gc_bytes            \t0\n\
             \x20  gc_total_runs            \t0\n\
             \nTopics: None\n\nProducers: None\n",
        );
    }

    #[test]
    fn topics_channels_and_clients_stand_in_columns() {
        let mut first = a_topic("t", "c");
        first.channels[0].clients = Some(vec![
            a_consumer(Duration::from_millis(5900)),
            a_producer(Duration::from_secs(65)),
        ]);
        let mut second = a_topic("a-name-longer-than-its-column", "c#ephemeral");
        second.stats.paused = true;
        second.channels[0].stats.paused = true;
        let stats = Stats {
            topics: Some(vec![first, second]),
            producers: vec![a_producer(Duration::ZERO)],
            ..nothing()
        };
        check(
            &stats,
            "start_time 2025-01-27T10:00:00Z\nuptime 1m2.345678901s\n\nHealth: OK\n\nTopics:\n\
             \x20  [t              ] depth: 1     be-depth: 2     msgs: 3        e2e%: \n\
             \x20     [c                        ] depth: 5     be-depth: 6     inflt: 7    def: 8    \
             re-q: 10    timeout: 11    msgs: 9        e2e%: \n\
             \x20       [V2 host:51234 agent/1.0 ] state: 3 inflt: 2    rdy: 1    fin: 4        \
             re-q: 5        msgs: 3        connected: 5s\n\
             \x20       [V2 host:51235           ] msgs: 10       topics: t=10 connected: 1m5s\n\
             \n\
             *P [a-name-longer-than-its-column] depth: 1     be-depth: 2     msgs: 3        e2e%: \n\
             \x20  *P [c#ephemeral              ] depth: 5     be-depth: 6     inflt: 7    def: 8    \
             re-q: 10    timeout: 11    msgs: 9        e2e%: \n\
             \nProducers:\n\
             \x20  [V2 host:51235           ] msgs: 10       topics: t=10 connected: 0s\n",
        );
    }

    #[test]
    fn latencies_stand_behind_their_mark() {
        let mut topic = a_topic("t", "c");
        topic.stats.latency = Some(a_latency());
        let mut text = String::new();
        write_topic(&mut text, &topic).unwrap();
        assert!(
            text.contains("msgs: 3        e2e%: 1.5ms, 0.0ns\n"),
            "{text}"
        );
        assert!(text.ends_with("e2e%: \n"), "{text}");
    }

    #[test]
    fn a_latency_has_one_decimal_and_a_unit() {
        for (nanos, text) in [
            (0, "0.0ns"),
            (1000, "1000.0ns"),
            (1001, "1.0us"),
            (1_000_000, "1000.0us"),
            (1_550_001, "1.6ms"),
            (1_000_000_000, "1000.0ms"),
            (61_250_000_000, "61.2s"),
        ] {
            assert_eq!(in_words(nanos), text);
        }
    }

    #[test]
    fn a_time_has_its_offset() {
        let time = Timestamp::from_second(1_737_972_000).unwrap();
        let at = |hours| rfc3339(&time.to_zoned(TimeZone::fixed(offset(hours))));
        assert_eq!(at(0), "2025-01-27T10:00:00Z");
        assert_eq!(at(2), "2025-01-27T12:00:00+02:00");
        assert_eq!(at(-5), "2025-01-27T05:00:00-05:00");
    }
}
