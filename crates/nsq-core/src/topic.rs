//! A topic: its logs, how far they have been offered, and its channels.
//!
//! What lies before the fan-out position has been offered to the channels. A topic without channels, or a paused one,
//! stands still there; the first channel, or one made while paused, starts there. With channels and not paused the
//! position is the end of the log, so that publishing is an append and a wake.
//!
//! Messages published with a deferral lie in a log of their own, since they are not read in order.

mod imported;
mod positions;
mod publish;
#[cfg(test)]
mod tests;
mod upkeep;
mod waiting;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use nsq_protocol::{ChannelName, MessageId, TopicName};
use nsq_queue::{LogOptions, Reader, Writer};

pub use publish::Published;

use crate::broker::{Change, Context, Discarded};
use crate::channel::{Channel, Life, LogKind, Offered, Parts, Shared, Store, has_log};
use crate::client::Wakes;
use crate::error::StoreError;
use crate::ids::IdGenerator;
use crate::latency::{PercentileSettings, Sketch};
use crate::peek::{Peek, PeekLimits};
use crate::stats::TopicStats;
use crate::time::{Now, Tick};

/// Segments of a log in memory stay small: all they hold is soon gone.
const MEMORY_SEGMENT_BYTES: u32 = 1 << 20;

/// A channel behind its lock, with what can be known without it.
pub struct ChannelCell {
    name: ChannelName,
    topic: TopicName,
    shared: Arc<Shared>,
    /// When its next timeout is scheduled, in ticks.
    armed: AtomicU64,
    channel: Mutex<Channel>,
}

impl ChannelCell {
    /// The channel's name.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The topic's name.
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The channel, for one call or one batch of calls; never across a wait.
    pub fn lock(&self) -> MutexGuard<'_, Channel> {
        // A panic in the core is our own mistake; the other channels are better served by going on.
        self.channel
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Looks at the channel's messages and leaves them as they are; `None` when it was deleted. May wait for the disk.
    pub fn peek(&self, limits: PeekLimits, now: Now) -> Option<Peek> {
        let view = self.lock().view(limits, now)?;
        Some(view.read())
    }

    /// Notes that the channel has to be looked at by `at`. Whether that is earlier than what was scheduled.
    pub fn arm(&self, at: Tick) -> bool {
        self.armed.fetch_min(at.nanos(), Ordering::AcqRel) > at.nanos()
    }

    /// The scheduled look is being taken: none is scheduled now.
    pub fn disarm(&self) {
        self.armed.store(u64::MAX, Ordering::Release);
    }
}

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
    deferred: Option<Writer>,
    ids: IdGenerator,
    channels: BTreeMap<ChannelName, Arc<ChannelCell>>,
    paused: bool,
    /// Fan-out has not begun: the topic is being made.
    held: bool,
    life: Life,
    message_count: u64,
    message_bytes: u64,
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
            main,
            deferred,
            channels: BTreeMap::new(),
            paused,
            held,
            life: Life::Open,
            message_count: 0,
            message_bytes: 0,
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
        match self.saved_positions(&state)? {
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

    // ---- channels ----

    /// The channel of that name.
    pub fn channel(&self, name: &str) -> Option<Arc<ChannelCell>> {
        self.lock().channels.get(name).cloned()
    }

    /// All channels, by name.
    pub fn channels(&self) -> Vec<Arc<ChannelCell>> {
        self.lock().channels.values().cloned().collect()
    }

    /// The channel of that name, made if it is new. The first channel gets all that waited in the topic.
    ///
    /// # Errors
    /// [`StoreError`] when the topic is on its way out, or the channel's files cannot be made.
    pub fn get_or_create_channel(
        &self,
        name: &ChannelName,
        now: Now,
    ) -> Result<Arc<ChannelCell>, StoreError> {
        let mut state = self.lock();
        self.active.store(true, Ordering::Relaxed);
        if let Some(cell) = state.channels.get(name) {
            return Ok(Arc::clone(cell));
        }
        if state.life != Life::Open {
            return Err(StoreError::Exiting);
        }
        let cell = self.open_channel(&state, name, now)?;
        state.channels.insert(name.clone(), Arc::clone(&cell));
        let wakes = self.resume_flow(&state, now);
        drop(state);
        wakes.ring();
        tracing::info!("TOPIC({}): new channel({name})", self.name);
        self.context
            .surroundings
            .registry_changed(Change::ChannelCreated(self.name.clone(), name.clone()));
        Ok(cell)
    }

    fn open_channel(
        &self,
        state: &State,
        name: &ChannelName,
        now: Now,
    ) -> Result<Arc<ChannelCell>, StoreError> {
        let folder = match &self.folder {
            Some(topic) if !name.is_ephemeral() => Some(topic.join(format!("{name}.channel"))),
            _ => None,
        };
        let is_new = folder.as_ref().is_none_or(|folder| !folder.exists());
        if is_new && let Some(folder) = &folder {
            std::fs::create_dir(folder).map_err(|error| StoreError::io("create", folder, error))?;
        }
        let settings = &self.context.settings;
        let parts = Parts {
            name: name.clone(),
            store: Store {
                log_options: if folder.is_some() {
                    settings.log_options
                } else {
                    memory_options()
                },
                folder: folder.clone(),
                pool: Arc::clone(&self.context.pool),
            },
            main: Arc::clone(state.main.log()),
            deferred: state
                .deferred
                .as_ref()
                .map(|writer| Arc::clone(writer.log())),
            offered: Arc::clone(&self.offered),
            is_new,
            max_depth: folder.is_none().then_some(settings.mem_queue_size),
            max_msg_timeout: settings.max_msg_timeout,
            percentiles: settings.percentiles.clone(),
        };
        let mut channel = match Channel::open(parts, now) {
            Ok(channel) => channel,
            Err(error) => {
                if is_new && let Some(folder) = &folder {
                    // Nothing of worth is in it: a channel that was never there starts at the floor of its marks.
                    let _ = std::fs::remove_dir_all(folder);
                }
                return Err(error.into());
            }
        };
        let due = channel.next_timeout();
        let cell = Arc::new(ChannelCell {
            name: name.clone(),
            topic: self.name.clone(),
            shared: Arc::clone(channel.shared()),
            armed: AtomicU64::new(u64::MAX),
            channel: Mutex::new(channel),
        });
        if let Some(due) = due {
            self.context.arm(&cell, due);
        }
        Ok(cell)
    }

    /// Deletes a channel: its clients are closed and its messages forgotten. `false` when there is none.
    pub fn delete_channel(&self, name: &str) -> bool {
        let state = self.lock();
        let Some(cell) = state.channels.get(name).cloned() else {
            return false;
        };
        self.retire(&mut cell.lock());
        self.remove_channel(state, &cell);
        true
    }

    /// Deletes `cell` if no client is subscribed.
    pub(crate) fn delete_channel_if_unused(&self, cell: &ChannelCell) -> bool {
        let state = self.lock();
        let current = state.channels.get(cell.name());
        let Some(current) = current.filter(|current| std::ptr::eq(&raw const ***current, cell))
        else {
            return false;
        };
        let current = Arc::clone(current);
        let mut channel = current.lock();
        // Under the channel's lock: nobody subscribes between the look and the end.
        if channel.client_count() > 0 {
            return false;
        }
        self.retire(&mut channel);
        drop(channel);
        self.remove_channel(state, &current);
        true
    }

    /// Discards a channel; what it counted goes on counting in the totals.
    fn retire(&self, channel: &mut Channel) {
        if !channel.is_discarded() {
            self.context
                .departed(|totals| totals.add_channel(&channel.stats(0)));
            channel.discard();
        }
    }

    /// Takes a channel that was discarded out of the topic.
    fn remove_channel(&self, mut state: MutexGuard<'_, State>, cell: &ChannelCell) {
        let name = cell.name().clone();
        state.channels.remove(&name);
        if !state.has_kept_channel() {
            self.save_positions(&state);
        }
        let files = self.discard_channel_files(&name);
        drop(state);
        drop(files);
        self.release();
        tracing::info!("TOPIC({}): deleting channel {name}", self.name);
        self.context
            .surroundings
            .registry_changed(Change::ChannelDeleted(self.name.clone(), name));
    }

    fn discard_channel_files(&self, name: &ChannelName) -> Option<Discarded> {
        let folder = self.folder.as_ref().filter(|_| !name.is_ephemeral())?;
        Some(Discarded::folder(&folder.join(format!("{name}.channel"))))
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
        let mut state = self.lock();
        state.main.truncate(self.offered.end(LogKind::Main))?;
        let deferred_end = self.offered.end(LogKind::Deferred);
        if let Some(deferred) = &mut state.deferred {
            deferred.truncate(deferred_end)?;
        }
        self.note_release_point(&state);
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

    // ---- figures ----

    /// The topic's figures, with those of its channels. Without percentiles, which cost more.
    pub fn stats(&self) -> TopicStats {
        self.gather_stats(None)
    }

    /// The topic's figures, with those of its channels and the percentiles of their latencies as of `now`.
    pub fn stats_with_percentiles(&self, now: Now) -> TopicStats {
        let percentiles = self.context.settings.percentiles.as_deref();
        self.gather_stats(percentiles.map(|settings| (settings, now)))
    }

    fn gather_stats(&self, percentiles: Option<(&PercentileSettings, Now)>) -> TopicStats {
        let mem_queue_size = self.context.settings.mem_queue_size;
        let (mut stats, cells) = {
            let state = self.lock();
            let depth = self.waiting_count(&state);
            let stats = TopicStats {
                name: self.name.clone(),
                depth,
                backend_depth: if self.folder.is_some() {
                    depth.saturating_sub(mem_queue_size)
                } else {
                    0
                },
                message_count: state.message_count,
                message_bytes: state.message_bytes,
                paused: state.paused,
                channels: Vec::with_capacity(state.channels.len()),
                latency: None,
            };
            (stats, state.channels.values().cloned().collect::<Vec<_>>())
        };
        // One lock at a time, and percentiles under none: publishers and consumers go on meanwhile.
        let mut of_all: Option<Sketch> = None;
        for cell in cells {
            let mut channel = cell.lock();
            let mut figures = channel.stats(mem_queue_size);
            if let Some((settings, now)) = percentiles {
                let sketch = channel.latency_sketch(now);
                drop(channel);
                figures.latency = Some(sketch.summary(&settings.quantiles));
                match &mut of_all {
                    None => of_all = Some(sketch),
                    Some(others) => others.add(&sketch),
                }
            }
            stats.channels.push(figures);
        }
        if let (Some(sketch), Some((settings, _))) = (of_all, percentiles) {
            stats.latency = Some(sketch.summary(&settings.quantiles));
        }
        stats
    }

    /// Messages not yet offered.
    fn waiting_count(&self, state: &State) -> u64 {
        let main = state
            .main
            .end()
            .sequence
            .saturating_sub(self.offered.end(LogKind::Main));
        let deferred = state.deferred.as_ref().map_or(0, |writer| {
            writer
                .end()
                .sequence
                .saturating_sub(self.offered.end(LogKind::Deferred))
        });
        main + deferred
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

/// The id of the last record that can be read.
fn last_id(writer: &Writer) -> Option<MessageId> {
    let log = writer.log();
    let last = log.end_sequence().checked_sub(1)?;
    if last < log.first_sequence() {
        return None;
    }
    let mut cursor = log.seek(last);
    let mut reader = Reader::new(Arc::clone(log));
    match reader.next(&mut cursor) {
        Ok(Some(record)) => Some(MessageId::from_u64(record.id)),
        _ => None,
    }
}
