//! What can be done to the cluster: create, delete, pause, unpause, empty, tombstone.
//!
//! Each is one order to every daemon concerned, all at once, and none is held back by another's failure. The order
//! of rounds is what keeps a deleted topic deleted: first who has it is found out, then nsqlookupd forgets it, then
//! the nsqds delete it.

use nsq_daemon::http::client::query_escape;

use super::failure::DaemonKind;
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

/// What the nsqds that have a topic or channel are told to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Deliver no more.
    Pause,
    /// Deliver again.
    Unpause,
    /// Drop what waits. Of a topic: what is not in its channels yet.
    Empty,
}

impl Action {
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
    fn path(&self, verb: &str) -> String {
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
    /// [`ClusterError`] when nobody knows the topic, or none of its nsqds the channel.
    pub async fn act(
        &self,
        action: Action,
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
        let heard = self.order_nsqds(&producers, &path, &mut warnings).await;
        self.note_deed();
        heard.or_missing(target)?;
        Ok(warnings)
    }

    /// Makes a topic, and with it perhaps a channel, known to every nsqlookupd; the channel also to the nsqds that
    /// have the topic. Where there is no nsqlookupd, the nsqds make it.
    ///
    /// # Errors
    /// [`ClusterError`] when nobody could be told.
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
            self.note_deed();
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
        self.note_deed();
        Ok(warnings)
    }

    /// Deletes a topic or channel everywhere.
    ///
    /// # Errors
    /// [`ClusterError`] when nobody knows the topic or channel.
    pub async fn delete(&self, target: Target<'_>) -> Result<Warnings, ClusterError> {
        // Who has it is known only as long as nsqlookupd knows it.
        let Found {
            value: producers,
            mut warnings,
        } = self.producers_of(target.topic).await?;
        let path = target.path("delete");
        let forgotten = self.order_lookupds(&path, &mut warnings).await;
        let deleted = self.order_nsqds(&producers, &path, &mut warnings).await;
        self.note_deed();
        forgotten.and(deleted).or_missing(target)?;
        Ok(warnings)
    }

    /// Hides one nsqd from a topic's consumers, and deletes the topic there.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchNode`] for an address that is no nsqd's of this cluster; else [`ClusterError`] when the
    /// nsqd does not answer, and it stays hidden then.
    pub async fn tombstone(&self, topic: &str, node: &str) -> Result<Warnings, ClusterError> {
        let mut warnings = Warnings::default();
        // Nobody is to have us talk to whatever address they like.
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
        self.note_deed();
        let producer = self.producer_at(node).await?;
        let target = Target {
            topic,
            channel: None,
        };
        let path = target.path("delete");
        self.order_nsqds(&[producer], &path, &mut warnings).await;
        self.note_deed();
        Ok(warnings)
    }

    async fn order_lookupds(&self, path: &str, warnings: &mut Warnings) -> Heard {
        self.order_all(DaemonKind::Lookupd, self.lookupds(), path, warnings)
            .await
    }

    async fn order_nsqds(
        &self,
        producers: &[Producer],
        path: &str,
        warnings: &mut Warnings,
    ) -> Heard {
        let addresses = producers.iter().map(Producer::http_address).collect();
        self.order_all(DaemonKind::Nsqd, addresses, path, warnings)
            .await
    }

    /// A daemon that does not have what it is about is no failure: a channel need not be on every node.
    async fn order_all(
        &self,
        kind: DaemonKind,
        addresses: Vec<String>,
        path: &str,
        warnings: &mut Warnings,
    ) -> Heard {
        let asked = addresses.len();
        let orders = addresses.into_iter().map(|address| {
            let (fetcher, path) = (self.fetcher.clone(), path.to_owned());
            async move {
                match fetcher.order(kind, &address, &path).await {
                    Ok(()) => Ok(true),
                    Err(failure) if failure.status == Some(404) => Ok(false),
                    Err(failure) => Err(failure),
                }
            }
        });
        let round = ask_all(kind, orders).await;
        let missing = round
            .any_answers(warnings)
            .iter()
            .filter(|had| !**had)
            .count();
        Heard { asked, missing }
    }
}

/// Who was given an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    asked: usize,
    /// Those that do not have what it was about.
    missing: usize,
}

impl Heard {
    fn and(self, other: Self) -> Self {
        Self {
            asked: self.asked + other.asked,
            missing: self.missing + other.missing,
        }
    }

    /// An error if nobody has it.
    fn or_missing(self, target: Target<'_>) -> Result<(), ClusterError> {
        match target.channel {
            _ if self.asked == 0 || self.missing < self.asked => Ok(()),
            None => Err(ClusterError::NoSuchTopic),
            Some(_) => Err(ClusterError::NoSuchChannel),
        }
    }
}
