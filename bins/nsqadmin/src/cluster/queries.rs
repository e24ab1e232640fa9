//! What can be asked of the cluster: topics, channels, nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nsq_daemon::http::client::query_escape;
use nsq_daemon::listen::split_host_port;
use serde::Deserialize;

use super::failure::{DaemonKind, Failure};
use super::fan_out::ask_all;
use super::fetch::Fetcher;
use super::{
    Channel, Cluster, ClusterError, Found, List, Node, NodeStats, Producer, ProducerTopic, Topic,
    Warnings,
};

/// Which part of an nsqd's statistics is wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) topic: Option<String>,
    pub(super) channel: Option<String>,
    pub(super) with_clients: bool,
}

/// What nsqd says in `/info`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    version: String,
    broadcast_address: String,
    hostname: Arc<str>,
    http_port: u16,
    tcp_port: u16,
    topology_zone: Arc<str>,
    topology_region: Arc<str>,
}

/// The names alone out of an nsqd's statistics.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TopicNames {
    topics: Option<Vec<TopicName>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TopicName {
    topic_name: String,
}

impl Cluster {
    /// The names of all topics, sorted.
    ///
    /// # Errors
    /// [`ClusterError::Unanswered`].
    pub async fn topics(&self) -> Result<Found<Vec<String>>, ClusterError> {
        let mut warnings = Warnings::default();
        if self.has_lookupds() {
            let value = self.registered_topics(&self.fetcher, &mut warnings).await?;
            return Ok(Found { value, warnings });
        }
        let requests = self.nsqds.clone().into_iter().map(|address| {
            let fetcher = self.fetcher.clone();
            async move { topic_names(&fetcher, &address, None).await }
        });
        let round = ask_all(DaemonKind::Nsqd, requests).await;
        let names = round.some_answers(&mut warnings)?.into_iter().flatten();
        let value = names.collect::<BTreeSet<_>>().into_iter().collect();
        Ok(Found { value, warnings })
    }

    /// The topics that nsqlookupd knows and no nsqd has, each with the channels registered for it. Empty without
    /// nsqlookupd.
    ///
    /// # Errors
    /// [`ClusterError::Unanswered`].
    pub async fn inactive_topics(
        &self,
    ) -> Result<Found<BTreeMap<String, List<String>>>, ClusterError> {
        let Found {
            value: topics,
            mut warnings,
        } = self.topics().await?;
        let mut value = BTreeMap::new();
        if !self.has_lookupds() {
            return Ok(Found { value, warnings });
        }
        // One list of who has what, in place of a request for each topic. A tombstone hides its producer, as it
        // does from `/lookup`.
        let (producers, _) = self
            .registered_producers(&self.fetcher, &mut warnings)
            .await?;
        let active: BTreeSet<&str> = producers
            .iter()
            .flat_map(|producer| &producer.topics)
            .filter(|topic| !topic.tombstoned)
            .map(|topic| topic.topic.as_str())
            .collect();
        for topic in topics {
            if active.contains(topic.as_str()) {
                continue;
            }
            let mut unheeded = Warnings::default();
            let channels = self.registered_channels(&topic, &mut unheeded).await;
            let channels = if channels.is_empty() {
                List::default()
            } else {
                channels.into()
            };
            value.insert(topic, channels);
        }
        Ok(Found { value, warnings })
    }

    /// A topic with its channels, summed over all nodes; without its clients.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchTopic`], [`ClusterError::Unanswered`].
    pub async fn topic(&self, topic: &str) -> Result<Found<Topic>, ClusterError> {
        let part = Part {
            topic: Some(topic.to_owned()),
            ..Part::default()
        };
        let found = self.topic_parts(topic, part).await?;
        Ok(found.map(|parts| Topic::of_many(topic, parts)))
    }

    /// A channel with its clients, summed over all nodes.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchTopic`], [`ClusterError::NoSuchChannel`], [`ClusterError::Unanswered`].
    pub async fn channel(
        &self,
        topic: &str,
        channel: &str,
    ) -> Result<Found<Channel>, ClusterError> {
        let part = Part {
            topic: Some(topic.to_owned()),
            channel: Some(channel.to_owned()),
            with_clients: true,
        };
        let Found { value, warnings } = self.topic_parts(topic, part).await?;
        let mut sum = Channel::of_many(topic, channel);
        let parts = value.iter().flat_map(|topic| &topic.channels);
        for part in parts.filter(|part| *part.channel_name == *channel) {
            sum.add(Arc::clone(part));
        }
        if sum.nodes.is_empty() {
            return Err(ClusterError::NoSuchChannel);
        }
        sum.sort();
        let value = sum;
        Ok(Found { value, warnings })
    }

    /// The topic on each node that has it.
    async fn topic_parts(
        &self,
        topic: &str,
        part: Part,
    ) -> Result<Found<Vec<Arc<Topic>>>, ClusterError> {
        let Found {
            value: producers,
            mut warnings,
        } = self.producers_of(topic).await?;
        if producers.is_empty() {
            let value = Vec::new();
            return Ok(Found { value, warnings });
        }
        let nodes = self.ask_nodes(&self.fetcher, producers, &part).await;
        let mut value = Vec::new();
        for node in nodes.some_answers(&mut warnings)? {
            // Old nsqds do not know the filter.
            let topics = node.stats.topics.iter();
            value.extend(topics.filter(|found| *found.topic_name == *topic).cloned());
        }
        Ok(Found { value, warnings })
    }

    /// All nsqds, by host name.
    ///
    /// # Errors
    /// [`ClusterError::Unanswered`].
    pub async fn nodes(&self) -> Result<Found<Vec<Producer>>, ClusterError> {
        let mut warnings = Warnings::default();
        let value = self.producers(&self.fetcher, &mut warnings).await?;
        Ok(Found { value, warnings })
    }

    /// One nsqd with all its topics, channels and clients.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchNode`], [`ClusterError::Unanswered`].
    pub async fn node(&self, address: &str) -> Result<Found<Node>, ClusterError> {
        let Found {
            value: producers,
            mut warnings,
        } = self.nodes().await?;
        let found = producers
            .into_iter()
            .find(|producer| producer.http_address() == address);
        let producer = found.ok_or(ClusterError::NoSuchNode)?;
        let part = Part {
            with_clients: true,
            ..Part::default()
        };
        let round = self.ask_nodes(&self.fetcher, vec![producer], &part).await;
        let answers = round.some_answers(&mut warnings)?;
        let value = answers.into_iter().next();
        let value = value.expect("some answers are one at least");
        Ok(Found { value, warnings })
    }

    /// All nodes with their statistics: a round that may have failed in part.
    pub(super) async fn ask_nodes(
        &self,
        fetcher: &Fetcher,
        producers: Vec<Producer>,
        part: &Part,
    ) -> super::fan_out::Round<Node> {
        let requests = producers.into_iter().map(|producer| {
            let (fetcher, part) = (fetcher.clone(), part.clone());
            async move { node_stats(&fetcher, producer, &part).await }
        });
        ask_all(DaemonKind::Nsqd, requests).await
    }

    /// The nsqds that have a topic.
    pub(super) async fn producers_of(
        &self,
        topic: &str,
    ) -> Result<Found<Vec<Producer>>, ClusterError> {
        let mut warnings = Warnings::default();
        if self.has_lookupds() {
            let value = self.registered_producers_of(topic, &mut warnings).await?;
            return Ok(Found { value, warnings });
        }
        let requests = self.nsqds.clone().into_iter().map(|address| {
            let (fetcher, topic) = (self.fetcher.clone(), topic.to_owned());
            async move {
                let names = topic_names(&fetcher, &address, Some(&topic)).await?;
                if !names.contains(&topic) {
                    return Ok(None);
                }
                introduce(&fetcher, &address, names).await.map(Some)
            }
        });
        let round = ask_all(DaemonKind::Nsqd, requests).await;
        let failed = round.has_failures();
        let mut own_warnings = Warnings::default();
        let answers = round.some_answers(&mut own_warnings)?;
        let value: Vec<_> = answers.into_iter().flatten().collect();
        if value.is_empty() {
            return Err(if failed {
                own_warnings.into_unanswered(DaemonKind::Nsqd)
            } else {
                ClusterError::NoSuchTopic
            });
        }
        warnings.extend(own_warnings);
        Ok(Found { value, warnings })
    }

    /// The nsqd at an address, as it introduces itself.
    pub(super) async fn producer_at(&self, address: &str) -> Result<Producer, ClusterError> {
        let (fetcher, address) = (self.fetcher.clone(), address.to_owned());
        let request = async move { introduce(&fetcher, &address, Vec::new()).await };
        let round = ask_all(DaemonKind::Nsqd, [request]).await;
        let answers = round.some_answers(&mut Warnings::default())?;
        Ok(answers
            .into_iter()
            .next()
            .expect("some answers are one at least"))
    }

    /// All nsqds.
    pub(super) async fn producers(
        &self,
        fetcher: &Fetcher,
        warnings: &mut Warnings,
    ) -> Result<Vec<Producer>, ClusterError> {
        if self.has_lookupds() {
            let (producers, _) = self.registered_producers(fetcher, warnings).await?;
            return Ok(producers);
        }
        let requests = self.nsqds.clone().into_iter().map(|address| {
            let fetcher = fetcher.clone();
            async move { introduce_fully(&fetcher, &address).await }
        });
        let round = ask_all(DaemonKind::Nsqd, requests).await;
        round.some_answers(warnings)
    }

    /// The nsqds given by flags, each with what it says of itself.
    pub(super) async fn given_producers(
        &self,
        fetcher: &Fetcher,
    ) -> Vec<(String, Result<Producer, Failure>)> {
        let requests = self.nsqds.clone().into_iter().map(|address| {
            let fetcher = fetcher.clone();
            async move {
                let producer = introduce_fully(&fetcher, &address).await;
                Ok((address, producer))
            }
        });
        let round = ask_all(DaemonKind::Nsqd, requests).await;
        round.any_answers(&mut Warnings::default())
    }

    /// A channel with its clients on those of `nodes` that have it, none of them waited for longer than `limit`.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchChannel`] when every node answers and none has it.
    pub async fn channel_on(
        &self,
        nodes: Vec<Producer>,
        topic: &str,
        channel: &str,
        limit: Duration,
    ) -> Result<Found<Channel>, ClusterError> {
        let part = Part {
            topic: Some(topic.to_owned()),
            channel: Some(channel.to_owned()),
            with_clients: true,
        };
        let fetcher = self.fetcher.within(limit);
        let round = self.ask_nodes(&fetcher, nodes, &part).await;
        let mut warnings = Warnings::default();
        let mut sum = Channel::of_many(topic, channel);
        for node in round.any_answers(&mut warnings) {
            let topics = node.stats.topics.iter();
            let channels = topics
                .filter(|found| *found.topic_name == *topic)
                .flat_map(|topic| &topic.channels);
            for part in channels.filter(|part| *part.channel_name == *channel) {
                sum.add(Arc::clone(part));
            }
        }
        if sum.nodes.is_empty() && warnings.is_empty() {
            return Err(ClusterError::NoSuchChannel);
        }
        sum.sort();
        let value = sum;
        Ok(Found { value, warnings })
    }

    /// One of the nodes with all its topics, channels and clients, waited for no longer than `limit`.
    ///
    /// # Errors
    /// [`ClusterError::Unanswered`].
    pub async fn node_within(
        &self,
        producer: Producer,
        limit: Duration,
    ) -> Result<Node, ClusterError> {
        let part = Part {
            with_clients: true,
            ..Part::default()
        };
        let fetcher = self.fetcher.within(limit);
        let round = self.ask_nodes(&fetcher, vec![producer], &part).await;
        let answers = round.some_answers(&mut Warnings::default())?;
        let node = answers.into_iter().next();
        Ok(node.expect("some answers are one at least"))
    }

    /// All of `nodes` with all their clients, none of them waited for longer than `limit`; those that fail are left out.
    pub async fn nodes_with_clients(&self, nodes: Vec<Producer>, limit: Duration) -> Vec<Node> {
        let part = Part {
            with_clients: true,
            ..Part::default()
        };
        let fetcher = self.fetcher.within(limit);
        let round = self.ask_nodes(&fetcher, nodes, &part).await;
        round.any_answers(&mut Warnings::default())
    }
}

/// One node's statistics.
pub(super) async fn node_stats(
    fetcher: &Fetcher,
    producer: Producer,
    part: &Part,
) -> Result<Node, Failure> {
    let address: Arc<str> = producer.http_address().into();
    let mut path = "/stats?format=json".to_owned();
    for (key, value) in [("topic", &part.topic), ("channel", &part.channel)] {
        if let Some(value) = value {
            path.push('&');
            path.push_str(key);
            path.push('=');
            path.push_str(&query_escape(value));
        }
    }
    if !part.with_clients {
        path.push_str("&include_clients=false");
    }
    let mut stats: NodeStats = fetcher.get(DaemonKind::Nsqd, &address, &path).await?;
    stats.place(&address, &producer);
    Ok(Node {
        address,
        producer,
        stats,
    })
}

/// The names of an nsqd's topics, or of that topic if it has it.
async fn topic_names(
    fetcher: &Fetcher,
    address: &str,
    topic: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let mut path = "/stats?format=json".to_owned();
    if let Some(topic) = topic {
        path.push_str("&topic=");
        path.push_str(&query_escape(topic));
    }
    path.push_str("&include_clients=false");
    let names: TopicNames = fetcher.get(DaemonKind::Nsqd, address, &path).await?;
    let names = names.topics.unwrap_or_default().into_iter();
    Ok(names.map(|topic| topic.topic_name).collect())
}

/// As [`introduce`], with its topics.
async fn introduce_fully(fetcher: &Fetcher, address: &str) -> Result<Producer, Failure> {
    let names = topic_names(fetcher, address, None).await?;
    introduce(fetcher, address, names).await
}

/// An nsqd that was given by its address introduces itself. What it leaves out is taken from the address.
async fn introduce(
    fetcher: &Fetcher,
    address: &str,
    topics: Vec<String>,
) -> Result<Producer, Failure> {
    let mut info: Info = fetcher.get(DaemonKind::Nsqd, address, "/info").await?;
    let (host, port) = split_host_port(address).unwrap_or((address, ""));
    if info.broadcast_address.is_empty() {
        host.clone_into(&mut info.broadcast_address);
        info.http_port = port.parse().unwrap_or_default();
    }
    if info.hostname.is_empty() {
        info.hostname = host.into();
    }
    let mut list = List::default();
    for topic in topics {
        let tombstoned = false;
        list.push(ProducerTopic { topic, tombstoned });
    }
    Ok(Producer {
        hostname: info.hostname,
        broadcast_address: info.broadcast_address,
        tcp_port: info.tcp_port,
        http_port: info.http_port,
        version: info.version,
        topology_zone: info.topology_zone,
        topology_region: info.topology_region,
        topics: list,
        ..Producer::default()
    })
}
