//! A call that takes publishes to the leader on another node, and what they came to.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nsq_cluster::codec::{Answer, Request};
use nsq_cluster::network::CallError;
use nsq_cluster::{GroupId, Member, NodeId};
use nsq_core::Tick;
use tokio::sync::watch;

use super::codec::{Outcome, decode_answer, encode_call};
use super::queue::Held;
use super::{DELETED, Listed, NO_LONGER, NOT_FOLLOWED, Shared, Verdict};
use crate::cluster::calls::was_not_sent;

/// How long a leader that has been replaced may still answer. One that lost its leadership cleanly answers within
/// that; one that has stopped never does.
const GRACE: Duration = Duration::from_millis(500);

/// A call under way.
pub(super) type Calling = Pin<Box<dyn Future<Output = Returned> + Send>>;

/// A call that is over.
pub(super) struct Returned {
    taken: Vec<Held>,
    node: NodeId,
    address: String,
    outcome: Result<Vec<Outcome>, Failure>,
}

/// Why a call has no outcomes.
enum Failure {
    /// None of the publishes is stored.
    NotStored(String),
    /// They may or may not be stored.
    Unconfirmed(String),
}

impl Shared {
    /// Calls `node`, which leads `shard` as far as this node knows.
    pub(super) fn call(
        self: &Arc<Self>,
        shard: u64,
        node: NodeId,
        member: &Member,
        taken: Vec<Held>,
        now: Tick,
    ) -> Calling {
        let body = encode_call(taken.iter().map(|held| &held.publish));
        let group = GroupId(shard);
        let oldest = taken.iter().map(|held| held.since).min().unwrap_or(now);
        let timeout = self
            .limits
            .publish_timeout
            .saturating_sub(now.since(oldest))
            .max(Duration::from_millis(1));
        let request = Request::Call { group, body };
        let answer = self.network.call(node, member, request, Some(timeout));
        let replaced = replaced(self.leader_changes.subscribe());
        let address = member.address.clone();
        Box::pin(async move {
            let outcome = tokio::select! {
                answer = answer => outcome_of(answer),
                () = replaced => Err(Failure::Unconfirmed("another node leads the shard now".to_owned())),
            };
            Returned {
                taken,
                node,
                address,
                outcome,
            }
        })
    }
}

/// Completes some time after another node has become the leader.
async fn replaced(mut changes: watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(GRACE).await;
}

fn outcome_of(answer: Result<Answer, CallError>) -> Result<Vec<Outcome>, Failure> {
    let error = match answer {
        Ok(Answer::Call(body)) => {
            return decode_answer(body).map_err(|error| Failure::Unconfirmed(error.to_string()));
        }
        Ok(Answer::Refused(refusal)) => refusal.into(),
        Ok(_) => CallError::Misfit,
        Err(error) => error,
    };
    let text = error.to_string();
    Err(if was_not_sent(&error) {
        Failure::NotStored(text)
    } else {
        Failure::Unconfirmed(text)
    })
}

impl Returned {
    /// What becomes of each publish.
    pub(super) fn verdicts(self, listed: &dyn Listed) -> Vec<(Held, Verdict)> {
        let Returned {
            taken,
            node,
            address,
            outcome,
        } = self;
        let unconfirmed = |why: &str| {
            Verdict::Failed(format!(
                "node {node} at {address}, the leader of this node's shard: {why}; the message may or may not have been stored"
            ))
        };
        let mut outcomes = match outcome {
            Ok(outcomes) => outcomes.into_iter(),
            Err(Failure::NotStored(why)) => {
                let why =
                    format!("node {node} at {address}, the leader of this node's shard: {why}");
                let again = |held| (held, Verdict::Again(why.clone()));
                return taken.into_iter().map(again).collect();
            }
            Err(Failure::Unconfirmed(why)) => {
                let failed = |held| (held, unconfirmed(&why));
                return taken.into_iter().map(failed).collect();
            }
        };
        let verdict = |held: Held| {
            let verdict = match outcomes.next() {
                Some(Outcome::Stored) => Verdict::Done,
                Some(Outcome::NotLeading) => Verdict::Again(NO_LONGER.to_owned()),
                Some(Outcome::NoTopic) if listed.created_at(&held.publish.topic).is_some() => {
                    Verdict::Again(NOT_FOLLOWED.to_owned())
                }
                Some(Outcome::NoTopic) => Verdict::Failed(DELETED.to_owned()),
                Some(Outcome::Full) => {
                    Verdict::Again("the leader of this node's shard is overloaded".to_owned())
                }
                Some(Outcome::Refused(why) | Outcome::Unconfirmed(why)) => Verdict::Failed(why),
                None => unconfirmed("its answer does not cover the message"),
            };
            (held, verdict)
        };
        taken.into_iter().map(verdict).collect()
    }
}
