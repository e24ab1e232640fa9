//! The client crate against built daemons: nothing is lost or repeated that need not be.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../../crates/nsq-transport/src/tls/test_authority.rs"]
mod test_authority;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nsq_client::{
    Answer, Config, Consumer, ConsumerEvent, Delivery, Mode, Producer, ProducerPool, TopicName,
};
use nsq_tests::{Lookupd, Nsqd, PATIENCE, Start};

use test_authority::Authority;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_consumed_once() {
    let nsqd = Nsqd::start(&[]);
    let seen = Seen::default();
    let consumer = consumer(&quick_config(50));
    consumer.serve(4, seen.handler());
    consumer.connect_to_nsqd(&text(nsqd.tcp())).await.unwrap();

    let producer = producer(nsqd.tcp());
    let mut receipts = Vec::new();
    for number in 0..1000 {
        let body = format!("single {number}");
        receipts.push(producer.start_publish(&topic(), body).await.unwrap());
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let batch: Vec<_> = (0..100).map(|number| format!("batch {number}")).collect();
    producer.publish_many(&topic(), &batch).await.unwrap();
    let delay = Duration::from_millis(20);
    let topic = topic();
    let deferred = producer.publish_deferred(&topic, delay, "deferred");
    deferred.await.unwrap();

    seen.wait_for(1101).await;
    producer.stop().await;
    consumer.stop().await;
    seen.expect_each_once();
    let stats = consumer.stats();
    assert_eq!(stats.messages_received, 1101);
    assert_eq!(stats.messages_finished, 1101);
    assert_eq!((stats.messages_requeued, stats.connections), (0, 0));
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
}

#[tokio::test]
async fn a_message_that_fails_comes_again_until_it_is_given_up() {
    let nsqd = Nsqd::start(&[]);
    let given_up = Seen::default();
    let note = given_up.clone();
    let config = {
        let mut config = quick_config(1);
        config.max_attempts = 3;
        config
    };
    let consumer = Consumer::builder("t", "c")
        .config(config)
        .on_event(move |event| {
            if let ConsumerEvent::GaveUp { delivery } = event {
                note.add(delivery);
            }
        })
        .build()
        .unwrap();
    let seen = Seen::default();
    let note = seen.clone();
    consumer.serve(1, move |delivery: Delivery| {
        note.add(&delivery);
        async { Err::<(), _>("it never works") }
    });
    consumer.connect_to_nsqd(&text(nsqd.tcp())).await.unwrap();
    producer(nsqd.tcp()).publish(&topic(), "bad").await.unwrap();

    given_up.wait_for(1).await;
    assert_eq!(seen.counts(), BTreeMap::from([("bad".to_owned(), 3)]));
    consumer.stop().await;
    let stats = consumer.stats();
    assert_eq!(stats.messages_requeued, 3);
    assert_eq!((stats.messages_finished, stats.messages_given_up), (1, 1));
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
}

#[tokio::test]
async fn a_stop_waits_for_what_is_being_handled() {
    let nsqd = Nsqd::start(&[]);
    let consumer = Arc::new(consumer(&quick_config(10)));
    let messages = consumer.messages();
    consumer.connect_to_nsqd(&text(nsqd.tcp())).await.unwrap();
    let producer = producer(nsqd.tcp());
    producer.publish(&topic(), "held").await.unwrap();
    let held = messages.next().await.unwrap();

    let stopping = tokio::spawn({
        let consumer = Arc::clone(&consumer);
        async move { consumer.stop().await }
    });
    // It has said that it wants no more.
    nsqd_sees_closing(&nsqd).await;
    assert!(!stopping.is_finished());
    held.finish();
    stopping.await.unwrap();
    assert!(messages.next().await.is_none());
    let refused = consumer.connect_to_nsqd(&text(nsqd.tcp())).await;
    assert_eq!(refused.unwrap_err().to_string(), "consumer stopped");
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
}

#[tokio::test]
async fn who_drops_a_consumer_gives_back_what_nobody_took() {
    let nsqd = Nsqd::start(&[]);
    let producer = producer(nsqd.tcp());
    producer
        .publish_many(&topic(), &["a", "b", "c"])
        .await
        .unwrap();
    let first = consumer(&quick_config(10));
    first.connect_to_nsqd(&text(nsqd.tcp())).await.unwrap();
    nsqd_has(&nsqd, "in_flight_count", 3).await;
    drop(first);

    let seen = Seen::default();
    let second = consumer(&quick_config(10));
    second.serve(1, seen.handler());
    second.connect_to_nsqd(&text(nsqd.tcp())).await.unwrap();
    seen.wait_for(3).await;
    seen.expect_each_once();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_in_flight_reach_many_nsqds_in_turn() {
    let nsqds: Vec<_> = (0..5).map(|_| Nsqd::start(&[])).collect();
    for (number, nsqd) in nsqds.iter().enumerate() {
        let body = format!("from {number}");
        producer(nsqd.tcp()).publish(&topic(), body).await.unwrap();
    }
    let mut config = quick_config(2);
    config.set("rdy_redistribute_interval", "20ms").unwrap();
    config.set("low_rdy_idle_timeout", "1s").unwrap();
    let seen = Seen::default();
    let consumer = consumer(&config);
    consumer.serve(1, seen.handler());
    for nsqd in &nsqds {
        consumer.connect_to_nsqd(&text(nsqd.tcp())).await.unwrap();
    }
    seen.wait_for(5).await;
    seen.expect_each_once();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_nsqd_that_comes_back_is_found_by_its_address() {
    let mut nsqd = Start::default().keeping_ports().now();
    let seen = Seen::default();
    let consumer = consumer(&quick_config(10));
    consumer.serve(1, seen.handler());
    consumer.connect_to_nsqd(&text(nsqd.tcp())).await.unwrap();
    let producer = producer(nsqd.tcp());
    producer.publish(&topic(), "before").await.unwrap();
    seen.wait_for(1).await;

    nsqd.kill9();
    wait_for("the connection is seen to be gone", || {
        consumer.stats().connections == 0
    })
    .await;
    let lost = producer.publish(&topic(), "in between").await.unwrap_err();
    assert!(!lost.may_have_been_accepted() || lost.is_about_nsqd());
    nsqd.start_again();
    publish_until_it_works(&producer, "after").await;
    seen.wait_for(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nsqds_are_found_by_nsqlookupd_also_later() {
    let lookupd = Lookupd::start();
    let first = Start::default().registering_with(&[lookupd.tcp()]).now();
    producer(first.tcp())
        .publish(&topic(), "first")
        .await
        .unwrap();
    lookupd.wait_for_producers("t", &[first.tcp()]);
    let seen = Seen::default();
    let consumer = consumer(&quick_config(10));
    consumer.serve(1, seen.handler());
    let address = text(lookupd.http());
    consumer.connect_to_nsqlookupd(&address).await.unwrap();
    seen.wait_for(1).await;

    let second = Start::default().registering_with(&[lookupd.tcp()]).now();
    producer(second.tcp())
        .publish(&topic(), "second")
        .await
        .unwrap();
    seen.wait_for(2).await;
    assert_eq!(consumer.stats().connections, 2);
    seen.expect_each_once();
}

#[tokio::test]
async fn a_pause_holds_messages_back_at_nsqd() {
    let nsqd = Nsqd::start(&[]);
    let seen = Seen::default();
    let consumer = consumer(&quick_config(10));
    consumer.serve(1, seen.handler());
    consumer.connect_to_nsqd(&text(nsqd.tcp())).await.unwrap();
    let producer = producer(nsqd.tcp());
    producer.publish(&topic(), "one").await.unwrap();
    seen.wait_for(1).await;

    consumer.set_max_in_flight(0);
    nsqd_client_has(&nsqd, "ready_count", 0).await;
    producer.publish(&topic(), "two").await.unwrap();
    nsqd_has(&nsqd, "depth", 1).await;
    consumer.set_max_in_flight(10);
    seen.wait_for(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_passes_over_an_nsqd_that_is_gone() {
    let mut nsqds = [Nsqd::start(&[]), Nsqd::start(&[])];
    let addresses = nsqds.each_ref().map(|nsqd| text(nsqd.tcp()));
    let pool = ProducerPool::new(&addresses, &Config::default(), Mode::HostPool).unwrap();
    let pool = Arc::new(pool);
    nsqds[0].kill9();
    let publishing = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move {
            for _ in 0..10 {
                pool.publish(&topic(), "x").await.unwrap();
            }
        }
    });
    publishing.await.unwrap();
    assert_eq!(nsqds[1].topic("t")["message_count"], 10);
}

#[tokio::test]
async fn an_answer_can_say_when_the_message_comes_again() {
    let nsqd = Nsqd::start(&[]);
    let seen = Seen::default();
    let note = seen.clone();
    let consumer = consumer(&quick_config(1));
    consumer.serve(1, move |delivery: Delivery| {
        note.add(&delivery);
        async move {
            if delivery.attempts() == 1 {
                Answer::Requeue {
                    delay: Some(Duration::ZERO),
                    backoff: false,
                }
            } else {
                Answer::Finish
            }
        }
    });
    consumer.connect_to_nsqd(&text(nsqd.tcp())).await.unwrap();
    producer(nsqd.tcp())
        .publish(&topic(), "again")
        .await
        .unwrap();
    seen.wait_for(2).await;
    nsqd_has(&nsqd, "requeue_count", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_compression_carry_the_same() {
    let authority = Authority::new();
    let issued = authority.issue("127.0.0.1");
    let certificate = format!("--tls-cert={}", issued.cert);
    let key = format!("--tls-key={}", issued.key);
    let nsqd = Nsqd::start(&[&certificate, &key, "--tls-required=true"]);
    for (number, layers) in [&[][..], &["snappy"], &["deflate"]].into_iter().enumerate() {
        let mut config = quick_config(100);
        config.tls_v1 = true;
        config.tls_root_ca_file = Some(authority.file().into());
        for layer in layers {
            config.set(layer, "true").unwrap();
        }
        let topic = TopicName::parse(&format!("layered{number}")).unwrap();
        let seen = Seen::default();
        let consumer = Consumer::new(topic.as_str(), "c", config.clone()).unwrap();
        consumer.serve(2, seen.handler());
        consumer.connect_to_nsqd(&text(nsqd.tcp())).await.unwrap();
        let producer = Producer::new(&text(nsqd.tcp()), config).unwrap();
        for count in 0..50 {
            let body = format!("{count} {}", "abc ".repeat(5000));
            producer.publish(&topic, body).await.unwrap();
        }
        seen.wait_for(50).await;
        consumer.stop().await;
        producer.stop().await;
        seen.expect_each_once();
    }
    // Without the authority, or without TLS, there is no connection.
    let mut config = quick_config(1);
    let plain = consumer(&config).connect_to_nsqd(&text(nsqd.tcp())).await;
    assert!(plain.unwrap_err().to_string().contains("TLS required"));
    let stranger = Authority::new();
    config.tls_v1 = true;
    config.tls_root_ca_file = Some(stranger.file().into());
    let unknown = consumer(&config).connect_to_nsqd(&text(nsqd.tcp())).await;
    let unknown = unknown.unwrap_err().to_string();
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    config.tls_insecure_skip_verify = true;
    consumer(&config)
        .connect_to_nsqd(&text(nsqd.tcp()))
        .await
        .unwrap();
}

/// One that fails and retries fast.
fn quick_config(max_in_flight: u32) -> Config {
    let mut config = Config::default();
    config.max_in_flight = max_in_flight;
    for (option, value) in [
        ("lookupd_poll_interval", "100ms"),
        ("default_requeue_delay", "10ms"),
        ("backoff_multiplier", "1ms"),
        ("max_backoff_duration", "10ms"),
        ("output_buffer_timeout", "25ms"),
    ] {
        config.set(option, value).unwrap();
    }
    config
}

fn consumer(config: &Config) -> Consumer {
    Consumer::new("t", "c", config.clone()).unwrap()
}

fn producer(address: SocketAddr) -> Producer {
    Producer::new(&text(address), Config::default()).unwrap()
}

fn topic() -> TopicName {
    TopicName::parse("t").unwrap()
}

fn text(address: SocketAddr) -> String {
    address.to_string()
}

async fn publish_until_it_works(producer: &Producer, body: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Err(error) = producer.publish(&topic(), body).await {
        assert!(!error.may_have_been_accepted(), "{error}");
        assert!(tokio::time::Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The bodies of messages that came.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn add(&self, delivery: &Delivery) {
        let body = String::from_utf8_lossy(delivery.body()).into_owned();
        self.0.lock().unwrap().push(body);
    }

    fn handler(&self) -> impl Fn(Delivery) -> std::future::Ready<()> + Send + Sync + 'static {
        let seen = self.clone();
        move |delivery| {
            seen.add(&delivery);
            std::future::ready(())
        }
    }

    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for body in &*self.0.lock().unwrap() {
            *counts.entry(body.clone()).or_default() += 1;
        }
        counts
    }

    async fn wait_for(&self, count: usize) {
        let seen = self.clone();
        let what = format!("{count} messages come");
        wait_for(&what, move || seen.0.lock().unwrap().len() >= count).await;
    }

    fn expect_each_once(&self) {
        let repeated: Vec<_> = self
            .counts()
            .into_iter()
            .filter(|&(_, count)| count != 1)
            .collect();
        assert_eq!(repeated, []);
    }
}

/// As [`wait_until`], while the runtime continues.
async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn nsqd_has(nsqd: &Nsqd, field: &str, value: i64) {
    let what = format!("{field} is {value}");
    wait_for(&what, || nsqd.channel("t", "c")[field] == value).await;
}

async fn nsqd_client_has(nsqd: &Nsqd, field: &str, value: i64) {
    let what = format!("{field} is {value}");
    wait_for(&what, || {
        nsqd.channel("t", "c")["clients"][0][field] == value
    })
    .await;
}

/// A client that is closing has no ready count and state 4.
async fn nsqd_sees_closing(nsqd: &Nsqd) {
    nsqd_client_has(nsqd, "state", 4).await;
}
