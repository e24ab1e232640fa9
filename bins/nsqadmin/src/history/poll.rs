//! The task that takes an overview of the cluster for the history at every interval.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use crate::{Nsqadmin, replication};

/// Records an overview every `--history-interval` until dropped; returns at once when that is 0.
pub async fn poll(nsqadmin: Arc<Nsqadmin>) {
    if !nsqadmin.history.is_on() {
        return;
    }
    let mut ticks = interval(nsqadmin.history.interval());
    // A cluster that takes longer than an interval to answer is not asked twice at once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        ticks.tick().await;
        match nsqadmin.cluster.polled_overview().await {
            Ok(overview) => {
                failed = false;
                replication::refresh(&nsqadmin, &overview).await;
                let nsqadmin = Arc::clone(&nsqadmin);
                // Tens of thousands of channels take a while.
                let recorded = tokio::task::spawn_blocking(move || {
                    nsqadmin.watch.observe(&overview);
                    nsqadmin.history.record(&overview);
                });
                if let Err(error) = recorded.await {
                    tracing::error!("HISTORY: {error}");
                }
            }
            Err(error) if !failed => {
                failed = true;
                tracing::error!("HISTORY: {error}");
            }
            Err(_) => {}
        }
    }
}
