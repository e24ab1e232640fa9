//! A client of another node, as a client of the channels in the shards that this node leads.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use nsq_core::channel::Budget;
use nsq_core::{Locality, NotInFlight, Now};
use nsq_protocol::{ChannelName, MessageId, TopicName};

use super::{Act, Event, Sink, Wanted};
use crate::client::Client;
use crate::server::Server;
use crate::session::parts::{AttachError, Joining, Part, leave_parts};
use crate::session::turn::Turn;

pub(super) struct Subscriber {
    client: Arc<Client>,
    /// Puts it on the list of those that have something to do.
    waker: Waker,
    topic: TopicName,
    channel: ChannelName,
    msg_timeout: Duration,
    sample_rate: u8,
    ready_count: u32,
    /// That of the table of shards when the parts were last compared with it.
    version: u64,
    /// The part that gives its messages first the next time.
    first: usize,
    parts: Vec<Part>,
    /// Of each part, the messages that the other node has.
    handed_out: Vec<HashSet<u64>>,
    has_left: bool,
}

impl Subscriber {
    pub(super) fn new(
        server: &Server,
        client: Client,
        waker: Waker,
        wanted: Wanted,
        ready_count: u32,
        now: Now,
    ) -> Subscriber {
        let client = Arc::new(client);
        let max_timeout = server.settings().identify_limits.max_msg_timeout;
        // Registered before the table is read: a change after that wakes the client.
        server
            .shards()
            .register(&wanted.topic, &wanted.channel, &client);
        let mut subscriber = Subscriber {
            client,
            waker,
            topic: wanted.topic,
            channel: wanted.channel,
            msg_timeout: wanted.msg_timeout.min(max_timeout),
            sample_rate: wanted.sample_rate,
            ready_count,
            version: server.shards().version(),
            first: 0,
            parts: Vec::new(),
            handed_out: Vec::new(),
            has_left: false,
        };
        subscriber.attach_to_new_parts(server, now);
        subscriber
    }

    /// Has it come up again when something happens from now on. Returns whether its channel was deleted.
    pub(super) fn listen(&self) -> bool {
        self.client.register(&self.waker);
        self.client.was_woken();
        self.client.is_closed()
    }

    pub(super) fn set_ready_count(&mut self, ready_count: u32) {
        self.ready_count = ready_count;
        for part in &self.parts {
            let mut channel = part.cell.lock();
            channel.set_ready_count(self.client.id(), ready_count);
        }
    }

    /// Does with a message what its client did, or what became of it on the way there.
    pub(super) fn act(&mut self, id: MessageId, act: Act, now: Now) -> Result<(), NotInFlight> {
        let mut parts = self.parts.iter().zip(&mut self.handed_out);
        let found = parts.find(|(_, handed_out)| handed_out.contains(&id.as_u64()));
        let Some((part, handed_out)) = found else {
            return Err(NotInFlight::Unknown);
        };
        let client = self.client.id();
        let mut channel = part.cell.lock();
        if act == Act::Touch {
            return channel.touch(client, id, self.msg_timeout, now);
        }
        handed_out.remove(&id.as_u64());
        match act {
            Act::Finish => channel.finish(client, id, now),
            Act::Requeue(delay) => channel.requeue(client, id, delay, now),
            Act::Release | Act::Touch => channel.release(client, id),
        }
    }

    /// Gives `sink` the messages there are for the client, and says which ones it does not hold any more. Returns whether
    /// there may be more at once.
    pub(super) fn turn(
        &mut self,
        server: &Server,
        subscription: u32,
        budget: &mut Budget,
        now: Now,
        sink: &mut impl Sink,
    ) -> bool {
        if self.version != server.shards().version() {
            self.refresh_parts(server, subscription, now, sink);
        }
        self.find_gone(subscription, sink);
        let handed_out = &mut self.handed_out;
        let mut bytes = 0;
        let mut turn = Turn::new(self.client.id(), self.ready_count, &self.parts, self.first);
        let ran = turn.run(*budget, now, |at, message| {
            bytes += message.body.len() + MESSAGE_BYTES;
            let id = message.id;
            if !handed_out[at].insert(id.as_u64()) {
                // It timed out a moment ago.
                sink.event(Event::Gone { subscription, id });
            }
            sink.message(subscription, &message);
        });
        budget.bytes = budget.bytes.saturating_sub(bytes);
        if let Some(gave) = ran.gave {
            // The next part is the first of the next turn.
            self.first = (gave + 1) % self.parts.len();
        }
        ran.again
    }

    /// Says which messages have timed out, or were emptied.
    fn find_gone(&mut self, subscription: u32, sink: &mut impl Sink) {
        let client = self.client.id();
        for (part, handed_out) in self.parts.iter().zip(&mut self.handed_out) {
            if handed_out.is_empty() {
                continue;
            }
            let channel = part.cell.lock();
            if channel.held_by(client) as usize == handed_out.len() {
                continue;
            }
            handed_out.retain(|id| {
                let id = MessageId::from_u64(*id);
                let is_held = channel.holds(client, id);
                if !is_held {
                    sink.event(Event::Gone { subscription, id });
                }
                is_held
            });
        }
    }

    /// Drops the parts of retired shards, and attaches to those that are new.
    fn refresh_parts(
        &mut self,
        server: &Server,
        subscription: u32,
        now: Now,
        sink: &mut impl Sink,
    ) {
        self.version = server.shards().version();
        let mut at = 0;
        while let Some(part) = self.parts.get(at) {
            if !part.is_retired() {
                at += 1;
                continue;
            }
            self.parts.remove(at);
            for id in self.handed_out.remove(at) {
                let id = MessageId::from_u64(id);
                sink.event(Event::Gone { subscription, id });
            }
        }
        self.first = 0;
        self.attach_to_new_parts(server, now);
    }

    fn attach_to_new_parts(&mut self, server: &Server, now: Now) {
        let joining = Joining {
            msg_timeout: self.msg_timeout,
            sample_rate: self.sample_rate,
            locality: Locality::OtherNode,
            ready_count: self.ready_count,
            // Its own node counts it.
            limit: 0,
        };
        for shard in &*server.shards().snapshot() {
            if self.parts.iter().any(|part| part.is_in(shard)) {
                continue;
            }
            match joining.attach(&self.client, shard, &self.topic, &self.channel, now) {
                Ok(Some(part)) => {
                    self.parts.push(part);
                    self.handed_out.push(HashSet::new());
                }
                Ok(None) | Err(AttachError::TooManyClients { .. }) => {}
                Err(AttachError::Store(error)) => tracing::error!(
                    "TOPIC({}): channel {} cannot be created in shard {}: {error}",
                    self.topic,
                    self.channel,
                    shard.number
                ),
            }
        }
    }

    /// Takes back what has not reached the client, which holds `held`.
    pub(super) fn release_all_but(&mut self, held: &[MessageId]) {
        let client = self.client.id();
        let held: HashSet<u64> = held.iter().map(|id| id.as_u64()).collect();
        for (part, handed_out) in self.parts.iter().zip(&mut self.handed_out) {
            let mut channel = part.cell.lock();
            // So that nothing comes here again.
            channel.set_ready_count(client, 0);
            for id in handed_out.extract_if(|id| !held.contains(id)) {
                // It may have timed out.
                let _ = channel.release(client, MessageId::from_u64(id));
            }
        }
    }

    /// The client is gone. What it holds stays in flight.
    pub(super) fn leave(&mut self, server: &Server) {
        if std::mem::replace(&mut self.has_left, true) {
            return;
        }
        server.shards().unregister(&self.topic, self.client.id());
        leave_parts(server, self.client.id(), &self.parts);
    }

    /// Whether something that a client which has left held is in flight.
    pub(super) fn holds_something(&mut self) -> bool {
        let client = self.client.id();
        let mut parts = self.parts.iter().zip(&mut self.handed_out);
        parts.any(|(part, handed_out)| {
            let channel = part.cell.lock();
            handed_out.retain(|id| channel.holds(client, MessageId::from_u64(*id)));
            !handed_out.is_empty()
        })
    }

    /// The other node is gone: everything is requeued.
    pub(super) fn end(mut self, server: &Server, now: Now) {
        let client = self.client.id();
        for (part, handed_out) in self.parts.iter().zip(&mut self.handed_out) {
            let mut channel = part.cell.lock();
            for id in handed_out.drain() {
                // It may have timed out.
                let _ = channel.requeue(client, MessageId::from_u64(id), Duration::ZERO, now);
            }
        }
        self.leave(server);
    }
}

/// What a message takes besides its body, about.
const MESSAGE_BYTES: usize = 32;
