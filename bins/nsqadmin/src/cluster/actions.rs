//! What can be done to the cluster: create, delete, pause, unpause, empty, tombstone.
//!
//! Each is one POST to every daemon concerned, all at once, and no daemon waits for another that fails. The order of
//! the rounds keeps a deleted topic deleted: first we find out which nsqds have it, then nsqlookupd forgets it, then the
//! nsqds delete it.

use nsq_daemon::http::client::query_escape;

use super::failure::{DaemonKind, Failure};
use super::fan_out::ask_all;
use super::{Cluster, ClusterError, Found, Producer, Warnings};

/// A topic, or a channel of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The channel; `None` for the topic itself.
    pub channel: Option<&'a str>,
}

/// What to do with the messages of a topic or channel, on the nsqds that have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueAction {
    /// Deliver no more.
    Pause,
    /// Deliver again.
    Unpause,
    /// Drop what waits. Of a topic: what is not in its channels yet.
    Empty,
}

impl QueueAction {
    /// `pause`, `unpause` or `empty`, as in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Empty => "empty",
        }
    }
}

impl Target<'_> {
    /// `topic` or `channel`.
    pub fn kind(&self) -> &'static str {
        if self.channel.is_some() {
            "channel"
        } else {
            "topic"
        }
    }

    /// `/topic/pause?topic=t` or `/channel/pause?topic=t&channel=c`.
    pub(super) fn path(&self, verb: &str) -> String {
        let topic = query_escape(self.topic);
        match self.channel {
            None => format!("/topic/{verb}?topic={topic}"),
            Some(channel) => {
                let channel = query_escape(channel);
                format!("/channel/{verb}?topic={topic}&channel={channel}")
            }
        }
    }
}

impl Cluster {
    /// Has every nsqd that has it pause, unpause or empty a topic or channel; with `only`, that one alone (`host:port`
    /// of its HTTP interface).
    ///
    /// # Errors
    /// [`ClusterError`] when no daemon knows the topic, or none of its nsqds the channel.
    pub async fn act(
        &self,
        action: QueueAction,
        target: Target<'_>,
        only: Option<&str>,
    ) -> Result<Warnings, ClusterError> {
        let Found {
            value: mut producers,
            mut warnings,
        } = self.producers_of(target.topic).await?;
        if let Some(only) = only {
            producers.retain(|producer| producer.http_address() == only);
            if producers.is_empty() {
                return Err(ClusterError::NoSuchNode);
            }
        }
        let path = target.path(action.name());
        let responses = self.order_nsqds(&producers, &path, &mut warnings).await;
        match target.channel {
            _ if !responses.are_all_not_found() => Ok(warnings),
            None => Err(ClusterError::NoSuchTopic),
            Some(_) => Err(ClusterError::NoSuchChannel),
        }
    }

    /// Makes a topic, and with it perhaps a channel, known to every nsqlookupd; the channel also to the nsqds that
    /// have the topic. Where there is no nsqlookupd, the nsqds make it.
    ///
    /// # Errors
    /// [`ClusterError`] when no daemon could be reached.
    pub async fn create(&self, target: Target<'_>) -> Result<Warnings, ClusterError> {
        let mut warnings = Warnings::default();
        let topic = Target {
            topic: target.topic,
            channel: None,
        };
        if !self.has_lookupds() {
            let producers = self.producers(&self.fetcher, &mut warnings).await?;
            self.order_nsqds(&producers, &topic.path("create"), &mut warnings)
                .await;
            if target.channel.is_some() {
                let path = target.path("create");
                self.order_nsqds(&producers, &path, &mut warnings).await;
            }
            return Ok(warnings);
        }
        self.order_lookupds(&topic.path("create"), &mut warnings)
            .await;
        if target.channel.is_some() {
            let path = target.path("create");
            self.order_lookupds(&path, &mut warnings).await;
            let producers = self.producers_of(target.topic).await;
            match producers {
                Ok(found) => {
                    warnings.extend(found.warnings);
                    self.order_nsqds(&found.value, &path, &mut warnings).await;
                }
                Err(ClusterError::NoSuchTopic) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(warnings)
    }

    /// Deletes a topic or channel everywhere.
    ///
    /// # Errors
    /// [`ClusterError`] when no daemon knows the topic. A channel that none has is a warning.
    pub async fn delete(&self, target: Target<'_>) -> Result<Warnings, ClusterError> {
        // Who has it is known only as long as nsqlookupd knows it.
        let Found {
            value: producers,
            mut warnings,
        } = self.producers_of(target.topic).await?;
        let path = target.path("delete");
        let forgotten = self.order_lookupds(&path, &mut warnings).await;
        let deleted = self.order_nsqds(&producers, &path, &mut warnings).await;
        // Compat: that no daemon has it is a warning, so that scripts can delete twice (DeleteChannel,
        // internal/clusterinfo/data.go).
        if forgotten.are_all_not_found_or_none() && deleted.are_all_not_found_or_none() {
            warnings.add(forgotten.not_found);
            warnings.add(deleted.not_found);
        }
        Ok(warnings)
    }

    /// Hides one nsqd from a topic's consumers, and deletes the topic there. That the nsqd does not have the topic is a
    /// warning, as upstream has it.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchNode`] for an address that is no nsqd's of this cluster; else [`ClusterError`] when the
    /// nsqd does not answer, and it stays hidden then.
    pub async fn tombstone(&self, topic: &str, node: &str) -> Result<Warnings, ClusterError> {
        let mut warnings = Warnings::default();
        // A client must not make us send requests to any address it likes.
        let known = self.producers(&self.fetcher, &mut warnings).await?;
        let is_known = known.iter().any(|known| known.http_address() == node)
            || self.nsqds.iter().any(|known| known == node);
        if !is_known {
            return Err(ClusterError::NoSuchNode);
        }
        let path = format!(
            "/topic/tombstone?topic={}&node={}",
            query_escape(topic),
            query_escape(node)
        );
        self.order_lookupds(&path, &mut warnings).await;
        let producer = self.producer_at(node).await?;
        let target = Target {
            topic,
            channel: None,
        };
        let path = target.path("delete");
        let deleted = self.order_nsqds(&[producer], &path, &mut warnings).await;
        warnings.add(deleted.not_found);
        Ok(warnings)
    }

    async fn order_lookupds(&self, path: &str, warnings: &mut Warnings) -> Responses {
        self.order_all(DaemonKind::Lookupd, self.lookupds(), path, warnings)
            .await
    }

    async fn order_nsqds(
        &self,
        producers: &[Producer],
        path: &str,
        warnings: &mut Warnings,
    ) -> Responses {
        let addresses = producers.iter().map(Producer::http_address).collect();
        self.order_all(DaemonKind::Nsqd, addresses, path, warnings)
            .await
    }

    /// POSTs the same to all. A daemon that does not have the topic or channel has not failed, since not every channel
    /// is on every node: such answers come back in [`Responses::not_found`].
    async fn order_all(
        &self,
        kind: DaemonKind,
        addresses: Vec<String>,
        path: &str,
        warnings: &mut Warnings,
    ) -> Responses {
        let asked = addresses.len();
        let orders = addresses.into_iter().map(|address| {
            let (fetcher, path) = (self.fetcher.clone(), path.to_owned());
            async move {
                match fetcher.order(kind, &address, &path).await {
                    Ok(()) => Ok(None),
                    Err(failure) if failure.status == Some(404) => Ok(Some(failure)),
                    Err(failure) => Err(failure),
                }
            }
        });
        let round = ask_all(kind, orders).await;
        let answers = round.any_answers(warnings);
        let not_found = answers.into_iter().flatten().collect();
        Responses { asked, not_found }
    }
}

/// The answers of several daemons to the same order.
#[derive(Debug)]
struct Responses {
    asked: usize,
    /// Those of daemons that do not have the topic or channel.
    not_found: Vec<Failure>,
}

impl Responses {
    /// Whether none of the daemons that were asked has it.
    fn are_all_not_found(&self) -> bool {
        self.asked > 0 && self.are_all_not_found_or_none()
    }

    /// The same, also if none was asked.
    fn are_all_not_found_or_none(&self) -> bool {
        self.not_found.len() == self.asked
    }
}
