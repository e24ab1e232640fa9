//! Committed changes, as the topic of a replicated nsqd executes them. Where the topic [stands still](Standing) for
//! durable channels, all replicas agree on; ephemeral channels, which only the leader has, may have been offered more.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use nsq_protocol::ChannelName;
use nsq_queue::NewRecord;

use super::{ChannelCell, State, Topic, TopicLog, forget_positions_in, save_positions_in};
use crate::change::{Action, FanOut};
use crate::channel::{Lifecycle, LogKind};
use crate::effects::Effects;
use crate::error::StoreError;
use crate::standing::{LastIds, Standing};
use crate::time::Now;

/// What a topic keeps in step with its other replicas.
#[derive(Debug, Default)]
pub(super) struct Committed {
    standing: Standing,
    last_ids: LastIds,
    /// Where the logs end after a crash of the machine, at least.
    stored: (u64, u64),
}

impl Committed {
    pub(super) fn new(last_ids: LastIds) -> Committed {
        Committed {
            standing: Standing::default(),
            last_ids,
            stored: (0, 0),
        }
    }

    pub(super) fn channel_start(&self, ends: FanOut) -> FanOut {
        self.standing.channel_start(ends)
    }

    /// Where the logs end after a crash of the machine, at least: nothing from there on may be freed, since its place would
    /// not be known any more.
    pub(super) fn stored(&self) -> (u64, u64) {
        self.stored
    }

    pub(super) fn note_stored(&mut self, ends: FanOut) {
        self.stored = (ends.main, ends.of(LogKind::Deferred));
    }

    /// See [`Standing::kept_from`].
    pub(super) fn kept_from(&self, ends: FanOut) -> (u64, u64) {
        self.standing.kept_from(ends)
    }
}

impl State {
    /// Where the logs end.
    pub(super) fn ends(&self) -> FanOut {
        FanOut::ends(
            &self.main.writer,
            self.deferred.as_ref().map(|log| &log.writer),
        )
    }
}

impl Topic {
    /// Whether the topic changes by committed commands only.
    pub(super) fn is_replicated(&self) -> bool {
        self.context.settings.is_replicated && self.folder.is_some()
    }

    /// Appends messages that it does not have yet, and offers them.
    pub(crate) fn append_committed(
        &self,
        log: LogKind,
        records: &[NewRecord<'_>],
        now: Now,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        let Some(committed) = &mut state.committed else {
            return Ok(());
        };
        let records = committed.last_ids.new_of(log, records);
        let Some(last) = records.last() else {
            return Ok(());
        };
        let (mut concerned, mut effects) = (Vec::new(), Effects::default());
        let data_path = &self.context.data_path;
        match log {
            LogKind::Main => {
                let range = state.main.append(data_path, records.iter().copied())?;
                if state.is_flowing() {
                    self.offer_main(&state, range.end, &mut concerned);
                }
                self.note_last_segment(&mut state);
            }
            LogKind::Deferred => {
                self.open_deferred(&mut state)?;
                if let Some(deferred) = &mut state.deferred {
                    deferred.append(data_path, records.iter().copied())?;
                }
                if state.is_flowing() {
                    effects = self.fan_out(&state, now);
                }
            }
            LogKind::Private | LogKind::Inherited => return Ok(()),
        }
        if let Some(committed) = &mut state.committed {
            committed.last_ids.note(log, last.id);
        }
        state
            .ids
            .stay_above(nsq_protocol::MessageId::from_u64(last.id));
        let bytes = records.iter().map(|record| record.body.len() as u64);
        self.count(&mut state, records.len() as u64, bytes.sum());
        drop(state);
        self.carry_out(effects);
        for cell in concerned {
            cell.lock().note_offer();
        }
        Ok(())
    }

    /// Makes a channel, unless it is there.
    pub(crate) fn create_committed_channel(
        &self,
        name: &ChannelName,
        now: Now,
    ) -> Result<(), StoreError> {
        let state = self.lock();
        if state.life == Lifecycle::Open && !state.channels.contains_key(name) {
            self.make_channel(state, name, now)?;
        }
        Ok(())
    }

    /// Stops or resumes fan-out.
    pub(crate) fn pause_committed(&self, paused: bool, now: Now) {
        let mut state = self.lock();
        if state.paused == paused || state.life != Lifecycle::Open {
            return;
        }
        state.paused = paused;
        self.follow_flow(&mut state);
        let effects = self.resume_flow(&state, now);
        self.active.store(true, Ordering::Relaxed);
        drop(state);
        self.carry_out(effects);
    }

    /// Skips what was not offered to durable channels. The log keeps it until it is freed: other than a truncation, this
    /// gives no sequence again, so that a replica can never take one message for another.
    pub(crate) fn skip_waiting(&self) {
        let mut state = self.lock();
        let ends = state.ends();
        let Some(committed) = &mut state.committed else {
            return;
        };
        let Some(start) = committed.standing.position() else {
            return;
        };
        let mut effects = Effects::default();
        let logs = [Some(&state.main), state.deferred.as_ref()];
        for cell in state.channels.values() {
            let mut channel = cell.lock_inner();
            for log in logs.into_iter().flatten() {
                let kind = log.kind();
                let start = if cell.name().is_ephemeral() {
                    self.offered.end(kind)
                } else {
                    start.of(kind)
                };
                channel.skip(kind, log.log(), start..ends.of(kind));
            }
            let mut of_channel = channel.end_batch();
            drop(channel);
            of_channel.plan_timeout(cell);
            effects.merge(of_channel);
        }
        self.stand_at(&mut state, Standing::at(Some(ends)));
        self.offer_up_to(ends);
        self.note_release_point(&state);
        self.active.store(true, Ordering::Relaxed);
        drop(state);
        self.carry_out(effects);
    }

    /// Messages up to `position` were offered to ephemeral channels of this leader or of an earlier one. What waits for a
    /// durable channel that was made in the meantime stays where it is.
    pub(crate) fn advance(&self, position: FanOut) {
        let mut state = self.lock();
        if state.has_kept_channel() {
            return;
        }
        let ends = state.ends();
        let Some(committed) = &state.committed else {
            return;
        };
        let mut standing = committed.standing;
        if standing.advance(position, ends) {
            self.stand_at(&mut state, standing);
            if let Some(position) = standing.position() {
                self.offer_up_to(position);
            }
            self.note_release_point(&state);
        }
    }

    fn offer_up_to(&self, position: FanOut) {
        if self.offered.end(LogKind::Main) < position.main {
            self.offered.set_main(position.main);
        }
        let deferred = position.of(LogKind::Deferred);
        if self.offered.end(LogKind::Deferred) < deferred {
            self.offered.set_deferred(deferred);
        }
    }

    /// A channel came or went, or the topic was paused or resumed: notes where it stands still.
    pub(super) fn follow_flow(&self, state: &mut State) {
        let is_flowing = !state.paused && state.has_kept_channel();
        let ends = state.ends();
        let Some(committed) = &state.committed else {
            return;
        };
        let mut standing = committed.standing;
        if standing.follow(is_flowing, ends) {
            self.stand_at(state, standing);
        }
    }

    /// Takes over where the topic stands still, and writes it down.
    fn stand_at(&self, state: &mut State, standing: Standing) {
        if let Some(committed) = &mut state.committed {
            committed.standing = standing;
        }
        let Some(folder) = &self.folder else { return };
        let Some(position) = standing.position() else {
            forget_positions_in(folder);
            return;
        };
        let deferred = state.deferred.as_ref().map(TopicLog::log);
        if let Err(error) = save_positions_in(folder, position, state.main.log(), deferred) {
            tracing::error!(
                "TOPIC({}): messages may be offered to channels again: {error}",
                self.name
            );
        }
    }

    /// Takes over where an earlier run stood still.
    pub(super) fn resume_standing(&self, state: &mut State, stands_still: bool) {
        let position = FanOut {
            main: self.offered.end(LogKind::Main),
            deferred: state
                .deferred
                .as_ref()
                .map(|_| self.offered.end(LogKind::Deferred)),
        };
        let standing = Standing::at(stands_still.then_some(position));
        self.stand_at(state, standing);
    }

    /// Records how far ephemeral channels were offered messages of a topic without durable ones.
    pub(super) fn record_offered(&self, state: &MutexGuard<'_, State>) {
        let Some(committed) = &state.committed else {
            return;
        };
        let mut standing = committed.standing;
        let position = FanOut {
            main: self.offered.end(LogKind::Main),
            deferred: state
                .deferred
                .as_ref()
                .map(|_| self.offered.end(LogKind::Deferred)),
        };
        if !state.has_kept_channel()
            && standing.advance(position, state.ends())
            && let Some(recorder) = &self.recorder
        {
            recorder.record(Action::FannedOut(standing.position()));
        }
    }

    /// Offers what was appended to the main log. Adds the channels that have to look at it to
    /// `concerned`.
    #[expect(
        clippy::inline_always,
        reason = "every publish calls it, and it has two callers"
    )]
    #[inline(always)]
    pub(super) fn offer_main(
        &self,
        state: &State,
        end: u64,
        concerned: &mut Vec<Arc<ChannelCell>>,
    ) {
        self.offered.set_main(end);
        for cell in state.channels.values() {
            if cell.shared.has_idle_clients() || cell.shared.is_full_at(end) {
                concerned.push(Arc::clone(cell));
            }
        }
    }
}
