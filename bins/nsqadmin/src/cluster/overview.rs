//! The whole cluster at one moment, taken once for all requests that wait for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;

use super::failure::{DaemonKind, Failure};
use super::fan_out::ask_all;
use super::fetch::Fetcher;
use super::queries::{Part, node_stats};
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
    /// Why the nodes are those that were registered earlier: no nsqlookupd answers.
    pub unregistered: Option<ClusterError>,
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
    pub stats: Result<Arc<NodeStats>, Failure>,
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

/// The latest overview, shared by the requests that were waiting when it began.
///
/// Invariant: a request gets an overview that began after the request arrived. So nothing that a client did before it
/// asks is missing, and values polled every second are never old ones; and however many requests arrive during one
/// overview, a single one after it answers them all.
#[derive(Debug, Default)]
pub(super) struct SharedOverview {
    /// Held while an overview is taken.
    latest: Mutex<Option<Latest>>,
    /// Held for a moment.
    remembered: std::sync::Mutex<Remembered>,
}

/// What is fallen back on when a daemon does not answer: no overview may lack a node for that.
#[derive(Debug, Default)]
struct Remembered {
    /// What the nsqlookupds last said.
    registered: Option<(Vec<Producer>, Vec<String>)>,
    /// How the nsqds given by flags introduced themselves, by the address given.
    introduced: HashMap<String, Producer>,
}

impl SharedOverview {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Latest {
    outcome: Result<Arc<Overview>, ClusterError>,
    started: Instant,
}

#[derive(Debug, Deserialize)]
struct Info {
    #[serde(default)]
    version: String,
}

impl Cluster {
    /// The whole cluster, from requests that all began after this call.
    ///
    /// # Errors
    /// [`ClusterError::Unanswered`] when the nodes cannot be found out. Nodes that do not answer are no error.
    pub async fn overview(&self) -> Result<Arc<Overview>, ClusterError> {
        self.overview_by(&self.fetcher).await
    }

    /// The same for the history: its requests do not fill the daemons' logs.
    ///
    /// # Errors
    /// As [`overview`](Self::overview).
    pub async fn polled_overview(&self) -> Result<Arc<Overview>, ClusterError> {
        self.overview_by(&self.fetcher.polling()).await
    }

    async fn overview_by(&self, fetcher: &Fetcher) -> Result<Arc<Overview>, ClusterError> {
        let arrived = Instant::now();
        let mut latest = self.overview.latest.lock().await;
        if let Some(latest) = &*latest
            && latest.started >= arrived
        {
            return latest.outcome.clone();
        }
        let started = Instant::now();
        let outcome = self.take_overview(fetcher).await.map(Arc::new);
        *latest = Some(Latest {
            outcome: outcome.clone(),
            started,
        });
        outcome
    }

    async fn take_overview(&self, fetcher: &Fetcher) -> Result<Overview, ClusterError> {
        let started = Instant::now();
        let fetcher = fetcher.within(LONGEST_WAIT);
        let mut warnings = Warnings::default();
        let Listed {
            producers,
            lookupds,
            topics: registered,
            silent: unintroduced,
            unregistered,
        } = if self.has_lookupds() {
            self.listed_by_lookupds(&fetcher, &mut warnings).await?
        } else {
            self.listed_by_flags(&fetcher, &mut warnings).await?
        };
        let requests = producers.into_iter().map(|producer| {
            let fetcher = fetcher.clone();
            async move {
                Ok(
                    match node_stats(&fetcher, producer.clone(), &Part::default()).await {
                        Ok(node) => NodeReport {
                            address: node.address,
                            producer,
                            stats: Ok(Arc::new(node.stats)),
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
        let round = ask_all(DaemonKind::Nsqd, requests).await;
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
            unregistered,
        })
    }

    /// The nodes and topics that the nsqlookupds know. If none of them answers, those that they knew before.
    async fn listed_by_lookupds(
        &self,
        fetcher: &Fetcher,
        warnings: &mut Warnings,
    ) -> Result<Listed, ClusterError> {
        let (mut of_nodes, mut of_topics) = (Warnings::default(), Warnings::default());
        let (nodes, topics, versions) = tokio::join!(
            self.registered_producers(fetcher, &mut of_nodes),
            self.registered_topics(fetcher, &mut of_topics),
            self.lookupd_versions(fetcher),
        );
        warnings.extend(of_nodes);
        warnings.extend(of_topics);
        let mut listed = Listed::default();
        let mut remembered = self.overview.remembered();
        match nodes.and_then(|(nodes, counts)| Ok((nodes, counts, topics?))) {
            Ok((producers, counts, topics)) => {
                remembered.registered = Some((producers.clone(), topics.clone()));
                listed.lookupds = reports(versions, &counts);
                (listed.producers, listed.topics) = (producers, topics);
            }
            Err(error) => {
                let before = remembered.registered.clone();
                (listed.producers, listed.topics) = before.ok_or_else(|| error.clone())?;
                listed.lookupds = reports(versions, &BTreeMap::new());
                if let ClusterError::Unanswered { failures, .. } = &error {
                    warnings.add(failures.clone());
                }
                listed.unregistered = Some(error);
            }
        }
        Ok(listed)
    }

    /// The nodes given by flags. One that does not answer now is as it introduced itself before.
    async fn listed_by_flags(
        &self,
        fetcher: &Fetcher,
        warnings: &mut Warnings,
    ) -> Result<Listed, ClusterError> {
        let outcome = self.given_producers(fetcher).await;
        let mut remembered = self.overview.remembered();
        let mut listed = Listed::default();
        let mut failures = Vec::new();
        for (address, outcome) in outcome {
            match outcome {
                Ok(producer) => {
                    remembered.introduced.insert(address, producer.clone());
                    listed.producers.push(producer);
                }
                Err(failure) => {
                    let before = remembered.introduced.get(&address).cloned();
                    listed.silent.push(match before {
                        Some(producer) => NodeReport {
                            address: producer.http_address().into(),
                            producer,
                            stats: Err(failure.clone()),
                        },
                        None => NodeReport::unintroduced(&failure),
                    });
                    failures.push(failure);
                }
            }
        }
        if listed.producers.is_empty() && remembered.introduced.is_empty() {
            let kind = DaemonKind::Nsqd;
            return Err(ClusterError::Unanswered { kind, failures });
        }
        warnings.add(failures);
        Ok(listed)
    }

    async fn lookupd_versions(&self, fetcher: &Fetcher) -> Vec<(String, Result<String, Failure>)> {
        let requests = self.lookupds().into_iter().map(|address| {
            let fetcher = fetcher.clone();
            async move {
                let info: Result<Info, Failure> =
                    fetcher.get(DaemonKind::Lookupd, &address, "/info").await;
                Ok((address, info.map(|info| info.version)))
            }
        });
        let round = ask_all(DaemonKind::Lookupd, requests).await;
        round.any_answers(&mut Warnings::default())
    }
}

/// Who is to be asked for an overview.
#[derive(Debug, Default)]
struct Listed {
    producers: Vec<Producer>,
    lookupds: Vec<LookupdReport>,
    topics: Vec<String>,
    /// Nodes that do not answer already.
    silent: Vec<NodeReport>,
    unregistered: Option<ClusterError>,
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

/// How long an overview waits for a daemon, whatever `--http-client-request-timeout` allows: a page waits for it.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt as _;
    use nsq_daemon::http::{self, HttpLimits, Method, Reply, Router};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::settings::Settings;

    /// An nsqd whose statistics can be held back.
    struct SlowNsqd {
        /// A permit for each request for statistics that has arrived.
        arrived: Semaphore,
        /// Each answer takes a permit.
        answers: Semaphore,
    }

    async fn slow_nsqd() -> (Arc<SlowNsqd>, Cluster) {
        let nsqd = Arc::new(SlowNsqd {
            arrived: Semaphore::new(0),
            answers: Semaphore::new(0),
        });
        let router = Router::new(Arc::clone(&nsqd))
            .route(Method::GET, "/info", async |_, _| Ok(Reply::raw_json("{}")))
            .route(Method::GET, "/stats", async |nsqd: Arc<SlowNsqd>, _| {
                nsqd.arrived.add_permits(1);
                nsqd.answers.acquire().await.unwrap().forget();
                Ok(Reply::raw_json("{}"))
            });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = HttpLimits::default();
        tokio::spawn(http::serve(listener, Arc::new(router), limits, pending()));
        let flag = format!("--nsqd-http-address={address}");
        let settings = Settings::load([flag.into()]).unwrap();
        (nsqd, Cluster::new(&settings).unwrap())
    }

    #[tokio::test]
    async fn a_request_gets_an_overview_that_began_after_it_and_shares_it_with_those_that_wait() {
        let (nsqd, cluster) = slow_nsqd().await;
        let mut first = Box::pin(cluster.overview());
        tokio::select! {
            _ = &mut first => panic!("nsqd has not answered"),
            arrived = nsqd.arrived.acquire() => arrived.unwrap().forget(),
        }
        let (mut second, mut third) = (Box::pin(cluster.overview()), Box::pin(cluster.overview()));
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        nsqd.answers.add_permits(100);
        let first = first.await.unwrap();
        let (second, third) = tokio::join!(second, third);
        let (second, third) = (second.unwrap(), third.unwrap());
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &third));
        let later = cluster.overview().await.unwrap();
        assert!(!Arc::ptr_eq(&third, &later));
    }
}
