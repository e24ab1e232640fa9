//! What clients and operators do.

use std::sync::Arc;
use std::time::Duration;

use nsq_core::channel::Budget;
use nsq_core::command::Command;
use nsq_core::{ClientId, Locality, Pending, Subscription};

use super::{Nothing, Proposed, Simulation};
use crate::gathering::Enough;

impl Simulation {
    pub(super) fn publish(&mut self) {
        let topic = self.topic();
        let count = 1 + self.dice.below(4);
        let bodies: Vec<_> = (0..count)
            .map(|at| format!("{}-{at}{}", self.bodies, " ".repeat(at * 100)))
            .collect();
        self.bodies += 1;
        let due = self.dice.percent(25);
        let due = due.then(|| self.now.unix_nanos + 1_000_000);
        let pending = Pending::new(Arc::new(Nothing));
        let mut bodies = bodies.iter().map(String::as_bytes);
        let shard = &self.nodes[self.leader].shard;
        let accepted = shard.publish(&topic, &mut bodies, due, self.now, &pending);
        assert!(
            matches!(accepted, Ok(()) | Err(crate::Refusal::NoTopic)),
            "{accepted:?}"
        );
    }

    pub(super) fn change(&mut self) {
        let (topic, channel) = (self.topic(), self.channel());
        let pending = Pending::new(Arc::new(Nothing));
        let shard = Arc::clone(&self.nodes[self.leader].shard);
        let submit = |command: Command<'_>| shard.submit(&command, &pending).unwrap();
        match self.dice.below(20) {
            0..5 => {
                submit(Command::CreateTopic(&topic));
                submit(Command::CreateChannel(&topic, &channel));
            }
            5 => submit(Command::DeleteTopic(&topic)),
            6 => {
                submit(Command::DeleteTopic(&topic));
                submit(Command::CreateTopic(&topic));
                submit(Command::CreateChannel(&topic, &channel));
            }
            7..12 => submit(Command::CreateChannel(&topic, &channel)),
            12 => submit(Command::DeleteChannel(&topic, &channel)),
            13 => {
                submit(Command::DeleteChannel(&topic, &channel));
                submit(Command::CreateChannel(&topic, &channel));
            }
            14 => submit(Command::EmptyTopic(&topic)),
            15 => submit(Command::PauseTopic(&topic, true)),
            16 | 17 => submit(Command::PauseTopic(&topic, false)),
            _ => {
                self.followed += 1;
                shard.submit_followed(self.followed, &pending).unwrap();
            }
        }
    }

    pub(super) fn consume(&mut self) {
        let broker = self.nodes[self.leader].shard.broker().unwrap();
        let (topic, channel) = (self.topic(), self.channel());
        let found = broker.topic(topic.as_str());
        let Some(cell) = found.and_then(|topic| topic.channel(channel.as_str())) else {
            return;
        };
        let client = ClientId(1);
        let mut guard = cell.lock();
        if guard.client_count() == 0 {
            let subscription = Subscription {
                client,
                handle: Arc::new(Nothing),
                msg_timeout: Duration::from_mins(1),
                sample_rate: 0,
                locality: Locality::default(),
            };
            guard.subscribe(subscription, 0).unwrap();
            guard.set_ready_count(client, 1000);
        }
        let budget = Budget {
            messages: 1 + self.dice.below(6),
            bytes: 1 << 30,
        };
        let mut got = Vec::new();
        guard.take(client, budget, self.now, |message| {
            got.push((
                message.id,
                String::from_utf8(message.body.to_vec()).unwrap(),
            ));
        });
        for (id, body) in got {
            let finish = (topic.to_string(), channel.to_string(), body);
            self.model.check_delivery(&finish);
            match self.dice.below(10) {
                0..6 => {
                    guard.finish(client, id, self.now).unwrap();
                    self.model.finish(&finish);
                    self.finishes.push(finish);
                }
                6 | 7 => {
                    let delay = Duration::from_millis(self.dice.below(2) as u64);
                    guard.requeue(client, id, delay, self.now).unwrap();
                }
                _ => {}
            }
        }
    }

    pub(super) fn flush(&mut self) {
        self.propose();
        let leading = self.leading();
        leading.flush_progress(None).unwrap();
        let mut finishes = std::mem::take(&mut self.finishes);
        while let Some(proposal) = leading.take(Enough::ANYTHING) {
            self.proposed.push_back(Proposed {
                by: Arc::clone(&leading),
                proposal,
                finishes: std::mem::take(&mut finishes),
            });
        }
    }
}
