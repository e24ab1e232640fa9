//! Which channels a topic has elsewhere.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use nsq_daemon::http::client::{Client, query_escape};
use nsq_protocol::{ChannelName, TopicName};
use serde::Deserialize;
use tokio::runtime;

/// What all nsqlookupds know together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// The channels, each once, by name; ephemeral ones belong to their nsqd and are left out.
    pub channels: Vec<ChannelName>,
    /// What went wrong, one text for each nsqlookupd that could not be asked.
    pub errors: Vec<String>,
}

#[derive(Deserialize)]
struct Channels {
    channels: Vec<String>,
}

/// Asks the nsqlookupds at `addresses`, of which there should be some, all at once.
pub(super) async fn ask_all(
    runtime: &runtime::Handle,
    addresses: BTreeSet<String>,
    topic: &TopicName,
    client: Client,
) -> Discovery {
    if addresses.is_empty() {
        let error = "no available nsqlookupd to query for channels to pre-create for topic";
        tracing::error!("{error} {topic}");
        return Discovery {
            errors: vec![format!("{error} {topic}")],
            ..Discovery::default()
        };
    }
    let questions = addresses.into_iter().map(|address| {
        let topic = query_escape(topic.as_str());
        let url = format!("http://{address}/channels?topic={topic}");
        let client = client.clone();
        let question = async move {
            match client.get_json::<Channels>(&url).await {
                Ok(answer) => Ok(answer.channels),
                Err(error) => Err(error.to_string()),
            }
        };
        // Not on the caller's runtime, which may be busy with clients.
        runtime.spawn(question)
    });
    let mut channels = BTreeSet::new();
    let mut errors = Vec::new();
    for answer in join_all(questions).await {
        match answer {
            Ok(Ok(names)) => {
                let names = names
                    .iter()
                    .filter_map(|name| ChannelName::parse(name).ok());
                channels.extend(names.filter(|name| !name.is_ephemeral()));
            }
            Ok(Err(error)) => errors.push(error),
            Err(error) => errors.push(error.to_string()),
        }
    }
    if !errors.is_empty() {
        tracing::warn!(
            "failed to query nsqlookupd for channels to pre-create for topic {topic} - {}",
            errors.join("; ")
        );
    }
    Discovery {
        channels: channels.into_iter().collect(),
        errors,
    }
}
