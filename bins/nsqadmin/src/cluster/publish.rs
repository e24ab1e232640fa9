//! A message by hand, to one nsqd.

use std::time::Duration;

use bytes::Bytes;
use nsq_daemon::http::StatusCode;
use nsq_daemon::http::client::query_escape;

use super::failure::{DaemonKind, Failure};
use super::{Cluster, ClusterError, Found};

impl Cluster {
    /// Publishes `body` to a topic on `node`, which has to be one of those that have the topic: nsqadmin posts to
    /// nobody else on a visitor's word. With `delay` the message is deferred.
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
        let url = format!("http://{node}{path}");
        let answer = self
            .fetcher
            .client()
            .post(&url, "application/octet-stream", body)
            .await;
        let (status, cause) = match answer {
            Ok((StatusCode::OK, _)) => {
                self.note_deed();
                return Ok(());
            }
            Ok((status, body)) => {
                let said = String::from_utf8_lossy(&body[..body.len().min(LONGEST_QUOTE_BYTES)])
                    .into_owned();
                (Some(status.as_u16()), format!("answered {status}: {said}"))
            }
            Err(error) => (None, error.cause.to_string()),
        };
        let failure = Failure {
            kind: DaemonKind::Nsqd,
            address: node.to_owned(),
            status,
            text: format!("Post \"{url}\": {cause}"),
            cause,
        };
        Err(ClusterError::Unanswered {
            kind: DaemonKind::Nsqd,
            failures: vec![failure],
        })
    }
}

/// Of a refusal; nsqd's are short.
const LONGEST_QUOTE_BYTES: usize = 500;
