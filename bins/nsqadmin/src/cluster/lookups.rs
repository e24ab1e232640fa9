//! Requests to the nsqlookupds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nsq_daemon::http::client::query_escape;
use serde::Deserialize;

use super::failure::{DaemonKind, Failure};
use super::fan_out::{Round, ask_all};
use super::fetch::Fetcher;
use super::producer::Introduction;
use super::{Cluster, ClusterError, Producer, Warnings};

#[derive(Debug, Deserialize)]
struct TopicNames {
    #[serde(default)]
    topics: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct ChannelNames {
    #[serde(default)]
    channels: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Introductions {
    #[serde(default)]
    producers: Option<Vec<Introduction>>,
}

impl Cluster {
    /// Has all nsqlookupds asked for `path`.
    async fn ask_lookupds<T>(&self, fetcher: &Fetcher, path: &str) -> Round<(String, T)>
    where
        T: serde::de::DeserializeOwned + Send + 'static,
    {
        let requests = self.lookupds().into_iter().map(|address| {
            let (fetcher, path) = (fetcher.clone(), path.to_owned());
            async move {
                let answer = fetcher.get(DaemonKind::Lookupd, &address, &path).await?;
                Ok((address, answer))
            }
        });
        ask_all(DaemonKind::Lookupd, requests).await
    }

    /// As [`Cluster::ask_lookupds`] for something of a topic, where `None` is the answer of one that does not know
    /// the topic: not every nsqd need report to every nsqlookupd.
    async fn ask_lookupds_of<T>(&self, topic: &str, path: &str) -> Round<Option<T>>
    where
        T: serde::de::DeserializeOwned + Send + 'static,
    {
        let path = format!("{path}?topic={}", query_escape(topic));
        let requests = self.lookupds().into_iter().map(|address| {
            let (fetcher, path) = (self.fetcher.clone(), path.clone());
            async move {
                match fetcher.get(DaemonKind::Lookupd, &address, &path).await {
                    Ok(answer) => Ok(Some(answer)),
                    Err(Failure {
                        status: Some(404), ..
                    }) => Ok(None),
                    Err(failure) => Err(failure),
                }
            }
        });
        ask_all(DaemonKind::Lookupd, requests).await
    }

    /// The names of all topics that any nsqlookupd knows.
    pub(super) async fn registered_topics(
        &self,
        fetcher: &Fetcher,
        warnings: &mut Warnings,
    ) -> Result<Vec<String>, ClusterError> {
        let round = self.ask_lookupds::<TopicNames>(fetcher, "/topics").await;
        let answers = round.some_answers(warnings)?;
        let names = answers
            .into_iter()
            .flat_map(|(_, names)| names.topics.unwrap_or_default());
        Ok(names.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// The names of the channels that any nsqlookupd knows of the topic; an nsqlookupd that does not answer is left out.
    pub(super) async fn registered_channels(
        &self,
        topic: &str,
        warnings: &mut Warnings,
    ) -> Vec<String> {
        let round = self.ask_lookupds_of::<ChannelNames>(topic, "/channels");
        let answers = round.await.any_answers(warnings);
        let names = answers
            .into_iter()
            .flatten()
            .flat_map(|names| names.channels.unwrap_or_default());
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The nsqds that any nsqlookupd has for the topic: none for a topic that was only created there.
    pub(super) async fn registered_producers_of(
        &self,
        topic: &str,
        warnings: &mut Warnings,
    ) -> Result<Vec<Producer>, ClusterError> {
        let round = self
            .ask_lookupds_of::<Introductions>(topic, "/lookup")
            .await;
        let failed = round.has_failures();
        let mut own_warnings = Warnings::default();
        let answers = round.some_answers(&mut own_warnings)?;
        if answers.iter().all(Option::is_none) {
            return Err(if failed {
                own_warnings.into_unanswered(DaemonKind::Lookupd)
            } else {
                ClusterError::NoSuchTopic
            });
        }
        warnings.extend(own_warnings);
        let mut producers: Vec<Producer> = Vec::new();
        let introductions = answers
            .into_iter()
            .flatten()
            .flat_map(|answer| answer.producers.unwrap_or_default());
        for producer in introductions.map(Producer::from) {
            let address = producer.http_address();
            if producers
                .iter()
                .all(|other| other.http_address() != address)
            {
                producers.push(producer);
            }
        }
        Ok(producers)
    }

    /// All nsqds that any nsqlookupd knows, by host name; and how many each nsqlookupd knows.
    pub(super) async fn registered_producers(
        &self,
        fetcher: &Fetcher,
        warnings: &mut Warnings,
    ) -> Result<(Vec<Producer>, BTreeMap<String, usize>), ClusterError> {
        let round = self.ask_lookupds::<Introductions>(fetcher, "/nodes").await;
        let answers = round.some_answers(warnings)?;
        let mut producers: Vec<Producer> = Vec::new();
        let mut positions: HashMap<String, usize> = HashMap::new();
        let mut counts = BTreeMap::new();
        for (lookupd, answer) in answers {
            let introductions = answer.producers.unwrap_or_default();
            counts.insert(lookupd.clone(), introductions.len());
            for producer in introductions.into_iter().map(Producer::from) {
                let remote_address = producer.remote_address.clone();
                let position = *positions.entry(producer.tcp_address()).or_insert_with(|| {
                    producers.push(producer);
                    producers.len() - 1
                });
                producers[position].add_report(&lookupd, &remote_address);
            }
        }
        Producer::mark_out_of_date(&mut producers);
        producers
            .sort_by_cached_key(|producer| (producer.hostname.clone(), producer.http_address()));
        Ok((producers, counts))
    }
}
