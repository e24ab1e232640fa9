//! The invariant of waking, under whatever happens: a message never lies while a ready client sleeps.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::channel::{Budget, Locality};
use crate::client::ClientId;
use crate::testing::{Got, PLENTY, TestBroker};
use crate::topic::ChannelCell;

#[derive(Debug, Clone)]
enum Step {
    Publish {
        count: usize,
    },
    PublishDeferred,
    /// The client whose bell rang first comes; it may find that it cannot take now.
    Answer {
        declines: bool,
        messages: usize,
    },
    Ready {
        client: u32,
        count: u32,
    },
    Finish {
        client: u32,
    },
    Requeue {
        client: u32,
        delay: u64,
    },
    Leave {
        client: u32,
    },
    Pause(bool),
    Empty,
    Pass {
        seconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let client = 1..=3_u32;
    prop_oneof![
        4 => (1..6_usize).prop_map(|count| Step::Publish { count }),
        1 => Just(Step::PublishDeferred),
        8 => (prop::bool::weighted(0.2), 1..6_usize)
            .prop_map(|(declines, messages)| Step::Answer { declines, messages }),
        3 => (client.clone(), 0..5_u32).prop_map(|(client, count)| Step::Ready { client, count }),
        4 => client.clone().prop_map(|client| Step::Finish { client }),
        2 => (client.clone(), 0..3_u64).prop_map(|(client, delay)| Step::Requeue { client, delay }),
        1 => client.prop_map(|client| Step::Leave { client }),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => Just(Step::Empty),
        2 => prop_oneof![Just(1_u64), Just(70)].prop_map(|seconds| Step::Pass { seconds }),
    ]
}

fn locality() -> impl Strategy<Value = Locality> {
    prop_oneof![
        3 => Just(Locality::Elsewhere),
        1 => Just(Locality::Region),
        1 => Just(Locality::Zone),
    ]
}

/// A channel with three clients that do what connections do.
struct Scene {
    house: TestBroker,
    cell: std::sync::Arc<ChannelCell>,
    held: BTreeMap<ClientId, Vec<Got>>,
    localities: [Locality; 3],
}

impl Scene {
    fn new(localities: [Locality; 3]) -> Scene {
        let house = TestBroker::new();
        let cell = house.channel("t", "c");
        let mut scene = Scene {
            house,
            cell,
            held: BTreeMap::new(),
            localities,
        };
        for client in 1..=3 {
            scene.join(ClientId(client));
        }
        scene
    }

    fn join(&mut self, client: ClientId) {
        let locality = self.localities[client.0 as usize - 1];
        self.house.subscribe_from(&self.cell, client, 0, locality);
        self.held.insert(client, Vec::new());
    }

    /// A connection takes until nothing but room, messages or the budget are wanting.
    fn take(&mut self, client: ClientId, messages: usize) {
        let budget = Budget { messages, ..PLENTY };
        loop {
            let (got, taken) = self.house.take_within(&self.cell, client, budget);
            self.held.entry(client).or_default().extend(got);
            if !taken.more {
                return;
            }
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Publish { count } => self.house.publish_numbered("t", "m", count),
            Step::PublishDeferred => {
                self.house
                    .publish_deferred("t", "d", Duration::from_secs(2));
            }
            Step::Answer { declines, messages } => {
                let Some(client) = self.house.bells.next() else {
                    return;
                };
                if declines {
                    let cell = &self.cell;
                    cell.lock().decline(client);
                    // It comes by itself once it can: at the end of the run at the latest.
                    self.house.bells.woken.lock().unwrap().push_back(client);
                } else {
                    self.take(client, messages);
                }
            }
            Step::Ready { client, count } => {
                self.cell.lock().set_ready_count(ClientId(client), count);
                self.take(ClientId(client), 100);
            }
            Step::Finish { client } => {
                let client = ClientId(client);
                if let Some(message) = self.held.get_mut(&client).and_then(Vec::pop) {
                    let _ = self.cell.lock().finish(client, message.id, self.house.now);
                    self.take(client, 100);
                }
            }
            Step::Requeue { client, delay } => {
                let client = ClientId(client);
                if let Some(message) = self.held.get_mut(&client).and_then(Vec::pop) {
                    let delay = Duration::from_secs(delay);
                    let _ = self.house.requeue(&self.cell, client, message.id, delay);
                    self.take(client, 100);
                }
            }
            Step::Leave { client } => {
                let client = ClientId(client);
                self.cell.lock().unsubscribe(client);
                self.house
                    .bells
                    .woken
                    .lock()
                    .unwrap()
                    .retain(|&woken| woken != client);
                self.join(client);
            }
            Step::Pause(paused) => {
                let cell = &self.cell;
                cell.lock().set_paused(paused);
            }
            Step::Empty => {
                let cell = &self.cell;
                cell.lock().empty();
            }
            Step::Pass { seconds } => {
                self.house.pass(Duration::from_secs(seconds));
                self.house.handle_timeout(&self.cell);
            }
        }
    }

    fn room(&self, client: ClientId) -> u32 {
        let stats = self.cell.lock().consumer_stats(client).unwrap();
        stats.ready_count.saturating_sub(stats.in_flight_count)
    }

    fn check(&self) {
        let channel = self.cell.lock();
        let is_open = !channel.is_paused() && channel.depth() > 0;
        drop(channel);
        let somebody_comes = !self.house.bells.woken.lock().unwrap().is_empty();
        let somebody_has_room = (1..=3).any(|client| self.room(ClientId(client)) > 0);
        assert!(
            !is_open || !somebody_has_room || somebody_comes,
            "a message lies while a ready client sleeps"
        );
    }

    /// Everyone comes when woken, and finishes what it gets.
    fn drain(&mut self) {
        let cell = std::sync::Arc::clone(&self.cell);
        cell.lock().set_paused(false);
        let mut turns = 0;
        while let Some(client) = self.house.bells.next() {
            turns += 1;
            assert!(turns < 10_000, "clients wake each other for ever");
            // What it holds from before it keeps: that is what may fill it up.
            let kept = self.held.remove(&client).unwrap_or_default();
            loop {
                self.take(client, 3);
                let held = self.held.remove(&client).unwrap_or_default();
                if held.is_empty() {
                    break;
                }
                for message in held {
                    self.cell
                        .lock()
                        .finish(client, message.id, self.house.now)
                        .unwrap();
                }
            }
            self.held.insert(client, kept);
        }
    }
}

proptest! {
    #[test]
    fn a_message_never_lies_while_a_ready_client_sleeps(
        localities in prop::array::uniform3(locality()),
        steps in prop::collection::vec(step(), 1..80)
    ) {
        let mut scene = Scene::new(localities);
        for step in &steps {
            scene.apply(step);
            scene.check();
        }
        scene.drain();
        let somebody_has_room = (1..=3).any(|client| scene.room(ClientId(client)) > 0);
        prop_assert!(!somebody_has_room || scene.cell.lock().depth() == 0);
    }
}
