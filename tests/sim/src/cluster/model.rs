//! What must be true of a cluster, whatever fails.
//!
//! - A message that was acknowledged reaches each channel, unless every machine lost its power within the time that the
//!   unsynced part of the logs may lack.
//! - A publish that was refused as not stored is not delivered. Only one whose answer says so, or never came, may be stored or not.
//! - A message is stored once.
//! - A finished message comes again only if its leader was disturbed shortly after the FIN.
//! - A group has at most one leader in a term.

use std::collections::BTreeMap;

use nsq_protocol::RawMessageId;

/// A message's number, which its body names.
pub(super) type Number = u32;

/// What became of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// Not answered yet.
    Open,
    /// `OK`, at this time.
    Acknowledged(u64),
    /// It may or may not be stored.
    Unknown,
    /// It is not stored; the text of the refusal.
    Refused(String),
}

struct Message {
    topic: usize,
    sent: u64,
    outcome: Outcome,
    /// As first delivered.
    id: Option<RawMessageId>,
    /// By channel of its topic.
    deliveries: BTreeMap<usize, Deliveries>,
}

#[derive(Default)]
struct Deliveries {
    count: u32,
    finished: Option<Finished>,
}

#[derive(Clone, Copy, Debug)]
struct Finished {
    at: u64,
    host: usize,
    id: RawMessageId,
}

/// A finished message that came again.
struct Repeat {
    number: Number,
    channel: usize,
    finished: Finished,
    again: u64,
}

/// A time in which what is finished may be forgotten.
struct Disturbance {
    from: u64,
    to: u64,
}

pub(super) struct Model {
    /// How many channels each topic has.
    channels: Vec<usize>,
    messages: Vec<Message>,
    repeats: Vec<Repeat>,
    disturbances: Vec<Disturbance>,
    leaders: BTreeMap<(u64, u64), usize>,
    /// How long before a disturbance a FIN may be forgotten.
    pub(super) window: u64,
    /// Times of which acknowledged messages may be lost.
    losses: Vec<(u64, u64)>,
    pub(super) counts: Counts,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
    pub(super) delivered: u64,
    pub(super) finished: u64,
    pub(super) repeated: u64,
    pub(super) lost_within_window: u64,
}

impl Model {
    pub(super) fn new(channels: Vec<usize>, window: u64) -> Model {
        Model {
            channels,
            messages: Vec::new(),
            repeats: Vec::new(),
            disturbances: Vec::new(),
            leaders: BTreeMap::new(),
            window,
            losses: Vec::new(),
            counts: Counts::default(),
        }
    }

    // ---- publishing ----

    pub(super) fn publish(&mut self, topic: usize, now: u64) -> Number {
        self.messages.push(Message {
            topic,
            sent: now,
            outcome: Outcome::Open,
            id: None,
            deliveries: BTreeMap::new(),
        });
        Number::try_from(self.messages.len() - 1).expect("a run is short")
    }

    fn message(&mut self, number: Number) -> &mut Message {
        &mut self.messages[number as usize]
    }

    pub(super) fn acknowledge(&mut self, number: Number, now: u64) {
        self.counts.acknowledged += 1;
        self.message(number).outcome = Outcome::Acknowledged(now);
    }

    /// The publish has failed, for a reason that says whether it may be stored; `None` if no answer came.
    pub(super) fn fail(&mut self, number: Number, why: Option<&str>) {
        let may_be_stored = why.is_none_or(|why| why.contains("may or may not have been stored"));
        let message = self.message(number);
        match why {
            Some(why) if !may_be_stored => {
                message.outcome = Outcome::Refused(why.to_owned());
                assert!(
                    message.id.is_none(),
                    "message {number} was delivered and is refused: {why}"
                );
                self.counts.refused += 1;
            }
            _ => {
                message.outcome = Outcome::Unknown;
                self.counts.unknown += 1;
            }
        }
    }

    // ---- consuming ----

    pub(super) fn deliver(
        &mut self,
        topic: usize,
        channel: usize,
        number: Number,
        id: RawMessageId,
        now: u64,
    ) {
        self.counts.delivered += 1;
        let message = &mut self.messages[number as usize];
        assert_eq!(
            message.topic, topic,
            "message {number} came from another topic"
        );
        if let Outcome::Refused(why) = &message.outcome {
            panic!("message {number} was refused and is delivered: {why}");
        }
        let known = *message.id.get_or_insert(id);
        assert_eq!(text(&known), text(&id), "message {number} is stored twice");
        let deliveries = message.deliveries.entry(channel).or_default();
        deliveries.count += 1;
        if let Some(finished) = deliveries.finished {
            self.counts.repeated += 1;
            self.repeats.push(Repeat {
                number,
                channel,
                finished,
                again: now,
            });
        }
    }

    pub(super) fn finish(
        &mut self,
        channel: usize,
        number: Number,
        id: RawMessageId,
        host: usize,
        now: u64,
    ) {
        self.counts.finished += 1;
        let deliveries = self.message(number).deliveries.entry(channel).or_default();
        deliveries.finished = Some(Finished { at: now, host, id });
    }

    /// nsqd has refused a FIN that this host was sent.
    pub(super) fn refuse_finish(
        &mut self,
        topic: usize,
        channel: usize,
        id: RawMessageId,
        host: usize,
    ) {
        for (number, message) in self.messages.iter_mut().enumerate() {
            if message.topic != topic {
                continue;
            }
            let Some(deliveries) = message.deliveries.get_mut(&channel) else {
                continue;
            };
            let is_it = |finished: &Finished| finished.id == id && finished.host == host;
            if deliveries.finished.as_ref().is_some_and(is_it) {
                deliveries.finished = None;
                self.repeats
                    .retain(|repeat| repeat.number as usize != number || repeat.channel != channel);
            }
        }
    }

    // ---- faults ----

    /// What was finished in this time, and shortly before, may be forgotten.
    pub(super) fn disturb(&mut self, from: u64, to: u64) {
        self.disturbances.push(Disturbance { from, to });
    }

    /// What was acknowledged in this time may be lost.
    pub(super) fn may_lose(&mut self, from: u64, to: u64) {
        self.losses.push((from, to));
    }

    pub(super) fn lead(&mut self, group: u64, term: u64, host: usize) {
        let leader = *self.leaders.entry((group, term)).or_insert(host);
        assert_eq!(
            leader, host,
            "machines {leader} and {host} lead group {group} in term {term}"
        );
    }

    // ---- the end ----

    fn may_be_lost(&self, acknowledged: u64) -> bool {
        let mut losses = self.losses.iter();
        losses.any(|(from, to)| (*from..=*to).contains(&acknowledged))
    }

    /// What has not arrived yet, of what must.
    pub(super) fn missing(&self) -> Vec<(Number, usize)> {
        let mut missing = Vec::new();
        for (number, message) in self.messages.iter().enumerate() {
            let Outcome::Acknowledged(at) = message.outcome else {
                continue;
            };
            if self.may_be_lost(at) {
                continue;
            }
            for channel in 0..self.channels[message.topic] {
                let deliveries = message.deliveries.get(&channel);
                if deliveries.is_none_or(|deliveries| deliveries.count == 0) {
                    missing.push((Number::try_from(number).expect("a run is short"), channel));
                }
            }
        }
        missing
    }

    pub(super) fn describe(&self, number: Number) -> String {
        let message = &self.messages[number as usize];
        format!(
            "message {number} of topic {}, sent at {}, {:?}",
            message.topic,
            seconds(message.sent),
            message.outcome
        )
    }

    /// Checks what can be checked only once everything is over.
    pub(super) fn check(&mut self) {
        let missing = self.missing();
        let described: Vec<_> = missing
            .iter()
            .take(10)
            .map(|(number, channel)| format!("{} in channel {channel}", self.describe(*number)))
            .collect();
        assert!(
            missing.is_empty(),
            "{} acknowledged messages have not arrived: {}",
            missing.len(),
            described.join("; ")
        );
        for repeat in &self.repeats {
            let Repeat {
                number,
                channel,
                finished,
                again,
            } = repeat;
            let mut disturbances = self.disturbances.iter();
            let is_excused = disturbances.any(|one| {
                // The shard's leader may be another machine than the one with the consumer.
                finished.at + self.window >= one.from && finished.at <= one.to + AFTERWARDS
            });
            assert!(
                is_excused,
                "{} in channel {channel}: {} was finished on machine {} at {}, and came again at {}",
                self.describe(*number),
                String::from_utf8_lossy(&finished.id),
                finished.host,
                seconds(finished.at),
                seconds(*again)
            );
        }
        self.counts.lost_within_window = self.lost_within_window();
    }

    fn lost_within_window(&self) -> u64 {
        let lost = self.messages.iter().filter(|message| {
            matches!(message.outcome, Outcome::Acknowledged(at) if self.may_be_lost(at))
                && message.id.is_none()
        });
        lost.count() as u64
    }
}

pub(super) fn seconds(nanos: u64) -> String {
    let millis = nanos / 1_000_000;
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

fn text(id: &RawMessageId) -> String {
    format!("{id:?}")
}

/// A client may not have learned yet that its node does not lead any more.
const AFTERWARDS: u64 = 1_000_000_000;
