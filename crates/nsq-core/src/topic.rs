//! A topic: its logs, how far they have been offered, and its channels.
//!
//! What lies before the fan-out position has been offered to the channels. A topic without channels, or a paused one,
//! stands still there; the first channel, or one made while paused, starts there. With channels and not paused the
//! position is the end of what is *safe* (`topic_log.rs`), which by default is the end of the log, so that publishing is an
//! append and a wake.
//!
//! Messages published with a deferral lie in a log of their own, since they are not read in order.

mod cell;
mod channels;
mod checkpoint;
mod committed;
mod imported;
mod maintenance;
mod positions;
mod publish;
mod stats;
#[cfg(test)]
mod tests;
mod tickets;
mod topic_log;
mod transfer;
mod waiting;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::{Listing, LogOptions, Writer, private};

pub use cell::{ChannelCell, ChannelGuard};
use committed::Committed;
pub(crate) use imported::{HIGHEST_ID, note_highest_imported};
pub(crate) use positions::{
    DEFERRED_OFFERED, MAIN_OFFERED, forget_positions_in, save_positions_in,
};
pub use publish::Published;
use tickets::{SettledWaiters, Tickets};
pub use tickets::{Ticket, TicketState, TicketWaiter};
pub use topic_log::SafeOnce;
use topic_log::TopicLog;
pub use transfer::{Remaining, Unoffered};

use crate::broker::Context;
use crate::change::{Action, Recorder};
use crate::channel::{Lifecycle, LogKind, Offered};
use crate::effects::Effects;
use crate::ends;
use crate::error::{PublishError, StoreError};
use crate::ids::IdGenerator;
use crate::replica::has_cost;
use crate::standing::LastIds;
use crate::time::Now;

/// Segments of a log in memory stay small, since all they hold is soon gone, but hold several of the largest messages.
const MEMORY_SEGMENT_BYTES: u32 = 4 << 20;

/// A topic. Its methods lock what they need, for no longer than one step of the state machine.
pub struct Topic {
    /// The topic itself, for its channels.
    this: Weak<Topic>,
    name: TopicName,
    context: Arc<Context>,
    folder: Option<PathBuf>,
    /// For a topic whose changes are recorded.
    recorder: Option<Recorder>,
    offered: Arc<Offered>,
    tickets: Tickets,
    state: Mutex<State>,
    /// Whether something happened since the last upkeep.
    active: AtomicBool,
}

struct State {
    main: TopicLog,
    /// Where the last publish ended.
    last_segment: u32,
    deferred: Option<TopicLog>,
    ids: IdGenerator,
    channels: BTreeMap<ChannelName, Arc<ChannelCell>>,
    paused: bool,
    /// Fan-out has not begun: the topic is being made.
    held: bool,
    life: Lifecycle,
    message_count: u64,
    message_bytes: u64,
    /// Messages that found no room before a channel could have them; only in memory.
    dropped_count: u64,
    unsynced_count: u64,
    /// For a replicated topic.
    committed: Option<Committed>,
}

impl State {
    fn is_flowing(&self) -> bool {
        !self.paused && !self.held && !self.channels.is_empty()
    }

    /// Lets every channel take note of what was just offered.
    fn catch_up(&self, now: Now) -> Effects {
        let mut effects = Effects::default();
        for cell in self.channels.values() {
            let mut channel = cell.lock_inner();
            if let Some(deferred) = &self.deferred {
                channel.take_in_deferred(deferred.log(), now);
            }
            channel.note_offer();
            let mut of_channel = channel.end_offer();
            drop(channel);
            of_channel.plan_timeout(cell);
            if !of_channel.is_empty() {
                effects.merge(of_channel);
            }
        }
        effects
    }

    /// Whether a channel will still be there after a restart.
    fn has_kept_channel(&self) -> bool {
        self.channels.keys().any(|name| !name.is_ephemeral())
    }
}

/// How a topic is to be opened.
pub(crate) struct Opening {
    pub(crate) name: TopicName,
    pub(crate) paused: bool,
    /// Its channels and whether each is paused.
    pub(crate) channels: Vec<(ChannelName, bool)>,
    /// Whether fan-out waits for [`Topic::start`].
    pub(crate) held: bool,
}

impl Topic {
    pub(crate) fn open(
        opening: Opening,
        context: Arc<Context>,
        now: Now,
    ) -> Result<Arc<Topic>, StoreError> {
        let Opening {
            name,
            paused,
            channels,
            held,
        } = opening;
        let folder = (!name.is_ephemeral()).then(|| context.topic_folder(&name));
        let recorder = context.data_path.recorder_of(&name);
        let (main, deferred) = match &folder {
            Some(folder) => {
                let is_new = !folder.exists();
                if is_new {
                    private::create_folders(folder)
                        .map_err(|error| StoreError::io("create", folder, error))?;
                }
                if is_new && let Some(recorder) = &recorder {
                    recorder.record(Action::TopicCreated);
                }
                open_logs(folder, &context)?
            }
            None => (Writer::in_memory(memory_options()), None),
        };
        let is_replicated = context.settings.is_replicated && folder.is_some();
        match &folder {
            Some(folder) if is_replicated => ends::check(folder, &main, deferred.as_ref())?,
            Some(folder) => ends::forget(folder),
            None => {}
        }
        let last_ids = LastIds::of(&main, deferred.as_ref());
        let committed = is_replicated.then(|| Committed::new(last_ids));
        let imported = folder.as_deref().and_then(imported::highest_imported);
        let last = last_ids.highest().max(imported);
        let safe_once = safe_once(&name, &context);
        // What is committed need not be recorded.
        let log_recorder = recorder.clone().filter(|_| !is_replicated);
        let state = State {
            committed,
            ids: IdGenerator::after(context.settings.node_id, last),
            last_segment: main.end().position.segment,
            main: TopicLog::new(LogKind::Main, main, safe_once, log_recorder.clone()),
            deferred: deferred
                .map(|writer| TopicLog::new(LogKind::Deferred, writer, safe_once, log_recorder)),
            channels: BTreeMap::new(),
            paused,
            held,
            life: Lifecycle::Open,
            message_count: 0,
            message_bytes: 0,
            dropped_count: 0,
            unsynced_count: 0,
        };
        let topic = Arc::new_cyclic(|this| Topic {
            this: Weak::clone(this),
            name,
            context,
            folder,
            recorder,
            offered: Arc::new(Offered::default()),
            tickets: Tickets::new(safe_once),
            state: Mutex::new(state),
            active: AtomicBool::new(true),
        });
        topic.resume(channels, now)?;
        Ok(topic)
    }

    /// Finds the fan-out position and opens the channels of an earlier run.
    fn resume(&self, channels: Vec<(ChannelName, bool)>, now: Now) -> Result<(), StoreError> {
        let mut state = self.lock();
        let stands_still = channels.is_empty() || state.paused;
        match self.saved_positions(&state, !channels.is_empty())? {
            Some((main, deferred)) if stands_still => {
                self.offered.set_main(main);
                self.offered.set_deferred(deferred);
            }
            None if channels.is_empty() => {
                self.offered.set_main(state.main.log().first_sequence());
                let deferred = state.deferred.as_ref();
                let deferred = deferred.map_or(0, |deferred| deferred.log().first_sequence());
                self.offered.set_deferred(deferred);
            }
            // Without a saved position the topic did not stand still, whatever it is meant to do from now on.
            _ => self.offer_safe(&state),
        }
        if self.is_replicated() {
            self.resume_standing(&mut state, stands_still);
        } else if stands_still {
            self.save_positions(&state);
        } else {
            self.forget_positions();
        }
        for (name, paused) in channels {
            let cell = self.open_channel(&state, &name, now)?;
            {
                // No client is here yet that could be woken.
                let mut channel = cell.lock_inner();
                channel.set_paused(paused);
                if let Some(id) = channel.highest_journaled() {
                    state.ids.stay_above(id);
                }
            }
            state.channels.insert(name, cell);
        }
        self.note_release_point(&state);
        Ok(())
    }

    /// The topic's name.
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Records that it was deleted, once its folder is gone.
    pub(crate) fn record_deletion(&self) {
        self.record(Action::Deleted);
    }

    /// Records a durable change of the topic itself, unless it is executed as a command.
    fn record(&self, action: Action<'_>) {
        if let Some(recorder) = self.recorder.as_ref().filter(|_| !self.is_replicated()) {
            recorder.record(action);
        }
    }

    // ---- management ----

    /// Lets fan-out begin, once the channels that exist elsewhere have been made.
    pub fn start(&self, now: Now) {
        let mut state = self.lock();
        state.held = false;
        let effects = self.resume_flow(&state, now);
        drop(state);
        self.carry_out(effects);
    }

    /// Stops or resumes fan-out; publishes are accepted all the while. Changes nothing of a replicated topic.
    pub fn set_paused(&self, paused: bool, now: Now) {
        if self.is_replicated() {
            return;
        }
        let mut state = self.lock();
        if state.paused == paused || state.life == Lifecycle::Discarded {
            return;
        }
        if paused {
            // The position first: a paused topic is opened with it.
            self.save_positions(&state);
        }
        state.paused = paused;
        self.record(Action::Paused(paused));
        let effects = self.resume_flow(&state, now);
        self.active.store(true, Ordering::Relaxed);
        drop(state);
        if paused {
            self.sync_positions();
        }
        self.carry_out(effects);
    }

    /// Whether fan-out is stopped.
    pub fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Drops what has not been offered to the channels.
    ///
    /// # Errors
    /// [`StoreError`] when the log's files refuse, or the topic is replicated.
    pub fn empty(&self) -> Result<(), StoreError> {
        if self.is_replicated() {
            return Err(PublishError::Replicated.into());
        }
        let mut state = self.lock();
        let outcome = self.drop_waiting(&mut state);
        let settled = self.settle_tickets(&state);
        drop(state);
        settled.into_iter().for_each(SettledWaiters::wake_all);
        outcome
    }

    fn drop_waiting(&self, state: &mut State) -> Result<(), StoreError> {
        state.main.truncate(self.offered.end(LogKind::Main))?;
        let deferred_end = self.offered.end(LogKind::Deferred);
        if let Some(deferred) = &mut state.deferred {
            deferred.truncate(deferred_end)?;
        }
        self.note_release_point(state);
        Ok(())
    }

    /// Refuses publishes and channels from now on, and closes all clients.
    pub(crate) fn exit(&self) {
        let mut state = self.lock();
        if state.life == Lifecycle::Open {
            state.life = Lifecycle::Exiting;
        }
        for cell in state.channels.values() {
            cell.lock_inner().exit();
        }
    }

    /// From here on it touches no file, since a replica owns them. Its clients are woken.
    pub(crate) fn let_go(&self) {
        let mut state = self.lock();
        state.life = Lifecycle::Discarded;
        let mut effects = Effects::default();
        for cell in state.channels.values() {
            let mut of_channel = cell.lock_inner().let_go();
            of_channel.plan_timeout(cell);
            effects.merge(of_channel);
        }
        drop(state);
        self.tickets.settle_all().wake_all();
        // Nothing is freed: the topic is discarded.
        self.carry_out(effects);
    }

    /// Deletes the topic, as far as it is its own to do: from here on it touches no file, since the next topic of its
    /// name may own them. `false` when that was done before.
    pub(crate) fn discard(&self) -> bool {
        self.discard_state(self.lock())
    }

    /// Whether it is deleted, and only not yet out of the broker's table.
    pub fn is_discarded(&self) -> bool {
        self.lock().life == Lifecycle::Discarded
    }

    /// Deletes the topic, likewise, if it is ephemeral and has no channel.
    pub(crate) fn discard_if_unused(&self) -> bool {
        let state = self.lock();
        self.name.is_ephemeral() && state.channels.is_empty() && self.discard_state(state)
    }

    fn discard_state(&self, mut state: MutexGuard<'_, State>) -> bool {
        for cell in state.channels.values() {
            self.retire(&mut cell.lock_inner());
        }
        let is_first =
            std::mem::replace(&mut state.life, Lifecycle::Discarded) != Lifecycle::Discarded;
        if is_first {
            self.context
                .departed(|totals| totals.add_published(state.message_count, state.message_bytes));
        }
        drop(state);
        self.tickets.settle_all().wake_all();
        is_first
    }

    // ---- fan-out ----

    fn offer_safe(&self, state: &State) {
        self.offered.set_main(state.main.safe());
        if let Some(deferred) = &state.deferred {
            self.offered.set_deferred(deferred.safe());
        }
    }

    fn resume_flow(&self, state: &State, now: Now) -> Effects {
        let mut effects = Effects::default();
        if state.is_flowing() {
            if state.has_kept_channel()
                && state.life != Lifecycle::Discarded
                && state.committed.is_none()
            {
                self.forget_positions();
            }
            effects = self.fan_out(state, now);
        }
        self.note_release_point(state);
        effects
    }

    /// Lets every channel of a flowing topic have all that is safe.
    fn fan_out(&self, state: &State, now: Now) -> Effects {
        self.offer_safe(state);
        state.catch_up(now)
    }

    /// Does what calls on channels left to be done. With no lock held.
    fn carry_out(&self, effects: Effects) {
        effects.carry_out(|| Some(self));
    }
}

/// What is kept in memory only has no disk to be synced to, and what is committed is on several.
fn safe_once(name: &TopicName, context: &Context) -> SafeOnce {
    if name.is_ephemeral() || context.settings.is_replicated {
        SafeOnce::Appended
    } else {
        context.settings.safe_once
    }
}

fn memory_options() -> LogOptions {
    LogOptions {
        max_segment_bytes: MEMORY_SEGMENT_BYTES,
        ..LogOptions::default()
    }
}

fn open_logs(folder: &Path, context: &Context) -> Result<(Writer, Option<Writer>), StoreError> {
    let listing = Listing::of(folder)?;
    let open = |name: &str| -> Result<Writer, StoreError> {
        let (writer, recovery) = Writer::open_listed(
            folder,
            name,
            Arc::clone(&context.pool),
            context.settings.log_options,
            &listing,
        )?;
        for damage in &recovery.damaged {
            tracing::error!("{}: {damage}", folder.display());
        }
        if recovery.damaged.iter().any(has_cost) {
            context.has_damage.store(true, Ordering::Relaxed);
        }
        Ok(writer)
    };
    let main = open("main")?;
    let deferred = if listing.has("deferred") {
        Some(open("deferred")?)
    } else {
        None
    };
    Ok((main, deferred))
}
