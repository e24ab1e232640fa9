//! Asking the nodes of a topic.

use std::future::Future;

use nsq_daemon::http::client::{Cause, Client, ClientError, ClientOptions, query_escape};
use nsq_daemon::stop::Stop;
use nsq_daemon::version;
use nsq_tools::fatal;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::addresses::Addresses;
use crate::sample::Sample;
use crate::settings::{PROGRAM, Settings};

/// The nodes that have a topic, asked again for each sample.
#[derive(Debug)]
pub(crate) struct Nodes {
    client: Client,
    topic: String,
    channel: String,
    addresses: Addresses,
}

/// Where a node answers, as it says itself or nsqlookupd does.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    broadcast_address: String,
    http_port: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LookupAnswer {
    producers: Option<Vec<Node>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatsAnswer {
    /// `null` stands for none, as in all lists of upstream's nsqd.
    topics: Option<Vec<Topic>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Topic {
    topic_name: String,
    channels: Option<Vec<Channel>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Channel {
    channel_name: String,
    #[serde(flatten)]
    sample: Sample,
}

impl Nodes {
    pub(crate) fn new(settings: &Settings) -> Self {
        let client = Client::new(ClientOptions {
            connect_timeout: settings.connect_timeout,
            request_timeout: settings.request_timeout,
            tls: None,
            user_agent: format!("{PROGRAM}/{}", version::VERSION),
            body_limit: MOST_BODY_BYTES,
        });
        Self {
            client,
            topic: settings.topic.clone(),
            channel: settings.channel.clone(),
            addresses: settings.addresses.clone(),
        }
    }

    /// The channel on all nodes together. One that fails is an error: sums without it would mislead.
    pub(crate) async fn sample(&self) -> Result<Sample, Stop> {
        let nodes = self.nodes().await.map_err(|text| {
            fatal(format_args!(
                "ERROR: failed to get topic producers - {text}"
            ))
        })?;
        let stats = self
            .stats(&nodes)
            .await
            .map_err(|text| fatal(format_args!("ERROR: failed to get nsqd stats - {text}")))?;
        let mut sum: Option<Sample> = None;
        let topics = stats
            .into_iter()
            .flat_map(|stats| stats.topics.unwrap_or_default());
        let channels = topics
            .filter(|topic| topic.topic_name == self.topic)
            .flat_map(|topic| topic.channels.unwrap_or_default());
        for channel in channels.filter(|channel| channel.channel_name == self.channel) {
            sum.get_or_insert_default().add(&channel.sample);
        }
        let (topic, channel) = (&self.topic, &self.channel);
        sum.ok_or_else(|| {
            fatal(format_args!(
                "ERROR: failed to find channel({channel}) in stats metadata for topic({topic})"
            ))
        })
    }

    /// Where the nodes answer, each once.
    async fn nodes(&self) -> Result<Vec<String>, String> {
        let topic = query_escape(&self.topic);
        let mut nodes = Vec::new();
        match &self.addresses {
            Addresses::Lookupds(lookupds) => {
                let asked = lookupds.iter().map(|address| {
                    let client = self.client.clone();
                    let url = format!("http://{address}/lookup?topic={topic}");
                    async move {
                        client
                            .get_json::<LookupAnswer>(&url)
                            .await
                            .map_err(|error| text(&error))
                    }
                });
                for answer in all("nsqlookupd", asked).await? {
                    for node in answer.producers.unwrap_or_default() {
                        let address = join(&node.broadcast_address, node.http_port);
                        if !nodes.contains(&address) {
                            nodes.push(address);
                        }
                    }
                }
            }
            Addresses::Nsqds(nsqds) => {
                let asked = nsqds
                    .iter()
                    .map(|address| self.node(address.clone(), topic.clone()));
                nodes.extend(all("nsqd", asked).await?.into_iter().flatten());
            }
        }
        Ok(nodes)
    }

    /// Where an nsqd says it answers, if it has the topic.
    fn node(
        &self,
        address: String,
        topic: String,
    ) -> impl Future<Output = Result<Option<String>, String>> + Send + 'static {
        let client = self.client.clone();
        let wanted = self.topic.clone();
        async move {
            let url =
                format!("http://{address}/stats?format=json&topic={topic}&include_clients=false");
            let stats: StatsAnswer = client.get_json(&url).await.map_err(|error| text(&error))?;
            let mut topics = stats.topics.iter().flatten();
            if !topics.any(|topic| topic.topic_name == wanted) {
                return Ok(None);
            }
            let url = format!("http://{address}/info");
            let node: Node = client.get_json(&url).await.map_err(|error| text(&error))?;
            Ok(Some(match node.broadcast_address.as_str() {
                // An nsqd of old, which does not say.
                "" => address,
                host => join(host, node.http_port),
            }))
        }
    }

    async fn stats(&self, nodes: &[String]) -> Result<Vec<StatsAnswer>, String> {
        let (topic, channel) = (query_escape(&self.topic), query_escape(&self.channel));
        let asked = nodes.iter().map(|address| {
            let client = self.client.clone();
            let url = format!(
                "http://{address}/stats?format=json&topic={topic}&channel={channel}&include_clients=false"
            );
            async move { client.get_json::<StatsAnswer>(&url).await.map_err(|error| text(&error)) }
        });
        all("nsqd", asked).await
    }
}

/// All answers, in the order of the questions, which are asked at once. Fails with the failures, one a line; with
/// other words before them if no one answered, also if no one was asked.
async fn all<T, F>(whom: &str, asked: impl Iterator<Item = F>) -> Result<Vec<T>, String>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let mut running = JoinSet::new();
    for (index, question) in asked.enumerate() {
        running.spawn(async move { (index, question.await) });
    }
    let mut outcomes = running.join_all().await;
    outcomes.sort_by_key(|(index, _)| *index);
    let mut answers = Vec::new();
    let mut failures = Vec::new();
    for (_, outcome) in outcomes {
        match outcome {
            Ok(answer) => answers.push(answer),
            Err(error) => failures.push(error),
        }
    }
    let failures = (failures.len(), failures.join("\n"));
    match failures {
        (_, text) if answers.is_empty() => Err(format!("failed to query any {whom}: {text}")),
        (0, _) => Ok(answers),
        (_, text) => Err(text),
    }
}

/// As upstream words it: an answer that is of no use without the question.
fn text(error: &ClientError) -> String {
    match &error.cause {
        Cause::Status { .. } | Cause::Json(_) => error.cause.to_string(),
        _ => error.to_string(),
    }
}

/// `host:port`, an IPv6 host in brackets.
fn join(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// A topic's statistics are some KiB; more than this is no answer of an nsqd.
const MOST_BODY_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(answers: Vec<Result<u32, &'static str>>) -> Result<Vec<u32>, String> {
        let asked = answers
            .into_iter()
            .map(|answer| async move { answer.map_err(str::to_owned) });
        all("nsqd", asked).await
    }

    #[tokio::test]
    async fn one_failure_is_enough_and_none_at_all_says_so() {
        assert_eq!(outcome(vec![Ok(2), Ok(1)]).await, Ok(vec![2, 1]));
        assert_eq!(
            outcome(vec![Err("a"), Ok(1), Err("b")]).await,
            Err("a\nb".to_owned())
        );
        assert_eq!(
            outcome(vec![Err("a"), Err("b")]).await,
            Err("failed to query any nsqd: a\nb".to_owned())
        );
        assert_eq!(
            outcome(Vec::new()).await,
            Err("failed to query any nsqd: ".to_owned())
        );
    }

    #[test]
    fn an_ipv6_host_is_put_in_brackets() {
        assert_eq!(join("::1", 4151), "[::1]:4151");
        assert_eq!(join("node", 4151), "node:4151");
    }
}
