//! The content of the simulated disk: every file as the processes see it, and what a power cut would leave of it.
//!
//! Bytes are kept by sector. A sector written since the file was last synced may come out of a power cut as any of its
//! versions since. Names change in order, as in a journal: a power cut keeps a prefix of the changes. Syncing a file
//! keeps its bytes and its length, not its name; syncing a folder keeps its names and every change before them.
//!
//! After a failed sync, no later sync writes its sectors to the disk, unless they are written again. Linux does the same.

use std::collections::BTreeMap;
use std::path::Path;

use crate::random::Random;

/// The size of a sector, which a disk writes as a whole or not at all.
const SECTOR: usize = 512;
/// The most versions kept of a sector; the oldest but one is dropped.
const MAX_VERSIONS: usize = 6;

/// A file's number, which stays the same while its names change.
pub(crate) type Inode = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Folder,
    File(Inode),
}

/// Paths below the root, with `/` between.
type Names = BTreeMap<String, Node>;

#[derive(Clone, Debug)]
enum NameChange {
    Add(String, Node),
    Remove(String),
    Rename(String, String),
}

impl NameChange {
    fn touches(&self, folder: &str) -> bool {
        match self {
            Self::Add(name, _) | Self::Remove(name) => parent(name) == folder,
            Self::Rename(from, to) => parent(from) == folder || parent(to) == folder,
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                let below = format!("{from}/");
                let moved: Vec<_> = names
                    .keys()
                    .filter(|name| *name == from || name.starts_with(&below))
                    .cloned()
                    .collect();
                for name in moved {
                    let node = names.remove(&name).expect("just listed");
                    names.insert(format!("{to}{}", &name[from.len()..]), node);
                }
            }
        }
    }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

#[derive(Clone, Debug, Default)]
struct File {
    /// The bytes as every process sees them.
    live: Vec<u8>,
    /// The bytes after a power cut, except for the sectors in `unsynced`.
    kept: Vec<u8>,
    unsynced: BTreeMap<usize, Sector>,
}

#[derive(Clone, Debug)]
struct Sector {
    versions: Vec<Vec<u8>>,
    /// Whether a sync would write the sector.
    is_dirty: bool,
}

impl File {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[offset..end].copy_from_slice(bytes);
        for at in offset / SECTOR..=(end - 1) / SECTOR {
            let stop = ((at + 1) * SECTOR).min(self.live.len());
            let version = self.live[at * SECTOR..stop].to_vec();
            let sector = self.unsynced.entry(at).or_insert(Sector {
                versions: Vec::new(),
                is_dirty: true,
            });
            sector.is_dirty = true;
            if sector.versions.len() == MAX_VERSIONS {
                sector.versions.remove(1);
            }
            sector.versions.push(version);
        }
    }

    fn sync(&mut self) {
        self.kept.resize(self.live.len(), 0);
        let (live, kept) = (&self.live, &mut self.kept);
        self.unsynced.retain(|&at, sector| {
            if sector.is_dirty {
                let range = at * SECTOR..((at + 1) * SECTOR).min(live.len());
                if !range.is_empty() {
                    kept[range.clone()].copy_from_slice(&live[range]);
                }
            }
            !sector.is_dirty
        });
    }

    fn after_power_cut(&self, chance: &mut Random) -> File {
        let mut kept = self.kept.clone();
        if self.live.len() != kept.len() && chance.chance(60) {
            kept.resize(self.live.len(), 0);
        }
        // Mostly all, nothing or a mixture: each finds different mistakes.
        let style = chance.below(4);
        for (&at, sector) in &self.unsynced {
            let version = match style {
                0 => continue,
                1 => sector.versions.last(),
                2 if chance.chance(50) => sector.versions.last(),
                _ => {
                    let at = chance.index(sector.versions.len() + 1);
                    at.checked_sub(1).map(|at| &sector.versions[at])
                }
            };
            if let Some(version) = version {
                let start = at * SECTOR;
                let stop = (start + version.len()).min(kept.len());
                if start < stop {
                    kept[start..stop].copy_from_slice(&version[..stop - start]);
                }
            }
        }
        File {
            live: kept.clone(),
            kept,
            unsynced: BTreeMap::new(),
        }
    }
}

/// All files of one simulated machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Medium {
    files: Vec<File>,
    live: Names,
    kept: Names,
    changes: Vec<NameChange>,
}

impl Medium {
    pub(crate) fn node(&self, name: &str) -> Option<Node> {
        self.live.get(name).copied()
    }

    pub(crate) fn bytes(&self, inode: Inode) -> &[u8] {
        &self.files[inode].live
    }

    pub(crate) fn create(&mut self, name: &str) -> Inode {
        self.files.push(File::default());
        let inode = self.files.len() - 1;
        self.change(NameChange::Add(name.to_owned(), Node::File(inode)));
        inode
    }

    pub(crate) fn make_folder(&mut self, name: &str) {
        self.change(NameChange::Add(name.to_owned(), Node::Folder));
    }

    pub(crate) fn link(&mut self, old: &str, new: &str) {
        if let Some(node) = self.node(old) {
            self.change(NameChange::Add(new.to_owned(), node));
        }
    }

    /// Syncs every file and every name.
    pub(crate) fn sync_all(&mut self) {
        for file in &mut self.files {
            file.sync();
        }
        for change in self.changes.drain(..) {
            change.apply(&mut self.kept);
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.change(NameChange::Remove(name.to_owned()));
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        self.change(NameChange::Rename(from.to_owned(), to.to_owned()));
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.live);
        self.changes.push(change);
    }

    pub(crate) fn write(&mut self, inode: Inode, offset: usize, bytes: &[u8]) {
        self.files[inode].write(offset, bytes);
    }

    pub(crate) fn set_len(&mut self, inode: Inode, len: usize) {
        let file = &mut self.files[inode];
        file.live.resize(len, 0);
        file.unsynced.retain(|&at, _| at * SECTOR < len);
    }

    pub(crate) fn sync_file(&mut self, inode: Inode) {
        self.files[inode].sync();
    }

    /// A failed sync: the unsynced sectors stay unwritten and count as synced.
    pub(crate) fn fail_sync(&mut self, inode: Inode) {
        for sector in self.files[inode].unsynced.values_mut() {
            sector.is_dirty = false;
        }
    }

    /// Returns whether a log's file has sectors that a failed sync left, and no marker next to it for the next process.
    pub(crate) fn has_forgotten_records(&self) -> bool {
        self.live.iter().any(|(name, node)| {
            let Node::File(inode) = node else {
                return false;
            };
            let stem = name.strip_suffix(".log");
            let Some((log, _)) = stem.and_then(|stem| stem.rsplit_once('.')) else {
                return false;
            };
            let mut unsynced = self.files[*inode].unsynced.values();
            unsynced.any(|sector| !sector.is_dirty)
                && !self.live.contains_key(&format!("{log}.unsynced"))
        })
    }

    pub(crate) fn sync_folder(&mut self, folder: &str) {
        let last = self
            .changes
            .iter()
            .rposition(|change| change.touches(folder));
        if let Some(last) = last {
            for change in self.changes.drain(..=last) {
                change.apply(&mut self.kept);
            }
        }
    }

    /// Cuts the power: what is not synced may be lost.
    pub(crate) fn cut_power(&mut self, chance: &mut Random) {
        let made = match chance.below(4) {
            0 => 0,
            1 => self.changes.len(),
            _ => chance.index(self.changes.len() + 1),
        };
        for change in self.changes.drain(..).take(made) {
            change.apply(&mut self.kept);
        }
        self.live = self.kept.clone();
        let files = std::mem::take(&mut self.files);
        self.files = files
            .iter()
            .map(|file| file.after_power_cut(chance))
            .collect();
    }

    /// The names of all files for which `wanted` holds.
    pub(crate) fn file_names(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let files = self
            .live
            .iter()
            .filter(|(_, node)| matches!(node, Node::File(_)));
        let names = files.map(|(name, _)| name.clone());
        names.filter(|name| wanted(name)).collect()
    }

    /// Flips one bit of a file permanently.
    pub(crate) fn flip(&mut self, name: &str, byte: usize, bit: u8) {
        if let Some(Node::File(inode)) = self.node(name) {
            let file = &mut self.files[inode];
            file.live[byte] ^= 1 << bit;
            if let Some(kept) = file.kept.get_mut(byte) {
                *kept ^= 1 << bit;
            }
        }
    }

    /// Writes all files into an empty folder.
    pub(crate) fn write_out(&self, root: &Path) {
        let mut written = BTreeMap::new();
        for (name, node) in &self.live {
            let path = root.join(name);
            match node {
                Node::Folder => std::fs::create_dir(&path).expect("a folder of the test"),
                Node::File(inode) => {
                    if let Some(other) = written.get(inode) {
                        std::fs::hard_link(other, &path).expect("a file of the test");
                    } else {
                        std::fs::write(&path, &self.files[*inode].live)
                            .expect("a file of the test");
                        written.insert(*inode, path);
                    }
                }
            }
        }
    }

    /// Compares a real folder with this: they differ if some file operation was not seen.
    pub(crate) fn compare(&self, root: &Path) -> Result<(), String> {
        let mut found = Vec::new();
        list(root, "", &mut found);
        let mut known: Vec<_> = self.live.keys().cloned().collect();
        found.sort();
        known.sort();
        if found != known {
            return Err(format!("names differ:\n there {found:?}\n known {known:?}"));
        }
        for name in self.file_names(|_| true) {
            let there = std::fs::read(root.join(&name)).expect("a file of the test");
            let Some(Node::File(inode)) = self.node(&name) else {
                continue;
            };
            let known = &self.files[inode].live;
            if &there != known {
                let at = there
                    .iter()
                    .zip(known)
                    .position(|(left, right)| left != right);
                return Err(format!(
                    "{name}: {} bytes there, {} known, different from {at:?} on",
                    there.len(),
                    known.len()
                ));
            }
        }
        Ok(())
    }

    /// Drops files without a name, now that no process runs.
    pub(crate) fn forget_nameless(&mut self) {
        let named: Vec<_> = self
            .live
            .values()
            .chain(self.kept.values())
            .filter_map(|node| match node {
                Node::File(inode) => Some(*inode),
                Node::Folder => None,
            })
            .collect();
        for (inode, file) in self.files.iter_mut().enumerate() {
            if !named.contains(&inode) {
                *file = File::default();
            }
        }
    }
}

fn list(root: &Path, below: &str, found: &mut Vec<String>) {
    let entries = std::fs::read_dir(root.join(below)).expect("a folder of the test");
    for entry in entries {
        let entry = entry.expect("an entry of the test's folder");
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = if below.is_empty() {
            name
        } else {
            format!("{below}/{name}")
        };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(root, &name, found);
        }
        found.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The possible contents of a file after a power cut.
    fn outcomes(medium: &Medium, name: &str) -> std::collections::BTreeSet<Option<Vec<u8>>> {
        let cuts = (0..300).map(|seed| {
            let mut medium = medium.clone();
            medium.cut_power(&mut Random::new(seed));
            match medium.node(name) {
                Some(Node::File(inode)) => Some(medium.bytes(inode).to_vec()),
                _ => None,
            }
        });
        cuts.collect()
    }

    #[test]
    fn what_is_synced_survives_and_the_rest_may_or_may_not() {
        let mut medium = Medium::default();
        let inode = medium.create("f");
        medium.write(inode, 0, b"one");
        medium.sync_file(inode);
        let all = outcomes(&medium, "f");
        assert_eq!(all, [None, Some(b"one".to_vec())].into());
        medium.sync_folder("");
        medium.write(inode, 0, b"two");
        let all = outcomes(&medium, "f");
        assert_eq!(all, [Some(b"one".to_vec()), Some(b"two".to_vec())].into());
    }

    #[test]
    fn a_write_tears_at_sectors() {
        let mut medium = Medium::default();
        let inode = medium.create("f");
        medium.write(inode, 0, &[1; 2 * SECTOR]);
        medium.sync_file(inode);
        medium.sync_folder("");
        medium.write(inode, 0, &[2; 2 * SECTOR]);
        let first_and_last = outcomes(&medium, "f").into_iter().map(|bytes| {
            let bytes = bytes.expect("its name is synced");
            (bytes[0], bytes[2 * SECTOR - 1])
        });
        let all: std::collections::BTreeSet<_> = first_and_last.collect();
        assert_eq!(all, [(1, 1), (1, 2), (2, 1), (2, 2)].into());
    }

    #[test]
    fn what_a_failed_sync_left_is_not_synced_by_the_next_one() {
        let mut medium = Medium::default();
        let inode = medium.create("f");
        medium.write(inode, 0, b"a");
        medium.sync_file(inode);
        medium.sync_folder("");
        medium.write(inode, 0, b"b");
        medium.fail_sync(inode);
        medium.sync_file(inode);
        assert_eq!(outcomes(&medium, "f").len(), 2);
        medium.write(inode, 0, b"b");
        medium.sync_file(inode);
        assert_eq!(outcomes(&medium, "f"), [Some(b"b".to_vec())].into());
    }

    #[test]
    fn names_are_kept_in_the_order_of_their_changes() {
        let mut medium = Medium::default();
        medium.make_folder("a");
        medium.create("a/f");
        medium.rename("a", "b");
        medium.create("g");
        for seed in 0..100 {
            let mut cut = medium.clone();
            cut.cut_power(&mut Random::new(seed));
            assert!(cut.node("g").is_none() || cut.node("b/f").is_some());
            assert!(cut.node("a").is_none() || cut.node("b").is_none());
        }
    }
}
