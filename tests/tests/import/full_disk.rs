//! An import that the disk has no room for.

use nsq_tests::{Frame, PATIENCE, Start, mount_wrapper};

use crate::upstream_folder::{numbered, queue_file_count, write_queue};

const COUNT: u64 = 300_000;

/// The files on a disk with room for them and half as much; how full it is after a start in vain; then with more room.
const TOO_SMALL_AT_FIRST: &str = "mount -t tmpfs -o size=20m tmpfs /mnt && cp {folder}/* /mnt && \
    mount --bind /mnt {folder} && \"$@\"; echo in vain: $?, $(df --output=used -k {folder} | tail -1) used >&2; \
    ls {folder} >&2; mount -o remount,size=100m /mnt && exec \"$@\"";

#[test]
fn a_full_disk_stops_the_start_and_the_next_one_goes_on() {
    let Some([unshare, option]) = mount_wrapper() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    write_queue(folder.path(), "t:c", numbered("m", COUNT));
    let wrapper = [unshare, option, "sh", "-c", TOO_SMALL_AT_FIRST, "sh"];
    let nsqd = Start::default()
        .on_copy_of(folder.path())
        .through(&wrapper)
        .now();
    let log = nsqd.log().text();
    for text in [
        "FATAL: failed to load metadata - upstream's disk queue t:c cannot be imported: ",
        "No space left on device",
        "nothing is lost",
        "in vain: 1, ",
        "t:c.diskqueue.000000.dat",
    ] {
        assert!(log.contains(text), "{text}\n{log}");
    }
    // What had been copied gave its room back: of the 20 MiB, upstream's file takes less than 13.
    let used = log
        .split("in vain: 1, ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let used_kib: u64 = used.and_then(|used| used.parse().ok()).expect("df told");
    assert!(used_kib < 13 << 10, "{used_kib} KiB are used");

    assert_eq!(queue_file_count(&nsqd.folder_within()), 0);
    let mut client = nsqd.subscribe("t", "c", 2500);
    for number in 0..COUNT {
        match client.next_frame(PATIENCE) {
            Ok(Frame::Message(message)) => {
                assert_eq!(message.text(), format!("m-{number}"));
                client.finish(&message);
            }
            other => panic!("{other:?} after {number}"),
        }
    }
    nsqd.wait_for_channel("t", "c", &[("depth", 0), ("in_flight_count", 0)]);
}
