//! Everything that docs/PERFORMANCE.md shows, measured by one command.
//!
//! ```text
//! suite ─▶ parts, one after the other ─▶ result file ─▶ document: tables and charts
//!            └─ servers, each in a folder of its own, ended with the part
//! ```
//! A measurement that fails is noted and left out; the others continue, and the command fails in the end.

pub(crate) mod backlog;
pub(crate) mod beside;
pub(crate) mod cluster;
pub(crate) mod costs;
pub(crate) mod growth;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod peers;
pub(crate) mod result;
mod scale;
mod server;
pub(crate) mod tails;
pub(crate) mod through_layers;
pub(crate) mod work;

use std::{
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tempfile::TempDir;

use nsq_bench::{crowd::raise_file_limit, error::BenchError};

use crate::{
    document::{self, Pages},
    peer::Peer,
    suite::{
        machine::{Machine, load_average, version},
        result::{Line, Results},
        scale::Scale,
        server::{Recipe, Server},
    },
};

#[derive(Debug, Args)]
pub(crate) struct SuiteOptions {
    /// The nsqd that is measured.
    #[arg(long, default_value = "target/release/nsqd")]
    nsqd: PathBuf,
    /// Another nsqd, such as upstream's, that is measured next to it.
    #[arg(long)]
    against: Option<PathBuf>,
    /// NATS's server; otherwise nats-server from PATH, if there is one.
    #[arg(long)]
    nats: Option<PathBuf>,
    /// Redis's server; otherwise redis-server from PATH, if there is one.
    #[arg(long)]
    redis: Option<PathBuf>,
    /// beanstalkd's server; otherwise beanstalkd from PATH, if there is one.
    #[arg(long)]
    beanstalkd: Option<PathBuf>,
    /// The factor for all counts: 1 is the full run, 0.05 takes a few minutes.
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// Only these parts; otherwise all.
    #[arg(long)]
    only: Vec<Part>,
    /// The deepest backlog in messages, 234 bytes of disk each. It is not scaled further.
    #[arg(long)]
    backlog: Option<u64>,
    /// Where the servers' folders are made: on the disk that is to be measured.
    #[arg(long, default_value_os_t = env::temp_dir())]
    folder: PathBuf,
    /// The result file, in JSON lines.
    #[arg(long, default_value = "bench.jsonl")]
    results: PathBuf,
    #[command(flatten)]
    pages: Pages,
}

/// The parts in the order they are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The same loads on upstream, here and on the floor, at each level of safety.
    Beside,
    /// Memory-only topics at each message size, with and without consumers.
    Memory,
    /// Latencies, alone and next to other load.
    Tails,
    /// Other queues.
    Peers,
    /// Replicated nodes, next to NATS JetStream with as many replicas.
    Cluster,
    /// Connections, channels, topics and sizes.
    Growth,
    Backlog,
    /// Idle connections, messages in flight and on several channels.
    Costs,
    /// TLS and compression.
    Layers,
}

/// A run of the suite.
pub(crate) struct Suite {
    scale: Scale,
    started: Instant,
    results: Results,
    /// The servers' folders, removed with the suite.
    folder: TempDir,
    nsqd: PathBuf,
    against: Option<PathBuf>,
    own_program: PathBuf,
    failure_count: usize,
}

/// Runs the parts and writes the result file and the pages. Returns `false` when a measurement failed.
///
/// # Errors
/// A server is not there, or a file cannot be written.
pub(crate) fn run(options: &SuiteOptions) -> anyhow::Result<bool> {
    raise_file_limit();
    let folder = tempfile::Builder::new()
        .prefix("nsq_bench-")
        .tempdir_in(&options.folder)
        .with_context(|| format!("cannot make a folder in {}", options.folder.display()))?;
    remove_when_stopped(folder.path().to_owned())?;
    let mut suite = Suite {
        scale: Scale::new(options.scale),
        started: Instant::now(),
        results: Results::create(&options.results)
            .with_context(|| format!("cannot write {}", options.results.display()))?,
        folder,
        nsqd: program(&options.nsqd)?,
        against: options.against.as_deref().map(program).transpose()?,
        own_program: env::current_exe()?,
        failure_count: 0,
    };
    let peers = options.peers()?;
    let machine = suite.look(&peers);
    suite.results.add(Line::Machine(machine))?;
    let wants = |part| options.only.is_empty() || options.only.contains(&part);
    if wants(Part::Beside) {
        beside::run(&mut suite)?;
    }
    if wants(Part::Memory) {
        memory::run(&mut suite)?;
    }
    if wants(Part::Tails) {
        tails::run(&mut suite)?;
    }
    if wants(Part::Peers) {
        peers::run(&mut suite, &peers)?;
    }
    if wants(Part::Cluster) {
        let nats = peers.iter().find(|(peer, _)| *peer == Peer::Nats);
        cluster::run(&mut suite, nats.and_then(|(_, path)| path.as_deref()))?;
    }
    if wants(Part::Growth) {
        growth::connections(&mut suite)?;
        growth::channels(&mut suite)?;
        growth::topics(&mut suite)?;
        growth::sizes(&mut suite)?;
    }
    if wants(Part::Backlog) {
        let most = suite.scale.count(BACKLOG, 0);
        backlog::run(&mut suite, options.backlog.unwrap_or(most))?;
    }
    if wants(Part::Costs) {
        costs::run(&mut suite)?;
    }
    if wants(Part::Layers) {
        through_layers::run(&mut suite)?;
    }
    let minutes = suite.started.elapsed().as_secs_f64() / 60.0;
    suite.results.add(Line::End {
        minutes,
        load_average: load_average(),
    })?;
    suite.say("done");
    document::write(&suite.results.lines, &options.pages)?;
    Ok(suite.failure_count == 0)
}

impl SuiteOptions {
    fn peers(&self) -> anyhow::Result<Vec<(Peer, Option<PathBuf>)>> {
        let given = |peer| match peer {
            Peer::Nats => &self.nats,
            Peer::Redis => &self.redis,
            Peer::Beanstalkd => &self.beanstalkd,
        };
        Peer::ALL
            .into_iter()
            .map(|peer| {
                let path = match given(peer) {
                    Some(path) => Some(program(path)?),
                    None => in_path(peer.program()),
                };
                Ok((peer, path))
            })
            .collect()
    }
}

impl Suite {
    /// Reports progress on standard error.
    fn say(&self, text: &str) {
        let seconds = self.started.elapsed().as_secs();
        // Without standard error, progress is not shown.
        let _ = writeln!(
            io::stderr(),
            "{:02}:{:02} {text}",
            seconds / 60,
            seconds % 60
        );
    }

    /// Starts a server. `None` when that fails, with the failure noted.
    fn start(&mut self, part: &str, recipe: &Recipe) -> anyhow::Result<Option<Server>> {
        let outcome = Server::start(recipe, self.folder.path());
        self.checked(part, outcome)
    }

    /// Returns what was measured. `None` when the measurement failed, with the failure noted.
    fn checked<T>(
        &mut self,
        part: &str,
        outcome: Result<T, BenchError>,
    ) -> anyhow::Result<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.failure_count += 1;
                self.say(&format!("FAILED: {error}"));
                self.results.add(Line::Failure {
                    part: part.to_owned(),
                    text: self.without_folder(&error.to_string()),
                })?;
                Ok(None)
            }
        }
    }

    /// Removes the path of the servers' folders from a text, since the page is published.
    fn without_folder(&self, text: &str) -> String {
        match self.folder.path().to_str() {
            Some(folder) => text.replace(folder, "..."),
            None => text.to_owned(),
        }
    }

    /// The recipe for this build, with its defaults except for `flags`.
    fn here(&self, name: &str, flags: &[&str]) -> Recipe {
        nsqd(name, &self.nsqd, flags)
    }

    /// The recipe for the other nsqd, if there is one.
    fn upstream(&self, name: &str, flags: &[&str]) -> Option<Recipe> {
        let program = self.against.as_ref()?;
        Some(nsqd(name, program, flags))
    }

    /// Both with their defaults, this build first.
    fn both(&self) -> Vec<Recipe> {
        let mut recipes = vec![self.here(tails::HERE, &[])];
        recipes.extend(self.upstream(tails::UPSTREAM, &[]));
        recipes
    }

    fn look(&self, peers: &[(Peer, Option<PathBuf>)]) -> Machine {
        let mut servers = vec![("here".to_owned(), version(&self.nsqd, "--version"))];
        if let Some(program) = &self.against {
            servers.push(("upstream".to_owned(), version(program, "--version")));
        }
        for (peer, path) in peers {
            if let Some(path) = path {
                let version = version(path, peer.version_flag());
                servers.push((peer.program().to_owned(), version));
            }
        }
        Machine::look(self.folder.path(), servers, self.scale.name())
    }
}

fn nsqd(name: &str, program: &Path, flags: &[&str]) -> Recipe {
    let own = [
        "--data-path={folder}",
        "--tcp-address=127.0.0.1:{port}",
        "--http-address=127.0.0.1:0",
    ];
    Recipe {
        name: name.to_owned(),
        program: program.to_owned(),
        args: own.iter().chain(flags).map(ToString::to_string).collect(),
    }
}

/// The absolute path of a program that has to exist.
fn program(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("cannot find {}", path.display()))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// On SIGINT and SIGTERM, removes the servers' folders and ends: the servers end with this process.
fn remove_when_stopped(folder: PathBuf) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            // A server may create a file during the first pass; the second removes it.
            for _ in 0..2 {
                let _ = std::fs::remove_dir_all(&folder);
            }
            std::process::exit(INTERRUPTED);
        })
        .context("cannot start a thread")?;
    Ok(())
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if (0.0001..=1.0).contains(&factor) => Ok(factor),
        _ => Err("a number from 0.0001 to 1".to_owned()),
    }
}

/// The deepest backlog of a full run.
const BACKLOG: u64 = 10_000_000;
/// The exit code that shells use for SIGINT.
const INTERRUPTED: i32 = 130;
