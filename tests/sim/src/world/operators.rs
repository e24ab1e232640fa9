//! What happens without a client: time passes, operators and maintenance act.

use std::time::Duration;

use super::World;

impl World {
    pub(super) fn pass(&mut self) {
        let millis = match self.chance.below(6) {
            0 => 1,
            1 => 100,
            2 => 1000 * (1 + self.chance.below(10)),
            3 => 61_000,
            4 => 1000 * self.chance.below(200),
            _ => 0,
        };
        if self.profile.clock_jumps && self.chance.chance(20) {
            let seconds = self.chance.below(7200).cast_signed() - 3600;
            self.now.unix_nanos += seconds * 1_000_000_000;
            self.model.clock_set(self.now);
            self.note(|| format!("the clock is set by {seconds} s"));
        }
        self.advance(Duration::from_millis(millis));
        // The timers' task may be late.
        if self.chance.chance(80) {
            let now = self.now;
            let server = self.server.as_mut().expect("runs");
            server.run_timers(&mut self.model, now);
        }
    }

    /// Makes the syncs that are due. A worker that gathers publishers, or rests, is waited for or not.
    pub(super) fn run_syncs(&mut self) {
        let took = Duration::from_millis([0, 0, 1, 8][self.chance.index(4)]);
        loop {
            let now = self.now;
            let server = self.server.as_mut().expect("runs");
            let next = server.run_syncs(&mut self.model, took, now);
            let Some(next) = next.filter(|_| self.chance.chance(70)) else {
                return;
            };
            self.advance(next.since(self.now.tick));
        }
    }

    /// Makes all syncs that are wanted, however long that takes.
    pub(super) fn finish_syncs(&mut self) {
        loop {
            let now = self.now;
            let server = self.server.as_mut().expect("runs");
            let Some(next) = server.run_syncs(&mut self.model, Duration::ZERO, now) else {
                return;
            };
            self.advance(next.since(self.now.tick));
        }
    }

    pub(super) fn advance(&mut self, span: Duration) {
        self.now.tick = self.now.tick.after(span);
        self.now.unix_nanos = self.now.unix_after(span);
    }

    pub(super) fn upkeep(&mut self) {
        let now = self.now;
        let server = self.server.as_mut().expect("runs");
        match self.chance.below(5) {
            0 => self.run_syncs(),
            1 => server.save_registry(&mut self.model),
            2 => {
                server.broker.release_free_segments();
            }
            _ => server.maintain(&mut self.model, now),
        }
        self.note(|| "upkeep".to_owned());
    }

    // ---- what operators do ----

    pub(super) fn manage(&mut self) {
        let (topic, channel) = (self.topic(), self.channel());
        let now = self.now;
        let act = self.chance.below(12);
        let server = self.server.as_mut().expect("runs");
        let model = &mut self.model;
        let found = server.broker.topic(topic.as_str());
        let cell = found
            .as_ref()
            .and_then(|found| found.channel(channel.as_str()));
        let is_paused = self.chance.chance(40);
        let what = match (act, found, cell) {
            (0, _, _) => {
                if server
                    .broker
                    .get_or_create_topic(&topic, false, now)
                    .is_ok()
                {
                    model.topic_made(topic.as_str());
                }
                "create topic"
            }
            (1 | 2, Some(found), _) => {
                if found.get_or_create_channel(&channel, now).is_ok() {
                    model.channel_made(topic.as_str(), channel.as_str(), now);
                }
                "create channel"
            }
            (3, Some(_), _) if self.chance.chance(30) => {
                if server.broker.delete_topic(topic.as_str()) {
                    model.topic_deleted(topic.as_str());
                    server.save(model);
                }
                "delete topic"
            }
            (4, Some(found), Some(_)) => {
                if found.delete_channel(channel.as_str()) {
                    model.channel_deleted(topic.as_str(), channel.as_str());
                    server.broker.drop_if_unused(&found);
                    if server.broker.topic(topic.as_str()).is_none() {
                        model.topic_deleted(topic.as_str());
                    }
                    server.save(model);
                }
                "delete channel"
            }
            (5 | 6, Some(found), _) => {
                found.set_paused(is_paused, now);
                model.topic_paused(topic.as_str(), is_paused, now);
                server.save(model);
                if is_paused {
                    "pause topic"
                } else {
                    "unpause topic"
                }
            }
            (7 | 8, Some(_), Some(cell)) => {
                cell.lock().set_paused(is_paused);
                server.save(model);
                if is_paused {
                    "pause channel"
                } else {
                    "unpause channel"
                }
            }
            (9, Some(_), Some(cell)) => {
                cell.lock().empty();
                model.channel_emptied(topic.as_str(), channel.as_str());
                "empty channel"
            }
            (10, Some(found), _) => {
                if found.empty().is_ok() {
                    model.topic_emptied(topic.as_str());
                } else {
                    model.topic_partly_emptied(topic.as_str());
                }
                "empty topic"
            }
            _ => "nothing",
        };
        self.note(|| format!("{what} {topic} {channel}"));
    }
}
