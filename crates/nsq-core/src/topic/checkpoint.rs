//! A topic's files, for a checkpoint.

use super::imported::HIGHEST_ID;
use super::{DEFERRED_OFFERED, MAIN_OFFERED, Topic};
use crate::channel::Lifecycle;
use crate::checkpoint::Collector;
use crate::error::StoreError;

impl Topic {
    /// Adds the files of the topic and of its channels, each as it is under its lock. Of a topic that is deleted, none.
    pub(crate) fn collect(&self, to: &mut Collector) -> Result<(), StoreError> {
        let state = self.lock();
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        if state.life == Lifecycle::Discarded {
            return Ok(());
        }
        to.add_log(state.main.log())?;
        if let Some(deferred) = &state.deferred {
            to.add_log(deferred.log())?;
        }
        for name in [MAIN_OFFERED, DEFERRED_OFFERED, HIGHEST_ID] {
            to.add_small(&folder.join(name))?;
        }
        for cell in state.channels.values() {
            cell.lock_inner().collect(to)?;
        }
        Ok(())
    }
}
