//! Looks at each channel when its next message falls due: one task for all, asleep while nothing is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nsq_core::{ChannelCell, Tick, Wakes};
use tokio::sync::Notify;

use crate::clock;

/// A planned look at a channel.
struct Look {
    at: Tick,
    channel: Weak<ChannelCell>,
}

impl PartialEq for Look {
    fn eq(&self, other: &Look) -> bool {
        self.at == other.at
    }
}

impl Eq for Look {}

impl PartialOrd for Look {
    fn partial_cmp(&self, other: &Look) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Look {
    fn cmp(&self, other: &Look) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// The planned looks.
#[derive(Default)]
pub(crate) struct Timers {
    planned: Mutex<BinaryHeap<Reverse<Look>>>,
    earlier: Notify,
}

impl Timers {
    /// Plans a look at `channel`.
    pub(crate) fn plan(&self, channel: &Arc<ChannelCell>, at: Tick) {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_earliest = planned.peek().is_none_or(|Reverse(first)| at < first.at);
        planned.push(Reverse(Look {
            at,
            channel: Arc::downgrade(channel),
        }));
        drop(planned);
        if is_earliest {
            self.earlier.notify_one();
        }
    }

    fn next_at(&self) -> Option<Tick> {
        let planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        planned.peek().map(|Reverse(look)| look.at)
    }

    fn take_due(&self, now: Tick) -> Option<Arc<ChannelCell>> {
        loop {
            let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
            if planned.peek()?.0.at > now {
                return None;
            }
            let look = planned.pop()?.0;
            drop(planned);
            if let Some(channel) = look.channel.upgrade()
                && channel.disarm(look.at)
            {
                return Some(channel);
            }
        }
    }

    /// Runs for ever.
    pub(crate) async fn run(&self) {
        loop {
            let now = clock::now();
            while let Some(channel) = self.take_due(now.tick) {
                let mut wakes = Wakes::default();
                let next = channel.lock().handle_timeout(now, &mut wakes);
                wakes.ring();
                if let Some(next) = next
                    && channel.arm(next)
                {
                    self.plan(&channel, next);
                }
            }
            match self.next_at() {
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
