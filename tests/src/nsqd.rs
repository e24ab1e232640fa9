//! One running nsqd: started, killed, started again on the same folder.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{self, Reply};
use crate::log::Log;
use crate::raw_client::RawClient;
use crate::start::Start;
use crate::wait::{PATIENCE, wait_until};

/// A daemon on free loopback ports, over a temporary folder that goes with it.
#[derive(Debug)]
pub struct Nsqd {
    start: Start,
    /// What it said it listens on when it was started last.
    tcp: SocketAddr,
    http: SocketAddr,
    folder: TempDir,
    /// `None` between a kill and the next start.
    process: Option<Child>,
    log: Log,
}

impl Nsqd {
    /// Not yet running, over a new folder.
    pub(crate) fn stopped(start: Start) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self {
            start,
            tcp: nowhere,
            http: nowhere,
            folder,
            process: None,
            log: Log::default(),
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
        self.spawn();
        let tcp = self.listening_on("TCP: listening on ");
        let http = self.listening_on("HTTP: listening on ");
        self.tcp = tcp;
        self.http = http;
        wait_until("nsqd answers /ping", PATIENCE, || {
            http::request(http, "GET", "/ping", b"").is_ok_and(|reply| reply.status == 200)
        });
    }

    /// As [`Nsqd::start_again`], with other flags from now on.
    #[track_caller]
    pub fn start_again_with(&mut self, flags: &[&str]) {
        self.start.set_flags(flags);
        self.start_again();
    }

    /// Starts it where it is expected to give up: its exit status and its log.
    #[track_caller]
    pub fn start_in_vain(&mut self) -> (ExitStatus, String) {
        self.spawn();
        let status = self.wait_for_exit();
        self.log.wait_for("\0never\0", PATIENCE);
        (status, self.log.text())
    }

    /// Kills it as a power switch would kill a process: nothing of it runs any more.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("our own child can be killed");
            process.wait().expect("our own child can be awaited");
        }
    }

    /// Asks it to end (SIGTERM) and waits for that.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM)
    }

    /// Sends a signal that ends it and waits for that.
    #[track_caller]
    pub fn signal(&mut self, signal: Signal) -> ExitStatus {
        let process = self.process.as_ref().expect("it runs");
        let pid = Pid::from_child(process);
        kill_process(pid, signal).expect("our own child can be signalled");
        self.wait_for_exit()
    }

    /// Where clients connect.
    pub fn tcp(&self) -> SocketAddr {
        self.tcp
    }

    /// Where HTTP is spoken.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Its data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its data folder as the process itself sees it, also when it has mounts of its own.
    pub fn folder_within(&self) -> PathBuf {
        let process = self.process.as_ref().expect("it runs");
        let inside = self
            .folder
            .path()
            .strip_prefix("/")
            .expect("temporary folders have absolute paths");
        Path::new("/proc")
            .join(process.id().to_string())
            .join("root")
            .join(inside)
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// A new TCP connection that has sent its magic.
    #[track_caller]
    pub fn connect(&self) -> RawClient {
        RawClient::connect(self.tcp)
    }

    /// A subscriber with this ready count.
    #[track_caller]
    pub fn subscribe(&self, topic: &str, channel: &str, ready_count: u32) -> RawClient {
        let mut client = self.connect();
        client.subscribe(topic, channel);
        client.send_line(&format!("RDY {ready_count}"));
        client
    }

    /// As [`Nsqd::request`], where no answer may come at all.
    ///
    /// # Errors
    /// The system's, or one that says what is no HTTP in the answer.
    pub fn try_request(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Reply> {
        http::request(self.http, method, path, body)
    }

    /// `GET path`.
    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, b"")
    }

    /// `POST path` with `body`.
    #[track_caller]
    pub fn post(&self, path: &str, body: &[u8]) -> Reply {
        self.request("POST", path, body)
    }

    /// `POST path` where anything but 200 is a failed test.
    #[track_caller]
    pub fn order(&self, path: &str) {
        let reply = self.post(path, b"");
        assert_eq!(reply.status, 200, "POST {path}: {}", reply.text());
    }

    /// Any request.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        self.try_request(method, path, body)
            .expect("nsqd answers HTTP")
    }

    /// `/stats` as JSON.
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.get("/stats?format=json").json()
    }

    /// A topic's entry in the statistics, `Value::Null` without one.
    #[track_caller]
    pub fn topic(&self, topic: &str) -> Value {
        find(&self.stats()["topics"], "topic_name", topic)
    }

    /// A channel's entry in the statistics, `Value::Null` without one.
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

    fn spawn(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = self.start.command(self.folder.path());
        let mut process = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        self.log = Log::collect(process.stderr.take().expect("stderr is piped"));
        self.process = Some(process);
    }

    #[track_caller]
    fn listening_on(&self, announcement: &str) -> SocketAddr {
        let line = self.log.wait_for(announcement, PATIENCE);
        let line = line.unwrap_or_else(|| panic!("no {announcement:?} in\n{}", self.log.tail()));
        let address = line.rsplit(' ').next().unwrap_or_default();
        address
            .parse()
            .unwrap_or_else(|_| panic!("no address at the end of {line:?}"))
    }

    #[track_caller]
    fn wait_for_exit(&mut self) -> ExitStatus {
        let process = self.process.as_mut().expect("it runs");
        let mut status = None;
        wait_until("nsqd ends", PATIENCE, || {
            status = process.try_wait().expect("our own child can be awaited");
            status.is_some()
        });
        self.process = None;
        status.expect("the wait ended with a status")
    }
}

impl Drop for Nsqd {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("--- the end of nsqd's log ---\n{}", self.log.tail());
        }
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
