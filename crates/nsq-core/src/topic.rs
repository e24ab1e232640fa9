//! A topic: its logs, how far they have been offered, and its channels.
//!
//! What lies before the fan-out position has been offered to the channels. A topic without channels, or a paused one,
//! stands still there; the first channel, or one made while paused, starts there. With channels and not paused the
//! position is the end of the log, so that publishing is an append and a wake.
//!
//! Messages published with a deferral lie in a log of their own, since they are not read in order.

mod cell;
mod channels;
mod figures;
mod handover;
mod imported;
mod positions;
mod publish;
#[cfg(test)]
mod tests;
mod upkeep;
mod waiting;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use nsq_protocol::{ChannelName, TopicName};
use nsq_queue::{LogOptions, Writer};

pub use cell::ChannelCell;
pub use handover::{Left, Unoffered};
pub(crate) use positions::{DEFERRED_OFFERED, MAIN_OFFERED};
pub use publish::Published;

use crate::broker::Context;
use crate::channel::{Life, LogKind, Offered, has_log};
use crate::client::Wakes;
use crate::error::StoreError;
use crate::ids::{IdGenerator, last_id};
use crate::time::Now;

/// Segments of a log in memory stay small: all they hold is soon gone.
const MEMORY_SEGMENT_BYTES: u32 = 1 << 20;

/// A topic. Its methods lock what they need, for no longer than one step of the state machine.
pub struct Topic {
    name: TopicName,
    context: Arc<Context>,
    folder: Option<PathBuf>,
    offered: Arc<Offered>,
    state: Mutex<State>,
    /// Whether something happened since the last upkeep.
    active: AtomicBool,
}

struct State {
    main: Writer,
    /// Where the last publish ended.
    last_segment: u32,
    deferred: Option<Writer>,
    ids: IdGenerator,
    channels: BTreeMap<ChannelName, Arc<ChannelCell>>,
    paused: bool,
    /// Fan-out has not begun: the topic is being made.
    held: bool,
    life: Life,
    message_count: u64,
    message_bytes: u64,
    /// Messages that found no room before a channel could have them; only in memory.
    dropped_count: u64,
    unsynced_count: u64,
}

impl State {
    fn is_flowing(&self) -> bool {
        !self.paused && !self.held && !self.channels.is_empty()
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
    ) -> Result<Topic, StoreError> {
        let Opening {
            name,
            paused,
            channels,
            held,
        } = opening;
        let folder = (!name.is_ephemeral()).then(|| context.topic_folder(&name));
        let (main, deferred) = match &folder {
            Some(folder) => {
                std::fs::create_dir_all(folder)
                    .map_err(|error| StoreError::io("create", folder, error))?;
                open_logs(folder, &context)?
            }
            None => (Writer::in_memory(memory_options()), None),
        };
        let last = [Some(&main), deferred.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(last_id)
            .chain(folder.as_deref().and_then(imported::highest_imported))
            .max();
        let state = State {
            ids: IdGenerator::after(context.settings.node_id, last),
            last_segment: main.end().position.segment,
            main,
            deferred,
            channels: BTreeMap::new(),
            paused,
            held,
            life: Life::Open,
            message_count: 0,
            message_bytes: 0,
            dropped_count: 0,
            unsynced_count: 0,
        };
        let topic = Topic {
            name,
            context,
            folder,
            offered: Arc::new(Offered::default()),
            state: Mutex::new(state),
            active: AtomicBool::new(true),
        };
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
                let deferred = deferred.map_or(0, |writer| writer.log().first_sequence());
                self.offered.set_deferred(deferred);
            }
            // Without a saved position the topic did not stand still, whatever it is meant to do from now on.
            _ => self.offer_all(&state),
        }
        if stands_still {
            self.save_positions(&state);
        } else {
            self.forget_positions();
        }
        for (name, paused) in channels {
            let cell = self.open_channel(&state, &name, now)?;
            if paused {
                let mut wakes = Wakes::default();
                cell.lock().set_paused(true, &mut wakes);
            }
            if let Some(id) = cell.lock().highest_noted() {
                state.ids.stay_above(id);
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

    // ---- management ----

    /// Lets fan-out begin, once the channels that exist elsewhere have been made.
    pub fn start(&self, now: Now) {
        let mut state = self.lock();
        state.held = false;
        let wakes = self.resume_flow(&state, now);
        drop(state);
        wakes.ring();
    }

    /// Stops or resumes fan-out; publishes are accepted all the while.
    pub fn set_paused(&self, paused: bool, now: Now) {
        let mut state = self.lock();
        if state.paused == paused {
            return;
        }
        if paused {
            // The position first: a paused topic is opened with it.
            self.save_positions(&state);
        }
        state.paused = paused;
        let wakes = self.resume_flow(&state, now);
        self.active.store(true, Ordering::Relaxed);
        drop(state);
        if paused {
            self.sync_positions();
        }
        wakes.ring();
    }

    /// Whether fan-out is stopped.
    pub fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Drops what has not been offered to the channels.
    ///
    /// # Errors
    /// [`StoreError`] when the log's files refuse.
    pub fn empty(&self) -> Result<(), StoreError> {
        self.drop_waiting(&mut self.lock())
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
        if state.life == Life::Open {
            state.life = Life::Exiting;
        }
        for cell in state.channels.values() {
            cell.lock().exit();
        }
    }

    /// Deletes the topic, as far as it is its own to do: from here on it touches no file, since the next topic of its
    /// name may own them. `false` when that was done before.
    pub(crate) fn discard(&self) -> bool {
        self.discard_state(self.lock())
    }

    /// Whether it is deleted, and only not yet out of the broker's table.
    pub(crate) fn is_discarded(&self) -> bool {
        self.lock().life == Life::Discarded
    }

    /// Deletes the topic, likewise, if it is ephemeral and has no channel.
    pub(crate) fn discard_if_unused(&self) -> bool {
        let state = self.lock();
        self.name.is_ephemeral() && state.channels.is_empty() && self.discard_state(state)
    }

    fn discard_state(&self, mut state: MutexGuard<'_, State>) -> bool {
        for cell in state.channels.values() {
            self.retire(&mut cell.lock());
        }
        let is_first = std::mem::replace(&mut state.life, Life::Discarded) != Life::Discarded;
        if is_first {
            self.context
                .departed(|totals| totals.add_published(state.message_count, state.message_bytes));
        }
        is_first
    }

    // ---- fan-out ----

    fn offer_all(&self, state: &State) {
        self.offered.set_main(state.main.end().sequence);
        if let Some(deferred) = &state.deferred {
            self.offered.set_deferred(deferred.end().sequence);
        }
    }

    fn resume_flow(&self, state: &State, now: Now) -> Wakes {
        let mut wakes = Wakes::default();
        if state.is_flowing() {
            if state.has_kept_channel() {
                self.forget_positions();
            }
            self.offer_all(state);
            wakes = self.catch_up(state, now);
        }
        self.note_release_point(state);
        wakes
    }

    /// Tells every channel what was just offered.
    fn catch_up(&self, state: &State, now: Now) -> Wakes {
        let mut wakes = Wakes::default();
        for cell in state.channels.values() {
            let due = {
                let mut channel = cell.lock();
                if let Some(deferred) = &state.deferred {
                    channel.take_in_deferred(deferred.log(), now, &mut wakes);
                }
                channel.wake_for_offer(&mut wakes);
                channel.next_timeout()
            };
            if let Some(due) = due {
                self.context.arm(cell, due);
            }
        }
        wakes
    }
}

fn memory_options() -> LogOptions {
    LogOptions {
        max_segment_bytes: MEMORY_SEGMENT_BYTES,
        ..LogOptions::default()
    }
}

fn open_logs(folder: &Path, context: &Context) -> Result<(Writer, Option<Writer>), StoreError> {
    let open = |name: &str| -> Result<Writer, StoreError> {
        let (writer, recovery) = Writer::open(
            folder,
            name,
            Arc::clone(&context.pool),
            context.settings.log_options,
        )?;
        for damage in &recovery.damaged {
            tracing::error!("{}: {damage}", folder.display());
        }
        Ok(writer)
    };
    let main = open("main")?;
    let deferred = if has_log(folder, "deferred") {
        Some(open("deferred")?)
    } else {
        None
    };
    Ok((main, deferred))
}
