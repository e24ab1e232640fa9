//! Two nodes, and orders and events that go between them when the test says so.

use std::sync::Arc;

use bytes::Bytes;
use nsq_core::{Delivery, Now};

use crate::feed::{Event, Feed, Order, ReadyList, Sink};
use crate::fetch::{Fetcher, Source};
use crate::testing::{TestNode, TestSession, at};

/// A node with consumers, and one that leads shard 2. Topic `t` has the channel `c` in all shards.
pub(super) struct Wire {
    pub(super) here: TestNode,
    pub(super) leader: TestNode,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) source: Arc<Source>,
    pub(super) opening: u64,
    number: u64,
    feed: Option<Feed>,
}

#[derive(Default)]
struct Collected(Vec<Event>);

impl Sink for Collected {
    fn message(&mut self, subscription: u32, message: &Delivery<'_>) {
        self.0.push(Event::Message {
            subscription,
            timestamp: message.timestamp,
            attempts: message.attempts,
            id: message.id,
            body: Bytes::copy_from_slice(message.body),
        });
    }

    fn event(&mut self, event: Event) {
        self.0.push(event);
    }
}

impl Wire {
    /// The node with the consumers leads these shards.
    pub(super) fn new(shards: &[u64]) -> Wire {
        let fetcher = Arc::<Fetcher>::default();
        let here = TestNode::fetching(&fetcher);
        for shard in shards {
            here.lead(*shard);
        }
        here.make("t", Some("c"));
        let leader = TestNode::leading(&[2]);
        let source = fetcher.add_source(2);
        let mut wire = Wire {
            here,
            leader,
            fetcher,
            source,
            opening: 0,
            number: 0,
            feed: None,
        };
        wire.reopen(at(0));
        wire
    }

    /// The way between the nodes was lost with these orders on it.
    pub(super) fn lose(&mut self, unanswered: Vec<Order>, now: Now) {
        if let Some(feed) = &mut self.feed {
            feed.hold(now);
        }
        self.source.take_back(unanswered);
        self.source.close();
    }

    /// The way between the nodes was lost, and there is another one.
    pub(super) fn reopen(&mut self, now: Now) {
        self.source.close();
        self.opening += 1;
        self.number = 0;
        self.source.open(self.opening);
        let mut orders = self.source.take_orders(usize::MAX);
        if let Some(former) = &mut self.feed {
            former.hear_again(&mut orders, now);
        }
        self.end_feed(now);
        let ready = Arc::<ReadyList>::default();
        let server = Arc::clone(&self.leader.server);
        let mut feed = Feed::new(server, "a test".to_owned(), ready);
        let mut events = Collected::default();
        for order in orders {
            feed.carry_out(order, now, &mut events);
        }
        assert!(events.0.is_empty(), "nothing is refused: {:?}", events.0);
        self.feed = Some(feed);
    }

    pub(super) fn end_feed(&mut self, now: Now) {
        if let Some(feed) = self.feed.take() {
            feed.end(now);
        }
    }

    /// A consumer of channel `c` of topic `t`, with this ready count, known to the other node.
    pub(super) fn consumer(&mut self, id: u32, ready: u32) -> TestSession {
        let mut consumer = self.here.consumer(id, ready);
        consumer.deliver(at(0));
        self.run(at(0));
        consumer
    }

    /// Carries the orders there are. Returns the events that these come to at once.
    pub(super) fn carry_orders(&mut self, now: Now) -> Vec<Event> {
        let orders = self.source.take_orders(usize::MAX);
        self.carry(orders, now)
    }

    pub(super) fn carry(&mut self, orders: Vec<Order>, now: Now) -> Vec<Event> {
        let mut events = Collected::default();
        for order in orders {
            if let Some(feed) = &mut self.feed {
                feed.carry_out(order, now, &mut events);
            }
        }
        events.0
    }

    /// The events there are.
    pub(super) fn events(&mut self, now: Now) -> Vec<Event> {
        let mut events = Collected::default();
        if let Some(feed) = &mut self.feed {
            while feed.turn(1 << 20, now, &mut events) {}
        }
        events.0
    }

    /// Carries everything until nothing is left.
    pub(super) fn run(&mut self, now: Now) {
        loop {
            let mut events = self.carry_orders(now);
            events.extend(self.events(now));
            if events.is_empty() {
                return;
            }
            let received = self.source.receive(self.opening, self.number, events, now);
            received.unwrap();
            self.number += 1;
        }
    }
}
