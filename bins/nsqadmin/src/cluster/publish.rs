//! A message by hand, to one nsqd.

use std::time::Duration;

use bytes::Bytes;
use nsq_daemon::http::client::query_escape;

use super::failure::{DaemonKind, Failure};
use super::fan_out::ask_all;
use super::{Cluster, ClusterError, Found, Target, Warnings};

impl Cluster {
    /// Publishes `body` to a topic on `node`, which has to be one of those that have the topic: nsqadmin posts to
    /// no one else on the viewer's word. With `delay` the message is deferred.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchTopic`], [`ClusterError::NoSuchNode`], and [`ClusterError::Unanswered`] when the nsqd does
    /// not take it.
    pub async fn publish(
        &self,
        topic: &str,
        node: &str,
        delay: Duration,
        body: Bytes,
    ) -> Result<(), ClusterError> {
        let Found {
            value: producers, ..
        } = self.producers_of(topic).await?;
        if !producers
            .iter()
            .any(|producer| producer.http_address() == node)
        {
            return Err(ClusterError::NoSuchNode);
        }
        let mut path = format!("/pub?topic={}", query_escape(topic));
        if !delay.is_zero() {
            path = format!("{path}&defer={}", delay.as_millis());
        }
        let round = ask_all(DaemonKind::Nsqd, {
            let (fetcher, node) = (self.fetcher.clone(), node.to_owned());
            [async move { fetcher.send(DaemonKind::Nsqd, &node, &path, body).await }]
        });
        let answers = round.await.some_answers(&mut Warnings::default());
        answers.map(drop)
    }

    /// Publishes the first message of a topic on a known node, which need not have the topic yet.
    ///
    /// # Errors
    /// Why that node does not take it.
    pub async fn publish_first(&self, node: &str, topic: &str, body: Bytes) -> Result<(), Failure> {
        let path = format!("/pub?topic={}", query_escape(topic));
        self.fetcher.send(DaemonKind::Nsqd, node, &path, body).await
    }

    /// Creates a topic, and perhaps a channel of it, on a known node.
    ///
    /// # Errors
    /// Why that node does not do it.
    pub async fn create_on(&self, node: &str, target: Target<'_>) -> Result<(), Failure> {
        let topic = Target {
            channel: None,
            ..target
        };
        let path = topic.path("create");
        self.fetcher.order(DaemonKind::Nsqd, node, &path).await?;
        if target.channel.is_some() {
            let path = target.path("create");
            self.fetcher.order(DaemonKind::Nsqd, node, &path).await?;
        }
        Ok(())
    }
}
