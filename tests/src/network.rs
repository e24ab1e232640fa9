//! Hosts in network namespaces, with links between them that can be cut.

use std::fs::File;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::wait::say_loudly;

/// A router and the hosts around it.
#[derive(Debug)]
pub struct Network {
    router: Namespace,
    hosts: Vec<Namespace>,
}

/// A network, kept by a process that does nothing else, and removed on drop.
#[derive(Debug)]
struct Namespace {
    holder: Child,
}

impl Network {
    /// A network with this many hosts. `None`, with a loud line, where that is not permitted.
    pub fn of_hosts(count: u8) -> Option<Self> {
        let network = Self::try_of_hosts(count);
        if network.is_none() {
            say_loudly("SKIPPED: no network namespaces can be made here, no link was cut");
        }
        network
    }

    fn try_of_hosts(count: u8) -> Option<Self> {
        let router = Namespace::new()?;
        router.run("echo 1 > /proc/sys/net/ipv4/ip_forward")?;
        let mut hosts = Vec::new();
        for host in 0..count {
            let namespace = Namespace::new()?;
            let (address, gateway) = (Self::address(host), Self::gateway(host));
            router.run(&format!(
                "ip link add to{host} type veth peer name eth0 netns {} && ip addr add {gateway}/24 dev to{host} \
                 && ip link set to{host} up",
                namespace.holder.id()
            ))?;
            namespace.run(&format!(
                "ip link set lo up && ip addr add {address}/24 dev eth0 && ip link set eth0 up \
                 && ip route add default via {gateway}"
            ))?;
            hosts.push(namespace);
        }
        Some(Self { router, hosts })
    }

    /// The address of a host.
    pub fn address(host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, host, 2)
    }

    fn gateway(host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, host, 1)
    }

    /// Drops all packets from and to a host silently.
    #[track_caller]
    pub fn cut(&self, host: u8) {
        self.switch("add", host);
    }

    /// Drops all packets to a host silently; those from it still go through.
    #[track_caller]
    pub fn cut_towards(&self, host: u8) {
        self.switch_towards("add", host);
    }

    /// Ends what [`Network::cut_towards`] began.
    #[track_caller]
    pub fn mend_towards(&self, host: u8) {
        self.switch_towards("del", host);
    }

    #[track_caller]
    fn switch_towards(&self, verb: &str, host: u8) {
        let address = Self::address(host);
        let done = self
            .router
            .run(&format!("ip route {verb} blackhole {address}/32"));
        assert!(done.is_some(), "the router takes orders");
    }

    /// Ends what [`Network::cut`] began.
    #[track_caller]
    pub fn mend(&self, host: u8) {
        self.switch("del", host);
    }

    #[track_caller]
    fn switch(&self, verb: &str, host: u8) {
        let address = Self::address(host);
        let done = self.router.run(&format!(
            "ip route {verb} blackhole {address}/32 && ip rule {verb} from {address}/32 blackhole"
        ));
        assert!(done.is_some(), "the router takes orders");
    }

    /// The command through which a program is started on a host.
    pub fn wrapper(&self, host: u8) -> [String; 4] {
        let pid = self.hosts[usize::from(host)].holder.id();
        ["nsenter", "-n", "-t", &pid.to_string()].map(str::to_owned)
    }

    /// Runs `work` on a host; connections that it makes stay there. Start programs through [`Network::wrapper`] instead:
    /// the kernel ends a program with the thread that started it.
    #[track_caller]
    pub fn on<T: Send>(&self, host: u8, work: impl FnOnce() -> T + Send) -> T {
        let pid = self.hosts[usize::from(host)].holder.id();
        let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("its holder lives");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).expect("we made it");
                work()
            });
            thread
                .join()
                .unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        })
    }
}

impl Namespace {
    fn new() -> Option<Self> {
        // The process ends with its stdin, and so with us, however we end.
        let mut holder = Command::new("unshare")
            .args(["-n", "sh", "-c", "echo && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let stdout = holder.stdout.as_mut().expect("stdout is piped");
        let is_ready = stdout.read_exact(&mut [0]).is_ok();
        let namespace = Self { holder };
        is_ready.then_some(namespace)
    }

    /// Runs a shell command in the network. `None` if it fails.
    fn run(&self, script: &str) -> Option<()> {
        let pid = self.holder.id().to_string();
        let output = Command::new("nsenter")
            .args(["-t", &pid, "-n", "sh", "-c", script])
            .output()
            .ok()?;
        if !output.status.success() {
            say_loudly(&format!(
                "{script}: {}",
                String::from_utf8_lossy(&output.stderr)
            ));
            return None;
        }
        Some(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
