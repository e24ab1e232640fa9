//! Publishers and consumers that go on whatever happens to nsqd, and a ledger of what they saw.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nsq_tests::{Frame, PATIENCE, RawClient, ReadEnd};

/// What was published and what came.
#[derive(Debug)]
pub(crate) struct Ledger {
    books: Mutex<Books>,
    published_count: AtomicUsize,
    publishing: AtomicBool,
    consuming: AtomicBool,
}

#[derive(Debug)]
struct Books {
    /// What nsqd said `OK` to, and when it is due.
    acknowledged: HashMap<String, Instant>,
    /// What was sent, with or without an answer, and when it is due at the earliest.
    sent: HashMap<String, Instant>,
    /// How often each came, by channel.
    came: Vec<HashMap<String, usize>>,
    early: Vec<String>,
    strangers: Vec<String>,
}

/// Ends all publishing and consuming when dropped.
pub(crate) struct EndsAll<'a>(&'a Ledger);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        self.0.publishing.store(false, Relaxed);
        self.0.consuming.store(false, Relaxed);
    }
}

impl Ledger {
    pub(crate) fn new(channel_count: usize) -> Self {
        let books = Books {
            acknowledged: HashMap::new(),
            sent: HashMap::new(),
            came: vec![HashMap::new(); channel_count],
            early: vec![],
            strangers: vec![],
        };
        Self {
            books: Mutex::new(books),
            published_count: AtomicUsize::new(0),
            publishing: AtomicBool::new(true),
            consuming: AtomicBool::new(true),
        }
    }

    pub(crate) fn ends_all(&self) -> EndsAll<'_> {
        EndsAll(self)
    }

    pub(crate) fn stop_publishing(&self) {
        self.publishing.store(false, Relaxed);
    }

    pub(crate) fn published_count(&self) -> usize {
        self.published_count.load(Relaxed)
    }

    /// What was acknowledged and has not come to each channel.
    pub(crate) fn missing(&self) -> Vec<String> {
        let books = self.books();
        let came_to_all =
            |body: &String| books.came.iter().all(|channel| channel.contains_key(body));
        books
            .acknowledged
            .keys()
            .filter(|body| !came_to_all(body))
            .cloned()
            .collect()
    }

    pub(crate) fn early(&self) -> Vec<String> {
        self.books().early.clone()
    }

    pub(crate) fn strangers(&self) -> Vec<String> {
        self.books().strangers.clone()
    }

    pub(crate) fn report(&self) -> String {
        let missing = self.missing().len();
        let books = self.books();
        let came: usize = books.came.iter().map(HashMap::len).sum();
        let deliveries: usize = books.came.iter().flat_map(HashMap::values).sum();
        let unanswered = books.sent.len() - books.acknowledged.len();
        format!(
            "seed {}: {} answered OK, {unanswered} unanswered, {deliveries} deliveries, {} of them repeats, {missing} lost",
            *SEED,
            books.acknowledged.len(),
            deliveries - came,
        )
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes by PUB, MPUB and DPUB until told to stop, connecting anew when nsqd is gone.
pub(crate) fn publish(address: SocketAddr, topic: &str, number: u64, ledger: &Ledger) {
    let mut dice = Dice::of(number);
    let mut serial = 0_usize;
    while ledger.publishing.load(Relaxed) {
        let Some(mut client) = connect(address) else {
            continue;
        };
        while ledger.publishing.load(Relaxed) {
            let delay = Duration::from_millis([0, 0, 1, 50, 300, 1500][dice.index(6)]);
            let count = if delay.is_zero() {
                [1, 1, 10, 100][dice.index(4)]
            } else {
                1
            };
            let bodies: Vec<String> = (serial..serial + count)
                .map(|serial| format!("{number}-{serial}"))
                .collect();
            serial += count;
            let due = Instant::now() + delay;
            ledger
                .books()
                .sent
                .extend(bodies.iter().map(|body| (body.clone(), due)));
            let command = match (count, delay.as_millis()) {
                (1, 0) => RawClient::command(&format!("PUB {topic}"), bodies[0].as_bytes()),
                (1, delay) => {
                    RawClient::command(&format!("DPUB {topic} {delay}"), bodies[0].as_bytes())
                }
                _ => RawClient::multi_publish(topic, &bodies),
            };
            if client.try_send(&command).is_err() {
                break;
            }
            match client.next_frame(PATIENCE) {
                Ok(Frame::Response(text)) if text == "OK" => {
                    ledger.published_count.fetch_add(count, Relaxed);
                    ledger
                        .books()
                        .acknowledged
                        .extend(bodies.into_iter().map(|body| (body, due)));
                }
                Err(ReadEnd::Closed) => break,
                other => panic!("a publish was answered by {other:?}"),
            }
            // Leaves the two cores of a small machine some time for nsqd.
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Consumes and finishes until told to stop; a few messages it requeues or forgets.
pub(crate) fn consume(
    address: SocketAddr,
    topic: &str,
    (channel, channel_name): (usize, &str),
    number: u64,
    ledger: &Ledger,
) {
    let mut dice = Dice::of(number);
    while ledger.consuming.load(Relaxed) {
        let Some(mut client) = connect(address) else {
            continue;
        };
        if client
            .try_send(format!("SUB {topic} {channel_name}\nRDY 100\n").as_bytes())
            .is_err()
        {
            continue;
        }
        while ledger.consuming.load(Relaxed) {
            let message = match client.next_frame(Duration::from_millis(100)) {
                Ok(Frame::Message(message)) => message,
                // `OK`, a heartbeat, or an answer that came after the timeout.
                Ok(_) => {
                    let _ = client.try_send(b"NOP\n");
                    continue;
                }
                Err(ReadEnd::Silence) => continue,
                Err(ReadEnd::Closed) => break,
            };
            ledger.note(channel, message.text());
            let answer = match dice.below(100) {
                0 => format!("REQ {} 0\n", message.id),
                1 => format!("REQ {} 200\n", message.id),
                2 => continue,
                _ => format!("FIN {}\n", message.id),
            };
            // A lost answer means a repeated message, nothing else.
            let _ = client.try_send(answer.as_bytes());
        }
    }
}

impl Ledger {
    fn note(&self, channel: usize, body: String) {
        let now = Instant::now();
        let mut books = self.books();
        match books.sent.get(&body) {
            Some(due) if now < *due => books.early.push(body.clone()),
            Some(_) => {}
            None => books.strangers.push(body.clone()),
        }
        *books.came[channel].entry(body).or_default() += 1;
    }
}

fn connect(address: SocketAddr) -> Option<RawClient> {
    let mut client = RawClient::try_connect(address).ok();
    if client
        .as_mut()
        .is_some_and(|client| client.try_send(b"  V2").is_ok())
    {
        return client;
    }
    std::thread::sleep(Duration::from_millis(5));
    None
}

/// Small random numbers from one seed for all, which the report tells and `SEED` sets.
#[derive(Debug)]
pub(crate) struct Dice(u64);

static SEED: LazyLock<u64> = LazyLock::new(|| {
    let given = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    given.unwrap_or_else(|| u64::from(since.subsec_nanos()))
});

impl Dice {
    /// Those of one thread, which no other thread's uses disturb.
    pub(crate) fn of(thread: u64) -> Self {
        // An odd factor keeps neighbouring seeds apart, and the last bit keeps zero out.
        Self((*SEED + thread + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number from 0 to `bound` - 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // xorshift64: good enough to vary what happens.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn index(&mut self, bound: u64) -> usize {
        usize::try_from(self.below(bound)).expect("it is small")
    }
}
