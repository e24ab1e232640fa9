//! Orders and events as bytes.

pub(crate) mod nodes;

use std::time::Duration;

use bytes::Bytes;
use nsq_cluster::codec::DecodeError;
use nsq_core::NotInFlight;
use nsq_protocol::{ChannelName, MessageId, TopicName};
use nsq_server::feed::{Act, Event, Order, Sink as _, Wanted};

use super::codec::{Answer, Call, EventWriter, Events, NOTHING_NEW, Orders, UNKNOWN_OPENING};

const ID: MessageId = MessageId::from_u64(0x1122_3344_5566_7788);

fn orders() -> Orders {
    let wanted = Wanted {
        topic: TopicName::parse("orders").unwrap(),
        channel: ChannelName::parse("c#ephemeral").unwrap(),
        msg_timeout: Duration::from_mins(1),
        sample_rate: 99,
    };
    let message = |act| Order::Message {
        subscription: 7,
        id: ID,
        act,
    };
    Orders {
        opening: u64::MAX,
        number: 3,
        is_last: true,
        list: vec![
            Order::Subscribe {
                subscription: 7,
                wanted: Box::new(wanted),
                ready_count: 2500,
            },
            Order::Ready {
                subscription: 7,
                ready_count: 0,
            },
            message(Act::Finish),
            message(Act::Requeue(Duration::from_millis(5))),
            message(Act::Touch),
            message(Act::Release),
            Order::Unsubscribe {
                subscription: u32::MAX,
                held: vec![ID, MessageId::from_u64(0)],
            },
        ],
    }
}

fn events() -> Vec<Event> {
    vec![
        Event::Message {
            subscription: 7,
            timestamp: -1,
            attempts: u16::MAX,
            id: ID,
            body: Bytes::from_static(b"a body"),
        },
        Event::Gone {
            subscription: 7,
            id: ID,
        },
        Event::Refused {
            subscription: 7,
            id: ID,
            act: Act::Requeue(Duration::from_secs(1)),
            why: NotInFlight::NotOwner,
        },
        Event::Closed { subscription: 8 },
    ]
}

fn written() -> Bytes {
    let mut writer = EventWriter::new(5);
    for event in events() {
        writer.event(event);
    }
    writer.finish(9)
}

#[test]
fn orders_come_back_from_their_bytes() {
    let orders = orders();
    assert_eq!(
        Call::from_bytes(orders.to_bytes()),
        Ok(Call::Orders(orders))
    );
}

#[test]
fn events_come_back_from_their_bytes_as_a_call_and_as_an_answer() {
    let events = Events {
        opening: 5,
        number: 9,
        list: events(),
    };
    assert_eq!(
        Call::from_bytes(written()),
        Ok(Call::Events(events.clone()))
    );
    assert_eq!(Answer::from_bytes(written()), Ok(Answer::Events(events)));
}

#[test]
fn answers_without_events_come_back_from_their_bytes() {
    let answer = |bytes| Answer::from_bytes(Bytes::from_static(bytes));
    assert_eq!(answer(NOTHING_NEW), Ok(Answer::Nothing));
    assert_eq!(answer(UNKNOWN_OPENING), Ok(Answer::Unknown));
}

#[test]
fn every_cut_and_every_byte_too_many_is_an_error() {
    for whole in [orders().to_bytes(), written()] {
        for end in 0..whole.len() {
            assert!(Call::from_bytes(whole.slice(..end)).is_err(), "{end}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(Call::from_bytes(longer.into()).is_err());
    }
}

#[test]
fn another_version_is_refused() {
    let mut bytes = written().to_vec();
    bytes[1] = 2;
    let refused = Call::from_bytes(bytes.into());
    assert!(matches!(refused, Err(DecodeError::Unknown { .. })));
}
