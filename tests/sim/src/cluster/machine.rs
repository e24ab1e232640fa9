//! A machine of the simulation: its disk, its clocks, and the process that runs nsqd's node on it.
//!
//! Each process has a runtime of its own, whose clock is paused: a turn runs it from one instant to another one. A process that is
//! killed is not dropped but forgotten, so that no destructor does what a dead process cannot do.

use std::cell::Cell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nsq_protocol::{ChannelName, TopicName};
use nsqd::embedded::{Embedded, Replica};
use nsqd::settings::Settings;
use tokio::runtime::{Builder, Runtime};

use super::network::World;
use super::pipe::Pipe;
use super::platform::SimPlatform;
use super::process;
use crate::clock;
use crate::disk::{self, Disk};
use crate::medium::Medium;
use crate::random::Random;

pub(super) struct Machine {
    pub(super) host: usize,
    world: World,
    /// Where the folders of all machines are.
    base: PathBuf,
    root: PathBuf,
    generation: u32,
    /// Knows what is synced; `None` where only the files count.
    disk: Option<Disk>,
    chance: Random,
    boot: u32,
    /// What its wall clock is ahead.
    pub(super) wall_ahead: i64,
    now: u64,
    args: Vec<String>,
    /// Counts its processes.
    pub(super) life: u64,
    process: Option<Process>,
    /// Its process is stopped, as by SIGSTOP.
    pub(super) is_stopped: bool,
}

struct Process {
    runtime: Runtime,
    nsqd: Arc<Mutex<Option<Embedded>>>,
    /// It is ending cleanly.
    is_leaving: bool,
    has_left: Arc<Mutex<bool>>,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// kill -9, or by itself.
    Kill,
    /// The machine goes down, and what was not synced may be lost.
    PowerCut,
    /// The machine is lost for good, and another one takes its place.
    Wipe,
}

/// What became of a process in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Alive,
    /// It was killed in the middle of a change of a file.
    Killed,
    /// It has ended itself.
    Ended,
    /// It has left cleanly.
    Left,
}

impl Machine {
    pub(super) fn new(
        host: usize,
        world: &World,
        base: &Path,
        args: Vec<String>,
        chance: Random,
        is_tracked: bool,
    ) -> Machine {
        let mut machine = Machine {
            host,
            world: world.clone(),
            base: base.to_owned(),
            root: PathBuf::new(),
            generation: 0,
            disk: None,
            chance,
            boot: 0,
            wall_ahead: 0,
            now: 0,
            args,
            life: 0,
            process: None,
            is_stopped: false,
        };
        machine.root = machine.new_root();
        if is_tracked {
            let chance = machine.chance.split();
            machine.disk = Some(Disk::new(machine.root.clone(), chance));
        }
        machine
    }

    pub(super) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it does something at the moment.
    pub(super) fn is_running(&self) -> bool {
        self.is_up() && !self.is_stopped
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.is_leaving)
    }

    fn new_root(&mut self) -> PathBuf {
        self.generation += 1;
        let name = format!("machine{}.{}", self.host, self.generation);
        let root = self.base.join(name);
        std::fs::create_dir(&root).expect("a folder of the test");
        root
    }

    /// Runs `work` with this machine's clocks and disk.
    fn enter<T>(&mut self, is_running: bool, work: impl FnOnce(&mut Self) -> T) -> T {
        clock::set(self.now, self.wall_ahead, is_running);
        process::begin_turn();
        CURRENT.set(Some(self.host));
        let own = self.disk.take();
        let before = disk::swap(own);
        assert!(before.is_none(), "one machine runs at a time");
        let done = work(self);
        self.disk = disk::swap(None);
        CURRENT.set(None);
        clock::set(self.now, 0, false);
        done
    }

    /// Starts the process.
    pub(super) fn boot(&mut self, now: u64) {
        assert!(self.process.is_none(), "it is up already");
        self.now = now;
        self.life += 1;
        self.world.begin_process(self.host);
        let platform = Arc::new(SimPlatform {
            world: self.world.clone(),
            host: self.host,
            boot_id: format!("machine {} boot {}", self.host, self.boot),
        });
        let path = self.root.to_str().expect("the test's folder is UTF-8");
        let mut args = self.args.clone();
        args.push(format!("--data-path={path}"));
        let process = self.enter(false, |_| {
            let runtime = Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime");
            let nsqd = Arc::new(Mutex::new(None));
            let slot = Arc::clone(&nsqd);
            let args = args.into_iter().map(OsString::from);
            let settings =
                Settings::load(args).unwrap_or_else(|_| panic!("the settings are right"));
            runtime.spawn(async move {
                match Embedded::start(settings, platform).await {
                    Ok(started) => *lock(&slot) = Some(started),
                    Err(error) => {
                        tracing::error!("nsqd does not start: {error}");
                        process::end();
                    }
                }
            });
            Process {
                runtime,
                nsqd,
                is_leaving: false,
                has_left: Arc::default(),
            }
        });
        self.process = Some(process);
    }

    /// Lets the process run from `start` to `end`.
    pub(super) fn turn(&mut self, start: u64, end: u64) -> Fate {
        if self.process.is_none() {
            self.world.refuse(self.world.arrivals(self.host, end));
            self.now = end;
            return Fate::Alive;
        }
        if self.is_stopped {
            return Fate::Alive;
        }
        let arrivals = self.world.arrivals(self.host, end);
        self.enter(true, |machine| {
            let process = machine.process.as_ref().expect("it is up");
            let lag = start - machine.now;
            for (at, packet) in arrivals {
                let wait = Duration::from_nanos(at.saturating_sub(start));
                let world = machine.world.clone();
                process.runtime.spawn(async move {
                    tokio::time::sleep(wait).await;
                    world.take_in(packet).await;
                });
            }
            process.runtime.block_on(async {
                if lag > 0 {
                    // It was stopped: its clock has gone on without it.
                    tokio::time::advance(Duration::from_nanos(lag)).await;
                }
                tokio::time::sleep(Duration::from_nanos(end - start)).await;
            });
            machine.now = end;
            if process::has_ended() {
                Fate::Ended
            } else if disk::with(|disk| disk.is_killed()).unwrap_or(false) {
                Fate::Killed
            } else if *lock(&process.has_left) {
                Fate::Left
            } else {
                Fate::Alive
            }
        })
    }

    /// Ends the process.
    pub(super) fn kill(&mut self, death: Death) {
        if let Some(process) = self.process.take() {
            std::mem::forget(process);
            self.world.end_process(self.host, death == Death::PowerCut);
        }
        self.is_stopped = false;
        if death == Death::PowerCut {
            self.boot += 1;
        }
        let Some(mut disk) = self.disk.take() else {
            assert!(
                death != Death::PowerCut,
                "only a tracked disk knows what is synced"
            );
            if death == Death::Wipe {
                self.replace_root(None);
            }
            return;
        };
        let killed = disk.take_killed();
        disk.begin_process();
        disk.is_full = false;
        if killed.is_none()
            && let Err(difference) = disk.medium.compare(&self.root)
        {
            panic!("machine {}: {difference}", self.host);
        }
        let mut is_moved = killed.is_some();
        if let Some(medium) = killed {
            disk.medium = medium;
        }
        if death == Death::PowerCut {
            disk.medium.cut_power(&mut self.chance);
            is_moved = true;
        }
        if death == Death::Wipe {
            disk.medium = Medium::default();
            is_moved = true;
        }
        if is_moved {
            disk.medium.forget_nameless();
            self.replace_root(Some(&disk.medium));
            disk.root.clone_from(&self.root);
        }
        self.disk = Some(disk);
    }

    fn replace_root(&mut self, medium: Option<&Medium>) {
        let old = std::mem::take(&mut self.root);
        self.root = self.new_root();
        if let Some(medium) = medium {
            medium.write_out(&self.root);
        }
        std::fs::remove_dir_all(old).expect("a folder of the test");
    }

    /// Kills the process at one of its next changes of a file. Returns whether that is possible.
    pub(super) fn plan_kill(&mut self, operation: u64) -> bool {
        let disk = self.disk.as_mut();
        disk.map(|disk| disk.plan_kill(operation)).is_some()
    }

    /// Its disk is full, or not any more.
    pub(super) fn set_full(&mut self, is_full: bool) {
        if let Some(disk) = &mut self.disk {
            disk.is_full = is_full;
        }
    }

    pub(super) fn fail_next(&mut self, fault: disk::Fault) {
        if let Some(disk) = &mut self.disk {
            disk.fault = Some(fault);
        }
    }

    fn with_nsqd<T>(&mut self, look: impl FnOnce(&Embedded, &Runtime) -> T) -> Option<T> {
        if !self.is_running() {
            return None;
        }
        self.enter(false, |machine| {
            let process = machine.process.as_ref()?;
            let nsqd = lock(&process.nsqd);
            Some(look(nsqd.as_ref()?, &process.runtime))
        })
    }

    /// Connects a client. Returns whether there is anyone to connect to.
    pub(super) fn connect(&mut self, pipe: &Pipe, name: &str) -> bool {
        if self.is_leaving() {
            return false;
        }
        let serving = self.with_nsqd(|nsqd, runtime| {
            runtime.spawn(nsqd.serve(pipe.node_end(), name.to_owned()));
        });
        serving.is_some()
    }

    /// Begins to end the process cleanly.
    pub(super) fn leave(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        let Some(nsqd) = lock(&process.nsqd).take() else {
            return;
        };
        process.is_leaving = true;
        let has_left = Arc::clone(&process.has_left);
        process.runtime.spawn(async move {
            if let Err(error) = nsqd.stop().await {
                tracing::error!("nsqd could not be closed: {error}");
            }
            *lock(&has_left) = true;
        });
    }

    pub(super) fn replicas(&mut self) -> Vec<Replica> {
        self.with_nsqd(|nsqd, _| nsqd.replicas())
            .unwrap_or_default()
    }

    pub(super) fn report(&mut self) -> Option<serde_json::Value> {
        self.with_nsqd(|nsqd, _| nsqd.report())
    }

    pub(super) fn knows(&mut self, topic: &TopicName, channel: &ChannelName) -> bool {
        self.with_nsqd(|nsqd, _| nsqd.knows(topic, Some(channel)))
            .unwrap_or(false)
    }

    /// Has the cluster remove a member.
    pub(super) fn remove_member(&mut self, address: &str) {
        let address = address.to_owned();
        self.with_nsqd(|nsqd, runtime| {
            let removing = nsqd.remove_member(address);
            runtime.spawn(async move {
                if let Err(why) = removing.await {
                    tracing::info!("SIM: the member was not removed: {why}");
                }
            });
        });
    }
}

thread_local! {
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The machine that runs now.
pub(super) fn current() -> Option<usize> {
    CURRENT.get()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
