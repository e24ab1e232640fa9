//! Looks at the cluster again and again.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use crate::Nsqadmin;

/// Records an overview every `--history-interval` until dropped; returns at once when that is 0.
pub async fn poll(nsqadmin: Arc<Nsqadmin>) {
    if !nsqadmin.history.is_on() {
        return;
    }
    let mut ticks = interval(nsqadmin.history.interval());
    // A cluster that takes longer than that is not asked twice at once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        ticks.tick().await;
        // Not what a page saw a moment ago: its time would lie in the interval before, and leave this one empty.
        match nsqadmin.cluster.overview_now().await {
            Ok(overview) => {
                failed = false;
                let nsqadmin = Arc::clone(&nsqadmin);
                // Tens of thousands of channels take a while.
                let recorded =
                    tokio::task::spawn_blocking(move || nsqadmin.history.record(&overview));
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
