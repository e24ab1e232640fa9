//! Faults of the disk: operations that fail, bits that flip.

use super::World;
use crate::disk::{self, ACTS, Fault};

impl World {
    pub(super) fn change_faults(&mut self) {
        self.model.had_faults = true;
        match self.chance.below(4) {
            0 => {
                let is_full = self.chance.chance(60);
                self.note(|| format!("disk full: {is_full}"));
                disk::with(|disk| disk.is_full = is_full);
            }
            1 => {
                disk::with(|disk| disk.fault = None);
            }
            _ => {
                let act = *self.chance.pick(&ACTS);
                let errno = match act {
                    disk::Act::Open | disk::Act::Create if self.chance.chance(50) => libc::EMFILE,
                    _ => libc::EIO,
                };
                let fault = Fault {
                    act,
                    after: self.chance.below(4),
                    errno,
                };
                self.note(|| format!("to fail: {fault:?}"));
                disk::with(|disk| disk.fault = Some(fault));
            }
        }
    }

    pub(super) fn end_faults() {
        disk::with(|disk| {
            disk.is_full = false;
            disk.fault = None;
        });
    }

    pub(super) fn flip_bits(&mut self) {
        if !self.profile.flips || self.chance.chance(50) {
            return;
        }
        let chance = &mut self.chance;
        let flipped = disk::with(|disk| {
            let files = disk
                .medium
                .file_names(|name| matches!(name.rsplit('.').next(), Some("log" | "marks")));
            if files.is_empty() {
                return None;
            }
            let name = chance.pick(&files).clone();
            let Some(crate::medium::Node::File(inode)) = disk.medium.node(&name) else {
                return None;
            };
            let bytes = disk.medium.bytes(inode);
            // In the written part of the file, not in its empty rest.
            let end = bytes.iter().rposition(|&byte| byte != 0)?;
            let byte = chance.index(end + 1);
            let bit = u8::try_from(chance.below(8)).expect("a bit of a byte");
            disk.medium.flip(&name, byte, bit);
            Some((name, byte, bit))
        });
        if let Some((name, byte, bit)) = flipped.flatten() {
            self.note(|| format!("bit {bit} of byte {byte} of {name} flips"));
            self.outcome.flips += 1;
            self.model.had_flip();
        }
    }

    /// Checks that the simulated disk has seen every file operation.
    pub(super) fn compare(&self) {
        let outcome = disk::with(|disk| {
            disk.observe();
            disk.medium.compare(&self.folder)
        });
        if let Some(Err(difference)) = outcome {
            panic!("a file operation went by unseen: {difference}");
        }
    }
}
