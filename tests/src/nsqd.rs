//! An nsqd that a test starts, kills, and starts again on the same folder.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::raw_client::RawClient;
use crate::start::Start;
use crate::wait::{PATIENCE, wait_until};

/// An nsqd on free loopback ports, over a temporary folder that is removed with it.
#[derive(Debug)]
pub struct Nsqd {
    /// Declared before the folder, so that the process ends before the folder is removed.
    daemon: Daemon,
    start: Start,
    folder: TempDir,
}

impl Nsqd {
    /// Not yet running, over a new folder.
    pub(crate) fn stopped(start: Start) -> Self {
        Self {
            daemon: Daemon::stopped(),
            start,
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
        }
    }

    /// Starts it with these flags and waits until it answers.
    #[track_caller]
    pub fn start(flags: &[&str]) -> Self {
        Start::with(flags).now()
    }

    /// Starts the same nsqd on the same folder, after a kill or a termination.
    #[track_caller]
    pub fn start_again(&mut self) {
        let command = self.start.nsqd_command(self.folder());
        self.daemon.start(command);
    }

    /// Starts it and does not wait, for a test that kills it while it starts.
    #[track_caller]
    pub fn start_blindly(&mut self) {
        let command = self.start.nsqd_command(self.folder());
        self.daemon.start_blindly(command);
    }

    /// As [`Nsqd::start_again`], with other flags from now on.
    #[track_caller]
    pub fn start_again_with(&mut self, flags: &[&str]) {
        self.start.set_flags(flags);
        self.start_again();
    }

    /// As [`Nsqd::start_again`], through this program from now on; see [`Start::through`].
    #[track_caller]
    pub fn start_again_through(&mut self, wrapper: &[&str]) {
        self.start = self.start.clone().through(wrapper);
        self.start_again();
    }

    /// Starts it, expecting a failure, and returns its exit status and its log.
    #[track_caller]
    pub fn start_in_vain(&mut self) -> (ExitStatus, String) {
        let command = self.start.nsqd_command(self.folder());
        self.daemon.start_in_vain(command)
    }

    /// Its data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its data folder as the process itself sees it, also when it has mounts of its own.
    pub fn folder_within(&self) -> PathBuf {
        let inside = self
            .folder
            .path()
            .strip_prefix("/")
            .expect("temporary folders have absolute paths");
        Path::new("/proc")
            .join(self.id().to_string())
            .join("root")
            .join(inside)
    }

    /// A new TCP connection that has sent its magic.
    #[track_caller]
    pub fn connect(&self) -> RawClient {
        RawClient::connect(self.tcp())
    }

    /// A subscriber with this ready count.
    #[track_caller]
    pub fn subscribe(&self, topic: &str, channel: &str, ready_count: u32) -> RawClient {
        let mut client = self.connect();
        client.subscribe(topic, channel);
        client.send_line(&format!("RDY {ready_count}"));
        client
    }

    /// `/stats` as JSON.
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.get("/stats?format=json").json()
    }

    /// A topic's entry in the statistics; `Value::Null` if there is none.
    #[track_caller]
    pub fn topic(&self, topic: &str) -> Value {
        find(&self.stats()["topics"], "topic_name", topic)
    }

    /// A channel's entry in the statistics; `Value::Null` if there is none.
    #[track_caller]
    pub fn channel(&self, topic: &str, channel: &str) -> Value {
        find(&self.topic(topic)["channels"], "channel_name", channel)
    }

    /// Waits until a channel's entry has these values.
    #[track_caller]
    pub fn wait_for_channel(&self, topic: &str, channel: &str, wanted: &[(&str, i64)]) {
        let mut last = Value::Null;
        let holds = |entry: &Value| wanted.iter().all(|(key, value)| entry[*key] == *value);
        let what = format!("{topic}/{channel} shows {wanted:?}");
        wait_until(&what, PATIENCE, || {
            last = self.channel(topic, channel);
            holds(&last)
        });
    }
}

impl Deref for Nsqd {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Nsqd {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

fn find(entries: &Value, key: &str, name: &str) -> Value {
    let entries = entries.as_array().map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .find(|entry| entry[key] == name)
        .cloned()
        .unwrap_or_default()
}
