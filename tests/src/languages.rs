//! Programs in other languages that use the real client libraries.
//!
//! Each program and the pinned versions of its library are in a folder of `tests/clients`. A test installs the library
//! once into cargo's target folder and then runs scenarios: `<program> <scenario> <address>...`. A program that needs
//! the test to do something, such as to kill nsqd and start it again, prints a line (`restart`) and waits for a line in
//! return.

mod install;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::log::Log;

/// An installed client library and the program that uses it.
#[derive(Debug, Clone)]
pub struct ClientLibrary {
    program: Vec<PathBuf>,
    /// Where Node looks for libraries.
    modules: PathBuf,
    /// Variables set for the program.
    environment: Vec<(&'static str, String)>,
}

/// A scenario under way.
#[derive(Debug)]
struct Conversation {
    process: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
    errors: Log,
}

impl ClientLibrary {
    /// Sets one more variable in the program's environment.
    pub fn tell(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    /// The same library, with these layers (`tls`, `snappy`, `deflate`) on all its connections. `environment` names the
    /// files for TLS (`NSQ_CA`, and `NSQ_CERT` with `NSQ_KEY` to show a certificate) and the secret for AUTH
    /// (`NSQ_SECRET`).
    #[must_use]
    pub fn through(&self, layers: &[&str], environment: &[(&'static str, &str)]) -> Self {
        let mut library = self.clone();
        let files = environment.iter();
        library.environment = files
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        library.environment.push(("NSQ_LAYERS", layers.join(" ")));
        library
    }

    /// Runs a scenario to its end and returns its report. When the program asks for a restart, the line that `restart`
    /// returns answers it.
    #[track_caller]
    pub fn run(
        &self,
        scenario: &str,
        addresses: &[SocketAddr],
        mut restart: impl FnMut() -> String,
    ) -> String {
        let answer = |line: &str| (line == "restart").then(&mut restart);
        self.converse(scenario, addresses, SCENARIO_LIMIT, answer)
    }

    /// As [`ClientLibrary::run`], for at most `limit`. A line for which `answer` returns `Some` is a request; the other
    /// lines are the report.
    #[track_caller]
    pub fn converse(
        &self,
        scenario: &str,
        addresses: &[SocketAddr],
        limit: Duration,
        mut answer: impl FnMut(&str) -> Option<String>,
    ) -> String {
        let mut conversation = self.start(scenario, addresses);
        let deadline = Instant::now() + limit;
        let mut report = vec![];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match conversation.lines.recv_timeout(left) {
                Ok(line) => match answer(&line) {
                    Some(answer) => {
                        writeln!(conversation.stdin, "{answer}").expect("the program listens");
                    }
                    None => report.push(line),
                },
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!(
                        "{scenario} took longer than {limit:?}\n{}\n{}",
                        report.join("\n"),
                        conversation.errors.tail()
                    )
                }
            }
        }
        let status = conversation
            .process
            .wait()
            .expect("our own child can be awaited");
        let report = report.join("\n");
        assert!(
            status.success(),
            "{scenario}: {status}\n{report}\n{}",
            conversation.errors.tail()
        );
        report
    }

    fn start(&self, scenario: &str, addresses: &[SocketAddr]) -> Conversation {
        let mut process = Command::new(&self.program[0])
            .args(&self.program[1..])
            .arg(scenario)
            .args(addresses.iter().map(ToString::to_string))
            .env("NODE_PATH", &self.modules)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {:?}: {error}", self.program));
        let stdin = process.stdin.take().expect("stdin is piped");
        let errors = Log::collect(process.stderr.take().expect("stderr is piped"));
        let lines = lines_of(process.stdout.take().expect("stdout is piped"));
        Conversation {
            process,
            stdin,
            lines,
            errors,
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // The program may have ended long ago.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lines_of(stdout: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

const SCENARIO_LIMIT: Duration = Duration::from_secs(90);
