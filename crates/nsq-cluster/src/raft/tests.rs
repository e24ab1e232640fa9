//! openraft's own conformance suite, on the write-ahead log and a recording state machine.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use super::{LogStore, Machine, Tokio};
use crate::lane::{Lane, ThreadLane};
use crate::testing::{Recorder, fast_folder};
use crate::wal::{Durability, Opening, Wal, WalLanes, WalOptions};

struct Builder(Durability);

impl StoreBuilder<Tokio, LogStore<Tokio>, Machine<Tokio>, tempfile::TempDir> for Builder {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, LogStore<Tokio>, Machine<Tokio>), StorageError<Tokio>> {
        let folder = tempfile::tempdir_in(fast_folder()).unwrap();
        let lane = || Arc::new(ThreadLane::start("test").unwrap()) as Arc<dyn Lane>;
        let lanes = WalLanes {
            writer: lane(),
            reader: lane(),
        };
        let options = WalOptions {
            // Small ones, so that the suite reads from files and from memory, and frees segments.
            segment_bytes: 64 << 10,
            cache_bytes: 64,
            takes_any_first: true,
            ..WalOptions::new(self.0)
        };
        let opened = Wal::open(&folder.path().join("wal"), options, lanes).unwrap();
        let Opening::Ready(wal) = opened else {
            panic!("a new log is trusted: {opened:?}");
        };
        let recorder = Box::new(Recorder::default());
        let machine = Machine::open(folder.path(), lane(), recorder).unwrap();
        Ok((folder, LogStore::new(wal), machine))
    }
}

async fn check(durability: Durability) {
    Suite::test_all(Builder(durability)).await.unwrap();
}

#[tokio::test]
async fn the_log_that_syncs_conforms_to_openraft() {
    check(Durability::Synced).await;
}

#[tokio::test]
async fn the_log_that_writes_conforms_to_openraft() {
    check(Durability::Written).await;
}
