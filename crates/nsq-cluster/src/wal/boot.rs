//! Whether what a replica finds on its disk is what it has promised to hold.
//!
//! By default entries are acknowledged once they are written and synced by a timer, so a machine crash can take some that
//! the other replicas count on. If such a replica voted again, an election could be won without the lost entries. So every
//! replica notes the kernel's boot id, whether it syncs before it acknowledges, and whether it was closed in order.

use std::io;
use std::path::Path;

use super::small_file;
use crate::codec::{DecodeError, Decoder, Wire};

/// When an entry counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once it is synced: it survives a crash of the machine.
    Synced,
    /// Once it is written: it survives the end of the process, and a crash of the machine if a sync came first.
    Written,
}

/// Why a replica must not vote with what it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// The machine went down without closing the replica, which does not sync before it acknowledges.
    #[error("the machine crashed and may have lost acknowledged entries")]
    MachineCrash,
    /// Something is missing or damaged.
    #[error("{0}")]
    Damaged(String),
}

/// What the last process that had the replica open left for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) boot_id: String,
    pub(super) durability: Durability,
    pub(super) state: MarkerState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MarkerState {
    Open,
    Closed,
    Distrusted(String),
}

impl Marker {
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        small_file::read(folder, FILE)
    }

    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        small_file::replace(folder, FILE, self)
    }

    /// Whether the machine went down while the replica was open. Where the boot id is not known, that cannot be ruled out.
    pub(super) fn has_crashed(&self, boot_id: &str) -> bool {
        let is_same_boot = !boot_id.is_empty() && self.boot_id == boot_id;
        self.state != MarkerState::Closed && !is_same_boot
    }

    /// Why a process of the boot `boot_id` must not vote with what this one's process left, if it must not.
    pub(super) fn distrust(&self, boot_id: &str) -> Option<Distrust> {
        if let MarkerState::Distrusted(why) = &self.state {
            return Some(Distrust::Damaged(why.clone()));
        }
        let is_at_risk = self.has_crashed(boot_id) && self.durability == Durability::Written;
        is_at_risk.then_some(Distrust::MachineCrash)
    }
}

/// The id the kernel took when it booted; empty where there is none.
pub fn current_boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

impl Wire for Marker {
    fn encode(&self, to: &mut Vec<u8>) {
        crate::codec::put_bytes(to, self.boot_id.as_bytes());
        to.push(u8::from(self.durability == Durability::Written));
        match &self.state {
            MarkerState::Open => to.push(0),
            MarkerState::Closed => to.push(1),
            MarkerState::Distrusted(why) => {
                to.push(2);
                crate::codec::put_bytes(to, why.as_bytes());
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let boot_id = from.text(MAX_TEXT_BYTES, "a boot id")?;
        let durability = if from.flag("the durability")? {
            Durability::Written
        } else {
            Durability::Synced
        };
        let state = match from.u8("a marker's state")? {
            0 => MarkerState::Open,
            1 => MarkerState::Closed,
            2 => MarkerState::Distrusted(from.text(MAX_TEXT_BYTES, "a reason")?),
            found => {
                return Err(DecodeError::Unknown {
                    what: "a marker's state",
                    found: u64::from(found),
                });
            }
        };
        Ok(Self {
            boot_id,
            durability,
            state,
        })
    }
}

const FILE: &str = "boot";
const MAX_TEXT_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(durability: Durability, state: MarkerState, boot_id: &str) -> Option<Distrust> {
        let marker = Marker {
            boot_id: "one".to_owned(),
            durability,
            state,
        };
        let bytes = marker.to_bytes();
        assert_eq!(Marker::from_bytes(bytes), Ok(marker.clone()));
        marker.distrust(boot_id)
    }

    #[test]
    fn only_a_machine_crash_without_syncs_or_known_damage_takes_the_vote_away() {
        use Durability::{Synced, Written};
        let damaged = || MarkerState::Distrusted("a record".to_owned());
        assert_eq!(check(Written, MarkerState::Open, "one"), None);
        assert_eq!(check(Written, MarkerState::Closed, "two"), None);
        assert_eq!(check(Synced, MarkerState::Open, "two"), None);
        let crash = Some(Distrust::MachineCrash);
        assert_eq!(check(Written, MarkerState::Open, "two"), crash);
        assert_eq!(check(Written, MarkerState::Open, ""), crash);
        let damage = Some(Distrust::Damaged("a record".to_owned()));
        assert_eq!(check(Synced, damaged(), "one"), damage);
    }
}
