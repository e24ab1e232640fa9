//! A channel's clients: what each may hold, and who is waiting for messages.
//!
//! Invariant: while a channel has messages to give, no client waits unless another one has been woken: so no message lies
//! there while a ready client sleeps. Clients are woken in the order in which they began to wait, so that at low rates
//! messages go round; and nearer clients before those farther away, which get what the nearer have no room for.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::wait_queue::{Locality, WaitQueue};
use crate::client::{ClientHandle, ClientId};
use crate::effects::Effects;

/// A client's subscription to a channel.
pub struct Subscription {
    /// The client.
    pub client: ClientId,
    /// How to reach its task.
    pub handle: Arc<dyn ClientHandle>,
    /// How long it may hold a message.
    pub msg_timeout: Duration,
    /// 0: every message; 1..=99: about that share, in percent; the rest is finished unseen.
    pub sample_rate: u8,
    /// How near it is to this nsqd.
    pub locality: Locality,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Busy, full, or not asking.
    No,
    /// Has nothing to do and room for messages.
    Idle,
    /// Was woken to take messages; has not come yet.
    Woken,
}

pub(crate) struct Consumer {
    handle: Arc<dyn ClientHandle>,
    pub(crate) msg_timeout: Duration,
    pub(crate) sample_rate: u8,
    pub(crate) locality: Locality,
    random: u64,
    ready_count: u32,
    /// How many messages of other channels it held, when that was noted last: they count against its ready count too.
    held_elsewhere: u32,
    pub(crate) in_flight: u32,
    pub(crate) message_count: u64,
    pub(crate) finish_count: u64,
    pub(crate) requeue_count: u64,
    /// When it last finished a message, in Unix nanoseconds; 0 before the first.
    pub(crate) last_finish: i64,
    waiting: Waiting,
    /// While it waits: the room that its wait queue counts for it.
    counted_room: usize,
    /// The round in which it last had its share.
    served_in: u64,
    /// Whether the wait queue holds a place for it, in force or not.
    is_queued: bool,
}

impl Consumer {
    /// How many more messages it may hold.
    pub(crate) fn room(&self) -> u32 {
        self.ready_count
            .saturating_sub(self.in_flight)
            .saturating_sub(self.held_elsewhere)
    }

    /// Whether it may have room without knowing it: what it held elsewhere may be finished by now. A client of another node has
    /// a ready count of 0 while it is full, and must learn all the more that it holds less.
    fn may_have_room(&self) -> bool {
        self.room() > 0 || self.held_elsewhere > 0 || self.locality == Locality::OtherNode
    }

    /// Whether the sample leaves out the next message.
    ///
    /// Compat: a rate of r keeps (r + 1) percent (`rand.Int31n(100) > sampleRate`, nsqd/protocol_v2.go).
    pub(crate) fn samples_out(&mut self) -> bool {
        if self.sample_rate == 0 {
            return false;
        }
        // xorshift64*: repeatable for a client, and good enough for a sample.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let dice = (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % 100;
        dice > u64::from(self.sample_rate)
    }
}

#[derive(Default)]
pub(crate) struct Consumers {
    all: HashMap<ClientId, Consumer>,
    /// Nearest first.
    queues: [WaitQueue; Locality::COUNT],
    /// How many of all are clients of other nodes.
    of_other_nodes: usize,
    /// A round ends when there is nothing left to give.
    round: u64,
}

impl Consumers {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Clients of this node.
    pub(crate) fn own_count(&self) -> usize {
        self.all.len() - self.of_other_nodes
    }

    pub(crate) fn get(&self, client: ClientId) -> Option<&Consumer> {
        self.all.get(&client)
    }

    pub(crate) fn get_mut(&mut self, client: ClientId) -> Option<&mut Consumer> {
        self.all.get_mut(&client)
    }

    pub(crate) fn idle_count(&self) -> usize {
        self.queues.iter().map(|queue| queue.idle_count).sum()
    }

    /// Clients as near as this that want messages and have not had their share of this round.
    pub(crate) fn rival_count(&self, locality: Locality) -> usize {
        self.queues[locality.index()].rival_count()
    }

    /// How many messages the clients that wait nearer than this have room for.
    pub(crate) fn nearer_room(&self, locality: Locality) -> usize {
        let nearer = &self.queues[..locality.index()];
        nearer.iter().map(|queue| queue.room).sum()
    }

    /// How many messages all clients together have room for.
    pub(crate) fn total_room(&self) -> u64 {
        self.all
            .values()
            .map(|consumer| u64::from(consumer.room()))
            .sum()
    }

    pub(crate) fn add(&mut self, subscription: Subscription) {
        let Subscription {
            client,
            handle,
            msg_timeout,
            sample_rate,
            locality,
        } = subscription;
        let consumer = Consumer {
            handle,
            msg_timeout,
            sample_rate,
            locality,
            random: (u64::from(client.0) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
            ready_count: 0,
            held_elsewhere: 0,
            in_flight: 0,
            message_count: 0,
            finish_count: 0,
            requeue_count: 0,
            last_finish: 0,
            waiting: Waiting::No,
            counted_room: 0,
            served_in: u64::MAX,
            is_queued: false,
        };
        self.of_other_nodes += usize::from(locality == Locality::OtherNode);
        self.all.insert(client, consumer);
    }

    /// Removes a client. Returns whether it had been woken: then another one has to be.
    pub(crate) fn remove(&mut self, client: ClientId) -> Option<bool> {
        let was_woken = self.stop_waiting(client)?;
        if let Some(consumer) = self.all.remove(&client) {
            self.queues[consumer.locality.index()].remove(client);
            self.of_other_nodes -= usize::from(consumer.locality == Locality::OtherNode);
        }
        Some(was_woken)
    }

    pub(crate) fn set_ready_count(&mut self, client: ClientId, ready_count: u32) {
        if let Some(consumer) = self.all.get_mut(&client) {
            consumer.ready_count = ready_count;
            if consumer.waiting != Waiting::No {
                let queue = &mut self.queues[consumer.locality.index()];
                queue.room -= consumer.counted_room;
                consumer.counted_room = consumer.room() as usize;
                queue.room += consumer.counted_room;
            }
        }
    }

    pub(crate) fn set_held_elsewhere(&mut self, client: ClientId, count: u32) {
        if let Some(consumer) = self.all.get_mut(&client) {
            consumer.held_elsewhere = count;
        }
    }

    pub(crate) fn ready_count(&self, client: ClientId) -> u32 {
        self.all
            .get(&client)
            .map_or(0, |consumer| consumer.ready_count)
    }

    /// The client is awake: it waits no longer. Returns whether it had been woken; `None` for an unknown client.
    pub(crate) fn stop_waiting(&mut self, client: ClientId) -> Option<bool> {
        let consumer = self.all.get_mut(&client)?;
        let before = std::mem::replace(&mut consumer.waiting, Waiting::No);
        let queue = &mut self.queues[consumer.locality.index()];
        match before {
            Waiting::No => return Some(false),
            Waiting::Idle => queue.idle_count -= 1,
            Waiting::Woken => queue.woken_count -= 1,
        }
        queue.room -= consumer.counted_room;
        if consumer.served_in == self.round {
            queue.served_count -= 1;
        }
        Some(before == Waiting::Woken)
    }

    /// There is nothing left to give: the next messages are shared out again among all.
    pub(crate) fn end_round(&mut self) {
        self.round += 1;
        for queue in &mut self.queues {
            queue.served_count = 0;
        }
    }

    /// The client has room and found nothing: it goes to the end of the wait queue.
    pub(crate) fn wait(&mut self, client: ClientId) {
        self.wait_since(client, u64::MAX);
    }

    /// The client has room and has had its share: it goes to the end of the wait queue, after those that have not.
    pub(crate) fn wait_served(&mut self, client: ClientId) {
        self.wait_since(client, self.round);
    }

    fn wait_since(&mut self, client: ClientId, served_in: u64) {
        let Some(consumer) = self.all.get_mut(&client) else {
            return;
        };
        if consumer.waiting == Waiting::No {
            consumer.waiting = Waiting::Idle;
            consumer.served_in = served_in;
            consumer.counted_room = consumer.room() as usize;
            let queue = &mut self.queues[consumer.locality.index()];
            queue.idle_count += 1;
            queue.served_count += usize::from(served_in == self.round);
            queue.room += consumer.counted_room;
            if !consumer.is_queued {
                consumer.is_queued = true;
                queue.join(client);
            }
        }
    }

    /// Wakes as many waiting clients as there are messages, nearest first, then longest: those farther away only for
    /// what the nearer have no room for.
    pub(crate) fn wake_up_to(&mut self, depth: usize, effects: &mut Effects) {
        let mut left = depth;
        for queue in &mut self.queues {
            let count = left.saturating_sub(queue.woken_count).min(queue.idle_count);
            wake_waiting(queue, &mut self.all, count, effects);
            left = left.saturating_sub(queue.room);
        }
    }

    /// Wakes one client that may have room again without knowing it.
    pub(crate) fn wake_client(&mut self, client: ClientId, effects: &mut Effects) {
        let Some(consumer) = self.all.get_mut(&client) else {
            return;
        };
        if consumer.waiting == Waiting::No && consumer.may_have_room() {
            consumer.waiting = Waiting::Woken;
            consumer.served_in = u64::MAX;
            consumer.counted_room = consumer.room() as usize;
            let queue = &mut self.queues[consumer.locality.index()];
            queue.woken_count += 1;
            queue.room += consumer.counted_room;
            effects.wake(Arc::clone(&consumer.handle));
        }
    }

    /// The channel was emptied: no client holds anything any more.
    pub(crate) fn reset_in_flight(&mut self, effects: &mut Effects) {
        let clients: Vec<ClientId> = self.all.keys().copied().collect();
        for client in clients {
            if let Some(consumer) = self.all.get_mut(&client) {
                consumer.in_flight = 0;
            }
            self.wake_client(client, effects);
        }
    }

    /// Wakes every client, whether it waits or not.
    pub(crate) fn wake_all(&self, effects: &mut Effects) {
        for consumer in self.all.values() {
            effects.wake(Arc::clone(&consumer.handle));
        }
    }

    /// Closes every client: its channel is gone.
    pub(crate) fn close_all(&self) {
        for consumer in self.all.values() {
            consumer.handle.close();
        }
    }
}

/// Wakes `count` of a wait queue's idle clients, longest first.
fn wake_waiting(
    queue: &mut WaitQueue,
    all: &mut HashMap<ClientId, Consumer>,
    mut count: usize,
    effects: &mut Effects,
) {
    while count > 0 {
        let Some(client) = queue.pop() else {
            return;
        };
        let Some(consumer) = all.get_mut(&client) else {
            continue;
        };
        consumer.is_queued = false;
        if consumer.waiting == Waiting::Idle {
            consumer.waiting = Waiting::Woken;
            queue.idle_count -= 1;
            queue.woken_count += 1;
            effects.wake(Arc::clone(&consumer.handle));
            count -= 1;
        }
    }
}
