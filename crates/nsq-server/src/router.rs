//! Where publishes to durable topics go in a cluster.

use std::sync::Arc;

use nsq_core::{Now, Pending, TicketWaiter};
use nsq_protocol::TopicName;

/// Brings publishes to the leader of this node's own shard, wherever that is. The program around the server implements it;
/// topics in memory do not go through it.
pub trait Router: Send + Sync {
    /// Takes messages in, all or none, to be delivered not before `due` (unix nanoseconds) where that is given. Must not
    /// block. `waiter` is called once the returned [`Pending`] is settled.
    ///
    /// # Errors
    /// [`RouteError`]; no message was taken then.
    fn publish(
        &self,
        topic: &TopicName,
        bodies: &mut dyn ExactSizeIterator<Item = &[u8]>,
        due: Option<i64>,
        now: Now,
        waiter: Arc<dyn TicketWaiter>,
    ) -> Result<Arc<Pending>, RouteError>;

    /// Where clients reach the nodes of the cluster, this one included, as `host:port` each.
    fn nodes(&self) -> Vec<String>;
}

/// Why a [`Router`] took no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// There is no such topic: it has to be made in the whole cluster, and the publish to be tried again.
    #[error("no such topic")]
    NoTopic,
    /// For this reason, which the publisher is told.
    #[error("{0}")]
    Refused(String),
}
