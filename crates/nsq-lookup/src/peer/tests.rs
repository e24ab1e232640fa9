use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::tests::{Running, client};

/// The topics of an imaginary nsqd.
#[derive(Default, Clone)]
struct Topics {
    map: Arc<Mutex<BTreeMap<TopicName, BTreeSet<ChannelName>>>>,
}

impl Topics {
    fn with(names: &[(&str, &[&str])]) -> Self {
        let topics = Self::default();
        for (topic, channels) in names {
            let channels = channels.iter().map(|name| c(name)).collect();
            topics.map.lock().unwrap().insert(t(topic), channels);
        }
        topics
    }
}

impl Catalog for Topics {
    fn registrations(&self) -> Vec<(TopicName, Vec<ChannelName>)> {
        let map = self.map.lock().unwrap();
        map.iter()
            .map(|(topic, channels)| (topic.clone(), channels.iter().cloned().collect()))
            .collect()
    }

    fn has(&self, topic: &TopicName, channel: Option<&ChannelName>) -> bool {
        let map = self.map.lock().unwrap();
        map.get(topic)
            .is_some_and(|channels| channel.is_none_or(|name| channels.contains(name)))
    }
}

/// An nsqlookupd that does what a test tells it.
struct Fake {
    listener: TcpListener,
    address: String,
}

/// One nsqd's connection to it.
struct Caller {
    stream: BufReader<TcpStream>,
}

impl Fake {
    async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { listener, address }
    }

    /// Waits for a connection and its magic.
    async fn accept(&self) -> Caller {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut caller = Caller {
            stream: BufReader::new(stream),
        };
        let mut magic = [0; 4];
        caller.stream.read_exact(&mut magic).await.unwrap();
        assert_eq!(&magic, b"  V1");
        caller
    }

    /// Waits for a connection and lets it introduce itself.
    async fn accept_identified(&self) -> Caller {
        let mut caller = self.accept().await;
        caller.identify(INTRODUCTION).await;
        caller
    }
}

impl Caller {
    async fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    async fn send(&mut self, answer: &str) {
        let size = i32::try_from(answer.len()).unwrap();
        self.send_raw(&[&size.to_be_bytes(), answer.as_bytes()].concat())
            .await;
    }

    async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.unwrap();
    }

    /// Reads IDENTIFY, answers `answer` and returns the body.
    async fn identify(&mut self, answer: &str) -> String {
        assert_eq!(self.read_line().await, "IDENTIFY");
        let size = self.stream.read_i32().await.unwrap();
        let mut body = vec![0; usize::try_from(size).unwrap()];
        self.stream.read_exact(&mut body).await.unwrap();
        self.send(answer).await;
        String::from_utf8(body).unwrap()
    }

    /// Expects these lines, in this order, and answers each with `OK`.
    async fn check(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.read_line().await, *line);
            self.send("OK").await;
        }
    }
}

const INTRODUCTION: &str = r#"{"broadcast_address":"127.0.0.1","hostname":"h","http_port":4161,"tcp_port":4160,"version":"1.3.0"}"#;

/// Patient towards a busy machine, hardly ever pinging, and quick to come back.
const CALM: Timing = Timing {
    io_timeout: Duration::from_secs(30),
    ping_interval: Duration::from_hours(1),
    shortest_backoff: Duration::from_millis(1),
    longest_backoff: Duration::from_millis(10),
    shortest_gap: Duration::ZERO,
};

const HASTY: Timing = Timing {
    io_timeout: Duration::from_millis(20),
    ..CALM
};

fn settings() -> Settings {
    Settings {
        announcement: Announcement {
            broadcast_address: "nsqd.example".into(),
            hostname: "n".into(),
            http_port: 4151,
            tcp_port: 4150,
            topology_region: "r".into(),
            topology_zone: "z".into(),
            version: "1.3.0",
        },
        max_answer_bytes: 1024,
        tls: None,
        discovery: client(Duration::from_secs(20)),
    }
}

fn start(topics: &Topics, addresses: &[&str], timing: Timing) -> LookupHandle {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    LookupHandle::start_with(settings(), topics.clone(), &addresses, timing)
}

fn t(name: &str) -> TopicName {
    TopicName::parse(name).unwrap()
}

fn c(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

/// Looks again and again; the test's own time limit ends it.
async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

/// `channels / producer count`, or nothing if the topic is unknown there.
fn seen(running: &Running, topic: &str) -> Option<String> {
    let lookup = running
        .lookupd
        .registry()
        .lookup(topic, std::time::Instant::now())?;
    let channels: Vec<&str> = lookup.channels.iter().map(ChannelName::as_str).collect();
    Some(format!(
        "{} / {}",
        channels.join(" "),
        lookup.producers.len()
    ))
}

#[tokio::test]
async fn a_connection_begins_with_everything_there_is() {
    let fake = Fake::bind().await;
    let topics = Topics::with(&[("a", &[]), ("b#ephemeral", &["x", "y#ephemeral"])]);
    let _lookup = start(&topics, &[&fake.address], CALM);
    let mut caller = fake.accept().await;
    let body = caller.identify(INTRODUCTION).await;
    assert_eq!(
        body,
        r#"{"broadcast_address":"nsqd.example","hostname":"n","http_port":4151,"tcp_port":4150,"topology_region":"r","topology_zone":"z","version":"1.3.0"}"#
    );
    let everything = [
        "REGISTER a",
        "REGISTER b#ephemeral x",
        "REGISTER b#ephemeral y#ephemeral",
    ];
    caller.check(&everything).await;
    // Lost: the whole sequence again, unasked.
    drop(caller);
    fake.accept_identified().await.check(&everything).await;
}

#[tokio::test]
async fn a_change_is_sent_as_things_are_by_then() {
    let fake = Fake::bind().await;
    let topics = Topics::default();
    let lookup = start(&topics, &[&fake.address], CALM);
    let mut caller = fake.accept_identified().await;
    // The task is behind its connect sequence once it takes changes.
    until(|| lookup.peers()[0].state.inbox().is_open).await;

    topics
        .map
        .lock()
        .unwrap()
        .entry(t("t"))
        .or_default()
        .insert(c("x"));
    lookup.channel_changed(&t("t"), &c("gone-already"));
    lookup.channel_changed(&t("t"), &c("x"));
    lookup.topic_changed(&t("t"));
    caller
        .check(&["REGISTER t x", "UNREGISTER t gone-already", "REGISTER t"])
        .await;

    topics.map.lock().unwrap().clear();
    lookup.topic_changed(&t("t"));
    caller.check(&["UNREGISTER t"]).await;
}

#[tokio::test]
async fn many_registrations_arrive_in_order() {
    let fake = Fake::bind().await;
    let names: Vec<String> = (0..200).map(|i| format!("t{i:03}")).collect();
    let list: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &[][..])).collect();
    let _lookup = start(&Topics::with(&list), &[&fake.address], CALM);
    let mut caller = fake.accept_identified().await;
    for name in &names {
        caller.check(&[&format!("REGISTER {name}")]).await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_pinged() {
    let fake = Fake::bind().await;
    let timing = Timing {
        ping_interval: Duration::from_millis(5),
        ..CALM
    };
    let _lookup = start(&Topics::default(), &[&fake.address], timing);
    let mut caller = fake.accept_identified().await;
    caller.check(&["PING", "PING", "PING"]).await;
}

#[tokio::test]
async fn a_peer_that_hangs_delays_no_other() {
    let hanging = Fake::bind().await;
    let good = Fake::bind().await;
    let topics = Topics::with(&[("t", &[])]);
    let lookup = start(&topics, &[&hanging.address, &good.address], CALM);
    let _silent = hanging.accept().await;
    let mut caller = good.accept_identified().await;
    caller.check(&["REGISTER t"]).await;
    lookup.topic_changed(&t("u"));
    caller.check(&["UNREGISTER u"]).await;
}

#[tokio::test]
async fn a_peer_that_hangs_is_given_up_and_called_again() {
    let fake = Fake::bind().await;
    let _lookup = start(&Topics::default(), &[&fake.address], HASTY);
    let mut silent = fake.accept().await;
    silent.read_line().await;
    let mut rest = Vec::new();
    silent.stream.read_to_end(&mut rest).await.unwrap();
    let _again = fake.accept().await;
}

#[tokio::test]
async fn a_peer_that_talks_nonsense_is_called_again() {
    let fake = Fake::bind().await;
    let _lookup = start(&Topics::default(), &[&fake.address], CALM);
    let too_big = 1025_i32.to_be_bytes();
    for nonsense in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        &(-1_i32).to_be_bytes(),
        &too_big,
    ] {
        let mut caller = fake.accept().await;
        caller.read_line().await;
        caller.send_raw(nonsense).await;
    }
    for answer in [
        "E_INVALID",
        "E_BAD_BODY IDENTIFY missing fields",
        "OK",
        "[]x",
    ] {
        fake.accept().await.identify(answer).await;
    }
    // Speaking without being asked.
    fake.accept_identified().await.send("OK").await;
    // A refusal later on.
    let mut caller = fake.accept_identified().await;
    caller.send("E_INVALID").await;
    let _again = fake.accept_identified().await;
}

#[tokio::test]
async fn news_are_a_reason_to_call_again_at_once() {
    let fake = Fake::bind().await;
    let timing = Timing {
        shortest_backoff: Duration::from_hours(1),
        longest_backoff: Duration::from_hours(1),
        ..CALM
    };
    let topics = Topics::default();
    let lookup = start(&topics, &[&fake.address], timing);
    drop(fake.accept().await);
    topics.map.lock().unwrap().entry(t("t")).or_default();
    lookup.topic_changed(&t("t"));
    fake.accept_identified().await.check(&["REGISTER t"]).await;
}

#[tokio::test]
async fn addresses_change_while_running() {
    let (first, second) = (Running::start().await, Running::start().await);
    let topics = Topics::with(&[("t", &["c"])]);
    let (a, b) = (first.tcp.to_string(), second.tcp.to_string());
    let lookup = start(&topics, &[&a, &a], CALM);
    assert_eq!(lookup.addresses(), [a.as_str()]);
    until(|| seen(&first, "t").as_deref() == Some("c / 1")).await;
    assert_eq!(seen(&second, "t"), None);

    lookup.set_addresses(&[b.clone(), a.clone()]);
    assert_eq!(lookup.addresses(), [a.as_str(), b.as_str()]);
    until(|| seen(&second, "t").as_deref() == Some("c / 1")).await;
    lookup.set_addresses(&[b]);
    // Nothing is unregistered, the connection just ends.
    until(|| seen(&first, "t").as_deref() == Some("c / 0")).await;
    drop(lookup);
    until(|| seen(&second, "t").as_deref() == Some("c / 0")).await;
}

#[tokio::test]
async fn a_restarted_nsqlookupd_hears_everything_again() {
    let running = Running::start().await;
    let topics = Topics::with(&[("t", &["c"]), ("u", &[])]);
    let lookup = start(&topics, &[&running.tcp.to_string()], CALM);
    until(|| seen(&running, "u").as_deref() == Some(" / 1")).await;
    topics.map.lock().unwrap().remove(&t("u"));
    lookup.topic_changed(&t("u"));
    until(|| seen(&running, "u").as_deref() == Some(" / 0")).await;

    let fake = Fake::bind().await;
    lookup.set_addresses(std::slice::from_ref(&fake.address));
    running.stop().await;
    fake.accept_identified()
        .await
        .check(&["REGISTER t c"])
        .await;
}

/// Waits until every peer said where its HTTP is.
async fn until_known(lookup: &LookupHandle) {
    until(|| {
        lookup
            .peers()
            .iter()
            .all(|peer| peer.state.http_address().is_some())
    })
    .await;
}

#[tokio::test]
async fn channels_are_collected_from_all_that_answer() {
    let (first, second) = (Running::start().await, Running::start().await);
    for (running, channels) in [
        (&first, ["b", "a", "e#ephemeral"]),
        (&second, ["b", "c", "d"]),
    ] {
        for name in channels {
            running
                .lookupd
                .registry()
                .create_channel(&t("t#ephemeral"), &c(name));
        }
    }
    let (a, b) = (first.tcp.to_string(), second.tcp.to_string());
    let lookup = start(&Topics::default(), &[&a, &b], CALM);
    until_known(&lookup).await;
    let found = lookup.channels_of(&t("t#ephemeral")).await;
    assert_eq!(found.channels, [c("a"), c("b"), c("c"), c("d")]);
    assert!(found.errors.is_empty());
    assert_eq!(
        lookup.channels_of(&t("unknown")).await,
        Discovery::default()
    );

    // Known from before, although it is gone now.
    let http: SocketAddr = second.http;
    second.stop().await;
    let found = lookup.channels_of(&t("t#ephemeral")).await;
    assert_eq!(found.channels, [c("a"), c("b")]);
    assert_eq!(found.errors.len(), 1);
    assert!(found.errors[0].starts_with(&format!(
        "Get \"http://{http}/channels?topic=t%23ephemeral\": dial tcp {http}: "
    )));
}

#[tokio::test]
async fn without_an_nsqlookupd_to_ask_there_are_no_channels() {
    let topics = Topics::default();
    let lookup = start(&topics, &[], CALM);
    assert_eq!(lookup.channels_of(&t("t")).await, Discovery::default());

    let fake = Fake::bind().await;
    let lookup = start(&topics, &[&fake.address], CALM);
    let unknown = lookup.channels_of(&t("t")).await;
    assert_eq!(unknown.errors.len(), 1);
    // One that does not say where its HTTP is cannot be asked either.
    let nowhere = INTRODUCTION.replace("127.0.0.1", "");
    fake.accept().await.identify(&nowhere).await;
    assert_eq!(lookup.channels_of(&t("t")).await, unknown);
}

#[tokio::test]
async fn asking_for_channels_has_a_limit_in_time_and_size() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fake = Fake::bind().await;
    let mut settings = settings();
    settings.discovery = client(Duration::from_millis(20));
    let addresses = [fake.address.clone()];
    let lookup = LookupHandle::start_with(settings, Topics::default(), &addresses, CALM);
    let port = silent.local_addr().unwrap().port().to_string();
    let _caller = {
        let mut caller = fake.accept().await;
        caller.identify(&INTRODUCTION.replace("4161", &port)).await;
        caller
    };
    until_known(&lookup).await;
    let found = lookup.channels_of(&t("t")).await;
    assert!(
        found.errors[0].ends_with("timeout after 20ms"),
        "{:?}",
        found.errors
    );
}
