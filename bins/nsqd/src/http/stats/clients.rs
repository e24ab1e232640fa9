//! The connections that `/stats` shows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nsq_core::stats::ConsumerStats;
use nsq_core::{ChannelCell, ClientId};
use nsq_protocol::TopicName;
use nsq_transport::Compression;
use nsq_transport::tls::Session;

use crate::client_table::{ClientTable, Connected};
use crate::clock;
use crate::view::{ChannelParts, add_consumer};

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
    pub(super) tls: Option<Session>,
    pub(super) compression: Option<Compression>,
    pub(super) user_agent: String,
    pub(super) authed: bool,
    /// Empty unless it had to authenticate, as is the page about it.
    pub(super) auth_identity: String,
    pub(super) auth_identity_url: String,
    pub(super) topology_zone: String,
    pub(super) topology_region: String,
    /// One topic it published to, and how many messages.
    pub(super) pub_count: Option<(TopicName, u64)>,
    /// The topics it published to, by name; the first [`MOST_PUBLISHED`]. Empty where one topic was asked for.
    pub(super) published: Vec<(TopicName, u64)>,
}

/// Every connection that `/stats` may show, in the order in which they came.
#[derive(Default)]
pub(super) struct Clients {
    by_channel: HashMap<ChannelKey, Members>,
    pub(super) producers: Vec<ClientReport>,
}

/// Tells channels apart, also two of the same name of which one is being deleted.
type ChannelKey = *const ChannelCell;

/// The clients of one channel. Its address cannot be another channel's as long as it is held here.
struct Members {
    cell: Arc<ChannelCell>,
    connections: Vec<Connection>,
}

impl Clients {
    /// Takes all clients of one channel under one lock of it: there may be thousands.
    pub(super) fn gather(clients: &ClientTable, topic: Option<&str>) -> Clients {
        let mut by_channel: HashMap<ChannelKey, Members> = HashMap::new();
        let mut producers = Vec::new();
        let mut add = |cell: Arc<ChannelCell>, connection| {
            let members = by_channel.entry(Arc::as_ptr(&cell));
            let connections = Vec::new();
            let members = members.or_insert(Members { cell, connections });
            members.connections.push(connection);
        };
        for client in clients.all() {
            let (connection, mut channels) = Connection::of(&client, topic);
            let last = channels.pop();
            for cell in channels {
                let remote = None;
                let connection = connection.clone();
                add(
                    cell,
                    Connection {
                        remote,
                        ..connection
                    },
                );
            }
            match last {
                Some(cell) => add(cell, connection),
                None if connection.is_producer => producers.push(connection),
                None => {}
            }
        }
        for members in by_channel.values_mut() {
            members.fill_in();
            let publishing = members
                .connections
                .iter()
                .filter(|member| member.is_producer);
            producers.extend(publishing.cloned());
        }
        let producers = each_once(producers).map(|connection| connection.report);
        Clients {
            by_channel,
            producers: producers.collect(),
        }
    }

    /// The clients of this channel, which are given away: each once, with the sum of its figures in all brokers.
    pub(super) fn take(&mut self, channel: &ChannelParts) -> Vec<ClientReport> {
        let members = channel
            .parts()
            .filter_map(|cell| self.by_channel.remove(&Arc::as_ptr(cell)));
        let connections = members.flat_map(|members| members.connections);
        let connections = each_once(connections.collect());
        connections.map(|connection| connection.report).collect()
    }
}

/// The connections in the order in which they came, each once. The figures of one that is in several parts of its channel
/// add up.
fn each_once(mut connections: Vec<Connection>) -> impl Iterator<Item = Connection> {
    connections.sort_by_key(|connection| connection.id);
    connections.dedup_by(|other, first| {
        let is_same = other.id == first.id;
        if is_same {
            add_consumer(&mut first.report.consumer, &other.report.consumer);
        }
        is_same
    });
    connections.into_iter()
}

impl Members {
    /// Adds the channel's figures of each client; one that has left it is about to go, and is left out.
    fn fill_in(&mut self) {
        let channel = self.cell.lock();
        self.connections.retain_mut(|connection| {
            let consumer = channel.consumer_stats(connection.id);
            connection.report.consumer = consumer.unwrap_or_default();
            if let Some(remote) = connection.remote.take() {
                add_consumer(&mut connection.report.consumer, &remote);
            }
            consumer.is_some()
        });
    }
}

#[derive(Clone)]
struct Connection {
    id: ClientId,
    is_producer: bool,
    /// Its figures at other nodes of a cluster.
    remote: Option<ConsumerStats>,
    report: ClientReport,
}

impl Connection {
    /// The client as it is, and its channels. With `topic`, only what it published there is shown.
    fn of(connected: &Connected, topic: Option<&str>) -> (Connection, Vec<Arc<ChannelCell>>) {
        let client = &connected.client;
        let details = client.details();
        let grants = details.grants.as_ref();
        let report = ClientReport {
            client_id: details.client_id.clone(),
            hostname: details.hostname.clone(),
            remote_address: client.remote_address().to_owned(),
            state: client.state_number(),
            consumer: ConsumerStats::default(),
            connect_ts: client.connect_ts(),
            connected: clock::tick().since(client.connected_at()),
            sample_rate: details.sample_rate,
            tls: connected.tls.get().cloned(),
            compression: connected.compression.get().copied(),
            user_agent: details.user_agent.clone(),
            authed: grants.is_some_and(|grants| grants.count > 0),
            auth_identity: grants.map_or(String::new(), |grants| grants.identity.clone()),
            auth_identity_url: grants.map_or(String::new(), |grants| grants.identity_url.clone()),
            topology_zone: details.topology_zone.clone(),
            topology_region: details.topology_region.clone(),
            pub_count: shown_pub_count(&details.published, topic),
            published: match topic {
                Some(_) => Vec::new(),
                None => by_name(&details.published),
            },
        };
        let is_producer = !details.published.is_empty();
        let connection = Connection {
            id: client.id(),
            is_producer,
            remote: details.remote.as_ref().map(|remote| remote.stats()),
            report,
        };
        (connection, details.channels.clone())
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

/// The topics by name, the first [`MOST_PUBLISHED`].
fn by_name(published: &HashMap<TopicName, u64>) -> Vec<(TopicName, u64)> {
    let mut all: Vec<_> = published.iter().collect();
    all.sort_unstable();
    all.truncate(MOST_PUBLISHED);
    let all = all.into_iter();
    all.map(|(name, count)| (name.clone(), *count)).collect()
}

/// Topics of one publisher in `/stats`: some publish to a topic for each of their users.
const MOST_PUBLISHED: usize = 1000;

#[cfg(test)]
mod tests {
    use super::super::fixtures::a_consumer;
    use super::*;

    #[test]
    fn a_client_of_several_parts_is_shown_once_with_the_sum_of_its_figures() {
        let connection = |id| Connection {
            id: ClientId(id),
            is_producer: false,
            remote: None,
            report: a_consumer(Duration::ZERO),
        };
        let alone = connection(1).report.consumer;
        let shown: Vec<_> = each_once([2, 1, 3, 2].map(connection).into()).collect();
        let ids: Vec<_> = shown.iter().map(|connection| connection.id.0).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!(shown[0].report.consumer, alone);
        let both = shown[1].report.consumer;
        assert_eq!(both.ready_count, alone.ready_count);
        assert_eq!(both.message_count, 2 * alone.message_count);
        assert_eq!(both.in_flight_count, 2 * alone.in_flight_count);
    }

    #[test]
    fn the_topics_of_a_publisher_are_listed_by_name_and_bounded() {
        let name = |number: usize| TopicName::parse(&format!("t{number:04}")).unwrap();
        let published: HashMap<_, _> = (0..1002).map(|number| (name(number), 7)).collect();
        let listed = by_name(&published);
        assert_eq!(listed.len(), 1000);
        assert_eq!((&listed[0], &listed[999]), (&(name(0), 7), &(name(999), 7)));
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
