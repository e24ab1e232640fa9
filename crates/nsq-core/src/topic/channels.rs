//! The channels of a topic: making, finding and deleting them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use nsq_protocol::ChannelName;

use super::{ChannelCell, State, Topic, memory_options};
use crate::broker::{Change, Discarded};
use crate::channel::{Channel, Life, Parts, Store};
use crate::error::StoreError;
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
    /// [`StoreError`] when the topic is on its way out, the channel's files cannot be made, or no more channels are
    /// wanted.
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
        if self.context.is_draining() {
            return Err(StoreError::Draining);
        }
        let surroundings = &self.context.surroundings;
        let allowed = surroundings.may_make_channel(state.channels.len());
        allowed.map_err(StoreError::Refused)?;
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
        let cell = Arc::new(ChannelCell::new(self.name.clone(), channel));
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
        if !state.has_kept_channel() {
            self.save_positions(&state);
        }
        let folder = self.folder.as_ref().filter(|_| !name.is_ephemeral());
        let folder = folder.map(|folder| folder.join(format!("{name}.channel")));
        if let Some(discarded) = folder.and_then(|folder| Discarded::folder(&folder)) {
            self.context.remove_later(discarded);
        }
        drop(state);
        self.release();
        tracing::info!("TOPIC({}): deleting channel {name}", self.name);
        self.context
            .surroundings
            .registry_changed(Change::ChannelDeleted(self.name.clone(), name));
    }
}
