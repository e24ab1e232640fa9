//! The cluster as a page shows it: at once, and if need be as it was when it last answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::Nsqadmin;
use crate::cluster::{ClusterError, Overview, Producer};
use crate::watch::LostNode;

/// The cluster at one moment, with the nodes that are lost.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The cluster.
    pub overview: Arc<Overview>,
    /// How current it is.
    pub currency: Currency,
    /// Nodes that do not respond or have gone, the latest first.
    pub lost: Vec<LostNode>,
}

/// How current a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Currency {
    /// All daemons answered just now.
    Live,
    /// Some did not.
    Partial,
    /// They take too long: this is the last known state.
    LastKnown,
}

impl Snapshot {
    /// Takes one. Waits a moment for the daemons; after that the last known state has to do.
    ///
    /// # Errors
    /// [`ClusterError`] when nothing is known at all.
    pub async fn take(nsqadmin: &Arc<Nsqadmin>) -> Result<Self, ClusterError> {
        let mut asked = {
            let nsqadmin = Arc::clone(nsqadmin);
            // A task of its own: what it finds out is of use when this page no longer waits for it.
            tokio::spawn(async move {
                let overview = nsqadmin.cluster.overview().await?;
                if nsqadmin.history.is_on() {
                    nsqadmin.watch.observe_nodes(&overview);
                } else {
                    nsqadmin.watch.observe(&overview);
                }
                Ok(overview)
            })
        };
        let answer = timeout(PATIENCE, &mut asked).await.ok();
        let (overview, is_current) = match answer {
            Some(Ok(Ok(overview))) => (overview, true),
            Some(Ok(Err(error))) => match nsqadmin.watch.latest() {
                Some(overview) => (overview, false),
                None => return Err(error),
            },
            Some(Err(_)) | None => match nsqadmin.watch.latest() {
                Some(overview) => (overview, false),
                // The first page after the start.
                None => (asked.await.unwrap_or_else(|_| Err(ended()))?, true),
            },
        };
        let lost = nsqadmin.watch.lost_nodes();
        let currency = match is_current {
            true if overview.warnings.is_empty() => Currency::Live,
            true => Currency::Partial,
            false => Currency::LastKnown,
        };
        Ok(Self {
            overview,
            currency,
            lost,
        })
    }

    /// The nodes that answered, so that it makes sense to ask them more.
    pub fn responding(&self) -> Vec<Producer> {
        let nodes = self.overview.nodes.iter();
        nodes
            .filter(|node| node.stats.is_ok())
            .map(|node| node.producer.clone())
            .collect()
    }

    /// How long a page may wait for more from nodes that answered.
    pub fn patience(&self) -> Duration {
        match self.currency {
            Currency::Live | Currency::Partial => MORE_PATIENCE,
            Currency::LastKnown => BRIEFLY,
        }
    }

    /// How long a page may wait for more from the nsqlookupds: briefly, if one of them may be among those that hang.
    pub fn patience_with_lookupds(&self) -> Duration {
        match self.currency {
            Currency::Live => MORE_PATIENCE,
            Currency::Partial | Currency::LastKnown => BRIEFLY,
        }
    }

    /// The lost node at this address.
    pub fn lost_node(&self, address: &str) -> Option<&LostNode> {
        self.lost.iter().find(|node| *node.address == *address)
    }

    /// The lost nodes that had a topic.
    pub fn lost_with<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a LostNode> {
        self.lost
            .iter()
            .filter(move |node| node.topic(topic).is_some())
    }
}

/// The task that asks was ended with the runtime.
fn ended() -> ClusterError {
    ClusterError::Unanswered {
        kind: crate::cluster::DaemonKind::Nsqd,
        failures: Vec::new(),
    }
}

/// A page answers within a second.
const PATIENCE: Duration = Duration::from_millis(700);
/// For what a page wants to know in addition, of nodes that have just answered.
const MORE_PATIENCE: Duration = Duration::from_secs(2);
const BRIEFLY: Duration = Duration::from_millis(200);
