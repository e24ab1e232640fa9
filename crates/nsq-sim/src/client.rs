//! A simulated client: what it means to send, what it has read, and what it holds.

use std::time::Duration;

use nsq_core::ClientId;
use nsq_protocol::{ChannelName, Frame, RawMessageId, TopicName, decode_frame, encode};

use crate::model::{Number, body_of};
use crate::random::Random;
use crate::session::Session;

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
    pub(crate) answers: usize,
    pub(crate) errors: usize,
}

impl Client {
    fn new(id: ClientId, role: Role) -> Client {
        Client {
            id,
            role,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            held: Vec::new(),
            answered: Vec::new(),
            never_reads: false,
            answers: 0,
            errors: 0,
        }
    }

    pub(crate) fn publisher(id: ClientId) -> Client {
        Client::new(id, Role::Publisher)
    }

    pub(crate) fn consumer(
        id: ClientId,
        topic: &TopicName,
        channel: &ChannelName,
        ready: u32,
    ) -> Client {
        let mut client = Client::new(id, Role::Consumer);
        encode::subscribe(&mut client.outgoing, topic, channel);
        encode::ready(&mut client.outgoing, ready);
        client
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
        let bodies: Vec<_> = numbers.map(&mut body).collect();
        let out = &mut self.outgoing;
        match chance.below(5) {
            0 | 1 => {
                for body in &bodies {
                    encode::publish(out, topic, body);
                }
            }
            2 | 3 => encode::publish_many(out, topic, &bodies),
            _ => {
                for body in &bodies {
                    let delay = match chance.below(4) {
                        0 => 0,
                        1 => 1 + chance.below(3000),
                        _ => 1000 * (1 + chance.below(600)),
                    };
                    encode::publish_deferred(out, topic, Duration::from_millis(delay), body);
                }
            }
        }
    }

    /// Sends what is encoded, or part of it.
    pub(crate) fn send(&mut self, session: &mut Session, chance: &mut Random) {
        let mut count = self.outgoing.len();
        if count > 0 && chance.chance(15) {
            count = chance.index(count + 1);
        }
        session.inbox.extend(self.outgoing.drain(..count));
    }

    /// Reads what has come.
    pub(crate) fn read(&mut self, session: &mut Session) {
        if self.never_reads || !session.is_readable() {
            return;
        }
        self.incoming.append(&mut session.outbox);
        let mut at = 0;
        while let Some((frame, used)) =
            decode_frame(&self.incoming[at..], 1 << 24).expect("frames, whatever happens")
        {
            at += used;
            match frame {
                Frame::Response(_) => self.answers += 1,
                Frame::Error(_) => self.errors += 1,
                Frame::Message(message) => self.held.push(message.id),
            }
        }
        self.incoming.drain(..at);
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
