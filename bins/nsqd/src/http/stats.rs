//! `/stats`: what is asked for, and gathering it. How it is shown is in [`stats_json`] and [`stats_text`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nsq_core::stats::{ChannelStats, ConsumerStats, TopicStats};
use nsq_core::{ChannelCell, ClientId, Topic};
use nsq_daemon::http::{ApiError, Query, Reply, Request};
use nsq_protocol::TopicName;

use super::stats_memory::HeapFigures;
use super::{blocking, manage, stats_json, stats_text};
use crate::client::Client;
use crate::nsqd::Nsqd;

pub(super) async fn stats(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let query = StatsQuery::parse(&manage::read(&mut request).await?);
    // With many topics and clients this takes a while.
    blocking(move || {
        let stats = Stats::gather(&nsqd, &query);
        match query.format {
            Format::Json => stats_json::reply(&stats),
            Format::Text => Reply::text(stats_text::render(&stats)),
        }
    })
    .await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Text,
}

/// What to show. Filters are `None` when not given or empty.
#[derive(Debug, PartialEq, Eq)]
struct StatsQuery {
    format: Format,
    topic: Option<String>,
    channel: Option<String>,
    include_clients: bool,
    include_memory: bool,
}

impl StatsQuery {
    fn parse(query: &Query) -> StatsQuery {
        let filter = |key: &str| {
            query
                .first(key)
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
        };
        let is_wanted = |key: &str| !matches!(query.first(key), Some("false" | "0"));
        StatsQuery {
            format: if query.first("format") == Some("json") {
                Format::Json
            } else {
                Format::Text
            },
            topic: filter("topic"),
            channel: filter("channel"),
            include_clients: is_wanted("include_clients"),
            include_memory: is_wanted("include_mem"),
        }
    }
}

/// Everything `/stats` shows.
pub(super) struct Stats {
    pub(super) health: String,
    /// Unix seconds.
    pub(super) start_time: i64,
    pub(super) uptime: Duration,
    /// By name. `None` when a topic was asked for that is not there.
    pub(super) topics: Option<Vec<TopicReport>>,
    pub(super) memory: Option<HeapFigures>,
    /// Clients that published. Empty when clients are not included.
    pub(super) producers: Vec<ClientReport>,
}

/// A topic, with those of its channels that were asked for.
pub(super) struct TopicReport {
    pub(super) stats: TopicStats,
    pub(super) channels: Vec<ChannelReport>,
}

pub(super) struct ChannelReport {
    pub(super) stats: ChannelStats,
    /// `None` when clients are not included.
    pub(super) clients: Option<Vec<ClientReport>>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientReport {
    pub(super) client_id: String,
    pub(super) hostname: String,
    pub(super) remote_address: String,
    pub(super) state: u8,
    /// Zero throughout for a client that is not subscribed.
    pub(super) consumer: ConsumerStats,
    /// Unix seconds.
    pub(super) connect_ts: i64,
    pub(super) connected: Duration,
    pub(super) sample_rate: u8,
    pub(super) user_agent: String,
    pub(super) topology_zone: String,
    pub(super) topology_region: String,
    /// One topic it published to, and how many messages.
    pub(super) pub_count: Option<(TopicName, u64)>,
}

impl Stats {
    fn gather(nsqd: &Nsqd, query: &StatsQuery) -> Stats {
        let topics = match &query.topic {
            Some(name) => nsqd.broker.topic(name).map(|topic| vec![topic]),
            None => Some(nsqd.broker.topics()),
        };
        let mut clients = match &topics {
            Some(_) if query.include_clients => Clients::gather(nsqd, query.topic.as_deref()),
            _ => Clients::default(),
        };
        let topics = topics.map(|topics| {
            topics
                .iter()
                .filter_map(|topic| topic_report(topic, query, &mut clients))
                .collect()
        });
        Stats {
            health: nsqd.broker.health(),
            start_time: nsqd.start_time,
            uptime: nsqd.started.elapsed(),
            topics,
            memory: query.include_memory.then(HeapFigures::now),
            producers: clients.producers,
        }
    }
}

/// `None` when a channel is asked for that the topic does not have.
fn topic_report(topic: &Topic, query: &StatsQuery, clients: &mut Clients) -> Option<TopicReport> {
    let mut stats = topic.stats();
    let mut channels = std::mem::take(&mut stats.channels);
    if let Some(name) = &query.channel {
        channels.retain(|channel| channel.name.as_str() == name);
        if channels.is_empty() {
            return None;
        }
    }
    let report = |stats: ChannelStats| {
        let clients = query.include_clients.then(|| {
            let cell = topic.channel(stats.name.as_str());
            cell.and_then(|cell| clients.by_channel.remove(&key(&cell)))
                .unwrap_or_default()
        });
        ChannelReport { stats, clients }
    };
    let channels = channels.into_iter().map(report).collect();
    Some(TopicReport { stats, channels })
}

/// Every connection that `/stats` may show, in the order in which they came.
#[derive(Default)]
struct Clients {
    by_channel: HashMap<ChannelKey, Vec<ClientReport>>,
    producers: Vec<ClientReport>,
}

/// Tells channels apart, also two of the same name of which one is being deleted.
type ChannelKey = *const ChannelCell;

fn key(cell: &Arc<ChannelCell>) -> ChannelKey {
    Arc::as_ptr(cell)
}

impl Clients {
    /// Takes all clients of one channel under one lock of it: there may be thousands.
    fn gather(nsqd: &Nsqd, topic: Option<&str>) -> Clients {
        let mut channels: HashMap<ChannelKey, (Arc<ChannelCell>, Vec<Connection>)> = HashMap::new();
        let mut producers = Vec::new();
        for client in nsqd.all_clients() {
            let (connection, channel) = Connection::of(&client, topic);
            if let Some(cell) = channel {
                let (_, members) = channels
                    .entry(key(&cell))
                    .or_insert_with(|| (cell, Vec::new()));
                members.push(connection);
            } else if connection.is_producer {
                producers.push((connection.id, connection.report));
            }
        }
        let mut by_channel = HashMap::with_capacity(channels.len());
        for (key, (cell, mut members)) in channels {
            fill_in(&cell, &mut members);
            let publishing = members.iter().filter(|member| member.is_producer);
            producers.extend(publishing.map(|member| (member.id, member.report.clone())));
            by_channel.insert(
                key,
                members.into_iter().map(|member| member.report).collect(),
            );
        }
        producers.sort_by_key(|(id, _)| *id);
        let producers = producers.into_iter().map(|(_, report)| report).collect();
        Clients {
            by_channel,
            producers,
        }
    }
}

/// Adds the channel's figures of each client; one that has left it is about to go, and is left out.
fn fill_in(cell: &ChannelCell, members: &mut Vec<Connection>) {
    let channel = cell.lock();
    members.retain_mut(|member| {
        let consumer = channel.consumer_stats(member.id);
        member.report.consumer = consumer.unwrap_or_default();
        consumer.is_some()
    });
}

struct Connection {
    id: ClientId,
    is_producer: bool,
    report: ClientReport,
}

impl Connection {
    /// The client as it is, and its channel. With `topic`, only what it published there is shown.
    fn of(client: &Client, topic: Option<&str>) -> (Connection, Option<Arc<ChannelCell>>) {
        let details = client.details();
        let report = ClientReport {
            client_id: details.client_id.clone(),
            hostname: details.hostname.clone(),
            remote_address: client.remote_address.clone(),
            state: client.state_number(),
            consumer: ConsumerStats::default(),
            connect_ts: client.connect_ts,
            connected: client.connected.elapsed(),
            sample_rate: details.sample_rate,
            user_agent: details.user_agent.clone(),
            topology_zone: details.topology_zone.clone(),
            topology_region: details.topology_region.clone(),
            pub_count: shown_pub_count(&details.published, topic),
        };
        let is_producer = !details.published.is_empty();
        let connection = Connection {
            id: client.id,
            is_producer,
            report,
        };
        (connection, details.channel.clone())
    }
}

/// Compat: one topic at most, the filter's or else any; here the first by name (clientV2.Stats, nsqd/client_v2.go).
fn shown_pub_count(
    published: &HashMap<TopicName, u64>,
    topic: Option<&str>,
) -> Option<(TopicName, u64)> {
    let shown = match topic {
        Some(topic) => published.get_key_value(topic),
        None => published.iter().min_by_key(|(name, _)| *name),
    };
    shown.map(|(name, count)| (name.clone(), *count))
}

#[cfg(test)]
pub(super) mod tests {
    use nsq_protocol::ChannelName;

    use super::*;

    /// What a started nsqd has to tell.
    pub(in super::super) fn nothing() -> Stats {
        Stats {
            health: "OK".to_owned(),
            start_time: 1_737_972_000,
            uptime: Duration::from_nanos(62_345_678_901),
            topics: Some(Vec::new()),
            memory: None,
            producers: Vec::new(),
        }
    }

    /// A topic with one channel and a figure of its own in every place.
    pub(in super::super) fn a_topic(topic: &str, channel: &str) -> TopicReport {
        let stats = TopicStats {
            name: TopicName::parse(topic).unwrap(),
            depth: 1,
            backend_depth: 2,
            message_count: 3,
            message_bytes: 4,
            paused: false,
            channels: Vec::new(),
        };
        let channel = ChannelStats {
            name: ChannelName::parse(channel).unwrap(),
            depth: 5,
            backend_depth: 6,
            in_flight_count: 7,
            deferred_count: 8,
            message_count: 9,
            requeue_count: 10,
            timeout_count: 11,
            dropped_count: 0,
            damaged_count: 0,
            client_count: 1,
            paused: false,
        };
        TopicReport {
            stats,
            channels: vec![ChannelReport {
                stats: channel,
                clients: None,
            }],
        }
    }

    pub(in super::super) fn a_consumer(connected: Duration) -> ClientReport {
        ClientReport {
            client_id: "id".to_owned(),
            hostname: "host".to_owned(),
            remote_address: "[::1]:51234".to_owned(),
            state: 3,
            consumer: ConsumerStats {
                ready_count: 1,
                in_flight_count: 2,
                message_count: 3,
                finish_count: 4,
                requeue_count: 5,
            },
            connect_ts: 1_737_972_001,
            connected,
            sample_rate: 6,
            user_agent: "agent/1.0".to_owned(),
            topology_zone: "zone".to_owned(),
            topology_region: "region".to_owned(),
            pub_count: None,
        }
    }

    pub(in super::super) fn a_producer(connected: Duration) -> ClientReport {
        ClientReport {
            client_id: "id".to_owned(),
            hostname: "host".to_owned(),
            remote_address: "127.0.0.1:51235".to_owned(),
            state: 0,
            consumer: ConsumerStats::default(),
            connect_ts: 1_737_972_001,
            connected,
            sample_rate: 0,
            user_agent: String::new(),
            topology_zone: String::new(),
            topology_region: String::new(),
            pub_count: Some((TopicName::parse("t").unwrap(), 10)),
        }
    }

    #[track_caller]
    fn parse(query: &str) -> StatsQuery {
        StatsQuery::parse(&Query::parse(query).unwrap())
    }

    #[test]
    fn everything_is_shown_unless_the_query_says_otherwise() {
        let everything = StatsQuery {
            format: Format::Text,
            topic: None,
            channel: None,
            include_clients: true,
            include_memory: true,
        };
        assert_eq!(parse(""), everything);
        assert_eq!(
            parse("format=JSON&topic=&channel=&include_clients=no&include_mem=FALSE"),
            everything
        );
        let narrow = StatsQuery {
            format: Format::Json,
            topic: Some("t!".to_owned()),
            channel: Some("c".to_owned()),
            include_clients: false,
            include_memory: false,
        };
        assert_eq!(
            parse("format=json&topic=t!&channel=c&include_clients=0&include_mem=false"),
            narrow
        );
        assert_eq!(
            parse("format=json&topic=t!&channel=c&include_clients=false&include_mem=0"),
            narrow
        );
    }

    #[test]
    fn a_client_shows_one_topic_it_published_to() {
        let name = |text: &str| TopicName::parse(text).unwrap();
        let published = HashMap::from([(name("b"), 2), (name("a"), 1), (name("c"), 3)]);
        assert_eq!(shown_pub_count(&published, None), Some((name("a"), 1)));
        assert_eq!(shown_pub_count(&published, Some("c")), Some((name("c"), 3)));
        assert_eq!(shown_pub_count(&published, Some("d")), None);
        assert_eq!(shown_pub_count(&HashMap::new(), None), None);
    }
}
