//! What a replica of a shard does now and then.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nsq_cluster::blocking::{Blocking, run_blocking};
use nsq_core::Ends;
use tokio::time::{MissedTickBehavior, interval};

use super::{Held, Mode, Shard, ShardError};
use crate::meta::{self, Meta};

/// How often what was applied is synced, and tidied up.
const UPKEEP: Duration = Duration::from_secs(2);
/// A leader looks for damaged records in every so many rounds of that.
const DAMAGE_ROUNDS: u64 = 2;
const DAMAGED: &str = "a topic's log has lost messages";

impl Shard {
    /// Syncs what was applied and tidies up, every two seconds. Runs until it is dropped.
    pub async fn upkeep(self: Arc<Self>, blocking: Arc<dyn Blocking>) {
        let mut tick = interval(UPKEEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let shard = Arc::clone(&self);
            let kept = run_blocking(&*blocking, move || shard.maintain());
            if let Some(Err(error)) = kept.await {
                tracing::error!("cluster: shard {}: {error}", self.options.number);
            }
        }
    }

    /// Syncs what was applied, and notes how far that is. A replica that follows also frees what all channels have
    /// finished; the broker of a leader has its own upkeep. Blocks on the disk.
    ///
    /// # Errors
    /// [`ShardError`] when the disk does not take it; the next call tries again.
    pub fn maintain(&self) -> Result<(), ShardError> {
        let mut held = self.held();
        let meta = held.meta;
        match &mut held.mode {
            Mode::Following(replica) => {
                let ends = replica.sync()?;
                // First, so that no message is executed again that is freed now.
                self.store_as(&mut held, meta, &ends)?;
                if let Mode::Following(replica) = &mut held.mode {
                    replica.maintain()?;
                    replica.release_free_segments();
                    if replica.damaged_count() > 0 {
                        self.note_damage(DAMAGED.to_owned());
                    }
                }
            }
            Mode::Leading(leading) => {
                // Commands continue meanwhile: what is noted was applied before.
                let leading = Arc::clone(leading);
                let broker = &leading.broker;
                let begun = broker.begin_sync();
                drop(held);
                let ends = broker.finish_sync(begun, self.now())?;
                let round = self.rounds.fetch_add(1, Ordering::Relaxed);
                if round.is_multiple_of(DAMAGE_ROUNDS) && broker.has_damage() {
                    self.note_damage(DAMAGED.to_owned());
                }
                let mut held = self.held();
                // A barrier may have stored more meanwhile, of these topics too.
                if matches!(&held.mode, Mode::Leading(now) if Arc::ptr_eq(&now.broker, broker))
                    && held.stored.place() <= meta.place()
                {
                    self.store_as(&mut held, meta, &ends)?;
                }
            }
            Mode::Closed(_) => self.open_replica(&mut held)?,
        }
        Ok(())
    }

    /// Notes on the disk how far the replica has applied, and where the logs end that were synced. Everything up to there is
    /// synced.
    pub(crate) fn store_meta(&self, held: &mut Held, synced: &Ends) -> io::Result<()> {
        let meta = held.meta;
        self.store_as(held, meta, synced)
    }

    fn store_as(&self, held: &mut Held, meta: Meta, synced: &Ends) -> io::Result<()> {
        held.has_new_ends |= !synced.is_empty();
        let ends = held.ends.get_or_insert_default();
        ends.extend(synced.iter().map(|(name, end)| (name.clone(), *end)));
        if held.stored != meta || held.has_new_ends {
            let (folder, boot_id) = (&self.options.folder, &self.options.boot_id);
            meta::store(folder, &meta, boot_id, Some(ends))?;
            held.stored = meta;
            held.has_new_ends = false;
        }
        if let Mode::Leading(leading) = &held.mode {
            leading.broker.note_stored(synced);
        }
        Ok(())
    }
}
