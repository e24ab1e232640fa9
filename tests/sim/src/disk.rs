//! The disk of the simulated machine: a real folder, and the [`Medium`] that knows which parts of it are synced.
//!
//! Each thread has at most one disk. [`system`](crate::system) replaces the file calls of the C library and reports every
//! change below the folder to the disk, which decides which calls fail, and copies the medium at a planned kill.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;

use crate::medium::{Inode, Medium, Node};
use crate::random::Random;

const PAGE: usize = 4096;

/// A kind of file operation that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Open,
    Create,
    Allocate,
    Write,
    Sync,
    Rename,
    Remove,
}

pub(crate) const ACTS: [Act; 7] = [
    Act::Open,
    Act::Create,
    Act::Allocate,
    Act::Write,
    Act::Sync,
    Act::Rename,
    Act::Remove,
];

/// An operation that will fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) act: Act,
    /// How many operations of this kind succeed before it.
    pub(crate) after: u64,
    pub(crate) errno: i32,
}

/// A file mapped for writing: its stores are found by comparing.
struct Map {
    start: usize,
    len: usize,
    inode: Inode,
}

#[derive(Clone, Debug)]
enum Handle {
    Folder(String),
    File(Inode),
}

pub(crate) struct Disk {
    pub(crate) root: PathBuf,
    pub(crate) medium: Medium,
    handles: HashMap<i32, Handle>,
    maps: Vec<Map>,
    /// False while changes do not count, such as those of a process that is dead already.
    pub(crate) is_recording: bool,
    pub(crate) is_full: bool,
    pub(crate) fault: Option<Fault>,
    /// Operations that failed on purpose.
    pub(crate) failed_count: u64,
    /// Syncs among them.
    pub(crate) failed_sync_count: u64,
    /// Operations left until the kill.
    kill_in: Option<u64>,
    /// The medium at the instant of the kill.
    killed: Option<Medium>,
    pub(crate) operation_count: u64,
    chance: Random,
    /// The file operations, if they are traced.
    pub(crate) trace: Option<Vec<String>>,
}

thread_local! {
    static DISK: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

/// Runs `look` on this thread's disk. `None` when there is no disk, or it is in use: file operations during that time are
/// the test's own.
pub(crate) fn with<T>(look: impl FnOnce(&mut Disk) -> T) -> Option<T> {
    let outcome = DISK.try_with(|disk| {
        let mut disk = disk.try_borrow_mut().ok()?;
        disk.as_mut().map(look)
    });
    outcome.ok().flatten()
}

/// Gives this thread a disk, with its files in the empty folder `root`.
pub(crate) fn insert(root: PathBuf, chance: Random) {
    swap(Some(Disk::new(root, chance)));
}

impl Disk {
    /// A disk with its files in the empty folder `root`.
    pub(crate) fn new(root: PathBuf, chance: Random) -> Disk {
        Disk {
            root,
            medium: Medium::default(),
            handles: HashMap::new(),
            maps: Vec::new(),
            is_recording: true,
            is_full: false,
            fault: None,
            failed_count: 0,
            failed_sync_count: 0,
            kill_in: None,
            killed: None,
            operation_count: 0,
            chance,
            trace: None,
        }
    }
}

/// Gives this thread another disk, or none, and returns the one that it had: each machine of a cluster has its own.
pub(crate) fn swap(disk: Option<Disk>) -> Option<Disk> {
    DISK.with(|slot| slot.replace(disk))
}

/// Removes this thread's disk.
pub(crate) fn remove() {
    DISK.with(|slot| *slot.borrow_mut() = None);
}

/// The system's random numbers, which are the same for each run of a seed.
pub(crate) fn random_bytes(buffer: &mut [u8]) -> bool {
    with(|disk| {
        for chunk in buffer.chunks_mut(8) {
            let word = disk.chance.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    })
    .is_some()
}

/// Adds a line to the trace of file operations, if they are traced.
pub(crate) fn note(what: impl FnOnce() -> String) {
    with(|disk| disk.note(what));
}

impl Disk {
    /// The name below the root, if the path is below it.
    pub(crate) fn name_of(&self, path: &[u8]) -> Option<String> {
        if !self.is_recording {
            return None;
        }
        let path = std::str::from_utf8(path).ok()?;
        let below = path.strip_prefix(self.root.to_str()?)?;
        if below.is_empty() {
            return Some(String::new());
        }
        Some(below.strip_prefix('/')?.trim_end_matches('/').to_owned())
    }

    /// The name of an entry of an open folder.
    pub(crate) fn name_in(&self, folder: i32, name: &[u8]) -> Option<String> {
        let Some(Handle::Folder(folder)) = self.handles.get(&folder) else {
            return None;
        };
        let name = std::str::from_utf8(name).ok()?;
        Some(if folder.is_empty() {
            name.to_owned()
        } else {
            format!("{folder}/{name}")
        })
    }

    /// The error with which an operation fails, if it does.
    pub(crate) fn refuse(&mut self, act: Act) -> Option<i32> {
        if let Some(fault) = &mut self.fault
            && fault.act == act
        {
            if fault.after == 0 {
                let errno = fault.errno;
                self.fault = None;
                self.failed_count += 1;
                self.note(|| format!("{act:?} fails"));
                return Some(errno);
            }
            fault.after -= 1;
        }
        if self.is_full && matches!(act, Act::Allocate) {
            self.failed_count += 1;
            self.note(|| format!("{act:?} finds the disk full"));
            return Some(libc::ENOSPC);
        }
        None
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }

    // ---- kills ----

    /// Kills the process just before its `operation`th change of a file from now on.
    pub(crate) fn plan_kill(&mut self, operation: u64) {
        self.kill_in = Some(operation);
    }

    /// Returns whether the planned kill has happened.
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.is_some()
    }

    /// The medium at the planned kill, if it has happened.
    pub(crate) fn take_killed(&mut self) -> Option<Medium> {
        self.kill_in = None;
        self.killed.take()
    }

    /// Counts a change that is about to be made; `partly` makes a part of it, as a kill may leave it.
    fn step(&mut self, partly: impl FnOnce(&mut Medium, &mut Random)) {
        self.operation_count += 1;
        match &mut self.kill_in {
            Some(0) => {
                self.kill_in = None;
                self.note(|| "killed here".to_owned());
                let mut medium = self.medium.clone();
                partly(&mut medium, &mut self.chance);
                self.killed = Some(medium);
            }
            Some(left) => *left -= 1,
            None => {}
        }
    }

    // ---- reports of the system calls ----

    pub(crate) fn opened(&mut self, descriptor: i32, name: &str, flags: i32) {
        if name.is_empty() {
            self.handles
                .insert(descriptor, Handle::Folder(String::new()));
            return;
        }
        let handle = match self.medium.node(name) {
            Some(Node::Folder) => Handle::Folder(name.to_owned()),
            Some(Node::File(inode)) => {
                if flags & libc::O_TRUNC != 0 {
                    self.observe();
                    self.step(|_, _| ());
                    self.medium.set_len(inode, 0);
                }
                Handle::File(inode)
            }
            None => {
                self.observe();
                self.step(|_, _| ());
                let inode = self.medium.create(name);
                self.note(|| format!("create {name} as {inode}"));
                Handle::File(inode)
            }
        };
        self.handles.insert(descriptor, handle);
    }

    pub(crate) fn closed(&mut self, descriptor: i32) {
        self.handles.remove(&descriptor);
    }

    pub(crate) fn file(&self, descriptor: i32) -> Option<Inode> {
        match self.handles.get(&descriptor) {
            Some(Handle::File(inode)) if self.is_recording => Some(*inode),
            _ => None,
        }
    }

    /// Returns whether the file would have to grow, which fails on a full disk.
    pub(crate) fn would_overflow(&mut self, inode: Inode, end: usize) -> bool {
        let overflows = self.is_full && end > self.medium.bytes(inode).len();
        self.failed_count += u64::from(overflows);
        overflows
    }

    pub(crate) fn written(&mut self, inode: Inode, offset: usize, bytes: &[u8]) {
        self.observe();
        self.note(|| format!("write {inode} at {offset}: {} bytes", bytes.len()));
        self.step(|medium, chance| {
            // The kernel checks for signals between pages.
            let pages = (offset + bytes.len()).div_ceil(PAGE) - offset / PAGE;
            let end = (offset / PAGE + chance.index(pages + 1)) * PAGE;
            let kept = end.saturating_sub(offset).min(bytes.len());
            medium.write(inode, offset, &bytes[..kept]);
        });
        self.medium.write(inode, offset, bytes);
    }

    /// How many bytes of a failing write still reach the file.
    pub(crate) fn short_write(&mut self, len: usize) -> usize {
        self.chance.index(len + 1)
    }

    pub(crate) fn sized(&mut self, inode: Inode, len: usize) {
        self.observe();
        self.step(|_, _| ());
        self.medium.set_len(inode, len);
    }

    pub(crate) fn allocated(&mut self, inode: Inode, end: usize) {
        if self.medium.bytes(inode).len() < end {
            self.sized(inode, end);
        }
    }

    /// A sync of a file or folder, which succeeds or fails.
    pub(crate) fn synced(&mut self, descriptor: i32, works: bool) {
        self.observe();
        self.failed_sync_count += u64::from(!works);
        let handle = self.handles.get(&descriptor).cloned();
        self.note(|| format!("sync {handle:?}: {works}"));
        match handle {
            Some(Handle::File(inode)) if works => self.medium.sync_file(inode),
            Some(Handle::File(inode)) => self.medium.fail_sync(inode),
            Some(Handle::Folder(name)) if works => self.medium.sync_folder(&name),
            Some(Handle::Folder(_)) | None => {}
        }
    }

    pub(crate) fn knows(&self, descriptor: i32) -> bool {
        self.is_recording && self.handles.contains_key(&descriptor)
    }

    pub(crate) fn made_folder(&mut self, name: &str) {
        self.observe();
        self.note(|| format!("make folder {name}"));
        self.step(|_, _| ());
        self.medium.make_folder(name);
    }

    pub(crate) fn linked(&mut self, old: &str, new: &str) {
        self.observe();
        self.note(|| format!("link {old} as {new}"));
        self.step(|_, _| ());
        self.medium.link(old, new);
    }

    /// A sync of the whole file system, which succeeds.
    pub(crate) fn synced_all(&mut self) {
        self.observe();
        self.note(|| "sync everything".to_owned());
        self.medium.sync_all();
    }

    pub(crate) fn renamed(&mut self, from: &str, to: &str) {
        self.observe();
        self.note(|| format!("rename {from} to {to}"));
        self.step(|_, _| ());
        self.medium.rename(from, to);
    }

    pub(crate) fn removed(&mut self, name: &str) {
        self.observe();
        self.note(|| format!("remove {name}"));
        self.step(|_, _| ());
        self.medium.remove(name);
    }

    // ---- maps ----

    pub(crate) fn mapped(&mut self, start: usize, len: usize, inode: Inode) {
        // A map cannot be read after the end of its file.
        let len = len.min(self.medium.bytes(inode).len());
        self.maps.push(Map { start, len, inode });
    }

    pub(crate) fn unmapped(&mut self, start: usize) {
        if self.maps.iter().any(|map| map.start == start) {
            self.observe();
            self.maps.retain(|map| map.start != start);
        }
    }

    pub(crate) fn map_synced(&mut self, start: usize) -> bool {
        let found = self.maps.iter().find(|map| map.start == start);
        let Some(inode) = found.map(|map| map.inode) else {
            return false;
        };
        self.observe();
        self.medium.sync_file(inode);
        true
    }

    /// Finds what was stored through maps since the last call, word by word.
    pub(crate) fn observe(&mut self) {
        if !self.is_recording {
            return;
        }
        for at in 0..self.maps.len() {
            let Map { start, len, inode } = self.maps[at];
            let known = self.medium.bytes(inode).get(..len);
            if known.is_some_and(|known| crate::system::is_mapped(start, known)) {
                continue;
            }
            let stored = crate::system::mapped_bytes(start, len);
            for (word, bytes) in stored.chunks(8).enumerate() {
                let offset = word * 8;
                if self.medium.bytes(inode).get(offset..offset + bytes.len()) != Some(bytes) {
                    self.note(|| format!("store {inode} at {offset}: {bytes:x?}"));
                    self.step(|_, _| ());
                    self.medium.write(inode, offset, bytes);
                }
            }
        }
    }

    /// The process is dead, as by [`end_process`](Self::end_process), and another one may begin.
    pub(crate) fn begin_process(&mut self) {
        self.end_process();
        self.is_recording = true;
        self.kill_in = None;
        self.killed = None;
        self.fault = None;
    }

    /// The process is dead: its handles and maps are gone, and file operations of its remaining objects do not count.
    pub(crate) fn end_process(&mut self) {
        self.observe();
        self.is_recording = false;
        self.handles.clear();
        self.maps.clear();
    }
}
