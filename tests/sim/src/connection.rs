//! One connection: the server's own session, and the socket between it and the client.

use std::sync::Arc;

use nsq_core::{
    Broker, ChannelCell, ClientId, Delivery, NotInFlight, Now, PublishError, StoreError,
};
use nsq_protocol::{MessageId, TopicName};
use nsq_server::session::Handling;
use nsq_server::{Client, Next, Observer, Server, Session};

use crate::model::Model;

/// What the system keeps of what a client does not read.
const SOCKET_BYTES: usize = 64 << 10;

pub(crate) struct Connection {
    session: Session<Events>,
    pub(crate) id: ClientId,
    /// Sent by the client and not read yet.
    pub(crate) input: Vec<u8>,
    /// Sent to the client and not read yet.
    pub(crate) sent: Vec<u8>,
    /// The topic and the channel it is subscribed to.
    pub(crate) subscription: Option<(String, String)>,
    /// The server has closed it.
    pub(crate) is_over: bool,
}

impl Connection {
    pub(crate) fn new(server: &Arc<Server>, id: ClientId, now: Now) -> Connection {
        let client = Arc::new(Client::new(
            id,
            format!("client {}", id.0),
            String::new(),
            now,
        ));
        let session = Session::observed(Arc::clone(server), client, now, Events::default());
        Connection {
            session,
            id,
            input: Vec::new(),
            sent: Vec::new(),
            subscription: None,
            is_over: false,
        }
    }

    /// Does all there is to do, in the order in which nsqd's connections do it.
    pub(crate) fn poll(&mut self, broker: &Broker, model: &mut Model, now: Now) {
        while !self.is_over {
            if self.session.client().is_closed() {
                self.is_over = true;
                return;
            }
            self.send(now);
            let settled = self.session.was_settled();
            self.session.handle_wake();
            let mut next = if settled {
                self.session.handle_settled(now)
            } else if self.session.wants_delivery() {
                self.session.deliver(now);
                Next::Wait
            } else if self.session.wants_input() && !self.input.is_empty() {
                let input = std::mem::take(&mut self.input);
                self.session.handle_input(&input, now)
            } else if now.tick >= self.session.next_deadline() {
                self.session.handle_timeout(now)
            } else {
                return;
            };
            self.tell(model);
            while let Next::CreateTopic { topic, .. } = next {
                let made = make_topic(&topic, broker, model, now);
                next = self.session.handle_topic(made, now);
                self.tell(model);
            }
            match next {
                Next::Wait => {}
                Next::Close | Next::Drop => {
                    self.send(now);
                    self.is_over = true;
                }
                other => panic!("nothing here asks for {other:?}"),
            }
        }
    }

    /// The socket takes what it has room for.
    fn send(&mut self, now: Now) {
        let outbox = self.session.outbox();
        let room = SOCKET_BYTES.saturating_sub(self.sent.len());
        let count = outbox.unsent().len().min(room);
        if count > 0 {
            self.sent.extend_from_slice(&outbox.unsent()[..count]);
            outbox.handle_sent(count);
        }
        if outbox.unsent().is_empty() {
            outbox.handle_flushed();
        } else {
            outbox.handle_blocked(now.tick);
        }
    }

    /// Tells the model what came of the commands.
    fn tell(&mut self, model: &mut Model) {
        // A channel that was deleted under its client has forgotten everything.
        let is_current = !self.session.client().is_closed();
        for event in std::mem::take(&mut self.session.observer().0) {
            if let Event::Subscribed { topic, channel, .. } = &event {
                self.subscription = Some((topic.clone(), channel.clone()));
            }
            event.tell(self.id, is_current, model);
        }
    }

    /// The connection is gone.
    pub(crate) fn leave(&mut self) {
        self.session.leave();
    }
}

impl Drop for Connection {
    /// After a kill no session has left its channel, and channel and client would keep each other.
    fn drop(&mut self) {
        self.session.client().details().channels.clear();
    }
}

fn make_topic(
    name: &TopicName,
    broker: &Broker,
    model: &mut Model,
    now: Now,
) -> Result<(), StoreError> {
    broker.get_or_create_topic(name, false, now)?;
    model.topic_made(name.as_str());
    Ok(())
}

/// What happened in the session since the model was told last.
#[derive(Default)]
struct Events(Vec<Event>);

enum Event {
    Subscribed {
        topic: String,
        channel: String,
        now: Now,
    },
    Published {
        topic: String,
        bodies: Vec<Vec<u8>>,
        due: Option<i64>,
        is_accepted: bool,
        now: Now,
    },
    Delivered {
        topic: String,
        channel: String,
        id: MessageId,
        attempts: u16,
        body: Vec<u8>,
        now: Now,
    },
    Handled {
        topic: String,
        channel: String,
        handling: Handling,
        id: MessageId,
        outcome: Result<(), NotInFlight>,
        now: Now,
    },
}

impl Observer for Events {
    fn subscribed(&mut self, channel: &ChannelCell, now: Now) {
        self.0.push(Event::Subscribed {
            topic: channel.topic().to_string(),
            channel: channel.name().to_string(),
            now,
        });
    }

    fn published<'a>(
        &mut self,
        topic: &TopicName,
        bodies: impl Iterator<Item = &'a [u8]>,
        due: Option<i64>,
        outcome: Result<(), &PublishError>,
        now: Now,
    ) {
        // Nothing is left of a publish to a topic that is gone; the session tries the next one of its name.
        if matches!(outcome, Err(PublishError::Exiting)) {
            return;
        }
        self.0.push(Event::Published {
            topic: topic.to_string(),
            bodies: bodies.map(<[u8]>::to_vec).collect(),
            due,
            is_accepted: outcome.is_ok(),
            now,
        });
    }

    fn delivered(&mut self, channel: &ChannelCell, message: &Delivery<'_>, now: Now) {
        self.0.push(Event::Delivered {
            topic: channel.topic().to_string(),
            channel: channel.name().to_string(),
            id: message.id,
            attempts: message.attempts,
            body: message.body.to_vec(),
            now,
        });
    }

    fn handled(
        &mut self,
        channel: &ChannelCell,
        handling: Handling,
        id: MessageId,
        outcome: Result<(), NotInFlight>,
        now: Now,
    ) {
        self.0.push(Event::Handled {
            topic: channel.topic().to_string(),
            channel: channel.name().to_string(),
            handling,
            id,
            outcome,
            now,
        });
    }
}

impl Event {
    fn tell(self, client: ClientId, is_current: bool, model: &mut Model) {
        match self {
            Event::Subscribed {
                topic,
                channel,
                now,
            } => {
                model.topic_made(&topic);
                model.channel_made(&topic, &channel, now);
            }
            Event::Published {
                topic,
                bodies,
                due,
                is_accepted,
                now,
            } => {
                if is_accepted {
                    model.published(&topic, &bodies, due, now);
                } else {
                    model.refused(&topic, &bodies, due);
                }
            }
            Event::Delivered {
                topic,
                channel,
                id,
                attempts,
                body,
                now,
            } => model.delivered(&topic, &channel, client, id, attempts, &body, now),
            Event::Handled {
                topic,
                channel,
                handling,
                id,
                outcome,
                now,
            } if is_current => match handling {
                Handling::Finish => model.finished(&topic, &channel, client, id, outcome),
                Handling::Requeue(delay) => {
                    model.requeued(&topic, &channel, client, id, delay, outcome, now);
                }
                Handling::Touch => model.touched(&topic, &channel, client, id, outcome, now),
            },
            Event::Handled { .. } => {}
        }
    }
}
