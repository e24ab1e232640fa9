//! What a service manager hears (sd_notify): that a daemon is ready, alive, reading its configuration, ending.

use std::fs;
use std::os::unix::net::UnixDatagram;

use nsq_tests::{PATIENCE, Start};
use rustix::process::Signal;

/// A service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        Self { socket, folder }
    }

    /// The command through which a program is started that notifies this supervisor, with a watchdog's interval in
    /// microseconds.
    fn wrapper(&self, watchdog_micros: u32) -> [String; 3] {
        let path = self.folder.path().join("notify");
        [
            "env".to_owned(),
            format!("NOTIFY_SOCKET={}", path.display()),
            format!("WATCHDOG_USEC={watchdog_micros}"),
        ]
    }

    /// Waits for this notification; those of `between` may arrive before it.
    #[track_caller]
    fn hears(&self, wanted: &str, between: &[&str]) {
        loop {
            let mut buffer = [0; 1024];
            let count = self
                .socket
                .recv(&mut buffer)
                .expect("something is told in time");
            let told = String::from_utf8_lossy(&buffer[..count]);
            let first = told.lines().next().unwrap_or_default();
            if first == wanted {
                return;
            }
            assert!(between.contains(&first), "{first:?} instead of {wanted:?}");
        }
    }
}

#[test]
fn nsqd_tells_when_it_serves_lives_reads_again_and_ends() {
    let manager = Manager::start();
    let config = manager.folder.path().join("nsqd.cfg");
    fs::write(&config, "").expect("the file can be written");
    let config = format!("--config={}", config.display());
    let wrapper = manager.wrapper(100_000);
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let mut nsqd = Start::with(&[&config]).through(&wrapper).now();
    manager.hears("READY=1", &["WATCHDOG=1"]);
    for _ in 0..3 {
        manager.hears("WATCHDOG=1", &[]);
    }
    nsqd.notify(Signal::HUP);
    manager.hears("RELOADING=1", &["WATCHDOG=1"]);
    manager.hears("READY=1", &["WATCHDOG=1"]);
    assert!(nsqd.terminate().success());
    manager.hears("STOPPING=1", &["WATCHDOG=1"]);
}

#[test]
fn nsqd_tells_how_a_drain_goes_and_ends_well() {
    let manager = Manager::start();
    let wrapper = manager.wrapper(1_000_000);
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let mut nsqd = Start::default().through(&wrapper).now();
    manager.hears("READY=1", &["WATCHDOG=1"]);
    nsqd.notify(Signal::USR1);
    let status = "STATUS=draining: 0 messages left (0 of them held by clients), 0 forwarded";
    manager.hears(status, &["WATCHDOG=1"]);
    manager.hears("STOPPING=1", &["WATCHDOG=1", status]);
    assert_eq!(nsqd.wait_for_exit().code(), Some(0));
}

#[test]
fn nsqlookupd_tells_too() {
    let manager = Manager::start();
    let wrapper = manager.wrapper(1_000_000);
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let mut lookupd = Start::default().through(&wrapper).lookupd();
    manager.hears("READY=1", &["WATCHDOG=1"]);
    manager.hears("WATCHDOG=1", &[]);
    assert!(lookupd.terminate().success());
    manager.hears("STOPPING=1", &["WATCHDOG=1"]);
}
