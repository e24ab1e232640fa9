//! A simulated client: what it means to send, what it has read, and what it holds.

use std::collections::VecDeque;
use std::time::Duration;

use nsq_core::ClientId;
use nsq_protocol::{ChannelName, Frame, RawMessageId, TopicName, decode_frame, encode};

use crate::connection::Connection;
use crate::model::{Model, Number, body_of};
use crate::random::Random;

pub(crate) enum Role {
    Publisher,
    Consumer,
}

pub(crate) struct Client {
    pub(crate) id: ClientId,
    pub(crate) role: Role,
    /// Encoded and not yet sent.
    pub(crate) outgoing: Vec<u8>,
    incoming: Vec<u8>,
    pub(crate) held: Vec<RawMessageId>,
    /// What it has answered before, to be answered again by mistake.
    pub(crate) answered: Vec<RawMessageId>,
    /// It leaves unread what it is sent.
    pub(crate) never_reads: bool,
    /// What its commands are to be answered with, in their order.
    expected: VecDeque<Answer>,
}

/// How a command that succeeds is answered.
enum Answer {
    Ok,
    /// `OK`, to a publish of these messages.
    Published(TopicName, Vec<Number>),
    CloseWait,
}

/// How often a client wants heartbeats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heartbeats {
    /// As nsqd sends them to a client that does not say: it is closed when it is silent for a minute.
    Default,
    /// So rarely that it may be silent.
    Rare,
}

/// Longer than any run.
pub(crate) const RARE_HEARTBEATS: Duration = Duration::from_hours(100_000);

impl Client {
    fn new(id: ClientId, role: Role, heartbeats: Heartbeats) -> Client {
        let mut outgoing = Vec::new();
        encode::magic_v2(&mut outgoing);
        let mut expected = VecDeque::new();
        if heartbeats == Heartbeats::Rare {
            let millis = RARE_HEARTBEATS.as_millis();
            let json = format!(r#"{{"heartbeat_interval":{millis}}}"#);
            encode::identify(&mut outgoing, json.as_bytes());
            expected.push_back(Answer::Ok);
        }
        Client {
            id,
            role,
            outgoing,
            incoming: Vec::new(),
            held: Vec::new(),
            answered: Vec::new(),
            never_reads: false,
            expected,
        }
    }

    pub(crate) fn publisher(id: ClientId, heartbeats: Heartbeats) -> Client {
        Client::new(id, Role::Publisher, heartbeats)
    }

    pub(crate) fn consumer(
        id: ClientId,
        topic: &TopicName,
        channel: &ChannelName,
        ready: u32,
        heartbeats: Heartbeats,
    ) -> Client {
        let mut client = Client::new(id, Role::Consumer, heartbeats);
        encode::subscribe(&mut client.outgoing, topic, channel);
        client.expected.push_back(Answer::Ok);
        encode::ready(&mut client.outgoing, ready);
        client
    }

    /// CLS.
    pub(crate) fn close(&mut self) {
        encode::close(&mut self.outgoing);
        self.expected.push_back(Answer::CloseWait);
    }

    /// Publishes in one of the ways there are.
    pub(crate) fn publish(
        &mut self,
        topic: &TopicName,
        numbers: std::ops::Range<Number>,
        chance: &mut Random,
        max_body: usize,
    ) {
        let mut body = |number| {
            let len = if chance.chance(3) {
                max_body
            } else {
                8 + chance.index(max_body.min(300))
            };
            body_of(number, len.max(8))
        };
        let bodies: Vec<_> = numbers.clone().map(&mut body).collect();
        let out = &mut self.outgoing;
        let is_batch = match chance.below(5) {
            0 | 1 => {
                for body in &bodies {
                    encode::publish(out, topic, body);
                }
                false
            }
            2 | 3 => {
                encode::publish_many(out, topic, &bodies);
                true
            }
            _ => {
                for body in &bodies {
                    let delay = match chance.below(4) {
                        0 => 0,
                        1 => 1 + chance.below(3000),
                        _ => 1000 * (1 + chance.below(600)),
                    };
                    encode::publish_deferred(out, topic, Duration::from_millis(delay), body);
                }
                false
            }
        };
        if is_batch {
            let answer = Answer::Published(topic.clone(), numbers.collect());
            self.expected.push_back(answer);
        } else {
            let each = numbers.map(|number| Answer::Published(topic.clone(), vec![number]));
            self.expected.extend(each);
        }
    }

    /// Sends what is encoded, or part of it.
    pub(crate) fn send(&mut self, connection: &mut Connection, chance: &mut Random) {
        let mut count = self.outgoing.len();
        if count > 0 && chance.chance(15) {
            count = chance.index(count + 1);
        }
        connection.input.extend(self.outgoing.drain(..count));
    }

    /// Reads what has come.
    pub(crate) fn read(&mut self, connection: &mut Connection, model: &Model) {
        if self.never_reads {
            return;
        }
        self.incoming.append(&mut connection.sent);
        let incoming = std::mem::take(&mut self.incoming);
        let mut at = 0;
        while let Some((frame, used)) =
            decode_frame(&incoming[at..], 1 << 24).expect("frames, whatever happens")
        {
            at += used;
            match frame {
                Frame::Response(b"_heartbeat_") => encode::nop(&mut self.outgoing),
                Frame::Response(text) => self.take_answer(text, model),
                // A FIN, REQ or TOUCH that failed; after any other error the connection closes.
                Frame::Error(_) => {}
                Frame::Message(message) => self.held.push(message.id),
            }
        }
        self.incoming = incoming[at..].to_vec();
    }

    fn take_answer(&mut self, text: &[u8], model: &Model) {
        let expected = self.expected.pop_front();
        match expected.expect("an answer only to what was asked") {
            Answer::Ok => assert_eq!(text, b"OK"),
            Answer::CloseWait => assert_eq!(text, b"CLOSE_WAIT"),
            Answer::Published(topic, numbers) => {
                assert_eq!(text, b"OK");
                model.acknowledged(topic.as_str(), &numbers);
            }
        }
    }

    /// Does something with the messages it holds.
    pub(crate) fn answer(&mut self, chance: &mut Random) {
        let count = 1 + chance.index(self.held.len().max(1));
        for _ in 0..count.min(self.held.len()) {
            let id = self.held.remove(chance.index(self.held.len()));
            match chance.below(20) {
                0..=12 => encode::finish(&mut self.outgoing, &id),
                13 | 14 => encode::requeue(&mut self.outgoing, &id, Duration::ZERO),
                15 | 16 => {
                    let delay = Duration::from_millis(1 + chance.below(200_000));
                    encode::requeue(&mut self.outgoing, &id, delay);
                }
                17 | 18 => {
                    encode::touch(&mut self.outgoing, &id);
                    self.held.push(id);
                    continue;
                }
                // Forgotten: its timeout has to bring it back.
                _ => {}
            }
            self.answered.push(id);
        }
        if chance.chance(5) && !self.answered.is_empty() {
            let id = *chance.pick(&self.answered);
            match chance.below(3) {
                0 => encode::finish(&mut self.outgoing, &id),
                1 => encode::requeue(&mut self.outgoing, &id, Duration::from_secs(1)),
                _ => encode::touch(&mut self.outgoing, &id),
            }
        }
    }

    /// FIN of all it holds.
    pub(crate) fn finish_all(&mut self) -> usize {
        let held = std::mem::take(&mut self.held);
        for id in &held {
            encode::finish(&mut self.outgoing, id);
        }
        held.len()
    }
}
