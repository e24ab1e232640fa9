//! Two brokers seen as one: the same topic and channel in both, and what only one of them has.

use std::time::Duration;

use nsq_core::broker::{Change, Host};
use nsq_core::channel::Budget;
use nsq_core::latency::{Percentile, PercentileSettings};
use nsq_core::stats::ConsumerStats;
use nsq_core::{ClientHandle, ClientId, Locality, SafeOnce, Settings, Subscription, Tick};
use nsq_protocol::MessageId;
use nsq_queue::LogOptions;

use super::*;

pub(crate) const ALICE: ClientId = ClientId(1);
const BOB: ClientId = ClientId(2);
const PLENTY: Budget = Budget {
    messages: 100,
    bytes: 1 << 20,
};

struct NoNotes;

impl Host for NoNotes {
    fn arm(&self, _: &Arc<ChannelCell>, _: Tick) {}
    fn registry_changed(&self, _: Change) {}
}

impl ClientHandle for NoNotes {
    fn wake(&self) {}
    fn close(&self) {}
}

/// Seconds after the brokers were opened.
pub(crate) fn at(seconds: u64) -> Now {
    let nanos = Duration::from_secs(1000 + seconds).as_nanos();
    Now {
        tick: Tick::from_nanos(u64::try_from(nanos).unwrap()),
        unix_nanos: i64::try_from(nanos).unwrap(),
    }
}

/// Brokers in folders of their own.
pub(crate) struct Served {
    pub(crate) brokers: Vec<Arc<Broker>>,
    _folders: Vec<tempfile::TempDir>,
}

impl Served {
    pub(crate) fn new(count: u16) -> Served {
        let folders: Vec<_> = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
        let brokers = folders.iter().zip(1..).map(|(folder, node_id)| {
            let settings = Settings {
                data_path: folder.path().to_path_buf(),
                node_id,
                mem_queue_size: 1,
                max_msg_timeout: Duration::from_mins(15),
                max_req_timeout: Duration::from_hours(1),
                max_msg_size: 1 << 20,
                safe_once: SafeOnce::Appended,
                sync_every: 2500,
                max_free_segment_bytes: 0,
                log_options: LogOptions::default(),
                percentiles: Some(Arc::new(PercentileSettings {
                    quantiles: vec![1.0, 0.5],
                    window: Duration::from_mins(10),
                })),
                is_replicated: false,
            };
            Arc::new(Broker::open(settings, Arc::new(NoNotes), at(0)).unwrap())
        });
        Served {
            brokers: brokers.collect(),
            _folders: folders,
        }
    }

    fn view(&self) -> View {
        View::over(self.brokers.clone())
    }

    fn topic(&self, broker: usize, name: &str) -> Arc<Topic> {
        let name = TopicName::parse(name).unwrap();
        let made = self.brokers[broker].get_or_create_topic(&name, false, at(0));
        made.unwrap().0
    }

    pub(crate) fn channel(&self, broker: usize, topic: &str, name: &str) -> Arc<ChannelCell> {
        let topic = self.topic(broker, topic);
        let name = ChannelName::parse(name).unwrap();
        topic.get_or_create_channel(&name, at(0)).unwrap();
        topic.channel(name.as_str()).unwrap()
    }

    pub(crate) fn publish(&self, broker: usize, topic: &str, bodies: &[&str], now: Now) {
        let bodies: Vec<_> = bodies.iter().map(|body| body.as_bytes()).collect();
        let topic = self.topic(broker, topic);
        topic.publish(bodies.into_iter(), now).unwrap();
    }
}

pub(crate) fn subscribe(cell: &Arc<ChannelCell>, client: ClientId, ready_count: u32) {
    let subscription = Subscription {
        client,
        handle: Arc::new(NoNotes),
        msg_timeout: Duration::from_mins(1),
        sample_rate: 0,
        locality: Locality::default(),
    };
    let mut channel = cell.lock();
    channel.subscribe(subscription, 0).unwrap();
    channel.set_ready_count(client, ready_count);
}

/// The ids of what the client gets.
pub(crate) fn take(cell: &Arc<ChannelCell>, client: ClientId, now: Now) -> Vec<MessageId> {
    let mut ids = Vec::new();
    cell.lock()
        .take(client, PLENTY, now, |delivery| ids.push(delivery.id));
    ids
}

fn names(view: &View) -> Vec<String> {
    let topics = view.topics().into_iter().map(|topic| {
        let channels = topic.channel_names();
        let channels: Vec<_> = channels.iter().map(ChannelName::as_str).collect();
        format!("{}: {}", topic.name(), channels.join(" "))
    });
    topics.collect()
}

fn bodies(peek: &Peek) -> Vec<&str> {
    let bodies = peek.queued.iter().map(|message| &message.body);
    bodies
        .map(|body| std::str::from_utf8(body).unwrap())
        .collect()
}

#[test]
fn topics_and_channels_of_all_brokers_are_listed_once_by_name() {
    let served = Served::new(2);
    served.channel(0, "both", "c");
    served.channel(1, "both", "a");
    served.channel(1, "both", "c");
    served.channel(1, "both", "d");
    served.channel(1, "a-second-only", "c");
    served.topic(0, "first-only");
    let view = served.view();
    let wanted = ["a-second-only: c", "both: a c d", "first-only: "];
    assert_eq!(names(&view), wanted);
    let stats = view.topic("both").unwrap().stats();
    let channels: Vec<_> = stats.channels.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(channels, ["a", "c", "d"]);

    assert_eq!(view.topic("both").unwrap().parts().count(), 2);
    let second = view.topic("a-second-only").unwrap();
    assert_eq!(second.parts().count(), 1);
    assert!(second.channel("d").is_none());
    assert!(view.topic("none").is_none());
    let topic = TopicName::parse("both").unwrap();
    let has = |channel: &str| view.has(&topic, Some(&ChannelName::parse(channel).unwrap()));
    assert!(view.has(&topic, None) && has("d") && !has("e"));
}

#[test]
fn counts_of_both_brokers_add_up() {
    let served = Served::new(2);
    served.channel(0, "t", "c");
    served.channel(1, "t", "c");
    served.channel(1, "t", "second-only");
    served.publish(0, "t", &["one", "two", "three"], at(1));
    served.publish(1, "t", &["four", "five"], at(2));
    let topic = served.view().topic("t").unwrap();
    let stats = topic.stats();
    assert_eq!((stats.message_count, stats.message_bytes), (5, 19));
    assert_eq!(stats.depth, 0);
    let figures: Vec<_> = stats
        .channels
        .iter()
        .map(|it| {
            (
                it.name.as_str(),
                it.depth,
                it.backend_depth,
                it.message_count,
            )
        })
        .collect();
    assert_eq!(figures, [("c", 5, 3, 5), ("second-only", 2, 1, 2)]);

    served.publish(0, "no-channel", &["one"], at(1));
    served.publish(1, "no-channel", &["two", "three"], at(1));
    let stats = served.view().topic("no-channel").unwrap().stats();
    assert_eq!((stats.depth, stats.backend_depth), (3, 1));
}

#[test]
fn a_client_of_both_brokers_is_one_client() {
    let served = Served::new(2);
    let cells = [served.channel(0, "t", "c"), served.channel(1, "t", "c")];
    subscribe(&cells[0], ALICE, 3);
    subscribe(&cells[1], ALICE, 3);
    subscribe(&cells[1], BOB, 1);
    served.publish(0, "t", &["one"], at(1));
    served.publish(1, "t", &["two"], at(1));
    assert_eq!(take(&cells[0], ALICE, at(2)).len(), 1);
    let second = take(&cells[1], ALICE, at(2));
    cells[1].lock().finish(ALICE, second[0], at(3)).unwrap();

    let stats = served.view().topic("t").unwrap().stats();
    let channel = &stats.channels[0];
    assert_eq!(channel.client_count, 2);
    assert_eq!((channel.in_flight_count, channel.delivered_count), (1, 2));
    let mut alice = ConsumerStats::default();
    for cell in &cells {
        add_consumer(&mut alice, &cell.lock().consumer_stats(ALICE).unwrap());
    }
    let wanted = ConsumerStats {
        ready_count: 3,
        in_flight_count: 1,
        message_count: 2,
        finish_count: 1,
        requeue_count: 0,
        last_finish: at(3).unix_nanos,
    };
    assert_eq!(alice, wanted);
}

#[test]
fn a_pause_of_any_part_shows() {
    let served = Served::new(2);
    served.channel(0, "t", "c");
    let cell = served.channel(1, "t", "c");
    let paused = || {
        let stats = served.view().topic("t").unwrap().stats();
        (stats.paused, stats.channels[0].paused)
    };
    assert_eq!(paused(), (false, false));
    cell.lock().set_paused(true);
    assert_eq!(paused(), (false, true));
    served.topic(1, "t").set_paused(true, at(1));
    assert_eq!(paused(), (true, true));
}

#[test]
fn the_worst_percentiles_are_shown_and_buckets_add_up() {
    let served = Served::new(3);
    for (broker, seconds) in [(0, 2), (1, 8)] {
        let cell = served.channel(broker, "t", "c");
        subscribe(&cell, ALICE, 10);
        served.publish(broker, "t", &["body"], at(1));
        let ids = take(&cell, ALICE, at(1));
        cell.lock().finish(ALICE, ids[0], at(1 + seconds)).unwrap();
    }
    // A broker that has finished nothing changes nothing.
    served.channel(2, "t", "c");
    let stats = served.view().topic("t").unwrap();
    let stats = stats.stats_with_percentiles(at(10));
    let channel = &stats.channels[0];
    assert_eq!(channel.buckets.as_ref().unwrap().count(), 2);
    for latency in [&stats.latency, &channel.latency] {
        let latency = latency.as_ref().unwrap();
        assert_eq!(latency.count, 2);
        let quantiles: Vec<_> = latency.percentiles.iter().map(|it| it.quantile).collect();
        assert_eq!(quantiles, [1.0, 0.5]);
        let is_worst = |it: &Percentile| it.nanos.abs_diff(8_000_000_000) < 100_000_000;
        assert!(latency.percentiles.iter().all(is_worst), "{latency:?}");
    }
}

#[test]
fn a_look_shows_the_oldest_messages_of_both_brokers() {
    let served = Served::new(2);
    for broker in 0..2 {
        served.channel(broker, "t", "c");
    }
    served.publish(0, "t", &["1"], at(1));
    served.publish(1, "t", &["2"], at(2));
    served.publish(0, "t", &["3"], at(3));
    served.publish(1, "t", &["4"], at(4));
    let limits = |messages| PeekLimits {
        messages,
        body_bytes: 10,
    };
    let channel = served.view().topic("t").unwrap().channel("c").unwrap();
    let all = channel.peek(limits(10), at(5)).unwrap();
    assert_eq!(bodies(&all), ["1", "2", "3", "4"]);
    let some = channel.peek(limits(3), at(5)).unwrap();
    assert_eq!((bodies(&some).len(), some.queued_total), (3, 4));
    assert_eq!(bodies(&some), ["1", "2", "3"]);

    served.publish(0, "waiting", &["5"], at(5));
    served.publish(1, "waiting", &["6"], at(4));
    let waiting = served.view().topic("waiting").unwrap().peek(limits(10));
    assert_eq!(bodies(&waiting), ["6", "5"]);
}

#[test]
fn what_was_deleted_in_any_broker_counts_in_the_totals() {
    let served = Served::new(2);
    for (broker, bodies) in [(0, &["a"][..]), (1, &["b", "c"])] {
        served.publish(broker, "t", bodies, at(1));
        assert!(served.brokers[broker].delete_topic("t"));
    }
    let departed = served.view().departed();
    assert_eq!(
        (departed.published_messages, departed.published_bytes),
        (3, 3)
    );
    assert_eq!(served.view().health(), "OK");
    assert_eq!(served.view().failed_append_count(), 0);
}
