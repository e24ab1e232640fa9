//! The tasks that run next to the connections, whichever brokers there are: timers and syncs.

use std::sync::Arc;

use nsq_server::Server;
use tokio::task::JoinHandle;

use crate::sync_runner::SyncRunner;
use crate::timers::Timers;

/// The tasks.
pub(crate) struct Background(Vec<JoinHandle<()>>);

impl Background {
    /// Begins all of them.
    pub(crate) fn start(
        timers: &Arc<Timers>,
        sync_runner: &Arc<SyncRunner>,
        server: &Arc<Server>,
    ) -> Background {
        let timers = Arc::clone(timers);
        Background(vec![
            tokio::spawn(async move { timers.run().await }),
            tokio::spawn(Arc::clone(sync_runner).run(Arc::clone(server))),
        ])
    }

    /// Ends all of them.
    pub(crate) fn stop(&self) {
        for task in &self.0 {
            task.abort();
        }
    }
}
