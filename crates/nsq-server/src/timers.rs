//! The channels that have to be looked at, each when its next message falls due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nsq_core::{ChannelCell, Now, Tick};

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

/// The planned looks. The program around it calls [`run_due`](Self::run_due) at [`next_at`](Self::next_at).
#[derive(Default)]
pub struct TimerQueue(Mutex<BinaryHeap<Reverse<Look>>>);

impl TimerQueue {
    /// Plans a look at `channel`. Returns whether it is now the earliest.
    pub fn plan(&self, channel: &Arc<ChannelCell>, at: Tick) -> bool {
        let mut planned = self.lock();
        let is_earliest = planned.peek().is_none_or(|Reverse(first)| at < first.at);
        planned.push(Reverse(Look {
            at,
            channel: Arc::downgrade(channel),
        }));
        is_earliest
    }

    /// When the next look is due.
    pub fn next_at(&self) -> Option<Tick> {
        self.lock().peek().map(|Reverse(look)| look.at)
    }

    /// Looks at every channel whose look is due by `now`. `looked` is called after each look that was still in
    /// force.
    pub fn run_due(&self, now: Now, mut looked: impl FnMut(&Arc<ChannelCell>)) {
        while let Some(look) = self.take_due(now.tick) {
            if let Some(channel) = look.channel.upgrade()
                && channel.handle_timer(look.at, now)
            {
                looked(&channel);
            }
        }
    }

    fn take_due(&self, now: Tick) -> Option<Look> {
        let mut planned = self.lock();
        if planned.peek()?.0.at > now {
            return None;
        }
        Some(planned.pop()?.0)
    }

    fn lock(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Look>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
