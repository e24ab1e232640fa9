//! Random commands and consumers, and a model of what must still be there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nsq_protocol::{ChannelName, TopicName};
use proptest::prelude::*;

use crate::command::Command;
use crate::testing::{ALICE, Pair, channel_name, topic_name};

const TOPICS: [&str; 2] = ["t", "u"];
const CHANNELS: [&str; 2] = ["c", "d"];
const EPHEMERAL: &str = "e#ephemeral";

#[derive(Debug, Clone)]
enum Step {
    Publish(usize, usize),
    PublishDeferred(usize, u64),
    CreateTopic(usize),
    DeleteTopic(usize),
    CreateChannel(usize, usize),
    DeleteChannel(usize, usize),
    PauseTopic(usize, bool),
    PauseChannel(usize, usize, bool),
    EmptyTopic(usize),
    EmptyChannel(usize, usize),
    /// A consumer takes messages, finishes so many of them, and requeues so many others.
    Consume(usize, usize, usize, usize),
    ConsumeEphemeral(usize, usize),
    Pass(u64),
    Maintain,
    Flush,
    Follow(usize),
    Sync,
    KillFollower,
    KillLeader,
    LeadAgain,
    Resign,
}

fn step() -> impl Strategy<Value = Step> {
    let topic = 0..TOPICS.len();
    let both = (0..TOPICS.len(), 0..CHANNELS.len());
    prop_oneof![
        25 => (topic.clone(), 1..30_usize).prop_map(|(t, count)| Step::Publish(t, count)),
        5 => (topic.clone(), 1..100_u64).prop_map(|(t, delay)| Step::PublishDeferred(t, delay)),
        3 => topic.clone().prop_map(Step::CreateTopic),
        1 => topic.clone().prop_map(Step::DeleteTopic),
        6 => both.clone().prop_map(|(t, c)| Step::CreateChannel(t, c)),
        2 => both.clone().prop_map(|(t, c)| Step::DeleteChannel(t, c)),
        4 => (topic.clone(), any::<bool>()).prop_map(|(t, paused)| Step::PauseTopic(t, paused)),
        2 => (both.clone(), any::<bool>())
            .prop_map(|((t, c), paused)| Step::PauseChannel(t, c, paused)),
        2 => topic.clone().prop_map(Step::EmptyTopic),
        1 => both.clone().prop_map(|(t, c)| Step::EmptyChannel(t, c)),
        25 => (both, 0..40_usize, 0..10_usize)
            .prop_map(|((t, c), finish, back)| Step::Consume(t, c, finish, back)),
        3 => (topic, 1..40_usize).prop_map(|(t, finish)| Step::ConsumeEphemeral(t, finish)),
        4 => prop_oneof![Just(1_u64), Just(70)].prop_map(Step::Pass),
        10 => Just(Step::Maintain),
        10 => Just(Step::Flush),
        10 => (1..20_usize).prop_map(Step::Follow),
        4 => Just(Step::Sync),
        3 => Just(Step::KillFollower),
        2 => Just(Step::KillLeader),
        2 => Just(Step::LeadAgain),
        1 => Just(Step::Resign),
    ]
}

/// Messages that must be there, and others that may be.
#[derive(Debug, Default, Clone)]
struct Messages {
    must: BTreeSet<String>,
    may: BTreeSet<String>,
}

impl Messages {
    fn doubt_all(&mut self) {
        self.may.append(&mut self.must);
    }

    fn check(&self, lines: &[String], of: &str) {
        let bodies = lines.iter().map(|line| line.rsplit(' ').next().unwrap());
        let bodies: BTreeSet<&str> = bodies.collect();
        assert_eq!(bodies.len(), lines.len(), "{of}: a message is there twice");
        for body in &self.must {
            assert!(bodies.contains(body.as_str()), "{of}: {body} is lost");
        }
        for body in bodies {
            let is_known = self.must.contains(body) || self.may.contains(body);
            assert!(is_known, "{of}: {body} is there");
        }
    }
}

#[derive(Debug, Default)]
struct ModelChannel {
    paused: bool,
    messages: Messages,
}

#[derive(Debug, Default)]
struct ModelTopic {
    paused: bool,
    waiting: Messages,
    channels: BTreeMap<&'static str, ModelChannel>,
    has_ephemeral: bool,
}

impl ModelTopic {
    /// What waits goes to every channel.
    fn offer(&mut self) {
        if self.paused {
            return;
        }
        if self.channels.is_empty() {
            if self.has_ephemeral {
                self.waiting.doubt_all();
            }
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        for channel in self.channels.values_mut() {
            channel.messages.must.extend(waiting.must.iter().cloned());
            channel.messages.may.extend(waiting.may.iter().cloned());
        }
    }
}

struct Scene {
    pair: Pair,
    topics: BTreeMap<&'static str, ModelTopic>,
    published: usize,
    /// Whether both nodes have to hold exactly the same: until one was killed that knew more than was committed, or
    /// ephemeral channels were offered more.
    is_exact: bool,
}

impl Scene {
    fn new() -> Scene {
        Scene {
            pair: Pair::new(),
            topics: BTreeMap::new(),
            published: 0,
            is_exact: true,
        }
    }

    fn publish(&mut self, topic: usize, count: usize, delay: Option<Duration>) {
        let Some(model) = self.topics.get_mut(TOPICS[topic]) else {
            return;
        };
        let numbers = self.published..self.published + count;
        self.published = numbers.end;
        let bodies: Vec<_> = numbers.map(|number| format!("{number:0150}")).collect();
        self.pair.publish(TOPICS[topic], &bodies, delay);
        model.waiting.must.extend(bodies);
        model.offer();
    }

    fn channel(&mut self, topic: usize, channel: usize) -> Option<&mut ModelChannel> {
        let topic = self.topics.get_mut(TOPICS[topic])?;
        topic.channels.get_mut(CHANNELS[channel])
    }

    fn consume(&mut self, topic: usize, channel: usize, finish: usize, back: usize) {
        if self.channel(topic, channel).is_none() {
            return;
        }
        let cell = self.pair.cell(TOPICS[topic], CHANNELS[channel]);
        let got = self.pair.take(&cell, finish + back);
        let now = self.pair.now;
        let mut locked = cell.lock();
        for (at, (id, body)) in got.into_iter().enumerate() {
            if at < finish {
                locked.finish(ALICE, id, now).unwrap();
                let messages = &mut self.channel(topic, channel).unwrap().messages;
                messages.must.remove(&body);
                messages.may.insert(body);
            } else {
                let delay = Duration::from_secs(at as u64 % 3 * 20);
                locked.requeue(ALICE, id, delay, now).unwrap();
            }
        }
    }

    fn consume_ephemeral(&mut self, topic: usize, finish: usize) {
        let Some(model) = self.topics.get_mut(TOPICS[topic]) else {
            return;
        };
        self.is_exact = false;
        model.has_ephemeral = true;
        model.offer();
        let now = self.pair.now;
        let live = self.pair.broker().topic(TOPICS[topic]).unwrap();
        let cell = live.get_or_create_channel(channel_name(EPHEMERAL), now);
        let cell = cell.unwrap();
        let got = self.pair.take(&cell, finish);
        let mut locked = cell.lock();
        for (id, _) in got {
            locked.finish(ALICE, id, now).unwrap();
        }
    }

    /// Ephemeral channels end with their leader.
    fn note_new_leader(&mut self) {
        self.is_exact = false;
        for topic in self.topics.values_mut() {
            topic.has_ephemeral = false;
        }
    }

    fn pass(&mut self, seconds: u64) {
        let span = Duration::from_secs(seconds);
        self.pair.now.unix_nanos = self.pair.now.unix_after(span);
        self.pair.now.tick = self.pair.now.tick.after(span);
        for topic in self.pair.broker().topics() {
            for cell in topic.channels() {
                cell.lock().handle_timeout(self.pair.now);
            }
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Publish(topic, count) => self.publish(topic, count, None),
            Step::PublishDeferred(topic, seconds) => {
                self.publish(topic, 1, Some(Duration::from_secs(seconds)));
            }
            Step::Consume(topic, channel, finish, back) => {
                self.consume(topic, channel, finish, back);
            }
            Step::ConsumeEphemeral(topic, finish) => self.consume_ephemeral(topic, finish),
            Step::EmptyChannel(topic, channel) => {
                if let Some(model) = self.channel(topic, channel) {
                    model.messages.doubt_all();
                    let cell = self.pair.cell(TOPICS[topic], CHANNELS[channel]);
                    cell.lock().empty();
                }
            }
            Step::Pass(seconds) => self.pass(seconds),
            Step::Maintain => self.pair.maintain(),
            Step::Flush => self.pair.flush(),
            Step::Follow(count) => self.pair.follow(count),
            Step::Sync => self.pair.sync(),
            Step::KillFollower => self.pair.kill_follower(),
            Step::KillLeader => {
                self.pair.kill_leader();
                self.note_new_leader();
            }
            Step::LeadAgain => {
                self.pair.lead_again();
                self.note_new_leader();
            }
            Step::Resign => {
                self.pair.resign();
                self.note_new_leader();
            }
            Step::CreateTopic(topic) | Step::DeleteTopic(topic) | Step::EmptyTopic(topic) => {
                self.change_topic(step, topic);
            }
            Step::PauseTopic(topic, paused) => {
                let name = topic_name(TOPICS[topic]);
                self.pair.commit(Command::PauseTopic(name, paused));
                if let Some(model) = self.topics.get_mut(TOPICS[topic]) {
                    model.paused = paused;
                    model.offer();
                }
            }
            Step::CreateChannel(topic, channel)
            | Step::DeleteChannel(topic, channel)
            | Step::PauseChannel(topic, channel, _) => self.change_channel(step, topic, channel),
        }
    }

    fn change_topic(&mut self, step: &Step, topic: usize) {
        let name: &'static TopicName = topic_name(TOPICS[topic]);
        match step {
            Step::CreateTopic(_) => {
                self.pair.commit(Command::CreateTopic(name));
                self.topics.entry(TOPICS[topic]).or_default();
            }
            Step::DeleteTopic(_) => {
                self.pair.commit(Command::DeleteTopic(name));
                self.topics.remove(TOPICS[topic]);
            }
            _ => {
                self.pair.commit(Command::EmptyTopic(name));
                if let Some(model) = self.topics.get_mut(TOPICS[topic]) {
                    model.waiting = Messages::default();
                }
            }
        }
    }

    fn change_channel(&mut self, step: &Step, topic: usize, channel: usize) {
        let name: &'static TopicName = topic_name(TOPICS[topic]);
        let its: &'static ChannelName = channel_name(CHANNELS[channel]);
        let command = match *step {
            Step::CreateChannel(..) => Command::CreateChannel(name, its),
            Step::DeleteChannel(..) => Command::DeleteChannel(name, its),
            Step::PauseChannel(_, _, paused) => Command::PauseChannel(name, its, paused),
            _ => return,
        };
        self.pair.commit(command);
        let Some(model) = self.topics.get_mut(TOPICS[topic]) else {
            return;
        };
        match command {
            Command::CreateChannel(..) => {
                model.channels.entry(CHANNELS[channel]).or_default();
                model.offer();
            }
            Command::DeleteChannel(..) => drop(model.channels.remove(CHANNELS[channel])),
            Command::PauseChannel(_, _, paused) => {
                if let Some(channel) = model.channels.get_mut(CHANNELS[channel]) {
                    channel.paused = paused;
                }
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        self.pair.flush();
        let [leader, follower] = self.pair.contents();
        if self.is_exact {
            assert_eq!(leader, follower);
        }
        for contents in [&leader, &follower] {
            let mut expected = BTreeSet::new();
            for (name, topic) in &self.topics {
                let of = format!("{name} paused {}", topic.paused);
                topic.waiting.check(&contents[&of], &of);
                expected.insert(of);
                for (channel, model) in &topic.channels {
                    let of = format!("{name}:{channel} paused {}", model.paused);
                    model.messages.check(&contents[&of], &of);
                    expected.insert(of);
                }
            }
            assert!(contents.keys().eq(expected.iter()), "{contents:?}");
        }
    }
}

proptest! {
    // Each case copies many files.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 8))]

    #[test]
    fn a_leader_and_its_follower_hold_the_same_whoever_is_killed(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let mut scene = Scene::new();
        scene.apply(&Step::CreateTopic(0));
        for (at, step) in steps.iter().enumerate() {
            scene.apply(step);
            if at % 8 == 0 {
                scene.check();
            }
        }
        scene.check();
    }
}
