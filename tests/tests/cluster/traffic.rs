//! Publishers and consumers that use all nodes of a cluster, as clients do that find them through nsqlookupd, and the books
//! on what they published and received.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use nsq_tests::{Frame, RawClient, ReadEnd, say_loudly};

/// Between two publishes of one publisher.
const PAUSE: Duration = Duration::from_millis(2);
/// After so long without an answer, a publisher tries another node.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// How long the last messages may take: longer than the message timeout.
const LAST_PATIENCE: Duration = Duration::from_mins(1);

/// Traffic on one topic with one channel.
#[derive(Debug)]
pub(crate) struct Traffic {
    topic: String,
    addresses: Vec<SocketAddr>,
    /// The nodes that have a consumer, each with this ready count.
    consumers: Vec<usize>,
    ready_count: u32,
    /// Publishers and consumers use more than `PUB` and `FIN`.
    is_mixed: bool,
    /// A message is published once, answered or not.
    is_tried_once: bool,
    is_publishing: AtomicBool,
    /// Publishers are to rest between two messages.
    is_resting: AtomicBool,
    /// Publishers whose message is not acknowledged yet.
    busy_count: AtomicUsize,
    /// Publishers that have not ended yet.
    publisher_count: AtomicUsize,
    is_consuming: AtomicBool,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// By body.
    messages: HashMap<String, Message>,
    acknowledged: usize,
    refusals: HashMap<String, usize>,
    /// The longest time from the first try of a publish to its `OK`.
    longest_publish: Duration,
    last_delivery: Option<Instant>,
    longest_silence: Duration,
    steps: Vec<StepFigures>,
}

/// What happened during one part of a test.
#[derive(Debug, Clone, Default)]
pub(crate) struct StepFigures {
    pub(crate) name: String,
    pub(crate) acknowledged: usize,
    /// Of the acknowledged ones, those that never came.
    pub(crate) lost: usize,
    /// Messages that came again.
    pub(crate) repeated: usize,
    pub(crate) longest_publish: Duration,
    pub(crate) longest_silence: Duration,
}

#[derive(Debug, Default)]
struct Message {
    is_acknowledged: bool,
    /// A try may have been stored without an answer, so that the message may be there more than once.
    is_unsure: bool,
    /// A connection broke before it was answered.
    is_unanswered: bool,
    came: usize,
    /// The step in which it was acknowledged.
    step: usize,
}

impl Traffic {
    pub(crate) fn new(topic: &str, addresses: Vec<SocketAddr>) -> Traffic {
        Traffic {
            topic: topic.to_owned(),
            publisher_count: AtomicUsize::new(addresses.len()),
            consumers: (0..addresses.len()).collect(),
            ready_count: 50,
            is_mixed: false,
            is_tried_once: false,
            addresses,
            is_publishing: AtomicBool::new(true),
            is_resting: AtomicBool::new(false),
            busy_count: AtomicUsize::new(0),
            is_consuming: AtomicBool::new(true),
            books: Mutex::default(),
        }
    }

    /// With a single consumer, of this node. It goes to the next one while it cannot connect.
    pub(crate) fn with_one_consumer(mut self, node: usize, ready_count: u32) -> Traffic {
        self.consumers = vec![node];
        self.ready_count = ready_count;
        self
    }

    /// With fewer publishers than there are nodes.
    pub(crate) fn with_publishers(mut self, count: usize) -> Traffic {
        self.publisher_count = AtomicUsize::new(count);
        self
    }

    /// With publishers that use `PUB`, `MPUB` and `DPUB` in turn, and consumers that requeue some messages once.
    pub(crate) fn with_mixed_commands(mut self) -> Traffic {
        self.is_mixed = true;
        self
    }

    /// With publishers that never try a message again, so that each message shows what became of its only publish.
    pub(crate) fn with_single_tries(mut self) -> Traffic {
        self.is_tried_once = true;
        self
    }

    /// How many publishes were not answered, and how many of these messages came: nsqd had taken them.
    pub(crate) fn unanswered(&self) -> (usize, usize) {
        let books = self.books();
        let messages = books.messages.values();
        let unanswered = messages.filter(|message| message.is_unanswered);
        let taken = unanswered.clone().filter(|message| message.came > 0);
        (unanswered.count(), taken.count())
    }

    /// The errors that publishers got.
    pub(crate) fn refusals(&self) -> Vec<String> {
        self.books().refusals.keys().cloned().collect()
    }

    /// Counts by itself what happens from now on.
    pub(crate) fn begin_step(&self, name: &str) {
        let mut books = self.books();
        books.steps.push(StepFigures {
            name: name.to_owned(),
            ..StepFigures::default()
        });
    }

    /// Has publishers rest, and waits until everything that they published is acknowledged and received.
    #[track_caller]
    pub(crate) fn rest(&self) {
        self.is_resting.store(true, Relaxed);
        nsq_tests::wait_until("everything has arrived", LAST_PATIENCE, || {
            self.busy_count.load(Relaxed) == 0 && self.lost_count() == 0
        });
    }

    pub(crate) fn resume(&self) {
        self.books().last_delivery = None;
        self.is_resting.store(false, Relaxed);
    }

    /// What happened in each step. To be called at the end.
    pub(crate) fn steps(&self) -> Vec<StepFigures> {
        let books = self.books();
        let mut steps = books.steps.clone();
        for message in books.messages.values() {
            if message.is_acknowledged
                && message.came == 0
                && let Some(step) = steps.get_mut(message.step)
            {
                step.lost += 1;
            }
        }
        steps
    }

    /// Starts one publisher for each node, and the consumers.
    pub(crate) fn start<'scope, 'env>(&'env self, scope: &'scope Scope<'scope, 'env>) {
        for number in 0..self.publisher_count.load(Relaxed) {
            scope.spawn(move || {
                self.publish(number);
                self.publisher_count.fetch_sub(1, Relaxed);
            });
        }
        for number in self.consumers.iter().copied() {
            scope.spawn(move || self.consume(number));
        }
    }

    /// Ends publishing, waits for the last messages, and ends consuming.
    pub(crate) fn finish(&self) {
        self.is_publishing.store(false, Relaxed);
        let deadline = Instant::now() + LAST_PATIENCE;
        let is_open = || self.publisher_count.load(Relaxed) > 0 || self.lost_count() > 0;
        while is_open() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.is_consuming.store(false, Relaxed);
    }

    pub(crate) fn acknowledged_count(&self) -> usize {
        self.books().acknowledged
    }

    /// Waits until so many more messages are acknowledged.
    #[track_caller]
    pub(crate) fn wait_for_publishes(&self, count: usize) {
        let before = self.acknowledged_count();
        nsq_tests::wait_until("publishing goes on", Duration::from_secs(30), || {
            self.acknowledged_count() >= before + count
        });
    }

    /// Reports what happened, and fails if something acknowledged was never received.
    #[track_caller]
    pub(crate) fn check(&self, what: &str) {
        say_loudly(&format!("{what}: {self}"));
        let books = self.books();
        let lost = books.messages.iter();
        let lost: Vec<_> = lost
            .filter(|(_, message)| message.is_acknowledged && message.came == 0)
            .map(|(body, _)| body)
            .collect();
        assert!(
            lost.is_empty(),
            "{what}: {} lost, such as {:?}",
            lost.len(),
            &lost[..lost.len().min(5)]
        );
    }

    pub(crate) fn longest_silence(&self) -> Duration {
        self.books().longest_silence
    }

    pub(crate) fn longest_publish(&self) -> Duration {
        self.books().longest_publish
    }

    fn lost_count(&self) -> usize {
        let books = self.books();
        let messages = books.messages.values();
        messages
            .filter(|message| message.is_acknowledged && message.came == 0)
            .count()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes one message after the other, each until some node has answered `OK`.
    fn publish(&self, number: usize) {
        let mut node = number;
        let mut client = None;
        let mut serial = 0;
        while self.is_publishing.load(Relaxed) {
            if self.is_resting.load(Relaxed) {
                std::thread::sleep(PAUSE);
                continue;
            }
            // Counted before the next look, so that no publisher begins after all were seen to rest.
            self.busy_count.fetch_add(1, Relaxed);
            if self.is_resting.load(Relaxed) {
                self.busy_count.fetch_sub(1, Relaxed);
                continue;
            }
            let publish = self.next_publish(number, serial);
            let began = Instant::now();
            while self.is_publishing.load(Relaxed) {
                let address = self.addresses[node % self.addresses.len()];
                if self.try_publish(&mut client, address, &publish) {
                    let mut books = self.books();
                    for body in publish.bodies {
                        books.note_acknowledged(body, began.elapsed());
                    }
                    break;
                }
                client = None;
                node += 1;
                if self.is_tried_once {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            self.busy_count.fetch_sub(1, Relaxed);
            serial += 1;
            std::thread::sleep(PAUSE);
        }
    }

    fn next_publish(&self, number: usize, serial: usize) -> Publish {
        let topic = &self.topic;
        let body = format!("{number}-{serial}");
        match serial % 4 {
            1 if self.is_mixed => {
                let more = (1..4).map(|part| format!("{body}-{part}"));
                let bodies: Vec<_> = std::iter::once(body.clone()).chain(more).collect();
                Publish {
                    command: RawClient::multi_publish(topic, &bodies),
                    bodies,
                }
            }
            3 if self.is_mixed => Publish {
                command: RawClient::command(&format!("DPUB {topic} 100"), body.as_bytes()),
                bodies: vec![body],
            },
            _ => Publish {
                command: RawClient::command(&format!("PUB {topic}"), body.as_bytes()),
                bodies: vec![body],
            },
        }
    }

    fn try_publish(
        &self,
        client: &mut Option<RawClient>,
        address: SocketAddr,
        publish: &Publish,
    ) -> bool {
        if client.is_none() {
            *client = connect(address);
        }
        let Some(client) = client else {
            return false;
        };
        if client.try_send(&publish.command).is_err() {
            return false;
        }
        self.books().note(publish, |_| {});
        loop {
            match client.next_frame(ANSWER_PATIENCE) {
                Ok(Frame::Response(text)) if text == "OK" => return true,
                Ok(Frame::Response(_)) => {
                    // A heartbeat. If the node is gone, the next read says so.
                    let _ = client.try_send(b"NOP\n");
                }
                Ok(Frame::Error(text)) => {
                    let mut books = self.books();
                    if text.contains("may or may not") {
                        books.note(publish, |message| message.is_unsure = true);
                    }
                    *books.refusals.entry(text).or_default() += 1;
                    return false;
                }
                Ok(Frame::Message(_)) => {}
                Err(ReadEnd::Closed | ReadEnd::Silence) => {
                    self.books().note(publish, |message| {
                        message.is_unsure = true;
                        message.is_unanswered = true;
                    });
                    return false;
                }
            }
        }
    }

    /// Receives and finishes everything that one node has.
    fn consume(&self, number: usize) {
        let is_alone = self.consumers.len() == 1;
        let mut node = number;
        while self.is_consuming.load(Relaxed) {
            let Some(mut client) = connect(self.addresses[node % self.addresses.len()]) else {
                node += usize::from(is_alone);
                continue;
            };
            let subscribe = format!("SUB {} c\nRDY {}\n", self.topic, self.ready_count);
            if client.try_send(subscribe.as_bytes()).is_err() {
                continue;
            }
            while self.is_consuming.load(Relaxed) {
                match client.next_frame(Duration::from_millis(100)) {
                    Ok(Frame::Message(message)) => {
                        if self.is_mixed && message.attempts == 1 && message.body.ends_with(b"7") {
                            let _ = client.try_send(format!("REQ {} 50\n", message.id).as_bytes());
                            continue;
                        }
                        self.receive(message.text());
                        let _ = client.try_send(format!("FIN {}\n", message.id).as_bytes());
                    }
                    Ok(_) => {
                        let _ = client.try_send(b"NOP\n");
                    }
                    Err(ReadEnd::Silence) => {}
                    Err(ReadEnd::Closed) => break,
                }
            }
        }
    }

    fn receive(&self, body: String) {
        let mut books = self.books();
        let message = books.messages.entry(body).or_default();
        message.came += 1;
        let is_repeated = message.came > 1;
        let now = Instant::now();
        let silence = books.last_delivery.replace(now).map(|last| now - last);
        let is_publishing = self.is_publishing.load(Relaxed) && !self.is_resting.load(Relaxed);
        let silence = silence.filter(|_| is_publishing).unwrap_or_default();
        books.longest_silence = books.longest_silence.max(silence);
        if let Some(step) = books.steps.last_mut() {
            step.repeated += usize::from(is_repeated);
            step.longest_silence = step.longest_silence.max(silence);
        }
    }
}

/// One command of a publisher.
struct Publish {
    command: Vec<u8>,
    bodies: Vec<String>,
}

impl Books {
    fn note(&mut self, publish: &Publish, note: impl Fn(&mut Message)) {
        for body in &publish.bodies {
            note(self.messages.entry(body.clone()).or_default());
        }
    }

    fn note_acknowledged(&mut self, body: String, took: Duration) {
        self.acknowledged += 1;
        self.longest_publish = self.longest_publish.max(took);
        let step = self.steps.len().saturating_sub(1);
        let message = self.messages.entry(body).or_default();
        message.is_acknowledged = true;
        message.step = step;
        if let Some(step) = self.steps.last_mut() {
            step.acknowledged += 1;
            step.longest_publish = step.longest_publish.max(took);
        }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let books = self.books();
        let messages = || books.messages.values();
        let lost = messages().filter(|message| message.is_acknowledged && message.came == 0);
        let repeats = |is_unsure: bool| -> usize {
            let of_kind = messages().filter(|message| message.is_unsure == is_unsure);
            of_kind.map(|message| message.came.saturating_sub(1)).sum()
        };
        write!(
            out,
            "{} acknowledged, {} lost, {} repeats and {} of publishes without an answer; longest publish {:?}, longest time \
             without a delivery {:?}",
            books.acknowledged,
            lost.count(),
            repeats(false),
            repeats(true),
            books.longest_publish,
            books.longest_silence,
        )?;
        for (text, count) in &books.refusals {
            write!(out, "\n    {count} times: {text}")?;
        }
        Ok(())
    }
}

fn connect(address: SocketAddr) -> Option<RawClient> {
    if let Ok(mut client) = RawClient::try_connect(address)
        && client.try_send(b"  V2").is_ok()
    {
        return Some(client);
    }
    std::thread::sleep(Duration::from_millis(20));
    None
}
