//! What the statistics and a drain must show.

use super::{Finished, Model, Number, State};

pub(crate) struct Figures {
    /// The least number of messages that the channel has.
    pub(crate) least: u64,
    /// The number of messages that it has, where that is known.
    pub(crate) total: Option<u64>,
    /// The messages that it may have.
    pub(crate) open: Vec<Number>,
    pub(crate) in_flight: u64,
    pub(crate) requeue_count: u64,
    pub(crate) timeout_count: u64,
}

impl Model {
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
            && !channel.may_count_twice
            && self.flips == 0
            // Messages that cannot be read for a while are not counted during that time.
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
            // A paused topic whose position is lost offers the rest when it is unpaused.
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

    /// Everything was drained: no message that had to be delivered may be left, and the others will not be delivered.
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
                channel.may_count_twice = false;
            }
            topic.is_position_lost = false;
        }
    }

    /// A bit of a file flipped: it may cost one message of a channel.
    pub(crate) fn had_flip(&mut self) {
        self.flips += 1;
        for topic in self.topics.values_mut() {
            topic.loosen_repeats();
        }
    }
}
