//! The whole cluster at one moment, shared by everybody who asks within a second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;

use super::failure::{DaemonKind, Failure};
use super::fan_out::ask_all;
use super::questions::{Part, node_stats};
use super::{Cluster, ClusterError, NodeStats, Producer, Topic, Warnings};

/// Everything but the clients.
#[derive(Debug, Clone)]
pub struct Overview {
    /// When it was complete.
    pub taken_at: jiff::Timestamp,
    /// How long that took.
    pub took: Duration,
    /// As given; empty where nsqds are asked directly.
    pub lookupds: Vec<LookupdReport>,
    /// By host name, those included that do not answer; those last that were given by address and do not answer.
    pub nodes: Vec<NodeReport>,
    /// Topics that some node has, summed over the nodes, by name.
    pub topics: Vec<Arc<Topic>>,
    /// Topics that nsqlookupd knows and no node has, by name.
    pub inactive_topics: Vec<String>,
    /// Who could not be asked.
    pub warnings: Warnings,
}

/// An nsqlookupd.
#[derive(Debug, Clone)]
pub struct LookupdReport {
    /// `host:port` of its HTTP interface, as given.
    pub address: String,
    /// Its version, or why it does not say.
    pub version: Result<String, Failure>,
    /// How many nsqds report to it; `None` if it does not say.
    pub node_count: Option<usize>,
}

/// An nsqd.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// `host:port` of its HTTP interface.
    pub address: Arc<str>,
    /// What nsqlookupd, or `/info`, says of it.
    pub producer: Producer,
    /// What it says, or why it does not.
    pub stats: Result<NodeStats, Failure>,
}

impl NodeReport {
    /// An nsqd that was given by its address, and does not say who it is.
    fn unintroduced(failure: &Failure) -> Self {
        Self {
            address: failure.address.as_str().into(),
            producer: Producer::default(),
            stats: Err(failure.clone()),
        }
    }
}

impl Overview {
    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        let position = self
            .topics
            .binary_search_by(|topic| (*topic.topic_name).cmp(name));
        position.ok().map(|position| &self.topics[position])
    }
}

/// The latest overview.
#[derive(Debug, Default)]
pub(super) struct SharedOverview {
    /// Held by whoever takes an overview, so that the others wait for that one.
    latest: Mutex<Option<Latest>>,
    /// Counts what was done to the cluster: an overview that began before does not show it.
    deeds: AtomicU64,
}

#[derive(Debug)]
struct Latest {
    outcome: Result<Arc<Overview>, ClusterError>,
    finished: Instant,
    deeds: u64,
}

#[derive(Debug, Deserialize)]
struct Info {
    #[serde(default)]
    version: String,
}

impl Cluster {
    /// The whole cluster as it was at most a second ago, and after everything that was done to it from here.
    ///
    /// # Errors
    /// [`ClusterError::Unanswered`] when the nodes cannot be found out. Nodes that do not answer are no error.
    pub async fn overview(&self) -> Result<Arc<Overview>, ClusterError> {
        self.overview_within(LONGEST_AGE).await
    }

    /// The whole cluster as it is now, whatever was seen a moment ago.
    ///
    /// # Errors
    /// As [`overview`](Self::overview).
    pub async fn overview_now(&self) -> Result<Arc<Overview>, ClusterError> {
        self.overview_within(Duration::ZERO).await
    }

    async fn overview_within(&self, age: Duration) -> Result<Arc<Overview>, ClusterError> {
        let mut latest = self.overview.latest.lock().await;
        if let Some(latest) = &*latest
            && latest.finished.elapsed() < age
            && latest.deeds == self.overview.deeds.load(Ordering::Acquire)
        {
            return latest.outcome.clone();
        }
        let deeds = self.overview.deeds.load(Ordering::Acquire);
        let outcome = self.take_overview().await.map(Arc::new);
        *latest = Some(Latest {
            outcome: outcome.clone(),
            finished: Instant::now(),
            deeds,
        });
        outcome
    }

    /// Something was done to the cluster: what was seen before is no longer shown.
    pub(super) fn note_deed(&self) {
        self.overview.deeds.fetch_add(1, Ordering::AcqRel);
    }

    async fn take_overview(&self) -> Result<Overview, ClusterError> {
        let started = Instant::now();
        let fetcher = self.fetcher.within(LONGEST_WAIT);
        let mut warnings = Warnings::default();
        let mut unintroduced = Vec::new();
        let (producers, lookupds, registered) = if self.has_lookupds() {
            let (mut of_nodes, mut of_topics) = (Warnings::default(), Warnings::default());
            let (nodes, topics, versions) = tokio::join!(
                self.registered_producers(&fetcher, &mut of_nodes),
                self.registered_topics(&fetcher, &mut of_topics),
                self.lookupd_versions(&fetcher),
            );
            warnings.extend(of_nodes);
            warnings.extend(of_topics);
            let (producers, counts) = nodes?;
            (producers, reports(versions, &counts), topics?)
        } else {
            let producers = self.producers(&fetcher, &mut warnings).await?;
            unintroduced.extend(warnings.iter().map(NodeReport::unintroduced));
            (producers, Vec::new(), Vec::new())
        };
        let questions = producers.into_iter().map(|producer| {
            let fetcher = fetcher.clone();
            async move {
                Ok(
                    match node_stats(&fetcher, producer.clone(), &Part::default()).await {
                        Ok(node) => NodeReport {
                            address: node.address,
                            producer,
                            stats: Ok(node.stats),
                        },
                        Err(failure) => NodeReport {
                            address: producer.http_address().into(),
                            producer,
                            stats: Err(failure),
                        },
                    },
                )
            }
        });
        let round = ask_all(DaemonKind::Nsqd, questions).await;
        let mut nodes = round.any_answers(&mut warnings);
        let silent = nodes.iter().filter_map(|node| node.stats.as_ref().err());
        warnings.add(silent.cloned().collect());
        nodes.extend(unintroduced);
        let topics = sum_topics(&nodes);
        let active: BTreeSet<&str> = topics.iter().map(|topic| &*topic.topic_name).collect();
        let inactive_topics = registered
            .into_iter()
            .filter(|name| !active.contains(name.as_str()))
            .collect();
        Ok(Overview {
            taken_at: jiff::Timestamp::now(),
            took: started.elapsed(),
            lookupds,
            nodes,
            inactive_topics,
            topics,
            warnings,
        })
    }

    async fn lookupd_versions(
        &self,
        fetcher: &super::fetch::Fetcher,
    ) -> Vec<(String, Result<String, Failure>)> {
        let questions = self.lookupds().into_iter().map(|address| {
            let fetcher = fetcher.clone();
            async move {
                let info: Result<Info, Failure> =
                    fetcher.get(DaemonKind::Lookupd, &address, "/info").await;
                Ok((address, info.map(|info| info.version)))
            }
        });
        let round = ask_all(DaemonKind::Lookupd, questions).await;
        round.any_answers(&mut Warnings::default())
    }
}

fn reports(
    versions: Vec<(String, Result<String, Failure>)>,
    counts: &BTreeMap<String, usize>,
) -> Vec<LookupdReport> {
    versions
        .into_iter()
        .map(|(address, version)| LookupdReport {
            node_count: counts.get(&address).copied(),
            address,
            version,
        })
        .collect()
}

/// The nodes' topics, summed by name.
fn sum_topics(nodes: &[NodeReport]) -> Vec<Arc<Topic>> {
    let mut parts: BTreeMap<Arc<str>, Vec<Arc<Topic>>> = BTreeMap::new();
    let topics = nodes
        .iter()
        .filter_map(|node| node.stats.as_ref().ok())
        .flat_map(|stats| &stats.topics);
    for topic in topics {
        let name = Arc::clone(&topic.topic_name);
        parts.entry(name).or_default().push(Arc::clone(topic));
    }
    let sums = parts.into_iter();
    sums.map(|(name, parts)| Arc::new(Topic::of_many(&name, parts)))
        .collect()
}

/// How old a shared overview may be.
const LONGEST_AGE: Duration = Duration::from_secs(1);

/// How long an overview waits for a daemon, whatever `--http-client-request-timeout` allows: a page waits for it.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
