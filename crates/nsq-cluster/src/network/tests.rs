//! Offered checkpoints, under a clock that only advances when everything waits.

use std::io;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;
use crate::codec::{Manifest, ManifestFile};
use crate::state_machine::CheckpointFiles;
use crate::testing::HandLane;

#[derive(Debug)]
struct Zeros;

impl CheckpointFiles for Zeros {
    fn read(&self, _: usize, _: u64, bytes: usize) -> io::Result<Bytes> {
        Ok(vec![0; bytes].into())
    }
}

const FILE_BYTES: u64 = 10 << 20;
const CHUNK: u32 = 256 << 10;
const RATE: u64 = 1 << 20;

fn checkpoint() -> Checkpoint {
    let file = ManifestFile {
        name: "file".to_owned(),
        bytes: FILE_BYTES,
        fingerprint: 0,
    };
    let manifest = Manifest {
        files: vec![file],
        note: Bytes::new(),
    };
    Checkpoint {
        manifest,
        files: Arc::new(Zeros),
    }
}

fn offer(transfers: &Arc<Transfers>) -> OfferGuard {
    transfers.offer(checkpoint(), Arc::new(HandLane::default()))
}

/// Fetches a whole file, some chunks at a time, and returns how many bytes came.
async fn fetch(transfers: &Transfers, offer: &OfferGuard) -> u64 {
    let mut came = 0;
    let offsets: Vec<_> = (0..FILE_BYTES).step_by(CHUNK as usize).collect();
    for some in offsets.chunks(8) {
        let chunks = some
            .iter()
            .map(|at| transfers.chunk(offer.id(), 0, *at, CHUNK));
        for chunk in join_all(chunks).await {
            let Answer::Chunk { bytes, .. } = chunk else {
                panic!("{chunk:?}");
            };
            came += bytes.len() as u64;
        }
    }
    came
}

#[tokio::test(start_paused = true)]
async fn all_transfers_together_stay_below_the_limit_and_use_it_up() {
    let transfers = Arc::new(Transfers::limited(1, RATE));
    let offers = [offer(&transfers), offer(&transfers)];
    let began = Instant::now();
    let came = join_all(offers.iter().map(|offer| fetch(&transfers, offer))).await;
    let bytes: u64 = came.iter().sum();
    assert_eq!(bytes, 2 * FILE_BYTES);
    // The last chunk leaves when all before it have taken their time.
    let expected = Duration::from_millis((bytes - u64::from(CHUNK)) * 1000 / RATE);
    let took = began.elapsed();
    let slack = Duration::from_millis(50);
    assert!(
        took >= expected && took < expected + slack,
        "{took:?} for {expected:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_not_made_up_for() {
    let transfers = Arc::new(Transfers::limited(1, RATE));
    let offer = offer(&transfers);
    fetch(&transfers, &offer).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let began = Instant::now();
    let came = fetch(&transfers, &offer).await;
    let at_least = Duration::from_millis((came - u64::from(CHUNK)) * 1000 / RATE);
    assert!(began.elapsed() >= at_least);
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_nothing_waits() {
    for transfers in [Transfers::new(1), Transfers::limited(1, 0)] {
        let transfers = Arc::new(transfers);
        let offer = offer(&transfers);
        let began = Instant::now();
        assert_eq!(fetch(&transfers, &offer).await, FILE_BYTES);
        assert!(began.elapsed().is_zero());
        assert!(transfers.turn(GroupId(1)).await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_limit_one_shard_is_sent_at_a_time_and_the_directory_at_any_time() {
    let transfers = Transfers::limited(1, RATE);
    let first = transfers.turn(GroupId(1)).await;
    assert!(first.is_some());
    assert!(transfers.turn(GroupId::DIRECTORY).await.is_none());
    let second = transfers.turn(GroupId(2));
    let waiting = tokio::time::timeout(Duration::from_mins(1), second).await;
    assert!(waiting.is_err(), "the first one is still being sent");
    drop(first);
    assert!(transfers.turn(GroupId(2)).await.is_some());
}
