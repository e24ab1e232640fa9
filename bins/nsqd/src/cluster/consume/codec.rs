//! Orders and events between nodes, as bytes.
//!
//! ```text
//! call    [kind u8][version u8][opening u64][number u64][count u32] then orders or events
//! answer  [outcome u8], or events as in a call
//! ```
//! Decoding never panics, and takes no more memory than the bytes. Bodies of messages share the memory of the call.

use std::time::Duration;

use bytes::Bytes;
use nsq_cluster::codec::{DecodeError, Decoder, put_bytes, put_count};
use nsq_core::{Delivery, NotInFlight};
use nsq_protocol::{ChannelName, MessageId, TopicName};
use nsq_server::feed::{Act, Event, Order, Sink, Wanted};

/// What one node says to another about consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// To the node that leads.
    Orders(Orders),
    /// To the node that has the consumers.
    Events(Events),
}

/// Orders of an opening. Their numbers are 0, 1, 2 and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Orders {
    pub(crate) opening: u64,
    pub(crate) number: u64,
    /// The node stops, and its consumers are gone: there are no more orders of this opening.
    pub(crate) is_last: bool,
    pub(crate) list: Vec<Order>,
}

/// Events of an opening. Their numbers are 0, 1, 2 and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Events {
    pub(crate) opening: u64,
    pub(crate) number: u64,
    pub(crate) list: Vec<Event>,
}

/// The answer to [`Call::Orders`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The orders were carried out, and there is nothing new.
    Nothing,
    /// The orders were not carried out: they belong to no opening that the node knows.
    Unknown,
    /// The orders were carried out, and there are events.
    Events(Events),
}

impl Call {
    /// # Errors
    /// When the bytes are no call that this build knows.
    pub(crate) fn from_bytes(bytes: Bytes) -> Result<Call, DecodeError> {
        let mut from = Decoder::new(bytes);
        match from.u8("what is said about consumers")? {
            ORDERS => decode_orders(&mut from).map(Call::Orders),
            EVENTS => decode_events(&mut from).map(Call::Events),
            found => Err(DecodeError::Unknown {
                what: "what is said about consumers",
                found: u64::from(found),
            }),
        }
    }
}

impl Orders {
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut bytes = vec![ORDERS, VERSION];
        bytes.extend_from_slice(&self.opening.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.push(u8::from(self.is_last));
        put_count(&mut bytes, self.list.len());
        for order in &self.list {
            encode_order(order, &mut bytes);
        }
        bytes.into()
    }
}

impl Answer {
    /// # Errors
    /// When the bytes are no such answer.
    pub(crate) fn from_bytes(bytes: Bytes) -> Result<Answer, DecodeError> {
        let mut from = Decoder::new(bytes);
        let answer = match from.u8("the answer to orders")? {
            NOTHING => Answer::Nothing,
            UNKNOWN => Answer::Unknown,
            EVENTS => return decode_events(&mut from).map(Answer::Events),
            found => {
                return Err(DecodeError::Unknown {
                    what: "the answer to orders",
                    found: u64::from(found),
                });
            }
        };
        from.finish("the answer to orders")?;
        Ok(answer)
    }
}

/// The answers without events.
pub(crate) const NOTHING_NEW: &[u8] = &[NOTHING];
pub(crate) const UNKNOWN_OPENING: &[u8] = &[UNKNOWN];

/// Events that are being collected, for a call or an answer.
#[derive(Debug)]
pub(crate) struct EventWriter {
    bytes: Vec<u8>,
    count: u32,
}

impl EventWriter {
    /// For events of this opening.
    pub(crate) fn new(opening: u64) -> EventWriter {
        let mut bytes = vec![EVENTS, VERSION];
        bytes.extend_from_slice(&opening.to_le_bytes());
        bytes.resize(HEAD_BYTES, 0);
        EventWriter { bytes, count: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The call or the answer.
    pub(crate) fn finish(mut self, number: u64) -> Bytes {
        self.bytes[NUMBER_AT..COUNT_AT].copy_from_slice(&number.to_le_bytes());
        self.bytes[COUNT_AT..HEAD_BYTES].copy_from_slice(&self.count.to_le_bytes());
        self.bytes.into()
    }

    fn begin(&mut self, kind: u8, subscription: u32) {
        self.count += 1;
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&subscription.to_le_bytes());
    }

    fn put_id(&mut self, id: MessageId) {
        self.bytes.extend_from_slice(&id.as_u64().to_le_bytes());
    }
}

impl Sink for EventWriter {
    fn message(&mut self, subscription: u32, message: &Delivery<'_>) {
        self.begin(MESSAGE, subscription);
        self.put_id(message.id);
        self.bytes
            .extend_from_slice(&message.timestamp.to_le_bytes());
        self.bytes
            .extend_from_slice(&u32::from(message.attempts).to_le_bytes());
        put_bytes(&mut self.bytes, message.body);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Message {
                subscription,
                timestamp,
                attempts,
                id,
                body,
            } => self.message(
                subscription,
                &Delivery {
                    timestamp,
                    attempts,
                    id,
                    body: &body,
                },
            ),
            Event::Gone { subscription, id } => {
                self.begin(GONE, subscription);
                self.put_id(id);
            }
            Event::Refused {
                subscription,
                id,
                act,
                why,
            } => {
                self.begin(REFUSED, subscription);
                self.put_id(id);
                encode_act(act, &mut self.bytes);
                self.bytes.push(match why {
                    NotInFlight::Unknown => 0,
                    NotInFlight::NotOwner => 1,
                });
            }
            Event::Closed { subscription } => self.begin(CLOSED, subscription),
        }
    }
}

fn encode_order(order: &Order, to: &mut Vec<u8>) {
    let mut begin = |kind: u8, subscription: u32| {
        to.push(kind);
        to.extend_from_slice(&subscription.to_le_bytes());
    };
    match order {
        Order::Subscribe {
            subscription,
            wanted,
            ready_count,
        } => {
            begin(SUBSCRIBE, *subscription);
            put_bytes(to, wanted.topic.as_str().as_bytes());
            put_bytes(to, wanted.channel.as_str().as_bytes());
            put_duration(wanted.msg_timeout, to);
            to.push(wanted.sample_rate);
            to.extend_from_slice(&ready_count.to_le_bytes());
        }
        Order::Ready {
            subscription,
            ready_count,
        } => {
            begin(READY, *subscription);
            to.extend_from_slice(&ready_count.to_le_bytes());
        }
        Order::Message {
            subscription,
            id,
            act,
        } => {
            begin(ACT, *subscription);
            to.extend_from_slice(&id.as_u64().to_le_bytes());
            encode_act(*act, to);
        }
        Order::Unsubscribe { subscription, held } => {
            begin(UNSUBSCRIBE, *subscription);
            put_count(to, held.len());
            for id in held {
                to.extend_from_slice(&id.as_u64().to_le_bytes());
            }
        }
    }
}

fn decode_orders(from: &mut Decoder) -> Result<Orders, DecodeError> {
    from.version(VERSION, "the version of orders")?;
    let opening = from.u64("an opening")?;
    let number = from.u64("the number of orders")?;
    let is_last = from.flag("whether orders are the last")?;
    let count = from.count(LEAST_BYTES, "the orders")?;
    let mut orders = Vec::with_capacity(count);
    for _ in 0..count {
        orders.push(decode_order(from)?);
    }
    from.finish("the orders")?;
    Ok(Orders {
        opening,
        number,
        is_last,
        list: orders,
    })
}

fn decode_order(from: &mut Decoder) -> Result<Order, DecodeError> {
    let kind = from.u8("an order")?;
    let subscription = from.u32("a subscription")?;
    match kind {
        SUBSCRIBE => {
            let topic = from.text(MAX_NAME_BYTES, "a topic")?;
            let topic =
                TopicName::parse(&topic).map_err(|_| DecodeError::Invalid { what: "a topic" })?;
            let channel = from.text(MAX_NAME_BYTES, "a channel")?;
            let channel = ChannelName::parse(&channel)
                .map_err(|_| DecodeError::Invalid { what: "a channel" })?;
            let msg_timeout = Duration::from_nanos(from.u64("a message timeout")?);
            let sample_rate = from.u8("a sample rate")?;
            if sample_rate > MAX_SAMPLE_RATE {
                return Err(DecodeError::Invalid {
                    what: "a sample rate",
                });
            }
            Ok(Order::Subscribe {
                subscription,
                wanted: Box::new(Wanted {
                    topic,
                    channel,
                    msg_timeout,
                    sample_rate,
                }),
                ready_count: from.u32("a ready count")?,
            })
        }
        READY => Ok(Order::Ready {
            subscription,
            ready_count: from.u32("a ready count")?,
        }),
        ACT => Ok(Order::Message {
            subscription,
            id: decode_id(from)?,
            act: decode_act(from)?,
        }),
        UNSUBSCRIBE => {
            let count = from.count(8, "the messages held")?;
            let held = (0..count).map(|_| decode_id(from));
            Ok(Order::Unsubscribe {
                subscription,
                held: held.collect::<Result<_, _>>()?,
            })
        }
        found => Err(DecodeError::Unknown {
            what: "an order",
            found: u64::from(found),
        }),
    }
}

fn decode_events(from: &mut Decoder) -> Result<Events, DecodeError> {
    from.version(VERSION, "the version of events")?;
    let opening = from.u64("an opening")?;
    let number = from.u64("the number of events")?;
    let count = from.count(LEAST_BYTES, "the events")?;
    let mut events = Vec::with_capacity(count);
    for _ in 0..count {
        events.push(decode_event(from)?);
    }
    from.finish("the events")?;
    Ok(Events {
        opening,
        number,
        list: events,
    })
}

fn decode_event(from: &mut Decoder) -> Result<Event, DecodeError> {
    let kind = from.u8("an event")?;
    let subscription = from.u32("a subscription")?;
    match kind {
        MESSAGE => {
            let id = decode_id(from)?;
            let timestamp = from.u64("a timestamp")?.cast_signed();
            let attempts = from.u32("attempts")?;
            let attempts =
                u16::try_from(attempts).map_err(|_| DecodeError::Invalid { what: "attempts" })?;
            Ok(Event::Message {
                subscription,
                timestamp,
                attempts,
                id,
                body: from.bytes("a message")?,
            })
        }
        GONE => Ok(Event::Gone {
            subscription,
            id: decode_id(from)?,
        }),
        REFUSED => Ok(Event::Refused {
            subscription,
            id: decode_id(from)?,
            act: decode_act(from)?,
            why: if from.flag("a reason")? {
                NotInFlight::NotOwner
            } else {
                NotInFlight::Unknown
            },
        }),
        CLOSED => Ok(Event::Closed { subscription }),
        found => Err(DecodeError::Unknown {
            what: "an event",
            found: u64::from(found),
        }),
    }
}

fn decode_id(from: &mut Decoder) -> Result<MessageId, DecodeError> {
    from.u64("a message's id").map(MessageId::from_u64)
}

fn encode_act(act: Act, to: &mut Vec<u8>) {
    match act {
        Act::Finish => to.push(FINISH),
        Act::Requeue(delay) => {
            to.push(REQUEUE);
            put_duration(delay, to);
        }
        Act::Touch => to.push(TOUCH),
        Act::Release => to.push(RELEASE),
    }
}

fn decode_act(from: &mut Decoder) -> Result<Act, DecodeError> {
    match from.u8("what is done with a message")? {
        FINISH => Ok(Act::Finish),
        REQUEUE => from
            .u64("a delay")
            .map(|nanos| Act::Requeue(Duration::from_nanos(nanos))),
        TOUCH => Ok(Act::Touch),
        RELEASE => Ok(Act::Release),
        found => Err(DecodeError::Unknown {
            what: "what is done with a message",
            found: u64::from(found),
        }),
    }
}

/// Five centuries at most.
fn put_duration(duration: Duration, to: &mut Vec<u8>) {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    to.extend_from_slice(&nanos.to_le_bytes());
}

const VERSION: u8 = 1;
/// Kinds of calls, and outcomes in answers.
const ORDERS: u8 = 1;
const EVENTS: u8 = 2;
const NOTHING: u8 = 3;
const UNKNOWN: u8 = 4;
/// Kinds of orders.
const SUBSCRIBE: u8 = 1;
const READY: u8 = 2;
const ACT: u8 = 3;
const UNSUBSCRIBE: u8 = 4;
/// Kinds of events.
const MESSAGE: u8 = 1;
const GONE: u8 = 2;
const REFUSED: u8 = 3;
const CLOSED: u8 = 4;
/// What is done with a message.
const FINISH: u8 = 1;
const REQUEUE: u8 = 2;
const TOUCH: u8 = 3;
const RELEASE: u8 = 4;
/// Where events have their number and their count.
const NUMBER_AT: usize = 10;
const COUNT_AT: usize = 18;
const HEAD_BYTES: usize = 22;
/// The shortest order or event.
const LEAST_BYTES: usize = 5;
const MAX_NAME_BYTES: usize = 64;
const MAX_SAMPLE_RATE: u8 = 99;
