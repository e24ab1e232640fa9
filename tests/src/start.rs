//! How a daemon is started: its binary, flags, ports and wrapper.

use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::lookupd::Lookupd;
use crate::network::Network;
use crate::nsqd::Nsqd;

/// How to start an nsqd, which [`Start::now`] does, or an nsqlookupd.
#[derive(Clone, Debug, Default)]
pub struct Start {
    flags: Vec<String>,
    /// TCP and HTTP; with `None`, each start chooses free ports.
    kept_ports: Option<[SocketAddr; 2]>,
    /// The address to listen on; `None` for loopback.
    ip: Option<Ipv4Addr>,
    wrapper: Vec<String>,
    contents: Option<PathBuf>,
}

impl Start {
    /// With these flags in addition to the addresses and the data path.
    pub fn with(flags: &[&str]) -> Self {
        let mut start = Self::default();
        start.set_flags(flags);
        start
    }

    /// On ports that stay the same over restarts.
    #[must_use]
    pub fn keeping_ports(mut self) -> Self {
        self.kept_ports = Some([free_port(), free_port()]);
        self
    }

    /// On these TCP and HTTP ports, which are known before it is started.
    #[must_use]
    pub fn on_ports(mut self, tcp: SocketAddr, http: SocketAddr) -> Self {
        self.kept_ports = Some([tcp, http]);
        self
    }

    /// On a host of this network: the daemon listens on the host's address and broadcasts it.
    #[must_use]
    pub fn on_host(mut self, network: &Network, host: u8) -> Self {
        let ip = Network::address(host);
        self.flags.push(format!("--broadcast-address={ip}"));
        self.ip = Some(ip);
        self.wrapper = network.wrapper(host).to_vec();
        self
    }

    /// Through a program that ends by replacing itself with its last arguments, such as `prlimit`.
    /// `{folder}` in an argument stands for the data folder.
    #[must_use]
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// Registers with these nsqlookupds, with a broadcast address on loopback unless it runs on a host of a network.
    #[must_use]
    pub fn registering_with(mut self, nsqlookupds: &[SocketAddr]) -> Self {
        if self.ip.is_none() {
            self.flags.push("--broadcast-address=127.0.0.1".into());
        }
        let lookups = nsqlookupds.iter();
        self.flags
            .extend(lookups.map(|address| format!("--lookupd-tcp-address={address}")));
        self
    }

    /// Over a copy of this folder's files.
    #[must_use]
    pub fn on_copy_of(mut self, folder: &Path) -> Self {
        self.contents = Some(folder.to_path_buf());
        self
    }

    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn now(self) -> Nsqd {
        let mut nsqd = self.later();
        nsqd.start_again();
        nsqd
    }

    /// Makes its data folder and does not start it yet.
    #[track_caller]
    pub fn later(mut self) -> Nsqd {
        let contents = self.contents.take();
        let nsqd = Nsqd::stopped(self);
        if let Some(contents) = contents {
            for entry in std::fs::read_dir(&contents).expect("the folder can be listed") {
                let entry = entry.expect("the folder can be listed");
                let target = nsqd.folder().join(entry.file_name());
                std::fs::copy(entry.path(), target).expect("the file can be copied");
            }
        }
        nsqd
    }

    /// Starts an nsqlookupd instead and waits until it answers.
    #[track_caller]
    pub fn lookupd(self) -> Lookupd {
        // nsqds and clients know its address, so it stays the same over restarts.
        let mut lookupd = Lookupd::stopped(self.keeping_ports());
        lookupd.start_again();
        lookupd
    }

    pub(crate) fn set_flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(ToString::to_string).collect();
    }

    /// The command that starts an nsqd over `folder`, its stderr piped.
    pub(crate) fn nsqd_command(&self, folder: &Path) -> Command {
        let folder = folder.to_str().expect("temporary paths are text");
        let wrapper: Vec<_> = self
            .wrapper
            .iter()
            .map(|word| word.replace("{folder}", folder))
            .collect();
        let mut command = self.command(&wrapper, &path_of_nsqd());
        command
            .arg(format!("--data-path={folder}"))
            .args(
                env::var("NSQD_FLAGS")
                    .unwrap_or_default()
                    .split_whitespace(),
            )
            .args(&self.flags);
        command
    }

    /// The command that starts an nsqlookupd, its stderr piped.
    pub(crate) fn lookupd_command(&self) -> Command {
        let mut command = self.command(&self.wrapper, &path_of_nsqlookupd());
        command.args(&self.flags);
        command
    }

    /// The command that starts an nsqadmin, its stderr piped. It has no TCP port.
    pub(crate) fn admin_command(&self) -> Command {
        let [_, http] = self.kept_ports.unwrap_or([ANY_PORT; 2]);
        let mut command = Self::bare_command(&self.wrapper, &path_of("nsqadmin", "NSQADMIN"));
        command
            .arg(format!("--http-address={http}"))
            .args(&self.flags);
        command
    }

    fn command(&self, wrapper: &[String], program: &Path) -> Command {
        let addresses = self.kept_ports.unwrap_or([ANY_PORT; 2]);
        let [tcp, http] = addresses.map(|mut address| {
            address.set_ip(self.ip.unwrap_or(Ipv4Addr::LOCALHOST).into());
            address
        });
        let mut command = Self::bare_command(wrapper, program);
        command
            .arg(format!("--tcp-address={tcp}"))
            .arg(format!("--http-address={http}"));
        command
    }

    fn bare_command(wrapper: &[String], program: &Path) -> Command {
        let mut words = wrapper.to_vec();
        // If the test itself is killed, the kernel ends the daemons that it started.
        if Path::new(SETPRIV).exists() {
            words.extend([SETPRIV, "--pdeathsig", "KILL", "--"].map(String::from));
        }
        words.push(program.to_str().expect("paths here are text").to_string());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

/// The nsqd to test: the path in `NSQD`, otherwise our own build next to this test.
pub fn path_of_nsqd() -> PathBuf {
    path_of("nsqd", "NSQD")
}

/// As [`path_of_nsqd`]; the variable is `NSQLOOKUPD`.
pub fn path_of_nsqlookupd() -> PathBuf {
    path_of("nsqlookupd", "NSQLOOKUPD")
}

pub(crate) fn path_of(program: &str, variable: &str) -> PathBuf {
    if let Some(path) = env::var_os(variable) {
        return path.into();
    }
    let path = build_folder().join(program);
    assert!(
        path.exists(),
        "{} is not built: cargo build -p {program}",
        path.display()
    );
    path
}

/// The folder of the workspace's programs: this test runs in its `deps`.
pub fn build_folder() -> PathBuf {
    let test = env::current_exe().expect("a running program has a path");
    test.ancestors()
        .nth(2)
        .expect("tests run in target/<profile>/deps")
        .to_path_buf()
}

/// A free port below those that the kernel assigns, so that no other process gets it during a restart.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different places.
    let spread = u16::try_from(std::process::id() % 1000).expect("below a thousand") * 16;
    for _ in 0..KEPT_PORT_COUNT {
        let step = spread.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST_KEPT_PORT + step % KEPT_PORT_COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

const FIRST_KEPT_PORT: u16 = 12_000;
const KEPT_PORT_COUNT: u16 = 18_000;

/// Part of util-linux; where it is missing, only a killed test leaves its daemons behind.
const SETPRIV: &str = "/usr/bin/setpriv";
