//! A replica of a shard as its node sees it.

mod options;
mod serving;
mod upkeep;

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use nsq_cluster::codec::LogId;
use nsq_core::metadata::{self, MetadataError};
use nsq_core::replica::Replica;
use nsq_core::{Broker, Ends, Now, SafeOnce, Settings, crash};
use nsq_protocol::TopicName;

pub use self::options::{ShardError, ShardFigures, ShardOptions};
use crate::accumulator::Accumulator;
use crate::ahead;
use crate::behind::Behind;
use crate::leading::Leading;
use crate::machine::ShardMachine;
use crate::meta::{Meta, Stored};
use crate::progress::Progress;
use crate::transfer;

/// What a replica does at the moment.
pub(crate) enum Mode {
    Following(Replica),
    Leading(Arc<Leading>),
    /// Between the two, or after a change that failed.
    Closed(String),
}

/// What applying changes.
pub(crate) struct Held {
    pub(crate) mode: Mode,
    /// As of now.
    pub(crate) meta: Meta,
    /// As it is on the disk.
    pub(crate) stored: Meta,
    /// Where the logs of all topics ended then; `None` where that has to be found out first.
    pub(crate) ends: Option<Ends>,
    /// Whether some of these are not on the disk.
    pub(crate) has_new_ends: bool,
    /// Topics that a broker or a replica before has changed, and that may not be on the disk.
    pub(crate) left: Option<HashSet<TopicName>>,
    /// Topics that were made since another command was executed; how far that is may not be on the disk.
    pub(crate) created: HashSet<TopicName>,
}

/// One replica of a shard, following or leading.
pub struct Shard {
    pub(crate) options: ShardOptions,
    /// Locked while an entry is applied, and while the replica changes between following and leading.
    held: Mutex<Held>,
    /// The same as in `held` while it leads: publishers do not wait for what is being applied.
    leading: RwLock<Option<Arc<Leading>>>,
    /// Of what was applied, to be read without waiting.
    noted: Noted,
    /// The highest id that any leadership of this process has given.
    highest_id: AtomicU64,
    /// What is wrong with the replica's files.
    damage: Mutex<Option<String>>,
    /// Of upkeep, while it leads.
    rounds: AtomicU64,
}

/// The same as in [`Held::meta`].
#[derive(Debug)]
struct Noted {
    /// The index of the entry after the last applied one.
    next: AtomicU64,
    registry_index: AtomicU64,
}

impl Shard {
    /// Opens the replica; it follows. Finishes what an earlier process had begun to install.
    ///
    /// # Errors
    /// [`ShardError`] when its files cannot be opened.
    pub fn open(options: ShardOptions) -> Result<(Arc<Shard>, ShardMachine), ShardError> {
        nsq_queue::private::create_folders(&options.folder)?;
        transfer::resume(&options.folder, &options.data_path)?;
        let stored = recover(&options)?;
        let meta = stored.meta;
        let replica = Replica::open(&options.data_path, options.core.log_options)?;
        let shard = Arc::new(Shard {
            options,
            held: Mutex::new(Held {
                mode: Mode::Following(replica),
                meta,
                stored: meta,
                ends: stored.ends,
                has_new_ends: false,
                left: None,
                created: HashSet::new(),
            }),
            leading: RwLock::new(None),
            noted: Noted {
                next: meta.applied.map_or(0, |id| id.index + 1).into(),
                registry_index: meta.registry_index.into(),
            },
            highest_id: AtomicU64::new(0),
            damage: Mutex::default(),
            rounds: AtomicU64::new(0),
        });
        let machine = ShardMachine::new(Arc::clone(&shard));
        Ok((shard, machine))
    }

    /// How far the replica in these folders has executed the shard's log. For one that is not open: finds out whether it can
    /// be.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when a file is damaged, otherwise what the operating system answered.
    pub fn executed(folder: &Path, data_path: &Path) -> io::Result<Option<LogId>> {
        transfer::resume(folder, data_path)?;
        let stored = Stored::load(folder)?;
        match metadata::load(data_path) {
            Ok(_) => Ok(stored.meta.applied),
            Err(error @ MetadataError::Parse { .. }) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// The shard's number.
    pub fn number(&self) -> u64 {
        self.options.number
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Now {
        (self.options.clock)()
    }

    pub(crate) fn leading(&self) -> Option<Arc<Leading>> {
        self.leading
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn note_meta(&self, meta: &Meta) {
        let next = meta.applied.map_or(0, |id| id.index + 1);
        self.noted.next.store(next, Ordering::Release);
        let registry_index = meta.registry_index;
        self.noted
            .registry_index
            .store(registry_index, Ordering::Release);
    }

    fn set_leading(&self, leading: Option<Arc<Leading>>) {
        *self.leading.write().unwrap_or_else(PoisonError::into_inner) = leading;
    }

    // ---- following and leading ----

    /// Opens the shard's broker. Only once this node is confirmed to lead in `term`, and all earlier entries were applied.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`ShardError`] when the broker cannot be opened; the replica follows then.
    pub fn lead(&self, term: u64) -> Result<Arc<Broker>, ShardError> {
        let mut held = self.held();
        if held.meta.applied.is_some_and(|applied| applied.term > term) {
            return Err(ShardError::NotLeading(self.options.number));
        }
        if let Mode::Closed(_) = held.mode {
            self.open_replica(&mut held)?;
        }
        if let Mode::Leading(leading) = &held.mode {
            if leading.term == term {
                return Ok(Arc::clone(&leading.broker));
            }
            self.stop_leading(&mut held)?;
        }
        let mode = std::mem::replace(&mut held.mode, Mode::Closed("it is opening".to_owned()));
        let Mode::Following(replica) = mode else {
            held.mode = mode;
            return Err(self.broken(&held));
        };
        // Publishers and consumers wait for the broker, and it works without a sync: the next upkeep does that.
        held.left = replica.unsynced();
        let opened = replica
            .let_go()
            .map_err(ShardError::from)
            .and_then(|()| self.open_broker(term));
        match opened {
            Ok(leading) => {
                if let Some(topics) = held.left.take() {
                    leading.broker.note_unsynced(topics);
                }
                if let Some(ends) = &held.ends {
                    leading.broker.note_stored(ends);
                }
                let broker = Arc::clone(&leading.broker);
                held.mode = Mode::Leading(Arc::clone(&leading));
                self.set_leading(Some(leading));
                Ok(broker)
            }
            Err(error) => {
                self.note_if_damaged(&error);
                // Of a broker that was opened in part, too.
                held.left.get_or_insert_default();
                self.open_replica(&mut held)?;
                Err(error)
            }
        }
    }

    fn open_broker(&self, term: u64) -> Result<Arc<Leading>, ShardError> {
        let options = &self.options;
        let settings = Settings {
            data_path: options.data_path.clone(),
            node_id: node_id_of(options.number),
            safe_once: SafeOnce::Appended,
            is_replicated: true,
            ..options.core.clone()
        };
        // Without the note, a kill would have the others lack forever what was finished just before it. Leading is more urgent.
        let is_ahead = ahead::note(&options.folder).unwrap_or_else(|error| {
            let number = options.number;
            tracing::error!("cluster: shard {number}: finished messages may come back: {error}");
            true
        });
        let progress = Arc::new(Progress::default());
        let sink = Arc::clone(&progress) as Arc<dyn nsq_core::change::ChangeSink>;
        let host = Arc::clone(&options.host);
        let broker = Broker::open_recorded(settings, host, sink, self.now())?;
        let accumulator = Accumulator::new(
            term,
            self.highest_id.load(Ordering::Acquire),
            options.max_pending_bytes,
            options.max_entry_bytes,
        );
        let behind = Behind::new(is_ahead);
        let leading = Leading::new(term, Arc::new(broker), progress, behind, accumulator);
        Ok(Arc::new(leading))
    }

    /// Stops leading, if the replica does: what was accepted and not stored is refused, and the broker gives the data path
    /// to a replica. Blocks on the disk.
    ///
    /// # Errors
    /// [`ShardError`] when the files cannot be opened; [`apply`](ShardMachine) tries it again.
    pub fn follow(&self) -> Result<(), ShardError> {
        let mut held = self.held();
        match held.mode {
            Mode::Leading(_) => self.stop_leading(&mut held),
            Mode::Following(_) => Ok(()),
            Mode::Closed(_) => self.open_replica(&mut held),
        }
    }

    pub(crate) fn stop_leading(&self, held: &mut Held) -> Result<(), ShardError> {
        self.set_leading(None);
        let closing = Mode::Closed("it is closing".to_owned());
        if let Mode::Leading(leading) = std::mem::replace(&mut held.mode, closing) {
            leading.end(self.options.number);
            if let Err(error) = leading.broker.save_metadata() {
                // What is not in it has folders, which say the same.
                tracing::error!("cluster: shard {}: {error}", self.options.number);
            }
            // Should it lead in the same term again, it must not give lower ids than what is still under way has.
            self.highest_id
                .fetch_max(leading.highest_id(), Ordering::AcqRel);
            let unsynced = leading.broker.resign(self.now());
            held.left.get_or_insert_default().extend(unsynced);
            if leading.is_all_known() {
                self.note_level();
            }
        }
        self.open_replica(held)
    }

    /// The replica knows no more finished messages than the others, or must not pass them on.
    fn note_level(&self) {
        if let Err(error) = ahead::remove(&self.options.folder) {
            // The next leadership repeats what the others know.
            tracing::warn!("cluster: shard {}: {error}", self.options.number);
        }
    }

    /// The replica has something else than before, up to there.
    pub(crate) fn take_over(&self, held: &mut Held, meta: Meta) {
        held.meta = meta;
        held.stored = meta;
        held.ends = None;
        held.has_new_ends = false;
        held.left = None;
        self.note_meta(&meta);
    }

    /// What is wrong with the replica's files, if they are damaged. It must be received again then.
    pub fn damage(&self) -> Option<String> {
        let damage = self.damage.lock();
        damage.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn note_damage(&self, why: String) {
        // Before a kill can have the next start take the damage for something that was finished.
        self.note_level();
        let damage = self.damage.lock();
        damage
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(why);
    }

    pub(crate) fn note_if_damaged(&self, error: &ShardError) {
        if error.is_damage() {
            self.note_damage(error.to_string());
        }
    }

    pub(crate) fn open_replica(&self, held: &mut Held) -> Result<(), ShardError> {
        let opened = self.try_to_open(held);
        if let Err(error) = &opened {
            self.note_if_damaged(error);
        }
        held.mode = match &opened {
            Ok(()) => return Ok(()),
            Err(error) => Mode::Closed(error.to_string()),
        };
        opened
    }

    fn try_to_open(&self, held: &mut Held) -> Result<(), ShardError> {
        let options = &self.options;
        if transfer::resume(&options.folder, &options.data_path)? {
            let meta = Stored::load(&options.folder)?.meta;
            self.take_over(held, meta);
        }
        if held.ends.is_none() {
            held.ends = recover(options)?.ends;
        }
        let mut replica = Replica::open(&options.data_path, options.core.log_options)?;
        if let Some(topics) = held.left.take() {
            replica.note_unsynced(topics);
        }
        held.mode = Mode::Following(replica);
        Ok(())
    }

    pub(crate) fn broken(&self, held: &Held) -> ShardError {
        let why = match &held.mode {
            Mode::Closed(why) => why.clone(),
            Mode::Following(_) | Mode::Leading(_) => "it is in use".to_owned(),
        };
        ShardError::Broken(format!("shard {}: {why}", self.options.number))
    }

    /// Forgets everything the replica holds: after a machine crash it may lack what the shard's log says it has. It
    /// receives all of it again.
    ///
    /// # Errors
    /// [`ShardError`] when the files cannot be removed.
    pub fn forget(&self) -> Result<(), ShardError> {
        let mut held = self.held();
        if let Mode::Leading(_) = held.mode {
            self.stop_leading(&mut held)?;
        }
        held.mode = Mode::Closed("it is being emptied".to_owned());
        transfer::forget(&self.options.folder, &self.options.data_path)?;
        self.take_over(&mut held, Meta::default());
        self.open_replica(&mut held)
    }

    /// Syncs everything, and stops leading if the replica does. At shutdown, after the group has stopped.
    ///
    /// # Errors
    /// [`ShardError`] when the disk does not take it.
    pub fn close(&self) -> Result<(), ShardError> {
        let mut held = self.held();
        if let Mode::Leading(_) = held.mode {
            self.stop_leading(&mut held)?;
        }
        if let Mode::Following(replica) = &mut held.mode {
            let ends = replica.sync()?;
            self.store_meta(&mut held, &ends)?;
        }
        Ok(())
    }
}

/// Makes the data path what it was when it was stored last, if the machine has crashed since. No one may have it open.
fn recover(options: &ShardOptions) -> Result<Stored, ShardError> {
    let (data_path, log_options) = (&options.data_path, options.core.log_options);
    let mut stored = Stored::load(&options.folder)?;
    let is_same_boot = !options.boot_id.is_empty() && stored.boot_id == options.boot_id;
    match &stored.ends {
        Some(_) if is_same_boot => return Ok(stored),
        Some(ends) => crash::cut_to(data_path, log_options, ends)?,
        // A checkpoint, which was synced, or the data path of a nsqd that was no node of a cluster.
        None => stored.ends = Some(crash::ends_of(data_path, log_options)?),
    }
    stored.boot_id.clone_from(&options.boot_id);
    stored.store(&options.folder)?;
    Ok(stored)
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shard")
            .field("number", &self.options.number)
            .finish_non_exhaustive()
    }
}

/// The part of message ids that says which shard they are from: the ids of two shards never meet on one connection.
fn node_id_of(number: u64) -> u16 {
    u16::try_from(number % 1024).expect("below 1024")
}
