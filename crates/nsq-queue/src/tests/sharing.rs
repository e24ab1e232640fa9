//! Writer, readers and syncer at once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn what_is_shared_may_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<Log>();
    check::<Reader>();
    check::<Writer>();
    check::<SegmentPool>();
    check::<crate::FinishedSet>();
}

/// One thread appends and frees, two read everything in order, one syncs.
fn run(bench: &Bench, mut writer: Writer) {
    let total = 20_000_u64;
    let is_done = AtomicBool::new(false);
    let read = std::sync::Mutex::new([0; 2]);
    std::thread::scope(|scope| {
        for at in 0..2 {
            let mut reader = Reader::new(Arc::clone(writer.log()));
            let (read, is_done) = (&read, &is_done);
            scope.spawn(move || {
                let mut cursor = Cursor::default();
                while cursor.sequence < total {
                    if let Some(record) = reader.next(&mut cursor).unwrap() {
                        let expected = bodies(record.sequence..record.sequence + 1, 100);
                        assert_eq!(record.body, expected[0]);
                        read.lock().unwrap()[at] = cursor.sequence;
                    } else {
                        assert!(!is_done.load(Ordering::Relaxed) || cursor.sequence == total);
                        std::thread::yield_now();
                    }
                }
            });
        }
        let log = Arc::clone(writer.log());
        let is_done = &is_done;
        scope.spawn(move || {
            while !is_done.load(Ordering::Relaxed) {
                let end = log.end_sequence();
                assert!(log.sync().unwrap() >= end);
            }
        });
        for first in (0..total).step_by(20) {
            append(&mut writer, &bodies(first..first + 20, 100)).unwrap();
            let finished = *read.lock().unwrap().iter().min().unwrap();
            writer.release_before(finished);
        }
        is_done.store(true, Ordering::Relaxed);
    });
    writer.release_before(total);
    writer.rest();
    assert_eq!(
        writer.log().disk_bytes(),
        u64::from(bench.options.first_segment_bytes)
    );
}

#[test]
fn readers_and_a_syncer_run_beside_the_writer_of_files() {
    let mut bench = Bench::new();
    bench.pool = Arc::new(SegmentPool::new(bench.path(), 1 << 20));
    bench.options.max_segment_bytes = 64 << 10;
    let (writer, _) = bench.open();
    run(&bench, writer);
}

#[test]
fn readers_run_beside_the_writer_of_memory() {
    let bench = Bench::new();
    run(&bench, Writer::in_memory(OPTIONS));
}
