//! The channels of a topic: making, finding and deleting them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use nsq_protocol::ChannelName;
use nsq_queue::private;

use super::{ChannelCell, State, Topic, memory_options};
use crate::broker::{Change, Discarded};
use crate::change::{Action, FanOut};
use crate::channel::{Channel, Lifecycle, Limits, LogKind, Parts, Store};
use crate::error::{PublishError, StoreError};
use crate::time::Now;

impl Topic {
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
    /// [`StoreError`] when the topic is on its way out, the channel's files cannot be made, no more channels are wanted,
    /// or the topic is replicated and the channel durable.
    pub fn get_or_create_channel(
        &self,
        name: &ChannelName,
        now: Now,
    ) -> Result<Arc<ChannelCell>, StoreError> {
        let state = self.lock();
        self.active.store(true, Ordering::Relaxed);
        if let Some(cell) = state.channels.get(name) {
            return Ok(Arc::clone(cell));
        }
        if state.life != Lifecycle::Open {
            return Err(StoreError::Exiting);
        }
        if self.context.is_draining() {
            return Err(StoreError::Draining);
        }
        let host = &self.context.host;
        let allowed = host.may_make_channel(state.channels.len());
        allowed.map_err(StoreError::Refused)?;
        if self.is_replicated() && !name.is_ephemeral() {
            return Err(PublishError::Replicated.into());
        }
        self.make_channel(state, name, now)
    }

    /// Makes a channel that is not there.
    pub(super) fn make_channel(
        &self,
        mut state: MutexGuard<'_, State>,
        name: &ChannelName,
        now: Now,
    ) -> Result<Arc<ChannelCell>, StoreError> {
        self.active.store(true, Ordering::Relaxed);
        let cell = self.open_channel(&state, name, now)?;
        state.channels.insert(name.clone(), Arc::clone(&cell));
        self.follow_flow(&mut state);
        let effects = self.resume_flow(&state, now);
        drop(state);
        self.carry_out(effects);
        tracing::info!("TOPIC({}): new channel({name})", self.name);
        self.context
            .host
            .registry_changed(Change::ChannelCreated(self.name.clone(), name.clone()));
        Ok(cell)
    }

    pub(super) fn open_channel(
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
            private::create_folder(folder)
                .map_err(|error| StoreError::io("create", folder, error))?;
        }
        let recorder = self.recorder.as_ref().filter(|_| folder.is_some());
        let recorder = recorder.map(|recorder| recorder.of_channel(name));
        let start = match &state.committed {
            Some(committed) if folder.is_some() => committed.channel_start(state.ends()),
            _ => FanOut {
                main: self.offered.end(LogKind::Main),
                deferred: Some(self.offered.end(LogKind::Deferred)),
            },
        };
        if is_new && let Some(recorder) = &recorder {
            recorder.record(Action::ChannelCreated {
                main: start.main,
                deferred: start.of(LogKind::Deferred),
            });
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
                data_path: Arc::clone(&self.context.data_path),
                recorder: recorder.clone(),
            },
            main: Arc::clone(state.main.log()),
            deferred: state
                .deferred
                .as_ref()
                .map(|deferred| Arc::clone(deferred.log())),
            offered: Arc::clone(&self.offered),
            start: is_new.then_some(start),
            limits: Limits {
                msg_timeout: settings.max_msg_timeout,
                req_timeout: settings.max_req_timeout,
                ahead: settings.max_ahead(),
                depth: folder.is_none().then_some(settings.mem_queue_size),
                may_compact: !settings.is_replicated || folder.is_none(),
            },
            percentiles: settings.percentiles.clone(),
        };
        let mut channel = match Channel::open(parts, now) {
            Ok(channel) => channel,
            Err(error) => {
                if is_new && let Some(folder) = &folder {
                    // Nothing of worth is in it: a channel that was never there starts at the floor of its marks.
                    let _ = std::fs::remove_dir_all(folder);
                    if let Some(recorder) = &recorder {
                        recorder.record(Action::Deleted);
                    }
                }
                return Err(error.into());
            }
        };
        let mut effects = channel.end_batch();
        let cell = Arc::new(ChannelCell::new(self, channel));
        effects.plan_timeout(&cell);
        // Nothing else is left to be done: no client is here yet.
        drop(effects);
        Ok(cell)
    }

    /// Deletes a channel: its clients are closed and its messages forgotten. `false` when there is none, or when it is
    /// replicated.
    pub fn delete_channel(&self, name: &str) -> bool {
        let is_ephemeral = self
            .channel(name)
            .is_none_or(|cell| cell.name().is_ephemeral());
        (is_ephemeral || !self.is_replicated()) && self.delete_any_channel(name)
    }

    /// As [`delete_channel`](Self::delete_channel), by a committed command too.
    pub(crate) fn delete_any_channel(&self, name: &str) -> bool {
        let state = self.lock();
        if state.life == Lifecycle::Discarded {
            // Its channels went with it, and the files may be those of the next topic of its name.
            return false;
        }
        let Some(cell) = state.channels.get(name).cloned() else {
            return false;
        };
        self.retire(&mut cell.lock_inner());
        self.remove_channel(state, &cell);
        true
    }

    /// Deletes `cell` if no client is subscribed.
    pub(crate) fn delete_channel_if_unused(&self, cell: &ChannelCell) -> bool {
        let state = self.lock();
        if state.life == Lifecycle::Discarded {
            return false;
        }
        let current = state.channels.get(cell.name());
        let Some(current) = current.filter(|current| std::ptr::eq(&raw const ***current, cell))
        else {
            return false;
        };
        let current = Arc::clone(current);
        let mut channel = current.lock_inner();
        // Under the channel's lock: no one subscribes between the look and the end.
        if channel.client_count() > 0 {
            return false;
        }
        self.retire(&mut channel);
        drop(channel);
        self.remove_channel(state, &current);
        true
    }

    /// Discards a channel; what it counted stays in the totals.
    pub(super) fn retire(&self, channel: &mut Channel) {
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
        if state.committed.is_some() {
            self.follow_flow(&mut state);
        } else if !state.has_kept_channel() {
            self.save_positions(&state);
        }
        let folder = self.folder.as_ref().filter(|_| !name.is_ephemeral());
        let folder = folder.map(|folder| folder.join(format!("{name}.channel")));
        if let Some(discarded) = folder.and_then(|folder| Discarded::folder(&folder)) {
            self.context.remove_later(discarded);
        }
        if let Some(recorder) = self.recorder.as_ref().filter(|_| !name.is_ephemeral()) {
            recorder.of_channel(&name).record(Action::Deleted);
        }
        drop(state);
        self.release();
        tracing::info!("TOPIC({}): deleting channel {name}", self.name);
        self.context
            .host
            .registry_changed(Change::ChannelDeleted(self.name.clone(), name));
    }
}
