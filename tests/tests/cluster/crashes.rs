//! Machines that crash: the kernel has another boot id afterwards, and what was not synced may be gone.

use nsq_tests::{Cluster, mount_wrapper};
use tempfile::NamedTempFile;

use crate::members::{channel, consume, publish};

/// A file that takes the place of the kernel's boot id.
fn boot_id(id: &str) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(file.path(), id).expect("our own file can be written");
    file
}

/// Starts a node that was killed, as after a crash of its machine.
#[track_caller]
fn start_after_crash(cluster: &mut Cluster, node: usize, boot_id: &NamedTempFile) {
    let Some([unshare, option]) = mount_wrapper() else {
        return;
    };
    let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
    let boot_id = boot_id.path().to_str().expect("temporary paths are text");
    cluster[node].start_again_through(&[unshare, option, "sh", "-c", script, boot_id]);
}

#[test]
fn a_node_whose_machine_crashed_takes_a_new_number_and_fetches_everything() {
    if mount_wrapper().is_none() {
        return;
    }
    let mut cluster = Cluster::start(3, &[]);
    channel(&cluster[0], "orders");
    publish(&cluster[0], "orders", "before the crash");
    cluster.wait_until_ok();
    cluster[0].kill9();
    start_after_crash(&mut cluster, 0, &boot_id("another boot"));
    cluster[0].wait_for_line("now has the number 4");
    cluster.wait_until_ok();
    consume(&[&cluster[0]], "orders", "before the crash");
}

#[test]
fn nodes_that_all_lose_power_go_on_with_what_they_have() {
    if mount_wrapper().is_none() {
        return;
    }
    let mut cluster = Cluster::start(3, &["--sync-publish=false"]);
    channel(&cluster[0], "orders");
    publish(&cluster[0], "orders", "before the crash");
    cluster.wait_until_ok();
    for node in 0..3 {
        cluster[node].kill9();
    }
    let boot_id = boot_id("another boot");
    for node in 0..3 {
        start_after_crash(&mut cluster, node, &boot_id);
    }
    cluster[0].wait_for_line("so it continues with them");
    cluster.wait_until_ok();
    consume(&[&cluster[0]], "orders", "before the crash");
}
