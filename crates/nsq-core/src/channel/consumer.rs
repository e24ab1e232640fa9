//! A channel's clients: what each may hold, and who is waiting for messages.
//!
//! Invariant: while a channel has messages to give, nobody waits unless somebody has been rung: so a message never
//! lies while a ready client sleeps. Clients are rung in the order in which they began to wait, so that at low rates
//! messages go round; and nearer clients before those farther away, who get what the nearer have no room for.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::line::{Line, Locality};
use crate::client::{ClientHandle, ClientId, Wakes};

/// What a client brings along when it subscribes.
pub struct Subscription {
    /// The client.
    pub client: ClientId,
    /// How to reach its task.
    pub handle: Arc<dyn ClientHandle>,
    /// How long it may hold a message.
    pub msg_timeout: Duration,
    /// 0: every message; 1..=99: about that share, in percent; the rest is consumed unseen.
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
    /// Was told to come and take; has not come yet.
    Rung,
}

pub(crate) struct Consumer {
    handle: Arc<dyn ClientHandle>,
    pub(crate) msg_timeout: Duration,
    pub(crate) sample_rate: u8,
    pub(crate) locality: Locality,
    random: u64,
    ready_count: u32,
    pub(crate) in_flight: u32,
    pub(crate) message_count: u64,
    pub(crate) finish_count: u64,
    pub(crate) requeue_count: u64,
    waiting: Waiting,
    /// While it waits: the room that its line counts for it.
    counted_room: usize,
    /// The round in which it last had its share.
    served_in: u64,
    /// Whether the line holds a place for it, in force or not.
    in_line: bool,
}

impl Consumer {
    /// How many more messages it may hold.
    pub(crate) fn room(&self) -> u32 {
        self.ready_count.saturating_sub(self.in_flight)
    }

    /// Whether the sample passes the next message by.
    ///
    /// Compat: a rate of r keeps (r + 1) percent (`rand.Int31n(100) > sampleRate`, nsqd/protocol_v2.go).
    pub(crate) fn samples_out(&mut self) -> bool {
        if self.sample_rate == 0 {
            return false;
        }
        // xorshift64*: repeatable for a client, and good enough to throw dice.
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
    lines: [Line; Locality::COUNT],
    /// A round ends when there is nothing left to give.
    round: u64,
}

impl Consumers {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, client: ClientId) -> Option<&Consumer> {
        self.all.get(&client)
    }

    pub(crate) fn get_mut(&mut self, client: ClientId) -> Option<&mut Consumer> {
        self.all.get_mut(&client)
    }

    pub(crate) fn idle_count(&self) -> usize {
        self.lines.iter().map(|line| line.idle_count).sum()
    }

    /// Clients as near as this that want messages and have not had their share of what is there.
    pub(crate) fn rival_count(&self, locality: Locality) -> usize {
        self.lines[locality.index()].rival_count()
    }

    /// How many messages those have room for who wait nearer than this.
    pub(crate) fn nearer_room(&self, locality: Locality) -> usize {
        let nearer = &self.lines[..locality.index()];
        nearer.iter().map(|line| line.room).sum()
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
            in_flight: 0,
            message_count: 0,
            finish_count: 0,
            requeue_count: 0,
            waiting: Waiting::No,
            counted_room: 0,
            served_in: u64::MAX,
            in_line: false,
        };
        self.all.insert(client, consumer);
    }

    /// Takes a client out. Whether it had been rung: then somebody else is to be.
    pub(crate) fn remove(&mut self, client: ClientId) -> Option<bool> {
        let was_rung = self.stop_waiting(client)?;
        if let Some(consumer) = self.all.remove(&client) {
            self.lines[consumer.locality.index()].remove(client);
        }
        Some(was_rung)
    }

    pub(crate) fn set_ready_count(&mut self, client: ClientId, ready_count: u32) {
        if let Some(consumer) = self.all.get_mut(&client) {
            consumer.ready_count = ready_count;
            if consumer.waiting != Waiting::No {
                let line = &mut self.lines[consumer.locality.index()];
                line.room -= consumer.counted_room;
                consumer.counted_room = consumer.room() as usize;
                line.room += consumer.counted_room;
            }
        }
    }

    pub(crate) fn ready_count(&self, client: ClientId) -> u32 {
        self.all
            .get(&client)
            .map_or(0, |consumer| consumer.ready_count)
    }

    /// The client is awake: it waits no longer. Whether it had been rung; `None` for a stranger.
    pub(crate) fn stop_waiting(&mut self, client: ClientId) -> Option<bool> {
        let consumer = self.all.get_mut(&client)?;
        let before = std::mem::replace(&mut consumer.waiting, Waiting::No);
        let line = &mut self.lines[consumer.locality.index()];
        match before {
            Waiting::No => return Some(false),
            Waiting::Idle => line.idle_count -= 1,
            Waiting::Rung => line.rung_count -= 1,
        }
        line.room -= consumer.counted_room;
        if consumer.served_in == self.round {
            line.served_count -= 1;
        }
        Some(before == Waiting::Rung)
    }

    /// There is nothing left to give: what comes next is shared out anew.
    pub(crate) fn end_round(&mut self) {
        self.round += 1;
        for line in &mut self.lines {
            line.served_count = 0;
        }
    }

    /// The client has room and found nothing: it goes to the end of the line.
    pub(crate) fn wait(&mut self, client: ClientId) {
        self.wait_since(client, u64::MAX);
    }

    /// The client has room and has had its share: it goes to the end of the line, behind those that have not.
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
            let line = &mut self.lines[consumer.locality.index()];
            line.idle_count += 1;
            line.served_count += usize::from(served_in == self.round);
            line.room += consumer.counted_room;
            if !consumer.in_line {
                consumer.in_line = true;
                line.join(client);
            }
        }
    }

    /// Rings as many of those that wait as there are messages, nearest first, then longest: those farther away only
    /// for what the nearer have no room for.
    pub(crate) fn ring_for(&mut self, depth: usize, wakes: &mut Wakes) {
        let mut left = depth;
        for line in &mut self.lines {
            let count = left.saturating_sub(line.rung_count).min(line.idle_count);
            ring(line, &mut self.all, count, wakes);
            left = left.saturating_sub(line.room);
        }
    }

    /// Rings one client that may have room again without knowing it.
    pub(crate) fn ring_one(&mut self, client: ClientId, wakes: &mut Wakes) {
        let Some(consumer) = self.all.get_mut(&client) else {
            return;
        };
        if consumer.waiting == Waiting::No && consumer.room() > 0 {
            consumer.waiting = Waiting::Rung;
            consumer.served_in = u64::MAX;
            consumer.counted_room = consumer.room() as usize;
            let line = &mut self.lines[consumer.locality.index()];
            line.rung_count += 1;
            line.room += consumer.counted_room;
            wakes.push(Arc::clone(&consumer.handle));
        }
    }

    /// The channel was emptied: nobody holds anything any more.
    pub(crate) fn reset_in_flight(&mut self, wakes: &mut Wakes) {
        let clients: Vec<ClientId> = self.all.keys().copied().collect();
        for client in clients {
            if let Some(consumer) = self.all.get_mut(&client) {
                consumer.in_flight = 0;
            }
            self.ring_one(client, wakes);
        }
    }

    /// Tells every client that its channel is gone.
    pub(crate) fn close_all(&self) {
        for consumer in self.all.values() {
            consumer.handle.close();
        }
    }
}

/// Rings `count` of a line's idle clients, longest first.
fn ring(
    line: &mut Line,
    all: &mut HashMap<ClientId, Consumer>,
    mut count: usize,
    wakes: &mut Wakes,
) {
    while count > 0 {
        let Some(client) = line.pop() else {
            return;
        };
        let Some(consumer) = all.get_mut(&client) else {
            continue;
        };
        consumer.in_line = false;
        if consumer.waiting == Waiting::Idle {
            consumer.waiting = Waiting::Rung;
            line.idle_count -= 1;
            line.rung_count += 1;
            wakes.push(Arc::clone(&consumer.handle));
            count -= 1;
        }
    }
}
