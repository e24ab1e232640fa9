//! The task that looks at each channel when its next message falls due; asleep while nothing is due.

use std::sync::Arc;

use nsq_core::{ChannelCell, Tick};
use nsq_server::TimerQueue;
use tokio::sync::Notify;

use crate::clock;

/// The planned looks, and the task's alarm.
#[derive(Default)]
pub(crate) struct Timers {
    queue: TimerQueue,
    earlier: Notify,
}

impl Timers {
    /// Plans a look at `channel`.
    pub(crate) fn plan(&self, channel: &Arc<ChannelCell>, at: Tick) {
        if self.queue.plan(channel, at) {
            self.earlier.notify_one();
        }
    }

    /// Runs forever.
    pub(crate) async fn run(&self) {
        loop {
            self.queue.run_due(clock::now(), |_| ());
            match self.queue.next_at() {
                Some(at) => {
                    let wait = tokio::time::sleep_until(clock::instant_of(at).into());
                    tokio::select! {
                        () = wait => {}
                        () = self.earlier.notified() => {}
                    }
                }
                None => self.earlier.notified().await,
            }
        }
    }
}
