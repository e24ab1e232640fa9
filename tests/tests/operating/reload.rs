//! SIGHUP: the config file is read again.

use std::fs;

use nsq_tests::{Lookupd, Start};
use rustix::process::Signal;

#[test]
fn a_changed_file_moves_nsqd_to_other_nsqlookupds_without_a_restart() {
    let [first, second] = [(); 2].map(|()| Lookupd::start());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nsqd.cfg");
    let write = |text: String| fs::write(&path, text).expect("the file can be written");
    write(format!("nsqlookupd_tcp_addresses = [\"{}\"]", first.tcp()));
    let config = format!("--config={}", path.display());
    let nsqd = Start::with(&[&config, "--broadcast-address=127.0.0.1"]).now();
    nsqd.order("/topic/create?topic=t");
    first.wait_for_producers("t", &[nsqd.tcp()]);

    write(format!(
        "log_level = \"debug\"\nmsg_timeout = \"3s\"\nnsqlookupd_tcp_addresses = [\"{}\"]",
        second.tcp()
    ));
    nsqd.notify(Signal::HUP);
    nsqd.wait_for_line("SIGHUP: --lookupd-tcp-address is ");
    nsqd.wait_for_line("SIGHUP: --msg-timeout changes to \"3s\" at the next start");
    second.wait_for_producers("t", &[nsqd.tcp()]);
    first.wait_for_producers("t", &[]);
    assert_eq!(nsqd.get("/config/log_level").text(), "1");
    assert_eq!(nsqd.get("/config/msg_timeout").text(), "60000000000");

    // A broken file changes nothing.
    write("log_level = \"loud\"".to_owned());
    nsqd.notify(Signal::HUP);
    nsqd.wait_for_line("SIGHUP: no option changed - failed parsing log_level loud");
    assert_eq!(nsqd.get("/config/log_level").text(), "1");
}
