//! The reads of the API: topics, channels, nodes, counters.

use std::collections::BTreeMap;
use std::sync::Arc;

use nsq_daemon::http::{ApiError, Query, Reply, Request, json};
use serde::Serialize;

use crate::Nsqadmin;
use crate::admin::api_error;
use crate::cluster::{Channel, ClusterError, Found, List, NodeReport, Producer, Topic};

/// An answer, and which daemons failed.
#[derive(Serialize)]
struct WithMessage<T> {
    #[serde(flatten)]
    answer: T,
    message: String,
}

/// `/api/topics`: their names, or with `inactive=true` those that no nsqd has.
pub(super) async fn topics(nsqadmin: Arc<Nsqadmin>, request: Request) -> Result<Reply, ApiError> {
    #[derive(Serialize)]
    struct Names {
        topics: List<String>,
        message: String,
    }
    #[derive(Serialize)]
    struct Inactive {
        topics: BTreeMap<String, List<String>>,
        message: String,
    }
    let query = Query::parse(request.raw_query())
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    if query.first("inactive") == Some("true") {
        let Found { value, warnings } = found(nsqadmin.cluster.inactive_topics().await, "topics")?;
        return Ok(Reply::json(&Inactive {
            topics: value,
            message: warnings.message(),
        }));
    }
    let Found { value, warnings } = found(nsqadmin.cluster.topics().await, "topics")?;
    // Compat: no topics at all are `null` (GetLookupdTopics, internal/clusterinfo/data.go).
    let topics = if value.is_empty() {
        List::default()
    } else {
        value.into()
    };
    let message = warnings.message();
    Ok(Reply::json(&Names { topics, message }))
}

/// `/api/topics/:topic`.
pub(super) async fn topic(nsqadmin: Arc<Nsqadmin>, request: Request) -> Result<Reply, ApiError> {
    let topic = request.path_param("topic");
    let Found { value, warnings } = found(nsqadmin.cluster.topic(topic).await, "topic metadata")?;
    with_message::<Topic>(value, warnings.message()).await
}

/// `/api/topics/:topic/:channel`.
pub(super) async fn channel(nsqadmin: Arc<Nsqadmin>, request: Request) -> Result<Reply, ApiError> {
    let (topic, channel) = (request.path_param("topic"), request.path_param("channel"));
    let answer = nsqadmin.cluster.channel(topic, channel).await;
    let Found { value, warnings } = found(answer, "channel metadata")?;
    with_message::<Channel>(value, warnings.message()).await
}

/// `/api/nodes`.
pub(super) async fn nodes(nsqadmin: Arc<Nsqadmin>, _: Request) -> Result<Reply, ApiError> {
    #[derive(Serialize)]
    struct Nodes {
        nodes: Vec<Producer>,
        message: String,
    }
    let Found { value, warnings } = found(nsqadmin.cluster.nodes().await, "nodes")?;
    Ok(Reply::json(&Nodes {
        nodes: value,
        message: warnings.message(),
    }))
}

/// `/api/nodes/:node`.
pub(super) async fn node(nsqadmin: Arc<Nsqadmin>, request: Request) -> Result<Reply, ApiError> {
    #[derive(Serialize)]
    struct OneNode {
        node: String,
        topics: List<Arc<Topic>>,
        total_messages: i64,
        total_clients: usize,
    }
    let address = request.path_param("node");
    let Found { value, warnings } = found(nsqadmin.cluster.node(address).await, "nsqd stats")?;
    let answer = OneNode {
        node: address.to_owned(),
        total_messages: value.total_messages(),
        total_clients: value.total_clients(),
        // Compat: no topics are `null` here, whatever nsqd sends (GetNSQDStats, internal/clusterinfo/data.go).
        topics: if value.stats.topics.is_empty() {
            List::default()
        } else {
            value.stats.topics
        },
    };
    with_message(answer, warnings.message()).await
}

/// `/api/counter`: messages of every channel on every node.
pub(super) async fn counter(nsqadmin: Arc<Nsqadmin>, _: Request) -> Result<Reply, ApiError> {
    #[derive(Serialize)]
    struct Counter {
        stats: BTreeMap<String, ChannelCount>,
        message: String,
    }
    #[derive(Serialize)]
    struct ChannelCount {
        node: Arc<str>,
        topic_name: Arc<str>,
        channel_name: Arc<str>,
        message_count: i64,
    }
    let overview = nsqadmin.cluster.overview().await;
    let overview = overview.map_err(|error| failed(&error, "counter producer list"))?;
    if let Some(error) = &overview.unregistered {
        return Err(failed(error, "counter producer list"));
    }
    let mut stats = BTreeMap::new();
    let answered = overview
        .nodes
        .iter()
        .filter_map(|node| node.stats.as_ref().ok());
    for topic in answered.flat_map(|stats| &stats.topics) {
        for channel in &topic.channels {
            let name = (&topic.topic_name, &channel.channel_name, &channel.node);
            let key = format!("{}:{}:{}", name.0, name.1, name.2);
            let count = stats.entry(key).or_insert_with(|| ChannelCount {
                node: Arc::clone(&channel.node),
                topic_name: Arc::clone(&topic.topic_name),
                channel_name: Arc::clone(&channel.channel_name),
                message_count: 0,
            });
            count.message_count = count.message_count.saturating_add(channel.message_count);
        }
    }
    // Compat: also without any node (GetNSQDStats, internal/clusterinfo/data.go): a sum of nothing would look like
    // counters that fell to zero.
    if overview.nodes.iter().all(|node| node.stats.is_err()) {
        return Err(failed(&no_answers(&overview.nodes), "nsqd stats"));
    }
    let message = overview.warnings.message();
    Ok(Reply::json(&Counter { stats, message }))
}

/// The error when every node failed.
fn no_answers(nodes: &[NodeReport]) -> ClusterError {
    let failures = nodes.iter().filter_map(|node| node.stats.as_ref().err());
    ClusterError::Unanswered {
        kind: crate::cluster::DaemonKind::Nsqd,
        failures: failures.cloned().collect(),
    }
}

fn found<T>(answer: Result<T, ClusterError>, what: &str) -> Result<T, ApiError> {
    answer.map_err(|error| failed(&error, what))
}

fn failed(error: &ClusterError, what: &str) -> ApiError {
    if matches!(error, ClusterError::Unanswered { .. }) {
        tracing::error!("failed to get {what} - {error}");
    }
    api_error(error)
}

/// Serialises on a thread of its own, since a big topic takes a while.
async fn with_message<T: Serialize + Send + 'static>(
    answer: T,
    message: String,
) -> Result<Reply, ApiError> {
    let answer = WithMessage { answer, message };
    let text = tokio::task::spawn_blocking(move || json::to_vec(&answer)).await;
    match text {
        Ok(Ok(text)) => Ok(Reply::raw_json(text)),
        _ => Err(ApiError::internal("INTERNAL_ERROR")),
    }
}
