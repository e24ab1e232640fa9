//! What was published and what came of it: the total at the end of a campaign.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nsq_tests::say_loudly;

use crate::dice::SEED;

/// The books of one campaign. A message's body is `<publisher>-<serial>`.
#[derive(Debug)]
pub(crate) struct Ledger {
    books: Mutex<Books>,
    acknowledged_count: AtomicUsize,
    publishing: AtomicBool,
    consuming: AtomicBool,
}

/// How many channels a campaign has.
pub(crate) const CHANNELS: usize = 2;

#[derive(Debug)]
struct Books {
    /// By publisher and serial.
    sent: Vec<Vec<Sent>>,
    /// Deliveries that were not answered by FIN, so that they come again.
    left_unfinished: usize,
    early: Vec<String>,
    strangers: Vec<String>,
}

/// A message that was sent, with or without an answer.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// When it may be delivered at the earliest.
    due: Instant,
    is_acknowledged: bool,
    /// How often it came, by channel.
    came: [u32; CHANNELS],
}

/// A moment: how much each publisher had sent by then.
#[derive(Debug, Default)]
pub(crate) struct Mark(Vec<usize>);

/// Ends all publishing and consuming when dropped.
pub(crate) struct EndsAll<'a>(&'a Ledger);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        self.0.publishing.store(false, Relaxed);
        self.0.consuming.store(false, Relaxed);
    }
}

impl Ledger {
    pub(crate) fn new(publishers: usize) -> Self {
        let books = Books {
            sent: vec![Vec::new(); publishers],
            left_unfinished: 0,
            early: Vec::new(),
            strangers: Vec::new(),
        };
        Self {
            books: Mutex::new(books),
            acknowledged_count: AtomicUsize::new(0),
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

    pub(crate) fn is_publishing(&self) -> bool {
        self.publishing.load(Relaxed)
    }

    pub(crate) fn is_consuming(&self) -> bool {
        self.consuming.load(Relaxed)
    }

    pub(crate) fn acknowledged_count(&self) -> usize {
        self.acknowledged_count.load(Relaxed)
    }

    /// Notes that a publisher is about to send `count` messages: their serials.
    pub(crate) fn send(&self, publisher: usize, count: usize, due: Instant) -> Range<usize> {
        let mut books = self.books();
        let sent = &mut books.sent[publisher];
        let first = sent.len();
        let new = Sent {
            due,
            is_acknowledged: false,
            came: [0; CHANNELS],
        };
        sent.resize(first + count, new);
        first..first + count
    }

    /// Notes that nsqd said `OK` to these.
    pub(crate) fn acknowledge(&self, publisher: usize, serials: Range<usize>) {
        self.acknowledged_count.fetch_add(serials.len(), Relaxed);
        for sent in &mut self.books().sent[publisher][serials] {
            sent.is_acknowledged = true;
        }
    }

    /// Notes a delivery, and whether it is going to be finished.
    pub(crate) fn deliver(&self, channel: usize, body: &str, is_finished: bool) {
        let now = Instant::now();
        let mut books = self.books();
        books.left_unfinished += usize::from(!is_finished);
        let place = body.split_once('-');
        let place = place.and_then(|(publisher, serial)| {
            Some((
                publisher.parse::<usize>().ok()?,
                serial.parse::<usize>().ok()?,
            ))
        });
        let sent =
            place.and_then(|(publisher, serial)| books.sent.get_mut(publisher)?.get_mut(serial));
        let Some(sent) = sent else {
            books.strangers.push(body.to_owned());
            return;
        };
        sent.came[channel] += 1;
        if now < sent.due {
            books.early.push(body.to_owned());
        }
    }

    /// This moment, for [`Ledger::missing`].
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.books().sent.iter().map(Vec::len).collect())
    }

    /// What was sent after `mark`, was acknowledged, and has not come to this channel.
    pub(crate) fn missing(&self, channel: usize, mark: &Mark) -> Vec<String> {
        let books = self.books();
        let mut missing = Vec::new();
        for (publisher, sent) in books.sent.iter().enumerate() {
            let first = mark.0.get(publisher).copied().unwrap_or(0);
            let lost = sent.iter().enumerate().skip(first);
            let lost = lost.filter(|(_, sent)| sent.is_acknowledged && sent.came[channel] == 0);
            missing.extend(lost.map(|(serial, _)| format!("{publisher}-{serial}")));
        }
        missing
    }

    /// Waits until nothing is missing, or `patience` has passed.
    pub(crate) fn wait_for_the_last(&self, channel: usize, mark: &Mark, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.missing(channel, mark).is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Says what the total is, and fails unless everything acknowledged after each channel's mark has come there, nothing
    /// came before it was due, and nothing came that was never sent.
    #[track_caller]
    pub(crate) fn balance(&self, what: &str, since: [&Mark; CHANNELS]) {
        say_loudly(&format!("{what}: {self}"));
        for (channel, mark) in since.into_iter().enumerate() {
            let missing = self.missing(channel, mark);
            assert!(
                missing.is_empty(),
                "{what}: channel {channel} lost {}, such as {:?}; {self}",
                missing.len(),
                &missing[..missing.len().min(5)]
            );
        }
        let books = self.books();
        assert!(
            books.early.is_empty(),
            "before they were due: {:?}",
            books.early
        );
        assert!(
            books.strangers.is_empty(),
            "never sent: {:?}",
            books.strangers
        );
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let books = self.books();
        let all = || books.sent.iter().flatten();
        let acknowledged = all().filter(|sent| sent.is_acknowledged).count();
        write!(
            formatter,
            "seed {}, {acknowledged} answered OK, {} unanswered",
            *SEED,
            all().count() - acknowledged
        )?;
        for channel in 0..CHANNELS {
            let lost = all().filter(|sent| sent.is_acknowledged && sent.came[channel] == 0);
            let repeats = all().map(|sent| sent.came[channel].saturating_sub(1));
            write!(
                formatter,
                "; channel {channel}: {} lost, {} repeats",
                lost.count(),
                repeats.map(u64::from).sum::<u64>()
            )?;
        }
        write!(
            formatter,
            "; {} deliveries were not finished on purpose",
            books.left_unfinished
        )
    }
}
