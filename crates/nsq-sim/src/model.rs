//! What must be true: which message is owed to which channel, and who has it.
//!
//! The model hears of everything the broker answers, and of every kill and power cut; it knows what each of them may
//! cost. It panics at the first answer that breaks a promise.

use std::collections::{BTreeMap, HashMap};

use crate::disk;
use nsq_core::{ClientId, NotInFlight, Now, Tick};
use nsq_protocol::MessageId;
use std::time::Duration;

/// Every published message has its own, and its body begins with it.
pub(crate) type Number = u32;

pub(crate) const MSG_TIMEOUT: Duration = Duration::from_mins(1);
pub(crate) const MAX_MSG_TIMEOUT: Duration = Duration::from_secs(150);

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
    /// The order of the last message taken from the log for the first time in this life.
    last_fresh: Option<u64>,
    pub(crate) requeue_count: u64,
    pub(crate) timeout_count: u64,
}

#[derive(Clone, Debug)]
struct Message {
    len: usize,
    /// Its place among all that were published.
    order: u64,
    is_deferred: bool,
    due: i64,
    is_synced: bool,
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
    /// File operations failed in this life.
    pub(crate) had_faults: bool,
    /// A sync failed in an earlier life. What it left of marks and positions is not written again, so a later power cut
    /// may take what was synced since.
    pub(crate) had_failed_sync: bool,
    /// The same of records: the process died before it could leave a note of it.
    pub(crate) has_forgotten_records: bool,
    /// Bits flipped since the last drain: each may cost one message of a channel.
    pub(crate) flips: u64,
    pub(crate) delivered_count: u64,
    pub(crate) repeated_count: u64,
    pub(crate) published_count: u64,
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

impl Topic {
    fn is_flowing(&self) -> bool {
        !self.is_paused && !self.channels.is_empty()
    }

    fn offer(&mut self, now: Now) {
        if !self.is_flowing() {
            return;
        }
        for (number, must) in std::mem::take(&mut self.waiting) {
            let message = &self.messages[&number];
            for channel in self.channels.values_mut() {
                let owed = message.offered(must, now);
                // After a power cut it may be there already.
                channel.owed.entry(number).or_insert(owed);
            }
        }
    }
}

impl Topic {
    /// What waits may count as offered: the channels there are must have it, sooner or later, and no others.
    fn offer_perhaps(&mut self, now: Now) {
        if self.channels.is_empty() {
            return;
        }
        for (number, must) in &mut self.waiting {
            let message = &self.messages[number];
            for channel in self.channels.values_mut() {
                let mut owed = message.offered(*must, now);
                // When it is taken in, the clock may say something else.
                owed.state = State::Queued;
                owed.due = None;
                channel.owed.entry(*number).or_insert(owed);
            }
            *must = false;
        }
    }
}

impl Message {
    fn offered(&self, must: bool, now: Now) -> Owed {
        let is_held = self.is_deferred && self.due > now.unix_nanos;
        Owed {
            must,
            state: if is_held {
                State::Deferred {
                    due: now.tick_at(self.due),
                }
            } else {
                State::Queued
            },
            finished: Finished::No,
            may_return: false,
            attempts: (!self.is_old).then_some(0),
            due: self.is_deferred.then_some(self.due),
        }
    }
}

impl Model {
    // ---- publishing ----

    /// A publish was accepted: `due` when it was a deferred one.
    pub(crate) fn published(
        &mut self,
        topic: &str,
        bodies: &[Vec<u8>],
        due: Option<i64>,
        now: Now,
    ) {
        let life = self.life;
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        for body in bodies {
            let number = number_of(body);
            self.next_order += 1;
            self.published_count += 1;
            topic.published_in_life += 1;
            let message = Message {
                len: body.len(),
                order: self.next_order,
                is_deferred: due.is_some(),
                due: due.unwrap_or(0),
                is_synced: false,
                life,
                is_old: false,
            };
            topic.messages.insert(number, message);
            topic.waiting.insert(number, true);
        }
        topic.offer(now);
    }

    /// A publish was refused because of the disk: after a kill, part of it may come back.
    pub(crate) fn refused(&mut self, topic: &str, bodies: &[Vec<u8>], due: Option<i64>) {
        let life = self.life;
        let Some(topic) = self.topics.get_mut(topic) else {
            return;
        };
        for body in bodies {
            self.next_order += 1;
            let message = Message {
                len: body.len(),
                order: self.next_order,
                is_deferred: due.is_some(),
                due: due.unwrap_or(0),
                is_synced: false,
                life,
                is_old: false,
            };
            topic.messages.insert(number_of(body), message);
        }
    }

    // ---- deliveries ----

    #[expect(clippy::too_many_arguments, reason = "all that a client is told")]
    pub(crate) fn delivered(
        &mut self,
        topic_name: &str,
        channel_name: &str,
        client: ClientId,
        id: MessageId,
        attempts: u16,
        body: &[u8],
        now: Now,
    ) {
        let number = number_of(body);
        let context = || format!("message {number} ({id:?}) on {topic_name}/{channel_name}");
        self.delivered_count += 1;
        let last_cut = self.last_cut;
        let ghost = self.undead.get(topic_name);
        let topic = self
            .topics
            .get_mut(topic_name)
            .expect("a topic that is there");
        if let Some(known) = ghost.and_then(|ghost| ghost.messages.get(&number)) {
            topic
                .messages
                .entry(number)
                .or_insert_with(|| known.clone());
        }
        let message = topic
            .messages
            .get_mut(&number)
            .unwrap_or_else(|| panic!("{}: was never published to it", context()));
        assert!(
            body == body_of(number, message.len),
            "{}: its body has changed",
            context()
        );
        if last_cut.is_some_and(|cut| message.life <= cut) {
            // It came off the disk after the power cut.
            message.is_synced = true;
        }
        let had_faults = self.had_faults;
        let channel = topic
            .channels
            .get_mut(channel_name)
            .expect("a channel that is there");
        channel.ids.insert(id, number);
        disk::note(|| format!("DELIVER {number} of {channel_name} to {client:?}, {attempts}"));
        if !channel.owed.contains_key(&number) {
            assert!(
                channel.is_loose,
                "{}: the channel was never to have it",
                context()
            );
            let mut owed = message.offered(false, now);
            owed.attempts = None;
            owed.state = State::Queued;
            channel.owed.insert(number, owed);
        }
        let is_loose = channel.is_loose;
        let owed = channel.owed.get_mut(&number).expect("just made");
        if !owed.is_open() {
            assert!(
                owed.may_return || is_loose || had_faults,
                "{}: was finished and has come back ({owed:?})",
                context()
            );
            owed.finished = Finished::No;
            owed.attempts = None;
            owed.state = State::Queued;
            self.repeated_count += 1;
        }
        match owed.state {
            State::InFlight {
                client: holder,
                deadline,
                ..
            } => panic!(
                "{}: given to {client:?} while {holder:?} holds it until {deadline:?}, at {:?}",
                context(),
                now.tick
            ),
            State::Deferred { due } => {
                assert!(
                    due <= now.tick,
                    "{}: deferred until {due:?}, delivered at {:?}",
                    context(),
                    now.tick
                );
            }
            State::Queued | State::Requeued => {}
        }
        match owed.attempts {
            Some(before) => assert_eq!(attempts, before + 1, "{}: attempts", context()),
            None => assert!(attempts > 0, "{}: attempts", context()),
        }
        let is_fresh = attempts == 1 && !message.is_deferred && owed.state == State::Queued;
        if is_fresh && !is_loose {
            assert!(
                channel.last_fresh.is_none_or(|last| last < message.order),
                "{}: overtaken by a later one",
                context()
            );
            channel.last_fresh = Some(message.order);
        }
        owed.must = true;
        owed.attempts = Some(attempts);
        owed.due = None;
        owed.state = State::InFlight {
            client,
            delivered: now.tick,
            deadline: now.tick.after(MSG_TIMEOUT),
        };
    }

    /// The message a client means, and whether it holds it.
    fn held(
        channel: &mut Channel,
        client: ClientId,
        id: MessageId,
    ) -> Result<&mut Owed, NotInFlight> {
        let number = channel.ids.get(&id).ok_or(NotInFlight::Unknown)?;
        let owed = channel.owed.get_mut(number).ok_or(NotInFlight::Unknown)?;
        match owed.state {
            State::InFlight { client: holder, .. } if owed.is_open() => {
                if holder == client {
                    Ok(owed)
                } else {
                    Err(NotInFlight::NotOwner)
                }
            }
            _ => Err(NotInFlight::Unknown),
        }
    }

    fn channel_mut(&mut self, topic: &str, channel: &str) -> &mut Channel {
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        topic
            .channels
            .get_mut(channel)
            .expect("a channel that is there")
    }

    pub(crate) fn finished(
        &mut self,
        topic: &str,
        channel: &str,
        client: ClientId,
        id: MessageId,
        answer: Result<(), NotInFlight>,
    ) {
        let had_faults = self.had_faults;
        let channel = self.channel_mut(topic, channel);
        disk::note(|| {
            format!(
                "FIN of {:?} by {client:?}: {answer:?}",
                channel.ids.get(&id)
            )
        });
        let expected = Self::held(channel, client, id).map(|owed| {
            owed.finished = Finished::Unsynced;
            owed.may_return |= had_faults;
        });
        assert_eq!(answer, expected, "FIN of {id:?} by {client:?}");
    }

    #[expect(clippy::too_many_arguments, reason = "all that a client is told")]
    pub(crate) fn requeued(
        &mut self,
        topic: &str,
        channel: &str,
        client: ClientId,
        id: MessageId,
        delay: Duration,
        answer: Result<(), NotInFlight>,
        now: Now,
    ) {
        let had_faults = self.had_faults;
        let channel = self.channel_mut(topic, channel);
        disk::note(|| {
            let number = channel.ids.get(&id);
            format!("REQ of {number:?} by {client:?} for {delay:?}: {answer:?}")
        });
        let expected = Self::held(channel, client, id).map(|owed| {
            if delay.is_zero() {
                owed.state = State::Requeued;
            } else {
                owed.state = State::Deferred {
                    due: now.tick.after(delay),
                };
                owed.due = (!had_faults).then(|| now.unix_after(delay));
            }
        });
        channel.requeue_count += u64::from(expected.is_ok());
        assert_eq!(answer, expected, "REQ of {id:?} by {client:?}");
    }

    pub(crate) fn touched(
        &mut self,
        topic: &str,
        channel: &str,
        client: ClientId,
        id: MessageId,
        answer: Result<(), NotInFlight>,
        now: Now,
    ) {
        let channel = self.channel_mut(topic, channel);
        let expected = Self::held(channel, client, id).map(|owed| {
            if let State::InFlight {
                delivered,
                deadline,
                ..
            } = &mut owed.state
            {
                let limit = delivered.after(MAX_MSG_TIMEOUT);
                *deadline = now.tick.after(MSG_TIMEOUT).min(limit);
            }
        });
        assert_eq!(answer, expected, "TOUCH of {id:?} by {client:?}");
    }

    /// The broker looked for what is due on a channel.
    pub(crate) fn expired(&mut self, topic: &str, channel: &str, now: Now) {
        let Some(topic) = self.topics.get_mut(topic) else {
            return;
        };
        let Some(channel) = topic.channels.get_mut(channel) else {
            return;
        };
        for owed in channel.owed.values_mut().filter(|owed| owed.is_open()) {
            match owed.state {
                State::InFlight { deadline, .. } if deadline <= now.tick => {
                    owed.state = State::Requeued;
                    channel.timeout_count += 1;
                }
                State::Deferred { due } if due <= now.tick => {
                    owed.state = State::Requeued;
                    owed.due = None;
                }
                _ => {}
            }
        }
    }

    /// The clock was set: notes made from now on tell how long is left by the new one.
    pub(crate) fn clock_set(&mut self, now: Now) {
        for topic in self.topics.values_mut() {
            for owed in topic
                .channels
                .values_mut()
                .flat_map(|channel| channel.owed.values_mut())
            {
                if let (State::Deferred { due: tick }, Some(due)) = (owed.state, owed.due) {
                    owed.due = Some(due.min(now.unix_at(tick)));
                }
            }
        }
    }

    // ---- topics and channels ----

    pub(crate) fn topic_made(&mut self, name: &str) {
        self.topics.entry(name.to_owned()).or_default();
    }

    pub(crate) fn channel_made(&mut self, topic: &str, name: &str, now: Now) {
        let had_faults = self.had_faults;
        let is_undead = self.undead.contains_key(topic);
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        let is_loose = topic.is_position_lost || had_faults || is_undead;
        topic
            .channels
            .entry(name.to_owned())
            .or_insert_with(|| Channel {
                is_loose,
                ..Channel::default()
            });
        topic.offer(now);
    }

    pub(crate) fn topic_deleted(&mut self, name: &str) {
        if let Some(topic) = self.topics.remove(name) {
            if self.had_faults {
                let undead = self.undead.entry(name.to_owned()).or_default();
                undead.messages.extend(topic.messages.clone());
            }
            let ghost = self.deleted.entry(name.to_owned()).or_default();
            ghost.messages.extend(topic.messages);
        }
    }

    pub(crate) fn channel_deleted(&mut self, topic: &str, name: &str) {
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        if let Some(channel) = topic.channels.remove(name) {
            topic.deleted.insert(name.to_owned(), channel);
        }
    }

    pub(crate) fn topic_paused(&mut self, topic: &str, is_paused: bool, now: Now) {
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        if topic.is_paused != is_paused {
            topic.is_paused = is_paused;
            topic.is_saved = false;
            topic.offer(now);
        }
    }

    /// Emptying a topic failed on the way.
    pub(crate) fn topic_partly_emptied(&mut self, topic: &str) {
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        for must in topic.waiting.values_mut() {
            *must = false;
        }
        if topic.is_position_lost {
            for channel in topic.channels.values_mut() {
                channel.loosen();
            }
        }
        topic.is_position_lost = true;
    }

    pub(crate) fn topic_emptied(&mut self, topic: &str) {
        let topic = self.topics.get_mut(topic).expect("a topic that is there");
        topic.may_refill |= !topic.waiting.is_empty();
        topic.waiting.clear();
        if topic.is_position_lost {
            // What channels had may count as not offered, and go with the rest.
            for channel in topic.channels.values_mut() {
                channel.loosen();
            }
        }
    }

    pub(crate) fn channel_emptied(&mut self, topic: &str, channel: &str) {
        let had_faults = self.had_faults;
        let waiting = self.topics.get_mut(topic).expect("a topic that is there");
        if waiting.is_position_lost {
            // What waits may count as offered.
            for must in waiting.waiting.values_mut() {
                *must = false;
            }
        }
        for owed in self.channel_mut(topic, channel).owed.values_mut() {
            if owed.is_open() {
                owed.finished = Finished::Unsynced;
                owed.may_return |= had_faults;
            }
        }
    }

    /// `nsqd.dat` is written and synced.
    pub(crate) fn registry_saved(&mut self) {
        self.deleted.clear();
        for topic in self.topics.values_mut() {
            topic.is_saved = true;
            topic.deleted.clear();
            for channel in topic.channels.values_mut() {
                channel.is_saved = true;
            }
        }
    }

    /// A topic was synced; `marks_too` when no error was met on the way.
    pub(crate) fn synced(&mut self, topic: &str, marks_too: bool) {
        let Some(topic) = self.topics.get_mut(topic) else {
            return;
        };
        for message in topic.messages.values_mut() {
            message.is_synced = true;
        }
        if !marks_too {
            return;
        }
        topic.may_refill = false;
        for channel in topic.channels.values_mut() {
            channel.is_floor_synced = true;
            for owed in channel.owed.values_mut() {
                if owed.finished == Finished::Unsynced {
                    owed.finished = Finished::Synced;
                }
            }
        }
    }

    // ---- ends of the process ----

    /// The broker was closed in order.
    pub(crate) fn closed(&mut self, now: Now) {
        self.end_life(|model, owed, _| {
            // What is noted is how long it still has to wait, by the clock as it stands.
            if let (State::Deferred { due: tick }, Some(due)) = (owed.state, owed.due) {
                owed.due = Some(due.min(now.unix_at(tick)));
            }
            if model.had_faults {
                owed.attempts = None;
                owed.may_return |= owed.finished == Finished::Unsynced;
            }
        });
        if !self.had_faults {
            let names: Vec<_> = self.topics.keys().cloned().collect();
            for name in names {
                self.synced(&name, true);
            }
        }
    }

    /// The process was killed between two calls: what it had answered counts.
    pub(crate) fn killed(&mut self) {
        self.end_life(|model, owed, _| {
            owed.attempts = None;
            if model.had_faults {
                owed.may_return = true;
                owed.due = None;
            }
        });
        for topic in self.topics.values_mut() {
            // Pauses are known from `nsqd.dat` alone.
            if !topic.is_saved {
                topic.is_position_lost = true;
            }
        }
    }

    /// The process was killed within a call that began at `before`: whatever the call did may be done or not.
    pub(crate) fn killed_within(&mut self, before: &Model) {
        for (name, ghost) in &before.deleted {
            let deleted = &mut self.deleted;
            deleted.entry(name.clone()).or_insert_with(|| ghost.clone());
        }
        for (name, topic) in &before.topics {
            if !self.topics.contains_key(name) {
                let mut back = topic.clone();
                back.may_be_missing = true;
                back.loosen();
                self.topics.insert(name.clone(), back);
            }
        }
        for (name, topic) in &mut self.topics {
            let Some(old) = before.topics.get(name) else {
                topic.may_be_missing = true;
                topic.is_saved = false;
                topic.loosen();
                for channel in topic.channels.values_mut() {
                    channel.may_be_missing = true;
                    channel.is_saved = false;
                    channel.is_floor_synced = false;
                }
                continue;
            };
            topic.is_saved &= old.is_saved;
            for (number, message) in &mut topic.messages {
                let was_synced = old.messages.get(number).is_some_and(|old| old.is_synced);
                message.is_synced &= was_synced;
            }
            for (name, channel) in &old.deleted {
                let deleted = &mut topic.deleted;
                deleted
                    .entry(name.clone())
                    .or_insert_with(|| channel.clone());
            }
            if topic.is_paused != old.is_paused || topic.channels.len() != old.channels.len() {
                topic.is_position_lost = true;
            }
            for (name, channel) in &old.channels {
                if !topic.channels.contains_key(name) {
                    let mut back = channel.clone();
                    back.may_be_missing = true;
                    back.loosen();
                    topic.channels.insert(name.clone(), back);
                }
            }
            if topic.waiting.len() < old.waiting.len() {
                // Offered or emptied, or not: what is not offered comes to the channels later.
                let offered = topic.is_flowing();
                for (&number, &must) in &old.waiting {
                    let is_first = old.channels.is_empty();
                    let must = must && offered && is_first;
                    topic.waiting.entry(number).or_insert(must);
                }
            }
            for (channel_name, channel) in &mut topic.channels {
                let Some(was) = old.channels.get(channel_name) else {
                    channel.may_be_missing = true;
                    channel.is_saved = false;
                    channel.is_floor_synced = false;
                    channel.is_loose = true;
                    for (number, owed) in &mut channel.owed {
                        owed.must &= old.messages.contains_key(number);
                    }
                    continue;
                };
                channel.is_saved &= was.is_saved;
                channel.is_floor_synced &= was.is_floor_synced;
                for (number, owed) in &mut channel.owed {
                    match was.owed.get(number) {
                        Some(before) if before == owed => {}
                        Some(before) => {
                            owed.due = None;
                            if before.finished == Finished::Unsynced {
                                owed.finished = Finished::Unsynced;
                            }
                            if before.is_open() && !owed.is_open() {
                                // The FIN may not have been noted, and may have been.
                                owed.finished = Finished::No;
                                owed.must = false;
                            }
                        }
                        None => {
                            // In flight to its publisher: nobody was told that it is safe.
                            let is_old = old.messages.contains_key(number);
                            owed.must &= is_old;
                        }
                    }
                }
            }
            let new = topic.messages.keys().copied();
            let new: Vec<_> = new
                .filter(|number| !old.messages.contains_key(number))
                .collect();
            for number in new {
                if let Some(must) = topic.waiting.get_mut(&number) {
                    *must = false;
                }
            }
        }
        self.killed();
    }

    /// The machine lost its power: what was not synced may be gone.
    pub(crate) fn power_cut(&mut self) {
        self.last_cut = Some(self.life);
        self.end_life(|model, owed, is_synced| {
            owed.attempts = None;
            owed.may_return |= owed.finished == Finished::Unsynced || model.had_failed_sync;
            owed.must &= is_synced && !model.has_forgotten_records;
            owed.due = None;
        });
        let deleted = std::mem::take(&mut self.deleted);
        for (name, ghost) in deleted {
            // Parts of it may be back, under whatever is there now.
            let topic = self.topics.entry(name).or_insert_with(|| Topic {
                may_be_missing: true,
                ..Topic::default()
            });
            for (number, message) in ghost.messages {
                topic.messages.entry(number).or_insert(message);
            }
            topic.loosen();
        }
        for topic in self.topics.values_mut() {
            topic.may_be_missing |= !topic.is_saved;
            // What was emptied may be back, and come to channels that are made later.
            if !topic.is_saved || topic.channels.is_empty() || topic.may_refill {
                topic.is_position_lost = true;
            }
            topic.may_refill = false;
            for (number, must) in &mut topic.waiting {
                *must &= topic.messages[number].is_synced && !self.had_failed_sync;
            }
            for (name, mut channel) in std::mem::take(&mut topic.deleted) {
                channel.may_be_missing = true;
                channel.loosen();
                channel.begin_life();
                topic.channels.entry(name).or_insert(channel).is_loose = true;
                topic.is_position_lost = true;
            }
            for channel in topic.channels.values_mut() {
                channel.may_be_missing |= !channel.is_saved;
                channel.is_loose |= !channel.is_floor_synced || !channel.is_saved;
                // A paused topic's position may be lost: what waited is offered then.
                channel.is_loose |= topic.is_position_lost || topic.is_paused;
            }
        }
    }

    fn end_life(&mut self, change: impl Fn(&Model, &mut Owed, bool)) {
        let mut topics = std::mem::take(&mut self.topics);
        topics.retain(|name, _| !is_ephemeral(name));
        for topic in topics.values_mut() {
            topic.published_in_life = 0;
            for message in topic.messages.values_mut() {
                message.is_old = true;
            }
            let kept = topic.channels.len();
            topic.channels.retain(|name, _| !is_ephemeral(name));
            if topic.channels.len() < kept && topic.channels.is_empty() {
                // Where only ephemeral channels followed, the position is noted now and then.
                topic.is_position_lost = true;
            }
            for channel in topic.channels.values_mut() {
                channel.begin_life();
                for (number, owed) in &mut channel.owed {
                    change(self, owed, topic.messages[number].is_synced);
                }
            }
        }
        self.topics = topics;
        self.life += 1;
    }

    /// The broker is open again at `now`, with these topics and channels.
    pub(crate) fn reopened(&mut self, found: &[FoundTopic], now: Now) {
        let had_faults = std::mem::take(&mut self.had_faults);
        for topic in found {
            if let Some(ghost) = self.undead.get(&topic.name) {
                let back = self.topics.entry(topic.name.clone()).or_default();
                back.is_position_lost = true;
                for (number, message) in &ghost.messages {
                    let messages = &mut back.messages;
                    messages.entry(*number).or_insert_with(|| message.clone());
                }
            }
            assert!(
                self.topics.contains_key(&topic.name),
                "topic {} was deleted and is back",
                topic.name
            );
        }
        self.topics.retain(|name, topic| {
            let is_there = found.iter().any(|found| found.name == *name);
            assert!(
                is_there || topic.may_be_missing || had_faults,
                "topic {name} is gone"
            );
            is_there
        });
        for found in found {
            let topic = self.topics.get_mut(&found.name).expect("just checked");
            topic.may_be_missing = false;
            topic.is_position_lost |= topic.is_paused != found.is_paused || had_faults;
            topic.is_paused = found.is_paused;
            for name in &found.channels {
                let position_lost = topic.is_position_lost || had_faults;
                assert!(
                    topic.channels.contains_key(name) || position_lost,
                    "channel {}/{name} was deleted and is back",
                    found.name
                );
                topic.channels.entry(name.clone()).or_insert(Channel {
                    is_loose: true,
                    ..Channel::default()
                });
            }
            let missing = std::mem::take(&mut topic.channels);
            let before = missing.len();
            for (name, mut channel) in missing {
                if found.channels.contains(&name) {
                    channel.may_be_missing = false;
                    topic.channels.insert(name, channel);
                } else {
                    assert!(
                        channel.may_be_missing || had_faults,
                        "channel {}/{name} is gone",
                        found.name
                    );
                }
            }
            if topic.channels.len() < before {
                topic.is_position_lost = true;
            }
            for channel in topic.channels.values_mut() {
                channel.is_loose |= topic.is_position_lost;
                for owed in channel.owed.values_mut().filter(|owed| owed.is_open()) {
                    owed.state = match owed.due {
                        Some(due) if due > now.unix_nanos => State::Deferred {
                            due: now.tick_at(due),
                        },
                        _ => State::Queued,
                    };
                    if owed.state == State::Queued {
                        owed.due = None;
                    }
                }
            }
            if topic.is_position_lost {
                topic.offer_perhaps(now);
            }
            topic.offer(now);
        }
    }

    // ---- looks ----

    /// What the broker's figures have to be: `None` where the model cannot know.
    pub(crate) fn figures(&self, topic: &str, channel: &str) -> Option<Figures> {
        let topic = self.topics.get(topic)?;
        let channel = topic.channels.get(channel)?;
        let open: Vec<_> = channel
            .owed
            .values()
            .filter(|owed| owed.is_open())
            .collect();
        let is_sure = !channel.is_loose
            && self.flips == 0
            // What cannot be read for a moment is not counted meanwhile.
            && !self.had_faults
            && open.iter().all(|owed| owed.must)
            && channel
                .owed
                .values()
                .all(|owed| owed.is_open() || !owed.may_return);
        let in_flight = open
            .iter()
            .filter(|owed| matches!(owed.state, State::InFlight { .. }));
        Some(Figures {
            // A paused topic whose position is lost gives the rest when it goes on.
            least: if topic.is_paused && topic.is_position_lost {
                0
            } else {
                open.iter().filter(|owed| owed.must).count() as u64
            },
            total: is_sure.then_some(open.len() as u64),
            open: channel
                .owed
                .iter()
                .filter(|(_, owed)| owed.is_open())
                .map(|(number, _)| *number)
                .collect(),
            in_flight: in_flight.count() as u64,
            requeue_count: channel.requeue_count,
            timeout_count: channel.timeout_count,
        })
    }

    pub(crate) fn published_in_life(&self, topic: &str) -> u64 {
        self.topics
            .get(topic)
            .map_or(0, |topic| topic.published_in_life)
    }

    pub(crate) fn waits(&self, topic: &str) -> bool {
        self.topics
            .get(topic)
            .is_some_and(|topic| topic.channels.is_empty() && !topic.messages.is_empty())
    }

    /// Everything was drained: nothing may be left that had to come, and what might have come will not any more.
    pub(crate) fn drained(&mut self) {
        for (topic_name, topic) in &mut self.topics {
            for (name, channel) in &mut topic.channels {
                let lost: Vec<_> = channel
                    .owed
                    .iter()
                    .filter(|(_, owed)| owed.is_open() && owed.must)
                    .map(|(number, _)| *number)
                    .collect();
                assert!(
                    lost.len() as u64 <= self.flips,
                    "{} lost on {topic_name}/{name}, with {} bits flipped: {lost:?}",
                    lost.len(),
                    self.flips
                );
                for owed in channel.owed.values_mut() {
                    if owed.is_open() {
                        owed.finished = Finished::Unsynced;
                    }
                    owed.may_return = false;
                }
                channel.is_loose = false;
            }
            topic.is_position_lost = false;
        }
    }

    /// Everything finished is on the disk: old messages need not be remembered one by one.
    pub(crate) fn had_flip(&mut self) {
        self.flips += 1;
        for topic in self.topics.values_mut() {
            topic.loosen_repeats();
        }
    }
}

impl Topic {
    fn loosen(&mut self) {
        self.is_position_lost = true;
        for must in self.waiting.values_mut() {
            *must = false;
        }
        for channel in self.channels.values_mut() {
            channel.loosen();
        }
    }

    /// Marks may have been lost, and due times: all may come again.
    fn loosen_repeats(&mut self) {
        self.is_position_lost = true;
        for channel in self.channels.values_mut() {
            channel.is_loose = true;
            for owed in channel.owed.values_mut() {
                owed.attempts = None;
                owed.due = None;
                owed.may_return = true;
            }
        }
    }
}

impl Channel {
    fn begin_life(&mut self) {
        self.last_fresh = None;
        self.requeue_count = 0;
        self.timeout_count = 0;
    }

    fn loosen(&mut self) {
        self.is_loose = true;
        for owed in self.owed.values_mut() {
            owed.must = false;
            owed.may_return = true;
            owed.attempts = None;
            owed.due = None;
        }
    }
}

/// A topic that the broker has after a start.
pub(crate) struct FoundTopic {
    pub(crate) name: String,
    pub(crate) is_paused: bool,
    pub(crate) channels: Vec<String>,
}

pub(crate) struct Figures {
    /// Messages the channel has at least.
    pub(crate) least: u64,
    /// Messages it has, where that is known.
    pub(crate) total: Option<u64>,
    /// Which they may be.
    pub(crate) open: Vec<Number>,
    pub(crate) in_flight: u64,
    pub(crate) requeue_count: u64,
    pub(crate) timeout_count: u64,
}
