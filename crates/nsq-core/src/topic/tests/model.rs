//! A topic with up to three channels against a naive model, through restarts and kills.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use nsq_protocol::MessageId;
use nsq_queue::LogOptions;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::channel::Budget;
use crate::client::ClientId;
use crate::peek::{PeekLimits, PeekedMessage};
use crate::testing::{ALICE, BOB, MAX_MSG_TIMEOUT, MSG_TIMEOUT, PLENTY, TestBroker, counts};

const CHANNELS: [&str; 3] = ["c1", "c2", "c3"];
const CLIENTS: [ClientId; 2] = [ALICE, BOB];
const READY_COUNT: u32 = 60;
/// Bodies begin with their number in as many digits.
const NUMBER_BYTES: usize = 6;
const LOOK: PeekLimits = PeekLimits {
    messages: 100_000,
    body_bytes: NUMBER_BYTES,
};

#[derive(Debug, Clone)]
enum Step {
    Publish {
        count: usize,
    },
    PublishDeferred {
        seconds: u64,
    },
    Take {
        channel: usize,
        client: usize,
        messages: usize,
    },
    /// FIN of up to `count` messages in flight.
    Finish {
        channel: usize,
        which: Index,
        count: usize,
    },
    Requeue {
        channel: usize,
        which: Index,
        seconds: u64,
    },
    Touch {
        channel: usize,
        which: Index,
    },
    Pass {
        seconds: u64,
    },
    PauseTopic(bool),
    PauseChannel {
        channel: usize,
        paused: bool,
    },
    EmptyTopic,
    EmptyChannel {
        channel: usize,
    },
    Create {
        channel: usize,
    },
    Delete {
        channel: usize,
    },
    Maintain,
    Sync,
    Release,
    Restart,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let channel = 0..CHANNELS.len();
    let which = any::<Index>();
    let seconds = prop_oneof![Just(0_u64), 1..5_u64, Just(200)];
    prop_oneof![
        20 => (1..40_usize).prop_map(|count| Step::Publish { count }),
        5 => (1..100_u64).prop_map(|seconds| Step::PublishDeferred { seconds }),
        30 => (channel.clone(), 0..2_usize, 1..50_usize)
            .prop_map(|(channel, client, messages)| Step::Take { channel, client, messages }),
        30 => (channel.clone(), which.clone(), 1..50_usize)
            .prop_map(|(channel, which, count)| Step::Finish { channel, which, count }),
        10 => (channel.clone(), which.clone(), seconds)
            .prop_map(|(channel, which, seconds)| Step::Requeue { channel, which, seconds }),
        3 => (channel.clone(), which).prop_map(|(channel, which)| Step::Touch { channel, which }),
        6 => prop_oneof![Just(1_u64), Just(30), Just(70)].prop_map(|seconds| Step::Pass { seconds }),
        2 => any::<bool>().prop_map(Step::PauseTopic),
        2 => (channel.clone(), any::<bool>())
            .prop_map(|(channel, paused)| Step::PauseChannel { channel, paused }),
        1 => Just(Step::EmptyTopic),
        1 => channel.clone().prop_map(|channel| Step::EmptyChannel { channel }),
        4 => channel.clone().prop_map(|channel| Step::Create { channel }),
        1 => channel.prop_map(|channel| Step::Delete { channel }),
        15 => Just(Step::Maintain),
        10 => Just(Step::Sync),
        5 => Just(Step::Release),
        3 => Just(Step::Restart),
        4 => Just(Step::Kill),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    InFlight {
        client: ClientId,
        delivered: i64,
        deadline: i64,
    },
    Deferred {
        due: i64,
    },
}

#[derive(Debug, Clone, Copy)]
struct Message {
    state: State,
    /// A kill may forget the last delivery.
    least_attempts: u16,
    attempts: u16,
}

#[derive(Debug, Default)]
struct ModelChannel {
    messages: BTreeMap<String, Message>,
    paused: bool,
    message_count: u64,
}

struct Scene {
    house: TestBroker,
    body_bytes: usize,
    published: usize,
    ids: HashMap<String, MessageId>,
    /// Not offered yet, with their due times.
    waiting: Vec<(String, Option<i64>)>,
    paused: bool,
    channels: BTreeMap<&'static str, ModelChannel>,
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap()
}

impl Scene {
    fn new(segment_bytes: u32, body_bytes: usize) -> Scene {
        let house = TestBroker::mirrored(|settings| {
            settings.log_options = LogOptions {
                first_segment_bytes: segment_bytes,
                max_segment_bytes: segment_bytes,
            };
        });
        house.topic("t");
        Scene {
            house,
            body_bytes,
            published: 0,
            ids: HashMap::new(),
            waiting: Vec::new(),
            paused: false,
            channels: BTreeMap::new(),
        }
    }

    fn now(&self) -> i64 {
        self.house.now.unix_nanos
    }

    fn new_body(&mut self) -> String {
        self.published += 1;
        let mut body = format!("{:0NUMBER_BYTES$}", self.published);
        body.extend(std::iter::repeat_n('.', self.body_bytes));
        body
    }

    /// What waits in the topic goes to every channel.
    fn offer(&mut self) {
        if self.paused || self.channels.is_empty() {
            return;
        }
        let now = self.now();
        for (body, due) in std::mem::take(&mut self.waiting) {
            let state = match due {
                Some(due) if due > now => State::Deferred { due },
                _ => State::Ready,
            };
            for channel in self.channels.values_mut() {
                let message = Message {
                    state,
                    least_attempts: 0,
                    attempts: 0,
                };
                channel.messages.insert(body.clone(), message);
            }
        }
    }

    fn join(&self, name: &str) {
        let cell = self.house.channel("t", name);
        for client in CLIENTS {
            self.house.subscribe(&cell, client, READY_COUNT);
        }
    }

    /// No one holds anything any more; what is due by now is ready.
    fn reopened(&mut self, is_kill: bool) {
        let now = self.now();
        for (name, channel) in &mut self.channels {
            channel.message_count = 0;
            for message in channel.messages.values_mut() {
                match message.state {
                    State::InFlight { .. } => {
                        message.state = State::Ready;
                        if is_kill {
                            message.least_attempts = message.attempts - 1;
                        }
                    }
                    State::Deferred { due } if due <= now => message.state = State::Ready,
                    State::Ready | State::Deferred { .. } => {}
                }
            }
            let cell = self
                .house
                .topic("t")
                .channel(name)
                .expect("it was there before");
            for client in CLIENTS {
                self.house.subscribe(&cell, client, READY_COUNT);
            }
        }
    }

    /// Messages of a channel in flight: body, id, holder.
    fn in_flight(&self, name: &str) -> Vec<(String, MessageId, ClientId)> {
        let Some(channel) = self.channels.get(name) else {
            return Vec::new();
        };
        let messages = channel.messages.iter();
        messages
            .filter_map(|(body, message)| match message.state {
                State::InFlight { client, .. } => Some((body.clone(), self.ids[body], client)),
                State::Ready | State::Deferred { .. } => None,
            })
            .collect()
    }

    fn pick(&self, name: &str, which: Index) -> Option<(String, MessageId, ClientId)> {
        let mut held = self.in_flight(name);
        (!held.is_empty()).then(|| held.swap_remove(which.index(held.len())))
    }

    fn message(&mut self, name: &str, body: &str) -> &mut Message {
        let channel = self.channels.get_mut(name).expect("the channel is there");
        channel
            .messages
            .get_mut(body)
            .expect("the channel has the message")
    }

    fn take(&mut self, name: &'static str, client: ClientId, messages: usize) {
        let Some(channel) = self.channels.get_mut(name) else {
            return;
        };
        let cell = self.house.channel("t", name);
        let now = self.house.now.unix_nanos;
        let held = |channel: &ModelChannel| {
            let messages = channel.messages.values();
            messages.filter(|message| matches!(message.state, State::InFlight { client: holder, .. } if holder == client)).count()
        };
        let stats = cell.lock().consumer_stats(client).unwrap();
        assert_eq!(stats.in_flight_count as usize, held(channel));
        let seen = cell.peek(LOOK, self.house.now).unwrap().queued;
        let (got, taken) = self
            .house
            .take_within(&cell, client, Budget { messages, ..PLENTY });
        for (got, seen) in got.iter().zip(seen) {
            assert_eq!((got.id, got.attempts), (seen.id, seen.attempts + 1));
        }
        assert!(got.is_empty() || !channel.paused);
        assert!(got.len() <= messages);
        for got in &got {
            let message = channel.messages.get_mut(&got.body);
            let message = message.expect("neither finished nor somebody else's");
            assert_eq!(message.state, State::Ready);
            let expected = message.least_attempts + 1..=message.attempts + 1;
            assert!(
                expected.contains(&got.attempts),
                "{got:?}, not {expected:?}"
            );
            message.attempts = got.attempts;
            message.least_attempts = got.attempts;
            message.state = State::InFlight {
                client,
                delivered: now,
                deadline: now + nanos(MSG_TIMEOUT),
            };
            let id = *self.ids.entry(got.body.clone()).or_insert(got.id);
            assert_eq!(id, got.id, "a message keeps its id");
        }
        let is_full = held(channel) >= stats.ready_count as usize;
        let is_dry = channel
            .messages
            .values()
            .all(|message| message.state != State::Ready);
        assert!(
            !got.is_empty() || channel.paused || is_full || is_dry,
            "nothing was given"
        );
        assert!(!taken.waiting || !is_full);
    }

    fn apply(&mut self, step: &Step) {
        let house = &self.house;
        match *step {
            Step::Publish { count } => {
                let bodies: Vec<_> = (0..count).map(|_| self.new_body()).collect();
                let bytes = bodies.iter().map(String::as_bytes);
                self.house
                    .topic("t")
                    .publish(bytes, self.house.now)
                    .unwrap();
                self.waiting
                    .extend(bodies.into_iter().map(|body| (body, None)));
                self.offer();
            }
            Step::PublishDeferred { seconds } => {
                let delay = Duration::from_secs(seconds);
                let body = self.new_body();
                self.house.publish_deferred("t", &body, delay);
                self.waiting.push((body, Some(self.now() + nanos(delay))));
                self.offer();
            }
            Step::Take {
                channel,
                client,
                messages,
            } => {
                self.take(CHANNELS[channel], CLIENTS[client], messages);
            }
            Step::Finish {
                channel,
                which,
                count,
            } => {
                for _ in 0..count {
                    let name = CHANNELS[channel];
                    let Some((body, id, client)) = self.pick(name, which) else {
                        return;
                    };
                    self.house
                        .channel("t", name)
                        .lock()
                        .finish(client, id, self.house.now)
                        .unwrap();
                    self.channels.get_mut(name).unwrap().messages.remove(&body);
                }
            }
            Step::Requeue {
                channel,
                which,
                seconds,
            } => {
                let name = CHANNELS[channel];
                let Some((body, id, client)) = self.pick(name, which) else {
                    return;
                };
                let delay = Duration::from_secs(seconds);
                let cell = house.channel("t", name);
                house.requeue(&cell, client, id, delay).unwrap();
                let due = self.now() + nanos(delay);
                self.message(name, &body).state = if seconds == 0 {
                    State::Ready
                } else {
                    State::Deferred { due }
                };
            }
            Step::Touch { channel, which } => {
                let name = CHANNELS[channel];
                let Some((body, id, client)) = self.pick(name, which) else {
                    return;
                };
                let cell = house.channel("t", name);
                cell.lock()
                    .touch(client, id, MSG_TIMEOUT, house.now)
                    .unwrap();
                let latest = self.now() + nanos(MSG_TIMEOUT);
                if let State::InFlight {
                    delivered,
                    deadline,
                    ..
                } = &mut self.message(name, &body).state
                {
                    *deadline = latest.min(*delivered + nanos(MAX_MSG_TIMEOUT));
                }
            }
            Step::Pass { seconds } => {
                self.house.pass(Duration::from_secs(seconds));
                let now = self.now();
                for (name, channel) in &mut self.channels {
                    self.house.handle_timeout(&self.house.channel("t", name));
                    for message in channel.messages.values_mut() {
                        match message.state {
                            State::InFlight { deadline: at, .. } | State::Deferred { due: at }
                                if at <= now =>
                            {
                                message.state = State::Ready;
                            }
                            State::Ready | State::InFlight { .. } | State::Deferred { .. } => {}
                        }
                    }
                }
            }
            Step::PauseTopic(paused) => {
                house.topic("t").set_paused(paused, house.now);
                house.broker().save_metadata().unwrap();
                self.paused = paused;
                self.offer();
            }
            Step::PauseChannel { channel, paused } => {
                if let Some(channel) = self.channels.get_mut(CHANNELS[channel]) {
                    channel.paused = paused;
                } else {
                    return;
                }
                let cell = house.channel("t", CHANNELS[channel]);
                cell.lock().set_paused(paused);
                house.broker().save_metadata().unwrap();
            }
            Step::EmptyTopic => {
                house.topic("t").empty().unwrap();
                self.waiting.clear();
            }
            Step::EmptyChannel { channel } => {
                if let Some(model) = self.channels.get_mut(CHANNELS[channel]) {
                    let cell = house.channel("t", CHANNELS[channel]);
                    cell.lock().empty();
                    model.messages.clear();
                }
            }
            Step::Create { channel } => {
                let name = CHANNELS[channel];
                if !self.channels.contains_key(name) {
                    self.join(name);
                    self.channels.insert(name, ModelChannel::default());
                    self.house.broker().save_metadata().unwrap();
                    self.offer();
                }
            }
            Step::Delete { channel } => {
                let existed = self.channels.remove(CHANNELS[channel]).is_some();
                assert_eq!(house.topic("t").delete_channel(CHANNELS[channel]), existed);
                house.broker().save_metadata().unwrap();
            }
            Step::Maintain => {
                house.topic("t").maintain(house.now);
                house.mirror().maintain();
            }
            Step::Sync => house.topic("t").sync(house.now).unwrap(),
            Step::Release => {
                for cell in house.topic("t").channels() {
                    drop(cell.lock());
                }
                house.topic("t").release();
            }
            Step::Restart => {
                self.house.restart();
                self.reopened(false);
            }
            Step::Kill => {
                self.house.kill();
                self.reopened(true);
            }
        }
        // Wakes are another test's.
        self.house.bells.take_all();
    }

    fn check(&mut self) {
        let topic = self.house.topic("t");
        let stats = topic.stats();
        assert_eq!(stats.depth, self.waiting.len() as u64);
        assert_eq!(stats.paused, self.paused);
        let names: Vec<_> = topic
            .channels()
            .iter()
            .map(|cell| cell.name().to_string())
            .collect();
        assert_eq!(names, self.channels.keys().copied().collect::<Vec<_>>());
        for (name, channel) in &mut self.channels {
            let cell = topic.channel(name).unwrap();
            let mut expected = (0, 0, 0);
            for message in channel.messages.values() {
                match message.state {
                    State::Ready => expected.0 += 1,
                    State::InFlight { .. } => expected.1 += 1,
                    State::Deferred { .. } => expected.2 += 1,
                }
            }
            assert_eq!(counts(&cell.lock()), expected, "{name}");
            let stats = cell.lock().stats(0);
            assert!(stats.message_count >= channel.message_count);
            assert_eq!((stats.paused, stats.damaged_count), (channel.paused, 0));
            channel.message_count = stats.message_count;
        }
    }

    /// Looking at every message, and at some, shows what there is; that it changes nothing, the rest of this test says.
    fn look(&self) {
        let topic = self.house.topic("t");
        let now = self.house.now;
        let seen = topic.peek(LOOK);
        let in_topic = seen.queued.iter();
        let in_topic = in_topic.chain(seen.deferred.iter().map(|it| &it.message));
        let mut in_topic: Vec<_> = in_topic.map(number).collect();
        in_topic.sort_unstable();
        let waiting = self.waiting.iter().map(|(body, _)| &body[..NUMBER_BYTES]);
        assert_eq!(in_topic, waiting.collect::<Vec<_>>());
        for (name, model) in &self.channels {
            let cell = topic.channel(name).unwrap();
            let seen = cell.peek(LOOK, now).unwrap();
            let mut shown = BTreeMap::new();
            let mut show = |seen: &PeekedMessage, state| {
                assert_eq!(seen.body_bytes, NUMBER_BYTES + self.body_bytes);
                let before = shown.insert(number(seen).to_owned(), (state, seen.attempts));
                assert_eq!(before, None, "shown once");
            };
            for message in &seen.queued {
                show(message, State::Ready);
            }
            for held in &seen.in_flight {
                let state = State::InFlight {
                    client: held.client,
                    delivered: held.delivered_at,
                    deadline: held.due_at,
                };
                show(&held.message, state);
            }
            for deferred in &seen.deferred {
                let due = deferred.due_at;
                show(&deferred.message, State::Deferred { due });
            }
            assert_eq!(shown.len(), model.messages.len(), "{name}");
            for (body, message) in &model.messages {
                let (state, attempts) = shown[&body[..NUMBER_BYTES]];
                assert_eq!(state, message.state, "{name}: {body}");
                assert!((message.least_attempts..=message.attempts).contains(&attempts));
            }
            let limits = PeekLimits {
                messages: 3,
                ..LOOK
            };
            let few = cell.peek(limits, now).unwrap();
            let first = |count: usize| count.min(limits.messages);
            assert_eq!(few.queued, seen.queued[..first(seen.queued.len())]);
            assert_eq!(few.in_flight, seen.in_flight[..first(seen.in_flight.len())]);
            assert_eq!(few.deferred, seen.deferred[..first(seen.deferred.len())]);
        }
    }

    /// Everyone gets everything, and then there is nothing, even after a kill.
    fn drain(&mut self) {
        self.apply(&Step::PauseTopic(false));
        for channel in 0..CHANNELS.len() {
            self.apply(&Step::PauseChannel {
                channel,
                paused: false,
            });
        }
        for round in 0..3 {
            self.apply(&Step::Pass { seconds: 500 });
            for (channel, name) in CHANNELS.into_iter().enumerate() {
                if let (0, Some(cell)) = (round, self.house.topic("t").channel(name)) {
                    cell.lock().set_ready_count(ALICE, 100_000);
                }
                for client in [BOB, ALICE, ALICE] {
                    self.take(name, client, 100_000);
                }
                for (body, id, client) in self.in_flight(name) {
                    self.house
                        .channel("t", name)
                        .lock()
                        .finish(client, id, self.house.now)
                        .unwrap();
                    self.channels
                        .get_mut(CHANNELS[channel])
                        .unwrap()
                        .messages
                        .remove(&body);
                }
            }
            self.check();
            self.apply(&Step::Maintain);
            self.apply(&Step::Sync);
        }
        assert!(
            self.channels
                .values()
                .all(|channel| channel.messages.is_empty())
        );
        self.apply(&Step::Kill);
        self.check();
    }
}

fn number(message: &PeekedMessage) -> &str {
    std::str::from_utf8(&message.body).unwrap()
}

fn check(segment_bytes: u32, body_bytes: usize, steps: &[Step]) {
    let mut scene = Scene::new(segment_bytes, body_bytes);
    for step in steps {
        scene.apply(step);
        scene.check();
        scene.look();
    }
    scene.drain();
}

proptest! {
    // Each case syncs and copies files: fewer than the usual number, which PROPTEST_CASES sets.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    #[test]
    fn a_topic_does_what_its_model_does(steps in prop::collection::vec(step(), 1..150)) {
        check(4096, 150, &steps);
    }

    #[test]
    fn a_topic_with_recycled_segments_does_what_its_model_does(
        steps in prop::collection::vec(step(), 1..150)
    ) {
        check(64 << 10, 2500, &steps);
    }
}
