//! What must be true: which message is owed to which channel, and who has it.
//!
//! The model hears of everything the broker answers, and of every kill and power cut; it knows what each of them may
//! cost. It panics at the first answer that breaks a promise.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use nsq_core::{ClientId, Now, Tick};
use nsq_protocol::MessageId;

mod check;
mod delivery;
mod ends;
mod names;
mod publishing;
mod start;

pub(crate) use start::FoundTopic;

/// Every published message has its own, and its body begins with it.
pub(crate) type Number = u32;

pub(crate) const MSG_TIMEOUT: Duration = Duration::from_mins(1);
pub(crate) const MAX_MSG_TIMEOUT: Duration = Duration::from_secs(150);
pub(crate) const MAX_REQ_TIMEOUT: Duration = Duration::from_hours(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not delivered in this life of the broker, as far as the model knows.
    Queued,
    InFlight {
        client: ClientId,
        delivered: Tick,
        deadline: Tick,
    },
    Requeued,
    Deferred {
        due: Tick,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finished {
    No,
    /// A power cut may bring it back.
    Unsynced,
    Synced,
}

/// One message as one channel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owed {
    /// Whether it has to be delivered; else it may be.
    must: bool,
    state: State,
    finished: Finished,
    /// A fault was met: it may come back although it was finished.
    may_return: bool,
    /// Deliveries, where they are known.
    attempts: Option<u16>,
    /// When a deferral ends, in unix nanoseconds, and whether that survives a kill.
    due: Option<i64>,
}

impl Owed {
    fn is_open(&self) -> bool {
        self.finished == Finished::No
    }
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "what is known of it, each on its own"
)]
#[derive(Clone, Debug, Default)]
pub(crate) struct Channel {
    owed: BTreeMap<Number, Owed>,
    ids: HashMap<MessageId, Number>,
    /// Any message of the topic may be delivered.
    is_loose: bool,
    /// Its floor would survive a power cut.
    is_floor_synced: bool,
    /// It would survive a power cut, or its deletion would.
    pub(crate) is_saved: bool,
    /// After a kill or a power cut: it may be gone.
    may_be_missing: bool,
    /// A kill came while messages were moved to the channel's private log: what lies in both logs is counted twice until
    /// the broker comes upon it.
    may_count_twice: bool,
    /// The order of the last message taken from the log for the first time in this life.
    last_fresh: Option<u64>,
    pub(crate) requeue_count: u64,
    pub(crate) timeout_count: u64,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "what is known of it, each on its own"
)]
#[derive(Clone, Debug)]
struct Message {
    len: usize,
    /// Its place among all that were published.
    order: u64,
    is_deferred: bool,
    due: i64,
    is_synced: bool,
    /// As safe as nsqd promises: channels may have it.
    is_safe: bool,
    /// Its publisher may have the answer although it is not known to be safe: it was emptied before any channel had it,
    /// or a sync failed after it had become safe.
    may_be_acknowledged: bool,
    /// The life of the broker it was published in.
    life: u64,
    /// Of an earlier life: it may have been delivered before.
    is_old: bool,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "what is known of it, each on its own"
)]
#[derive(Clone, Debug, Default)]
pub(crate) struct Topic {
    messages: BTreeMap<Number, Message>,
    /// Not yet offered to any channel, and whether each must be.
    waiting: BTreeMap<Number, bool>,
    pub(crate) channels: BTreeMap<String, Channel>,
    pub(crate) is_paused: bool,
    pub(crate) is_saved: bool,
    may_be_missing: bool,
    /// New channels may get what others had.
    is_position_lost: bool,
    /// What waited was emptied, and not synced since: a power cut may bring it back.
    may_refill: bool,
    /// Channels that were deleted and not yet forgotten by `nsqd.dat`.
    deleted: BTreeMap<String, Channel>,
    published_in_life: u64,
}

/// Everything that ever was under a topic's name, for what a power cut may bring back.
#[derive(Clone, Debug, Default)]
struct Ghost {
    messages: BTreeMap<Number, Message>,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "what is known of it, each on its own"
)]
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) topics: BTreeMap<String, Topic>,
    deleted: BTreeMap<String, Ghost>,
    /// Deleted while file operations failed: the folder may have stayed.
    undead: BTreeMap<String, Ghost>,
    next_order: u64,
    life: u64,
    /// The life that ended with the last power cut.
    last_cut: Option<u64>,
    /// How often the broker did its maintenance.
    pub(crate) maintenance_count: u64,
    /// File operations failed in this life.
    pub(crate) had_faults: bool,
    /// A sync failed in an earlier life. What it left of marks and positions is not written again, so a later power cut
    /// may take what was synced since.
    pub(crate) had_failed_sync: bool,
    /// The same of records: the process died before it could leave a note of it.
    pub(crate) has_forgotten_records: bool,
    /// Bits flipped since the last drain: each may cost one message of a channel.
    pub(crate) flips: u64,
    /// A publish is answered only once it is safe against a power cut.
    answers_when_synced: bool,
    pub(crate) delivered_count: u64,
    pub(crate) repeated_count: u64,
    pub(crate) published_count: u64,
}

/// When a message is due that a channel meets now. No wait is longer than a client can ask for: the clock may have been
/// ahead when the message was deferred.
fn due_tick(due: i64, now: Now) -> Tick {
    now.tick_at(due).min(now.tick.after(MAX_REQ_TIMEOUT))
}

impl Model {
    /// With `answers_when_synced`, a publish is answered only once it is safe against a power cut.
    pub(crate) fn of(answers_when_synced: bool) -> Model {
        Model {
            answers_when_synced,
            ..Model::default()
        }
    }
}

pub(crate) fn is_ephemeral(name: &str) -> bool {
    name.ends_with("#ephemeral")
}

/// The body of a message: its number in eight digits, then bytes that belong to it alone.
pub(crate) fn body_of(number: Number, len: usize) -> Vec<u8> {
    let mut body = format!("{number:08x}").into_bytes();
    let mut state = u64::from(number) | 1 << 40;
    while body.len() < len {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        body.push(state.to_be_bytes()[0]);
    }
    body
}

fn number_of(body: &[u8]) -> Number {
    let digits = body
        .get(..8)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    let number = digits.and_then(|digits| Number::from_str_radix(digits, 16).ok());
    number.unwrap_or_else(|| panic!("a body that nobody published: {}", body.escape_ascii()))
}
