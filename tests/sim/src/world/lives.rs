//! The lives of the broker: its starts and its ends.

use nsq_core::Tick;

use super::World;
use crate::disk;
use crate::medium::Medium;
use crate::model::Model;
use crate::server::Server;
use crate::settings::settings;

/// How a life of the broker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Close,
    Kill,
    PowerCut,
}

impl World {
    pub(super) fn open(&mut self) {
        loop {
            self.outcome.lives += 1;
            let settings = settings(
                &self.folder,
                self.segments,
                self.sync_every,
                self.profile.sync_publish,
            );
            if self.chance.chance(10) && self.profile.end > 0 {
                let within = self.chance.below(30);
                disk::with(|disk| disk.plan_kill(within));
            }
            if self.profile.faults > 0 && self.chance.chance(10) {
                self.change_faults();
            }
            let limits = self.limits.clone();
            let was_forgotten = disk::with(|disk| disk.medium.has_forgotten_records());
            let opened = Server::open(settings, limits, self.now);
            disk::with(disk::Disk::observe);
            let killed = disk::with(disk::Disk::take_killed).flatten();
            if let Some(medium) = killed {
                self.note(|| "killed while starting".to_owned());
                disk::with(disk::Disk::end_process);
                drop(opened);
                self.lay_out(Some(medium));
                continue;
            }
            let server = match opened {
                Ok(server) => server,
                Err(error) => {
                    assert!(self.model.had_faults, "the broker does not start: {error}");
                    self.note(|| format!("does not start: {error}"));
                    Self::end_faults();
                    disk::with(disk::Disk::end_process);
                    self.lay_out(None);
                    continue;
                }
            };
            let found = server.found();
            let had_failed_sync = disk::with(|disk| disk.failed_sync_count > 0);
            self.model.had_failed_sync = had_failed_sync == Some(true);
            self.model.has_forgotten_records = was_forgotten == Some(true);
            let had_faults = disk::with(|disk| disk.is_full || disk.fault.is_some());
            self.model.reopened(&found, self.now);
            self.model.had_faults = had_faults == Some(true);
            self.server = Some(server);
            let names: Vec<_> = found
                .iter()
                .map(|topic| format!("{}:{:?}", topic.name, topic.channels))
                .collect();
            self.note(|| format!("open, with {names:?}"));
            return;
        }
    }

    /// Puts the medium's files in place for the next life.
    fn lay_out(&mut self, medium: Option<Medium>) {
        let folder = self.folder.clone();
        disk::with(|disk| {
            disk.is_recording = false;
            if let Some(medium) = medium {
                disk.medium = medium;
            }
            disk.medium.forget_nameless();
            for entry in std::fs::read_dir(&folder).expect("the test's folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    std::fs::remove_dir_all(path).expect("a folder of the test");
                } else {
                    std::fs::remove_file(path).expect("a file of the test");
                }
            }
            disk.medium.write_out(&folder);
            disk.is_recording = true;
        });
    }

    pub(super) fn end(&mut self, end: End) {
        self.note(|| format!("{end:?}"));
        self.clients.clear();
        let server = self.server.take().expect("runs");
        match end {
            End::Close => {
                server.close(&mut self.model, self.now);
                self.compare();
                disk::with(disk::Disk::end_process);
            }
            End::Kill => {
                self.compare();
                disk::with(disk::Disk::end_process);
                self.model.killed();
                drop(server);
            }
            End::PowerCut => {
                self.outcome.power_cuts += 1;
                disk::with(|disk| {
                    disk.end_process();
                    disk.medium.cut_power(&mut self.chance);
                });
                self.model.power_cut();
                drop(server);
            }
        }
        self.flip_bits();
        self.lay_out(None);
        self.pass_between_lives();
        Self::end_faults();
        self.open();
    }

    pub(super) fn end_within(&mut self, before: &Model, mut medium: Medium) {
        self.clients.clear();
        let is_power_cut = self.profile.power_cuts && self.chance.chance(40);
        self.note(|| format!("killed within; power cut: {is_power_cut}"));
        disk::with(disk::Disk::end_process);
        self.server = None;
        self.model.killed_within(before);
        if is_power_cut {
            self.outcome.power_cuts += 1;
            medium.cut_power(&mut self.chance);
            self.model.power_cut();
        }
        disk::with(|disk| disk.medium = medium);
        self.flip_bits();
        self.lay_out(None);
        self.pass_between_lives();
        Self::end_faults();
        self.open();
    }

    fn pass_between_lives(&mut self) {
        let seconds = [0, 0, 1, 100, 4000][self.chance.index(5)];
        self.now.unix_nanos += seconds * 1_000_000_000;
        if self.profile.clock_jumps && self.chance.chance(30) {
            self.now.unix_nanos -= 1_000_000_000 * self.chance.below(3600).cast_signed();
        }
        // Each process has a monotonic clock of its own.
        self.now.tick = Tick::from_nanos(5_000_000_000 + self.chance.below(1 << 40));
    }
}
