//! Producers and consumers of the simulation: they speak the protocol V2 to one node each, and continue after whatever happens.

use std::collections::VecDeque;
use std::time::Duration;

use nsq_protocol::{ChannelName, Frame, RawMessageId, TopicName, decode_frame, encode};

use super::faults::Plan;
use super::machine::Machine;
use super::model::{Model, Number};
use super::pipe::Pipe;
use crate::random::Random;

pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1000 * MILLISECOND;

/// A topic and its channels.
pub(super) struct Subject {
    pub(super) topic: TopicName,
    pub(super) channels: Vec<ChannelName>,
}

/// A connection to a node.
struct Link {
    pipe: Pipe,
    host: usize,
    life: u64,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Link {
    fn open(machine: &mut Machine, name: &str) -> Option<Link> {
        let pipe = Pipe::default();
        if !machine.connect(&pipe, name) {
            return None;
        }
        let mut outgoing = Vec::new();
        encode::magic_v2(&mut outgoing);
        Some(Link {
            pipe,
            host: machine.host,
            life: machine.life,
            incoming: Vec::new(),
            outgoing,
        })
    }

    /// Reads the frames that have come. Returns whether the connection continues.
    fn read(&mut self, machine: &Machine, mut take: impl FnMut(Frame<'_>, &mut Vec<u8>)) -> bool {
        if !machine.is_up() || machine.life != self.life {
            self.pipe.break_off();
        }
        self.incoming.append(&mut self.pipe.receive());
        let incoming = std::mem::take(&mut self.incoming);
        let mut at = 0;
        while let Some((frame, used)) =
            decode_frame(&incoming[at..], 1 << 24).expect("frames, whatever happens")
        {
            at += used;
            match frame {
                Frame::Response(b"_heartbeat_") => encode::nop(&mut self.outgoing),
                frame => take(frame, &mut self.outgoing),
            }
        }
        self.incoming = incoming[at..].to_vec();
        !self.pipe.is_over()
    }

    fn send(&mut self) {
        if !self.outgoing.is_empty() {
            self.pipe.send(&self.outgoing);
            self.outgoing.clear();
        }
    }
}

/// Publishes to its topic, on one node after the other.
pub(super) struct Producer {
    subject: usize,
    link: Option<Link>,
    /// What waits for an answer, in order.
    open: VecDeque<(Vec<Number>, u64)>,
    retry_at: u64,
    next_at: u64,
    /// Milliseconds between two publishes, about.
    pace: u64,
    largest: usize,
    /// A clock that jumps may defer a message for longer than a run.
    may_defer: bool,
    chance: Random,
}

impl Producer {
    pub(super) fn new(subject: usize, plan: &Plan, chance: Random) -> Producer {
        Producer {
            subject,
            link: None,
            open: VecDeque::new(),
            retry_at: 0,
            next_at: 0,
            pace: plan.pace,
            largest: plan.largest,
            may_defer: !plan.has_clock_jumps(),
            chance,
        }
    }

    /// Whether it waits for answers.
    pub(super) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }

    pub(super) fn act(
        &mut self,
        machines: &mut [Machine],
        subjects: &[Subject],
        model: &mut Model,
        now: u64,
        is_active: bool,
    ) {
        if self.link.is_none() && now >= self.retry_at && (is_active || self.is_waiting()) {
            let at = self.chance.index(machines.len());
            self.link = Link::open(&mut machines[at], "producer");
            self.retry_at = now + 200 * MILLISECOND;
        }
        let Some(link) = &mut self.link else { return };
        let open = &mut self.open;
        let goes_on = link.read(&machines[link.host], |frame, _| {
            let Some((numbers, _)) = open.pop_front() else {
                return;
            };
            for number in numbers {
                match frame {
                    Frame::Response(_) => model.acknowledge(number, now),
                    Frame::Error(text) => model.fail(number, Some(&String::from_utf8_lossy(text))),
                    Frame::Message(_) => panic!("a producer gets no messages"),
                }
            }
        });
        let waits_too_long = open.front().is_some_and(|(_, sent)| now - sent > PATIENCE);
        if !goes_on || waits_too_long {
            self.link = None;
            self.retry_at = now + 100 * MILLISECOND;
            for (numbers, _) in self.open.drain(..) {
                for number in numbers {
                    model.fail(number, None);
                }
            }
            return;
        }
        if is_active && now >= self.next_at && self.open.len() < 8 {
            self.next_at = now + self.chance.below(2 * self.pace + 1) * MILLISECOND;
            self.publish(subjects, model, now);
        }
        // Now and then to another node.
        if self.open.is_empty() && self.chance.below(3000) == 0 {
            self.link = None;
        }
        if let Some(link) = &mut self.link {
            link.send();
        }
    }

    fn publish(&mut self, subjects: &[Subject], model: &mut Model, now: u64) {
        let Some(link) = &mut self.link else { return };
        let topic = &subjects[self.subject].topic;
        let out = &mut link.outgoing;
        let chance = &mut self.chance;
        let largest = self.largest;
        let mut new = |chance: &mut Random| {
            let number = model.publish(self.subject, now);
            (number, body_of(number, chance.index(largest)))
        };
        match chance.below(10) {
            6..=8 => {
                let count = 2 + chance.index(9);
                let (numbers, bodies): (Vec<_>, Vec<_>) = (0..count).map(|_| new(chance)).unzip();
                encode::publish_many(out, topic, &bodies);
                self.open.push_back((numbers, now));
            }
            9 if self.may_defer => {
                let (number, body) = new(chance);
                let delay = Duration::from_millis(100 + chance.below(5000));
                encode::publish_deferred(out, topic, delay, &body);
                self.open.push_back((vec![number], now));
            }
            _ => {
                let (number, body) = new(chance);
                encode::publish(out, topic, &body);
                self.open.push_back((vec![number], now));
            }
        }
    }
}

/// Consumes a channel at one node.
pub(super) struct Consumer {
    subject: usize,
    channel: usize,
    pub(super) host: usize,
    link: Option<Link>,
    pub(super) is_subscribed: bool,
    retry_at: u64,
    ready: u32,
    /// What it will do with the messages that it holds, and when.
    held: Vec<Held>,
    chance: Random,
}

struct Held {
    at: u64,
    number: Number,
    id: RawMessageId,
    act: Act,
}

#[derive(Clone, Copy)]
enum Act {
    Finish,
    Requeue,
    Touch,
    /// Its timeout has to bring it back.
    Forget,
}

impl Consumer {
    pub(super) fn new(
        subject: usize,
        channel: usize,
        host: usize,
        ready: u32,
        chance: Random,
    ) -> Consumer {
        Consumer {
            subject,
            channel,
            host,
            link: None,
            is_subscribed: false,
            retry_at: 0,
            ready,
            held: Vec::new(),
            chance,
        }
    }

    pub(super) fn act(
        &mut self,
        machines: &mut [Machine],
        subjects: &[Subject],
        model: &mut Model,
        now: u64,
        is_careful: bool,
    ) {
        let machine = &mut machines[self.host];
        if self.link.is_none() && now >= self.retry_at {
            self.retry_at = now + 300 * MILLISECOND;
            self.connect(machine, subjects);
        }
        let Some(link) = &mut self.link else { return };
        let (subject, channel, host) = (self.subject, self.channel, self.host);
        let (held, chance) = (&mut self.held, &mut self.chance);
        let is_subscribed = &mut self.is_subscribed;
        let goes_on = link.read(machine, |frame, _| match frame {
            Frame::Response(_) => *is_subscribed = true,
            Frame::Error(text) => {
                if let Some(id) = failed_finish(text) {
                    model.refuse_finish(subject, channel, id, host);
                }
            }
            Frame::Message(message) => {
                let number = number_of(message.body);
                model.deliver(subject, channel, number, message.id, now);
                let (act, wait) = match chance.below(100) {
                    0..=87 => (Act::Finish, chance.below(40)),
                    88..=90 => (Act::Finish, chance.below(3000)),
                    91..=94 => (Act::Requeue, chance.below(100)),
                    95..=97 => (Act::Touch, chance.below(2500)),
                    _ => (Act::Forget, 0),
                };
                let (act, wait) = if is_careful {
                    (Act::Finish, 0)
                } else {
                    (act, wait)
                };
                held.push(Held {
                    at: now + wait * MILLISECOND,
                    number,
                    id: message.id,
                    act,
                });
            }
        });
        if !goes_on {
            self.link = None;
            self.is_subscribed = false;
            self.held.clear();
            self.retry_at = now + 200 * MILLISECOND;
            return;
        }
        self.answer(model, now);
        if let Some(link) = &mut self.link {
            link.send();
        }
    }

    fn connect(&mut self, machine: &mut Machine, subjects: &[Subject]) {
        let Some(mut link) = Link::open(machine, "consumer") else {
            return;
        };
        let Subject { topic, channels } = &subjects[self.subject];
        encode::subscribe(&mut link.outgoing, topic, &channels[self.channel]);
        encode::ready(&mut link.outgoing, self.ready);
        link.send();
        self.link = Some(link);
    }

    fn answer(&mut self, model: &mut Model, now: u64) {
        let Some(link) = &mut self.link else { return };
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| held.at <= now);
        self.held = later;
        for held in due {
            let Held {
                number, id, act, ..
            } = held;
            match act {
                Act::Finish => {
                    encode::finish(&mut link.outgoing, &id);
                    model.finish(self.channel, number, id, self.host, now);
                }
                Act::Requeue => {
                    let delay = Duration::from_millis(self.chance.below(3000));
                    encode::requeue(&mut link.outgoing, &id, delay);
                }
                Act::Touch => {
                    encode::touch(&mut link.outgoing, &id);
                    self.held.push(Held {
                        at: now + self.chance.below(2000) * MILLISECOND,
                        act: Act::Finish,
                        ..held
                    });
                }
                Act::Forget => {}
            }
        }
    }
}

/// The message of a FIN that failed.
fn failed_finish(error: &[u8]) -> Option<RawMessageId> {
    let rest = error.strip_prefix(b"E_FIN_FAILED FIN ")?;
    rest.first_chunk().copied()
}

fn body_of(number: Number, padding: usize) -> Vec<u8> {
    let mut body = format!("{number}.").into_bytes();
    body.resize(body.len() + padding, b'-');
    body
}

fn number_of(body: &[u8]) -> Number {
    let text = std::str::from_utf8(body).ok();
    let number = text.and_then(|text| text.split_once('.')?.0.parse().ok());
    number.expect("nsqd delivers what was published")
}

/// A producer that has waited for this long for an answer tries another node.
const PATIENCE: u64 = 12 * SECOND;
