//! Programs in other languages that use the real client libraries.
//!
//! Each lies in `tests/clients/<language>` with its pinned library. A test installs it once into cargo's
//! target folder and then runs its scenarios: `<program> <scenario> <address>...`. A program that needs nsqd to
//! be killed and started again says so by a line `restart` and waits for a line in return.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::log::Log;
use crate::start::build_folder;
use crate::wait::say_loudly;

/// An installed client library and the program that uses it.
#[derive(Debug, Clone)]
pub struct ClientLibrary {
    program: Vec<PathBuf>,
    /// Where Node looks for them.
    modules: PathBuf,
    /// What the program is told by its environment.
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
    /// go-nsq. `None`, said loudly, where there is no Go.
    pub fn go() -> Option<Self> {
        let language = Language::named("go", "go-nsq", &["go", "version"])?;
        let program = language.installed.join("scenarios");
        let _lock = language.lock();
        // The module and its checksums are what go.mod and go.sum say, and nothing else.
        run(Command::new("go")
            .args(["build", "-mod=readonly", "-buildvcs=false", "-o"])
            .arg(&program)
            .current_dir(&language.source));
        Some(language.library([program]))
    }

    /// pynsq. `None`, said loudly, where there is no Python.
    pub fn python() -> Option<Self> {
        let language = Language::named("python", "pynsq", &["python3", "-m", "venv", "--help"])?;
        let python = language.installed.join("bin/python");
        let requirements = language.source.join("requirements.txt");
        language.install_once(&requirements, || {
            run(Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&language.installed));
            let pip = [
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--requirement",
            ];
            run(Command::new(&python).args(pip).arg(&requirements));
        });
        let program = [python, language.source.join("scenarios.py")];
        Some(language.library(program))
    }

    /// nsqjs. `None`, said loudly, where there is no Node.
    pub fn node() -> Option<Self> {
        let language = Language::named("node", "nsqjs", &["npm", "--version"])?;
        // Snappy comes compiled, so that no script has to run.
        language.install_by_npm();
        let program = ["node".into(), language.source.join("scenarios.js")];
        Some(language.library(program))
    }

    /// playwright-core, which drives a Chromium. `None`, said loudly, where there is none, or no Node that it runs on.
    pub fn browser() -> Option<Self> {
        let chromium = CHROMIUMS
            .into_iter()
            .find(|name| answers(&[name, "--version"]));
        let why = match chromium {
            None => "no Chromium is on this machine",
            Some(_)
                if !answers(&["npm", "--version"]) || !answers(&["node", "--eval", NODE_20]) =>
            {
                "no Node from 20 on, with npm, is on this machine"
            }
            Some(chromium) => {
                let language = Language::at("browser");
                language.install_by_npm();
                let program = ["node".into(), language.source.join("main.js")];
                let mut library = language.library(program);
                library.tell("CHROMIUM", chromium);
                return Some(library);
            }
        };
        say_loudly(&format!(
            "SKIPPED: {why}, nsqadmin's pages were not tried in a browser"
        ));
        None
    }

    /// Tells the program one thing more by its environment.
    pub fn tell(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    /// The same, with these layers (`tls`, `snappy`, `deflate`) on all its connections. `environment` says where the
    /// files for TLS are: `NSQ_CA`, and `NSQ_CERT` with `NSQ_KEY` to show a certificate; and `NSQ_SECRET` what to say in
    /// AUTH.
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

    /// Runs a scenario to its end; its report. The addresses are what the scenario knows of the world. What it is
    /// told when it asks for a restart is what `restart` returns.
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

    /// As [`ClientLibrary::run`], for so long. Lines that `answer` has an answer to are requests; the others make up the
    /// report.
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

/// Where a language's program lies and where its library is installed.
#[derive(Debug)]
struct Language {
    source: PathBuf,
    installed: PathBuf,
}

impl Language {
    /// `None`, said loudly, when `probe` does not run here.
    fn named(name: &str, library: &str, probe: &[&str]) -> Option<Self> {
        if !answers(probe) {
            say_loudly(&format!(
                "SKIPPED: {name} is not on this machine, the {library} tests did not run"
            ));
            return None;
        }
        Some(Self::at(name))
    }

    fn at(name: &str) -> Self {
        let installed = build_folder().join("client-libraries").join(name);
        fs::create_dir_all(&installed).expect("the target folder is ours");
        Self {
            source: Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("clients")
                .join(name),
            installed,
        }
    }

    /// What `package-lock.json` pins.
    fn install_by_npm(&self) {
        self.install_once(&self.source.join("package-lock.json"), || {
            for file in ["package.json", "package-lock.json"] {
                let copy = self.installed.join(file);
                fs::copy(self.source.join(file), copy).expect("the target folder is ours");
            }
            run(Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(&self.installed));
        });
    }

    /// Runs `install` unless it has run for this content of `pinned` before.
    fn install_once(&self, pinned: &Path, install: impl FnOnce()) {
        let _lock = self.lock();
        let wanted = fs::read(pinned).expect("the pinned versions are part of the sources");
        let stamp = self.installed.with_extension("installed");
        if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
            return;
        }
        install();
        fs::write(stamp, wanted).expect("the target folder is ours");
    }

    /// Keeps other test programs from installing at the same time, until it is dropped.
    fn lock(&self) -> File {
        let path = self.installed.with_extension("lock");
        let file = File::create(path).expect("the target folder is ours");
        file.lock().expect("files can be locked");
        file
    }

    fn library<const N: usize>(&self, program: [PathBuf; N]) -> ClientLibrary {
        ClientLibrary {
            program: program.into(),
            modules: self.installed.join("node_modules"),
            environment: Vec::new(),
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether this command runs here, to a good end.
fn answers(command: &[&str]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).output();
    output.is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}",
        output.status
    );
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

/// As Debian, Ubuntu and Chrome's own packages call it.
const CHROMIUMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Fails in a Node that playwright-core does not run on.
const NODE_20: &str = "process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)";
