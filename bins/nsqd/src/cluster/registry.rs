//! The shards that this node leads follow the directory: each gets the durable topics and channels that it lists.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use nsq_cluster::directory::{
    Change, Directory, Outcome, Step, registry_steps, registry_steps_among,
};
use nsq_core::command::Command;
use nsq_protocol::{ChannelName, TopicName};
use tokio::sync::watch;

use super::directory_client::Changes;
use super::local_shard::{LocalShard, Refusal};
use super::settled::Settled;

/// After a failure that may pass.
const RETRY: Duration = Duration::from_millis(200);
/// Changes of the directory under way at a time, while topics of a single node's time are added to it.
const ADOPTIONS: usize = 32;

/// Has the shard number `number` follow the directory, as long as this node leads it. Calls `followed` whenever it has
/// followed another change, and once in the beginning.
pub(crate) async fn follow(
    number: u64,
    shard: Arc<dyn LocalShard>,
    mut directory: watch::Receiver<Arc<Directory>>,
    client: &dyn Changes,
    followed: impl Fn(),
) {
    // The state of the directory whose topics and channels the shard has.
    let mut reached: Option<Arc<Directory>> = None;
    loop {
        let newest = Arc::clone(&directory.borrow_and_update());
        let before = reached.take();
        match step(number, &*shard, before.as_deref(), &newest, client).await {
            Ok(Progress::Followed) => {
                reached = Some(newest);
                followed();
                if directory.changed().await.is_err() {
                    return;
                }
            }
            Ok(Progress::Waiting) => {
                if directory.changed().await.is_err() {
                    return;
                }
            }
            Ok(Progress::Adopted(index)) => {
                let reached = directory
                    .wait_for(|directory| directory.index >= index)
                    .await;
                if reached.is_err() {
                    return;
                }
            }
            Err(Stopped::NotLeading) => return,
            Err(Stopped::Failed(why)) => {
                tracing::warn!("cluster: shard {number} cannot follow the directory yet: {why}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// How far the shard is.
enum Progress {
    /// It has what the directory lists.
    Followed,
    /// The directory is older than what the shard has followed, or does not list the shard yet.
    Waiting,
    /// The shard's old topics were added to the directory by changes up to this one.
    Adopted(u64),
}

enum Stopped {
    NotLeading,
    Failed(String),
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Stopped {
        match refusal {
            Refusal::NotLeading | Refusal::Exiting => Stopped::NotLeading,
            Refusal::NoTopic | Refusal::Full(_) | Refusal::TooLarge(_) => {
                Stopped::Failed(refusal.to_string())
            }
        }
    }
}

/// Takes the steps to `directory`. The shard has the topics and channels of `before`, if that is known.
async fn step(
    number: u64,
    shard: &dyn LocalShard,
    before: Option<&Directory>,
    directory: &Directory,
    client: &dyn Changes,
) -> Result<Progress, Stopped> {
    let followed = shard.registry_index();
    if directory.index < followed || !directory.shards.contains_key(&number) {
        return Ok(Progress::Waiting);
    }
    let steps = match before {
        // Thousands of topics that stay as they are cost nothing when one is created.
        Some(before) if before.index == followed => {
            let changed = directory.topics.changed_since(&before.topics);
            let names = changed.cloned().collect();
            let topics = shard.topics(Some(&names));
            registry_steps_among(&names, directory, number, &topics, followed)
        }
        _ => registry_steps(directory, number, &shard.topics(None), followed),
    };
    let settled = Settled::default();
    let mut pendings = Vec::new();
    let mut adoptions = Vec::new();
    for step in steps {
        let command = match &step {
            Step::DeleteTopic(topic) => Command::DeleteTopic(topic),
            Step::DeleteChannel(topic, channel) => Command::DeleteChannel(topic, channel),
            Step::CreateTopic(topic) => Command::CreateTopic(topic),
            Step::CreateChannel(topic, channel) => Command::CreateChannel(topic, channel),
            Step::Adopt(topic, channels) => {
                adoptions.push((topic.clone(), channels.clone()));
                continue;
            }
        };
        let pending = settled.pending();
        shard.submit(command, &pending)?;
        pendings.push(pending);
    }
    let is_complete = adoptions.is_empty();
    if is_complete && directory.index > followed {
        let pending = settled.pending();
        shard.submit_followed(directory.index, &pending)?;
        pendings.push(pending);
    }
    for pending in pendings {
        let outcome = settled.outcome(&pending).await;
        outcome.map_err(|why| match shard.broker() {
            None => Stopped::NotLeading,
            Some(_) => Stopped::Failed(why),
        })?;
    }
    if is_complete {
        return Ok(Progress::Followed);
    }
    adopt(number, adoptions, client)
        .await
        .map(Progress::Adopted)
}

/// Adds topics to the directory that the shard has from the time before it belonged to the cluster. Returns the directory
/// index of the last change.
async fn adopt(
    number: u64,
    adoptions: Vec<(TopicName, Vec<ChannelName>)>,
    client: &dyn Changes,
) -> Result<u64, Stopped> {
    let count = adoptions.len();
    let changes = adoptions.into_iter().map(|(topic, channels)| async move {
        let change = Change::CreateTopic { topic, channels };
        client.change(&change, true).await
    });
    let mut changes = stream::iter(changes).buffer_unordered(ADOPTIONS);
    let mut last = 0;
    while let Some(outcome) = changes.next().await {
        match outcome {
            Ok(Outcome::Done(index)) => last = last.max(index),
            Ok(Outcome::Refused(refused)) => return Err(Stopped::Failed(refused.to_string())),
            Ok(Outcome::Member(_) | Outcome::Shard(_)) => {
                return Err(Stopped::Failed(
                    "the outcome is of another change".to_owned(),
                ));
            }
            Err(error) => return Err(Stopped::Failed(error.to_string())),
        }
    }
    tracing::info!(
        "cluster: shard {number}: {count} of its topics are now in the directory, or channels of them"
    );
    Ok(last)
}

#[cfg(test)]
mod tests;
