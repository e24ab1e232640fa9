//! The newest report on the replicated cluster that the nsqds form, if they form one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Nsqadmin;
use crate::cluster::{ClusterReport, Overview, Producer};

/// The newest report. Without a cluster there is none, and nsqds are asked only now and then.
#[derive(Debug, Default)]
pub struct Replication {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    latest: Option<Arc<ClusterReport>>,
    /// When nsqds last said that they form no cluster.
    none_since: Option<Instant>,
}

impl Replication {
    /// The newest report.
    pub fn latest(&self) -> Option<Arc<ClusterReport>> {
        self.lock().latest.clone()
    }

    fn wants_asking(&self, now: Instant) -> bool {
        let none_since = self.lock().none_since;
        none_since.is_none_or(|since| now.duration_since(since) >= ASK_AGAIN)
    }

    fn note(&self, report: Option<ClusterReport>, now: Instant) {
        let mut state = self.lock();
        match report {
            Some(report) => {
                state.latest = Some(Arc::new(report));
                state.none_since = None;
            }
            None if state.latest.is_none() => state.none_since = Some(now),
            // A cluster does not go away; its nodes do not answer.
            None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the nodes that answered once more, unless they form no cluster.
pub async fn refresh(nsqadmin: &Nsqadmin, overview: &Overview) {
    if !nsqadmin.replication.wants_asking(Instant::now()) {
        return;
    }
    let nodes: Vec<Producer> = overview
        .nodes
        .iter()
        .filter(|node| node.stats.is_ok())
        .map(|node| node.producer.clone())
        .collect();
    if nodes.is_empty() {
        return;
    }
    let report = nsqadmin.cluster.replication(nodes, PATIENCE).await;
    nsqadmin.replication.note(report, Instant::now());
}

const ASK_AGAIN: Duration = Duration::from_mins(1);
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_form_no_cluster_are_asked_now_and_then_and_a_cluster_stays_one() {
        let replication = Replication::default();
        let start = Instant::now();
        assert!(replication.wants_asking(start));
        replication.note(None, start);
        assert!(!replication.wants_asking(start + ASK_AGAIN / 2));
        assert!(replication.wants_asking(start + ASK_AGAIN));
        replication.note(Some(ClusterReport::default()), start);
        replication.note(None, start);
        assert!(replication.latest().is_some() && replication.wants_asking(start));
    }
}
