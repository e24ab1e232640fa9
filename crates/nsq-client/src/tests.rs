//! Consumers and producers against an nsqd that does as it is told.

mod cluster;
mod consuming;
mod discovering;
mod fake_nsqd;
mod producing;

use std::time::Duration;

/// Waits for something that must happen, long enough for a busy machine.
async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until this runtime has no task any more.
async fn expect_no_tasks() {
    let metrics = tokio::runtime::Handle::current().metrics();
    wait_for("all tasks end", || metrics.num_alive_tasks() == 0).await;
}

const PATIENCE: Duration = Duration::from_secs(15);
