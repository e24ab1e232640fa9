//! A daemon as a process: started, killed, started again, and asked over HTTP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::http::{self, Reply};
use crate::log::Log;
use crate::wait::{PATIENCE, wait_until};

/// The common part of nsqd, nsqlookupd and nsqadmin.
#[derive(Debug)]
pub struct Daemon {
    /// The addresses in its log after the last start; port 0 for a unix socket.
    tcp: SocketAddr,
    http: SocketAddr,
    /// `None` between a kill and the next start.
    process: Option<Child>,
    log: Log,
}

impl Daemon {
    /// Not yet running.
    pub(crate) fn stopped() -> Self {
        Self {
            tcp: nowhere(),
            http: nowhere(),
            process: None,
            log: Log::default(),
        }
    }

    /// Runs `command` and waits until it answers.
    #[track_caller]
    pub(crate) fn start(&mut self, command: Command) {
        self.spawn(command);
        let tcp = self.listening_on("TCP: listening on ");
        let http = self.listening_on("HTTP: listening on ");
        self.tcp = tcp;
        self.http = http;
        if http.port() == 0 {
            // A unix socket: a connection waits there until it is served.
            return;
        }
        wait_until("it answers /ping", PATIENCE, || {
            let reply = http::request(http, "GET", "/ping", b"");
            // The answer of a daemon that requires TLS.
            reply.is_ok_and(|reply| [200, 403].contains(&reply.status))
        });
    }

    /// Runs `command`, which only speaks HTTP, and waits until `ping` answers.
    #[track_caller]
    pub(crate) fn start_http(&mut self, command: Command, ping: &str) {
        self.spawn(command);
        let http = self.listening_on("HTTP: listening on ");
        self.http = http;
        wait_until("it answers /ping", PATIENCE, || {
            http::request(http, "GET", ping, b"").is_ok_and(|reply| reply.status == 200)
        });
    }

    /// Runs `command` and does not wait.
    #[track_caller]
    pub(crate) fn start_blindly(&mut self, command: Command) {
        self.spawn(command);
    }

    /// Runs `command`, which is expected to fail, and returns its exit status and its log.
    #[track_caller]
    pub(crate) fn start_in_vain(&mut self, command: Command) -> (ExitStatus, String) {
        self.spawn(command);
        let status = self.wait_for_exit();
        self.log.wait_for("\0never\0", PATIENCE);
        (status, self.log.text())
    }

    /// Kills the process with SIGKILL and waits for its end.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("our own child can be killed");
            process.wait().expect("our own child can be awaited");
        }
    }

    /// Sends SIGTERM and waits for the end of the process.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM)
    }

    /// Sends a signal after which the process continues.
    #[track_caller]
    pub fn notify(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it runs");
        let pid = Pid::from_child(process);
        kill_process(pid, signal).expect("our own child can be signalled");
    }

    /// Waits for a line of the log that contains `text`.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) -> String {
        let line = self.log.wait_for(text, PATIENCE);
        line.unwrap_or_else(|| panic!("it never logged {text:?}"))
    }

    /// The HTTPS address in its log.
    #[track_caller]
    pub fn https(&self) -> SocketAddr {
        self.listening_on("HTTPS: listening on ")
    }

    /// `GET path` of another address, such as a tunnel to HTTPS.
    ///
    /// # Errors
    /// An I/O error, or an error that names what is not HTTP in the answer.
    pub fn get_at(address: SocketAddr, path: &str) -> io::Result<Reply> {
        http::request(address, "GET", path, b"")
    }

    /// Sends a signal and waits for the end of the process.
    #[track_caller]
    pub fn signal(&mut self, signal: Signal) -> ExitStatus {
        let process = self.process.as_ref().expect("it runs");
        let pid = Pid::from_child(process);
        kill_process(pid, signal).expect("our own child can be signalled");
        self.wait_for_exit()
    }

    /// The address for TCP clients.
    pub fn tcp(&self) -> SocketAddr {
        self.tcp
    }

    /// The address for HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The log since the last start.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// As [`Daemon::request`], for requests that may get no answer.
    ///
    /// # Errors
    /// An I/O error, or an error that names what is not HTTP in the answer.
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

    /// `POST path`; any status but 200 fails the test.
    #[track_caller]
    pub fn order(&self, path: &str) {
        let reply = self.post(path, b"");
        assert_eq!(reply.status, 200, "POST {path}: {}", reply.text());
    }

    /// Any request.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        self.try_request(method, path, body)
            .expect("it answers HTTP")
    }

    /// Any request with these headers, each `Name: value`.
    #[track_caller]
    pub fn request_with(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Reply {
        http::request_with(self.http, method, path, headers, body).expect("it answers HTTP")
    }

    /// Its process id.
    #[track_caller]
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    fn spawn(&mut self, mut command: Command) {
        assert!(self.process.is_none(), "it runs already");
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
        if address.starts_with('/') {
            return nowhere();
        }
        address
            .parse()
            .unwrap_or_else(|_| panic!("no address at the end of {line:?}"))
    }

    /// Waits until the process ends by itself. Its log is complete then.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        self.wait_for_exit_within(PATIENCE)
    }

    /// As [`Daemon::wait_for_exit`], for as long as it may take.
    #[track_caller]
    pub fn wait_for_exit_within(&mut self, patience: Duration) -> ExitStatus {
        let process = self.process.as_mut().expect("it runs");
        let mut status = None;
        wait_until("it ends", patience, || {
            status = process.try_wait().expect("our own child can be awaited");
            status.is_some()
        });
        self.process = None;
        self.log.wait_for_end();
        status.expect("the wait ended with a status")
    }
}

fn nowhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("--- the end of its log ---\n{}", self.log.tail());
        }
    }
}
