//! The leader's side of forwarded publishes.

use std::sync::Arc;

use bytes::Bytes;
use nsq_cluster::codec::DecodeError;
use nsq_core::{Now, Pending};

use super::codec::{Outcome, Publish, decode_call, encode_answer};
use super::publish_followed;
use crate::cluster::local_shard::{LocalShard, Refusal};
use crate::cluster::settled::Settled;

/// Publishes what another node has forwarded to `shard`, and completes with the answer once every publish is stored, refused,
/// or has failed.
///
/// # Errors
/// When the body is no such call: nothing of it is stored.
pub(crate) async fn receive(
    shard: &dyn LocalShard,
    body: Bytes,
    now: Now,
) -> Result<Bytes, DecodeError> {
    let publishes = decode_call(body)?;
    let settled = Settled::default();
    let accepted = accept(shard, publishes, now, &settled);
    let mut outcomes = Vec::with_capacity(accepted.len());
    for accepted in accepted {
        outcomes.push(match accepted {
            Ok(pending) => match settled.outcome(&pending).await {
                Ok(()) => Outcome::Stored,
                Err(why) => Outcome::Unconfirmed(why),
            },
            Err(refused) => refused,
        });
    }
    Ok(encode_answer(&outcomes))
}

/// Publishes in order. After a refusal the later ones of the same topic are refused too: they must not overtake it.
fn accept(
    shard: &dyn LocalShard,
    publishes: Vec<Publish>,
    now: Now,
    settled: &Settled,
) -> Vec<Result<Arc<Pending>, Outcome>> {
    let mut refused = Vec::new();
    let mut accept = |publish: Publish| {
        let earlier = refused.iter().find(|(topic, _)| *topic == publish.topic);
        if let Some((_, outcome)) = earlier {
            return Err(Outcome::clone(outcome));
        }
        let pending = settled.pending();
        let Err(refusal) = publish_followed(shard, &publish, now, &pending) else {
            return Ok(pending);
        };
        let outcome = match refusal {
            // One that stops leaves the shard to another node.
            Refusal::NotLeading | Refusal::Exiting => Outcome::NotLeading,
            Refusal::NoTopic => Outcome::NoTopic,
            Refusal::Full(_) => Outcome::Full,
            Refusal::TooLarge(why) => return Err(Outcome::Refused(why)),
        };
        refused.push((publish.topic.clone(), outcome.clone()));
        Err(outcome)
    };
    publishes.into_iter().map(&mut accept).collect()
}
