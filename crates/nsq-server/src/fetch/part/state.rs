//! What is known of a consumer's messages of other nodes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nsq_core::Tick;
use nsq_core::stats::ConsumerStats;
use nsq_protocol::{CommandError, MessageId};

use crate::feed::Order;
use crate::fetch::{PATIENCE, Source, Urgency};

#[derive(Default)]
pub(super) struct State {
    pub(super) has_left: bool,
    /// RDY.
    pub(super) ready_count: u32,
    pub(super) sources: Vec<From>,
    /// What the consumer holds, and of which node.
    pub(super) held: HashMap<u64, u64>,
    /// What has come, and waits for room or for a turn.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) refusals: Vec<CommandError>,
    /// Whether the last turn ended with room.
    pub(super) has_room: bool,
    /// Since when the consumer has had no room, without getting anything that waits here.
    pub(super) full_since: Option<Tick>,
    /// When the first of those that wait has come.
    pub(super) waiting_since: Option<Tick>,
    /// When the nodes were last told to hand out no more.
    pub(super) stopped_at: Option<Tick>,
    /// The last turn.
    pub(super) turned_at: Option<Tick>,
    /// The last turn in which the consumer got something that waited.
    pub(super) gave_at: Option<Tick>,
    /// How many of those that waited the consumer has got in this turn.
    pub(super) given_count: usize,
    /// How many messages more than the consumer may hold are fetched from each node, since it is quick.
    pub(super) extra: u32,
    /// One batch is asked for, although the own node's messages leave no room.
    pub(super) is_trial: bool,
    /// When the fetcher will look at it.
    pub(super) looked_at: Option<Tick>,
    pub(super) counts: ConsumerStats,
}

/// A node from which messages come.
pub(super) struct From {
    pub(super) source: Arc<Source>,
    pub(super) opening: u64,
    /// As many may be handed out at a time, as far as the node was told.
    pub(super) announced: u32,
    /// The ready count at that time.
    pub(super) announced_for: u32,
    /// How many of the node's messages the consumer holds.
    pub(super) held: u32,
    /// How many messages the consumer has finished since orders were last sent to the node.
    pub(super) untold: u32,
    /// How often orders had been sent then.
    pub(super) untold_since: u64,
}

/// A message that has come.
pub(super) struct Waiting {
    pub(super) node: u64,
    pub(super) id: MessageId,
    pub(super) timestamp: i64,
    pub(super) attempts: u16,
    pub(super) body: Bytes,
}

impl State {
    pub(super) fn from(&mut self, node: u64) -> Option<&mut From> {
        self.sources
            .iter_mut()
            .find(|from| from.source.node() == node)
    }

    /// Whether some node may hand out messages.
    pub(super) fn is_asking(&self) -> bool {
        self.sources.iter().any(|from| from.announced > 0)
    }

    /// When what waits goes back, and nothing more is asked for.
    pub(super) fn give_up_at(&self) -> Option<Tick> {
        let full = self.full_since.map(|since| since.after(PATIENCE));
        // A consumer that does not read makes no turn.
        let waits = self.waiting_since.map(|since| since.after(STALE));
        match (full, waits) {
            (Some(full), Some(waits)) => Some(full.min(waits)),
            (full, waits) => full.or(waits),
        }
    }
}

impl From {
    /// Notes how many messages the node may hand out. Returns whether it has to be told.
    pub(super) fn announce(&mut self, ready_count: u32, extra: u32) -> bool {
        let wanted = ready_count.min(self.held.saturating_add(STEP));
        let wanted = wanted.max(ready_count.saturating_add(extra).min(MOST_EXTRA));
        let left = self.announced.saturating_sub(self.held);
        let is_lower = wanted < self.announced && ready_count < self.announced_for;
        let is_higher = wanted > self.announced && (ready_count <= STEP || left < STEP / 2);
        if is_lower || is_higher {
            self.announced = wanted;
            self.announced_for = ready_count;
        }
        is_lower || is_higher
    }

    /// The consumer, which may hold `ready_count` messages, has finished one of the node's. The node need not learn that at
    /// once until half of what it may hand out ahead is finished. The other half covers the time that an order takes.
    pub(super) fn finish(&mut self, ready_count: u32) -> Urgency {
        let takes = self.source.takes();
        if takes != self.untold_since {
            (self.untold, self.untold_since) = (0, takes);
        }
        self.untold += 1;
        let spare = self.announced.saturating_sub(ready_count);
        if self.announced > 0 && self.untold >= self.announced.div_ceil(2) {
            Urgency::AtOnce
        } else if self.untold > spare / 2 {
            Urgency::Soon
        } else {
            Urgency::CanWait
        }
    }

    /// Has the node hand out no more.
    pub(super) fn stop(&mut self, subscription: u32) {
        if self.announced > 0 {
            self.announced = 0;
            self.order(Order::Ready {
                subscription,
                ready_count: 0,
            });
        }
    }

    pub(super) fn order(&self, order: Order) {
        self.source.order(self.opening, order, Urgency::AtOnce);
    }
}

/// How long messages may wait for a consumer that has room and makes no turn, since it does not read.
const STALE: Duration = Duration::from_millis(100);
/// The most messages that a node may hand out to a quick consumer that may hold fewer.
pub(super) const MOST_EXTRA: u32 = 64;
/// The most messages that a node may hand out before it is told again.
const STEP: u32 = 256;
