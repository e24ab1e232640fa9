//! A leader proposes once more what it knows of finished messages, and of those that came back.
//!
//! That is all that its channels have not freed: a floor for each log, and the single messages above it. It is recorded piece by
//! piece as progress, and each piece is proposed and executed before the next one is read, so that neither memory nor the
//! publishes suffer from it.

use std::sync::Arc;
use std::time::Duration;

use nsq_cluster::blocking::{Blocking, run_blocking};
use nsq_core::channel::Again;
use nsq_core::{Broker, ChannelCell, Now, Pending, TicketState, TicketWaiter};
use tokio::sync::Notify;

use crate::leading::Leading;
use crate::progress::MOST_OF_COMMAND;
use crate::shard::Shard;

/// After a failure, such as a full disk.
const RETRY: Duration = Duration::from_millis(500);
/// Looks at channels in one go, each for one command of progress at most.
const MOST_LOOKS: usize = 256;

impl Shard {
    /// Proposes all that this replica knows of finished messages, whenever the others may lack some of it. Runs as long as this
    /// leadership lasts.
    pub async fn repeat_progress(self: Arc<Self>, blocking: Arc<dyn Blocking>) {
        let Some(leading) = self.leading() else {
            return;
        };
        while leading.behind.begin().await {
            let is_known = self.repeat(&leading, &*blocking).await;
            leading.behind.finish(is_known);
            if !is_known {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Returns whether it was executed, as far as that is known.
    async fn repeat(&self, leading: &Arc<Leading>, blocking: &dyn Blocking) -> bool {
        let executed = Arc::new(Executed::default());
        let mut walk = Walk::default();
        let mut is_first = true;
        loop {
            let (owned, now) = (Arc::clone(leading), self.now());
            let looked = run_blocking(blocking, move || {
                if std::mem::take(&mut is_first) {
                    walk = Walk::of(&owned.broker);
                }
                let is_over = walk.go_on(&owned, now);
                (walk, is_over)
            });
            let Some((rest, is_over)) = looked.await else {
                return false;
            };
            (walk, is_first) = (rest, false);
            let pending = Pending::new(Arc::clone(&executed) as Arc<dyn TicketWaiter>);
            if leading.flush_progress(Some(&pending)).is_err() || !executed.outcome(&pending).await
            {
                return false;
            }
            if is_over {
                return true;
            }
        }
    }
}

/// The channels that have not repeated everything yet.
#[derive(Default)]
pub(crate) struct Walk {
    channels: Vec<Arc<ChannelCell>>,
    /// How far the last one of them is.
    at: Again,
}

impl Walk {
    /// None where messages were found to be damaged: they are passed over here, and other copies of them may be whole.
    pub(crate) fn of(broker: &Broker) -> Walk {
        if broker.has_damage() {
            return Walk::default();
        }
        let topics = broker.topics();
        let channels = topics.iter().flat_map(|topic| topic.channels());
        Walk {
            channels: channels.collect(),
            at: Again::default(),
        }
    }

    /// Has channels record what they know, until that is enough for a proposal. Returns whether that was all.
    pub(crate) fn go_on(&mut self, leading: &Leading, now: Now) -> bool {
        for _ in 0..MOST_LOOKS {
            let Some(channel) = self.channels.last() else {
                return true;
            };
            let next = channel.lock().record_again(self.at, MOST_OF_COMMAND, now);
            if next.is_none() {
                self.channels.pop();
            }
            self.at = next.unwrap_or_default();
            if leading.progress.is_large() {
                break;
            }
        }
        self.channels.is_empty()
    }
}

/// Waits for one proposal after the other.
#[derive(Default)]
struct Executed(Notify);

impl TicketWaiter for Executed {
    fn ticket_settled(&self) {
        self.0.notify_one();
    }
}

impl Executed {
    /// Whether it was executed, once that is known.
    async fn outcome(&self, pending: &Pending) -> bool {
        loop {
            match pending.state() {
                TicketState::Safe => return true,
                TicketState::Failed(_) => return false,
                TicketState::Pending => self.0.notified().await,
            }
        }
    }
}
