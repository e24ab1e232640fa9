//! The disk that freed segments take: bounded, and given back when they are not used again.

use std::fs;
use std::path::PathBuf;

use nsq_tests::{Nsqd, PATIENCE, wait_until};

fn free_bytes(nsqd: &Nsqd) -> u64 {
    let folder: PathBuf = nsqd.folder().join("topics/free");
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    // A file may go while it is looked at.
    let sizes = entries.flatten().filter_map(|entry| entry.metadata().ok());
    sizes.map(|metadata| metadata.len()).sum()
}

/// Publishes and finishes some megabytes.
fn use_segments(nsqd: &Nsqd) {
    let mut client = nsqd.subscribe("t", "c", 100);
    let body = "x".repeat(20_000);
    for _ in 0..200 {
        client.publish("t", &body);
        let message = client.expect_body(&body);
        client.finish(&message);
    }
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
}

#[test]
fn segments_that_no_topic_uses_again_are_removed_after_a_while() {
    // One to two times thirty syncs.
    let nsqd = Nsqd::start(&["--sync-timeout=100ms"]);
    use_segments(&nsqd);
    wait_until("a segment is freed", PATIENCE, || free_bytes(&nsqd) > 0);
    nsqd.order("/topic/delete?topic=t");
    wait_until("all are removed", PATIENCE, || free_bytes(&nsqd) == 0);
}

#[test]
fn no_more_is_kept_than_the_flag_allows() {
    for (flag, most) in [
        ("--max-free-segment-bytes=0", 0),
        ("--max-free-segment-bytes=300000", 300_000),
    ] {
        let nsqd = Nsqd::start(&[flag, "--sync-timeout=1h", "--max-bytes-per-file=262144"]);
        use_segments(&nsqd);
        let kept = free_bytes(&nsqd);
        assert!(kept <= most, "{flag}: {kept}");
        assert_eq!(kept == 0, most == 0, "{flag}: {kept}");
    }
}
