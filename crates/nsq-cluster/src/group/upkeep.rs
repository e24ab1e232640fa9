//! What a replica does by the clock: it syncs its log, and frees what the log holds too much of.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::type_config::TypeConfigExt;

use super::replica::{ChangeError, Shared};
use crate::raft::{LogId, Types};
use crate::wal::Durability;

/// Until the replica stops.
pub(super) async fn run<C: Types>(shared: Arc<Shared<C>>) {
    let pause = shared.options.limits.sync_every.min(LONGEST_PAUSE);
    while shared.pause(pause).await {
        if shared.wal.durability() == Durability::Written && shared.wal.sync().await.is_err() {
            return;
        }
        if free(&shared).await.is_none() {
            return;
        }
    }
}

/// Has a checkpoint made if the log is too long, and purges what the last one covers. `None` when the replica has stopped.
async fn free<C: Types>(shared: &Shared<C>) -> Option<()> {
    let limits = &shared.options.limits;
    if shared.wal.disk_bytes() <= limits.kept_log_bytes {
        return Some(());
    }
    let metrics = shared.raft.metrics().borrow_watched().clone();
    let mut end = shared.wal.index_keeping(limits.kept_log_bytes);
    // Only a leader knows who is how far.
    let held = metrics.replication.iter().flatten();
    let slowest = held.map(|(_, id)| id.as_ref().map_or(0, |id| id.index() + 1));
    if let Some(slowest) = slowest.min() {
        end = end.min(slowest);
    }
    end = end.max(shared.wal.index_keeping(limits.max_log_bytes));
    let purged_end = metrics.purged.as_ref().map_or(0, |id| id.index() + 1);
    if end <= purged_end {
        return Some(());
    }
    let trigger = shared.raft.trigger();
    let covered_end = metrics.snapshot.as_ref().map_or(0, |id| id.index() + 1);
    let done = if covered_end < end {
        trigger.snapshot().await
    } else {
        trigger.purge_log(end - 1).await
    };
    done.ok()
}

/// Makes a checkpoint of all that is applied, and purges the log up to it.
pub(super) async fn checkpoint_now<C: Types>(shared: &Shared<C>) -> Result<(), ChangeError> {
    let mut metrics = shared.raft.metrics();
    let end_of = |id: Option<&LogId>| id.map_or(0, |id| id.index() + 1);
    let wanted = end_of(metrics.borrow_watched().last_applied.as_ref());
    if wanted == 0 {
        return Err(ChangeError::Refused("nothing was applied yet".to_owned()));
    }
    let stopped = |_| ChangeError::Stopped;
    let trigger = shared.raft.trigger();
    trigger.snapshot().await.map_err(stopped)?;
    let done = async {
        let mut purged_from = None;
        loop {
            let (covered, purged) = {
                let now = metrics.borrow_and_update();
                (end_of(now.snapshot.as_ref()), end_of(now.purged.as_ref()))
            };
            if purged >= wanted {
                return Ok(());
            }
            // A purge waits for followers that are being sent the entries, and purges what it can until then.
            if covered >= wanted && purged_from != Some(purged) {
                purged_from = Some(purged);
                trigger.purge_log(covered - 1).await.map_err(stopped)?;
            }
            metrics.changed().await.map_err(|_| ChangeError::Stopped)?;
        }
    };
    match C::timeout(CHECKPOINT_TIMEOUT, done).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ChangeError::Refused(format!(
            "the checkpoint was not made within {CHECKPOINT_TIMEOUT:?}"
        ))),
    }
}

const CHECKPOINT_TIMEOUT: Duration = Duration::from_mins(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
