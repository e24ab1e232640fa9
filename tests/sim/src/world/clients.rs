//! What clients do: connect, publish, consume, leave.

use nsq_core::ClientId;
use nsq_protocol::{ChannelName, TopicName, encode};

use super::{CHANNELS, MAX_CLIENTS, TOPICS, World};
use crate::client::{Client, Heartbeats, Role};

impl World {
    pub(super) fn topic(&mut self) -> TopicName {
        let name = TOPICS[self.chance.index(self.profile.topics)];
        TopicName::parse(name).expect("a name")
    }

    pub(super) fn channel(&mut self) -> ChannelName {
        let name = CHANNELS[self.chance.index(self.profile.channels)];
        ChannelName::parse(name).expect("a name")
    }

    fn client_of(&mut self, wanted: fn(&Role) -> bool) -> Option<usize> {
        let all: Vec<_> = (0..self.clients.len())
            .filter(|&at| wanted(&self.clients[at].role))
            .collect();
        (!all.is_empty()).then(|| *self.chance.pick(&all))
    }

    pub(super) fn connect(&mut self) {
        if self.clients.len() >= MAX_CLIENTS {
            return self.disconnect();
        }
        let id = self.connect_client();
        let heartbeats = self.heartbeats();
        if self.chance.chance(30) {
            self.note(|| format!("{id:?} connects to publish"));
            self.clients.push(Client::publisher(id, heartbeats));
            return self.send(self.clients.len() - 1);
        }
        let (topic, channel) = (self.topic(), self.channel());
        let ready = [1, 1, 5, 100, 2500][self.chance.index(5)];
        self.note(|| format!("{id:?} subscribes to {topic}/{channel}, RDY {ready}"));
        let mut client = Client::consumer(id, &topic, &channel, ready, heartbeats);
        client.never_reads = self.chance.chance(4);
        self.clients.push(client);
        self.send(self.clients.len() - 1);
    }

    fn connect_client(&mut self) -> ClientId {
        let now = self.now;
        self.server().connect(now)
    }

    /// Time passes in leaps, and a client with heartbeats does not survive those.
    fn heartbeats(&mut self) -> Heartbeats {
        if self.chance.chance(30) {
            Heartbeats::Default
        } else {
            Heartbeats::Rare
        }
    }

    fn send(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let server = self.server.as_mut().expect("runs");
        if let Some(connection) = server.connection(client.id) {
            client.send(connection, &mut self.chance);
        }
    }

    pub(super) fn publish(&mut self) {
        let is_publisher = |role: &Role| matches!(role, Role::Publisher);
        let Some(at) = self.client_of(is_publisher) else {
            let id = self.connect_client();
            let heartbeats = self.heartbeats();
            self.clients.push(Client::publisher(id, heartbeats));
            return;
        };
        let topic = self.topic();
        let count = [1, 1, 3, 10, 40][self.chance.index(5)];
        let numbers = self.next_number..self.next_number + count;
        self.next_number += count;
        let id = self.clients[at].id;
        self.note(|| format!("{id:?} publishes {numbers:?} to {topic}"));
        let client = &mut self.clients[at];
        let server = self.server.as_mut().expect("runs");
        if let Some(connection) = server.connection(id)
            && self.chance.chance(70)
        {
            client.read(connection, &self.model);
        }
        client.publish(&topic, numbers, &mut self.chance, self.profile.max_body);
        self.send(at);
    }

    pub(super) fn consume(&mut self) {
        let is_consumer = |role: &Role| matches!(role, Role::Consumer);
        let Some(at) = self.client_of(is_consumer) else {
            return;
        };
        let others = self.clients.len() > 1;
        let client = &mut self.clients[at];
        let server = self.server.as_mut().expect("runs");
        let Some(connection) = server.connection(client.id) else {
            return;
        };
        client.read(connection, &self.model);
        match self.chance.below(30) {
            0 => encode::ready(&mut client.outgoing, 0),
            1 => encode::ready(&mut client.outgoing, 3),
            2 => encode::ready(&mut client.outgoing, 200),
            3 if self.chance.chance(20) => client.close(),
            4 => encode::nop(&mut client.outgoing),
            5 if others => {
                // A message that someone else holds.
                let other = self.chance.index(self.clients.len());
                let foreign = self.clients[other].held.first().copied();
                if let Some(id) = foreign.filter(|_| other != at) {
                    encode::finish(&mut self.clients[at].outgoing, &id);
                }
            }
            _ => client.answer(&mut self.chance),
        }
        self.send(at);
    }

    pub(super) fn disconnect(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let at = self.chance.index(self.clients.len());
        let client = self.clients.remove(at);
        self.note(|| format!("{:?} is gone", client.id));
        let server = self.server.as_mut().expect("runs");
        server.leave(client.id, &mut self.model);
    }
}
