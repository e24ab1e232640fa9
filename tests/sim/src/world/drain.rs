//! A drain: clients that behave well empty every channel.

use std::time::Duration;

use nsq_protocol::ChannelName;

use super::World;
use crate::client::{Client, Heartbeats};

/// Rounds in which a drain must get somewhere.
const DRAIN_ROUNDS: usize = 20_000;

impl World {
    /// Lets good clients have everything there is, and checks that all that had to come has come.
    pub(super) fn drain(&mut self) {
        self.note(|| "drain".to_owned());
        Self::end_faults();
        let now = self.now;
        let server = self.server.as_mut().expect("runs");
        for client in std::mem::take(&mut self.clients) {
            server.leave(client.id, &mut self.model);
        }
        while let Some(id) = server.connections.first().map(|connection| connection.id) {
            server.leave(id, &mut self.model);
        }
        // What could not be synced before is synced now, and may be had.
        server.maintain(&mut self.model, now);
        self.finish_syncs();
        let server = self.server.as_mut().expect("runs");
        let mut consumers = Vec::new();
        for topic in server.broker.topics() {
            topic.set_paused(false, now);
            self.model.topic_paused(topic.name().as_str(), false, now);
            let mut channels: Vec<_> = topic
                .channels()
                .iter()
                .map(|cell| cell.name().clone())
                .collect();
            if channels.is_empty() && self.model.waits(topic.name().as_str()) {
                channels.push(ChannelName::parse("drain").expect("a name"));
            }
            for cell in topic.channels() {
                cell.lock().set_paused(false);
            }
            for name in channels {
                let id = server.connect(now);
                let heartbeats = Heartbeats::Rare;
                let consumer = Client::consumer(id, topic.name(), &name, 2500, heartbeats);
                consumers.push(consumer);
            }
        }
        server.save(&mut self.model);
        let mut is_empty = false;
        for _ in 0..DRAIN_ROUNDS {
            let server = self.server.as_mut().expect("runs");
            let mut progress = 0;
            for consumer in &mut consumers {
                let connection = server.connection(consumer.id);
                let connection = connection.expect("nothing closes it");
                consumer.read(connection, &self.model);
                progress += consumer.finish_all() + consumer.outgoing.len();
                connection.input.append(&mut consumer.outgoing);
            }
            server.poll_connections(0, &mut self.model, self.now);
            self.run_syncs();
            let server = self.server.as_mut().expect("runs");
            if progress > 0 {
                continue;
            }
            let left = server.broker.topics().into_iter().any(|topic| {
                topic.channels().iter().any(|cell| {
                    let channel = cell.lock();
                    channel.depth() + (channel.in_flight_count() + channel.deferred_count()) as u64
                        > 0
                })
            });
            if !left {
                is_empty = true;
                break;
            }
            let Some(next) = server.next_look() else {
                break;
            };
            let wait = next.since(self.now.tick).max(Duration::from_millis(1));
            self.advance(wait);
            let now = self.now;
            let server = self.server.as_mut().expect("runs");
            server.run_timers(&mut self.model, now);
        }
        let server = self.server.as_mut().expect("runs");
        if !is_empty {
            server.check(&self.model);
            let stats: Vec<_> = server
                .broker
                .topics()
                .iter()
                .map(|topic| topic.stats())
                .collect();
            panic!("messages do not come although clients wait for them: {stats:#?}");
        }
        self.model.drained();
        server.check(&self.model);
        for consumer in consumers {
            server.leave(consumer.id, &mut self.model);
        }
        server.maintain(&mut self.model, self.now);
        self.run_syncs();
        self.model.flips = 0;
    }
}
