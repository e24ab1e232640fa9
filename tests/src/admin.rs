//! A running nsqadmin.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use serde_json::Value;

use crate::daemon::Daemon;
use crate::lookupd::Lookupd;
use crate::nsqd::Nsqd;
use crate::start::Start;
use crate::wait::{PATIENCE, wait_until};

/// An nsqadmin on a free loopback port.
#[derive(Debug)]
pub struct Admin {
    daemon: Daemon,
}

impl Admin {
    /// Starts it with these flags and waits until it answers.
    #[track_caller]
    pub fn start(flags: &[&str]) -> Self {
        let base = flags
            .iter()
            .find_map(|flag| flag.strip_prefix("--base-path="));
        let ping = format!("{}/ping", base.unwrap_or_default());
        let mut daemon = Daemon::stopped();
        daemon.start_http(Start::with(flags).admin_command(), &ping);
        Self { daemon }
    }

    /// With these nsqlookupds, and more flags.
    #[track_caller]
    pub fn of_lookupds(lookupds: &[&Lookupd], flags: &[&str]) -> Self {
        let addresses = lookupds.iter().map(|lookupd| lookupd.http());
        Self::asking("lookupd", addresses, flags)
    }

    /// With these nsqds and no nsqlookupd, and more flags.
    #[track_caller]
    pub fn of_nsqds(nsqds: &[&Nsqd], flags: &[&str]) -> Self {
        let addresses = nsqds.iter().map(|nsqd| nsqd.http());
        Self::asking("nsqd", addresses, flags)
    }

    /// With the servers at these addresses, as `lookupd` or `nsqd`.
    #[track_caller]
    pub fn asking(kind: &str, addresses: impl Iterator<Item = SocketAddr>, flags: &[&str]) -> Self {
        let asked: Vec<_> = addresses
            .map(|address| format!("--{kind}-http-address={address}"))
            .collect();
        let asked: Vec<_> = asked.iter().map(String::as_str).collect();
        Self::start(&[&asked, flags].concat())
    }

    /// Starts one that is expected to fail, and returns its exit code and its log.
    #[track_caller]
    pub fn start_in_vain(flags: &[&str]) -> (Option<i32>, String) {
        let (status, log) = Daemon::stopped().start_in_vain(Start::with(flags).admin_command());
        (status.code(), log)
    }

    /// `GET path` as JSON; any status but 200 fails the test.
    #[track_caller]
    pub fn json(&self, path: &str) -> Value {
        let reply = self.get(path);
        assert_eq!(reply.status, 200, "GET {path}: {}", reply.text());
        reply.json()
    }

    /// Sends JSON and returns the status and the `message` of the answer.
    #[track_caller]
    pub fn tell(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let reply = self.request(method, path, body.as_bytes());
        let message = reply.json()["message"].as_str().map(str::to_owned);
        (reply.status, message.expect("there is a message"))
    }

    /// Waits until the JSON at `path` fulfils the condition.
    #[track_caller]
    pub fn wait_for(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        wait_until(&format!("GET {path} is as wanted"), PATIENCE, || {
            let reply = self.get(path);
            last = if reply.status == 200 {
                reply.json()
            } else {
                Value::Null
            };
            wanted(&last)
        });
        last
    }
}

impl Deref for Admin {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Admin {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}
