//! Memory maps, and what keeps a failing disk from killing the process: the only unsafe code here.
//!
//! A read through a map whose file was cut short or whose disk fails raises SIGBUS. The handler below
//! looks the address up among the registered maps, puts a page of zeros there and marks the map as
//! faulted; the checks above then see zeros, find the mark, and call it an I/O error. A SIGBUS at any
//! other address takes its default course.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use memmap2::{Mmap, MmapMut, MmapOptions};

use crate::spare_memory;

/// A segment file, mapped to be read. Bytes that a writer may still change are never handed out: the
/// callers ask only for what lies below the published end.
#[derive(Debug)]
pub(crate) struct FileMap {
    // Before `map`: the range must leave the table before its addresses can belong to another map.
    guard: Guard,
    map: Mmap,
}

impl FileMap {
    /// Maps the first `bytes` of the file, or all of it when it is shorter.
    pub(crate) fn new(file: &File, bytes: u64) -> io::Result<Self> {
        let length = file.metadata()?.len().min(bytes);
        let length = usize::try_from(length).map_err(io::Error::other)?;
        // SAFETY: the file belongs to this crate alone, and published bytes are never written again
        // while a map of them exists. A file that someone else cuts short faults into zeros.
        let map = unsafe { MmapOptions::new().len(length).map(file)? };
        let guard = Guard::register(map.as_ptr() as usize, map.len(), false)?;
        Ok(Self { guard, map })
    }

    /// The first `limit` bytes, or as many as there are.
    pub(crate) fn bytes(&self, limit: u32) -> &[u8] {
        &self.map[..self.map.len().min(limit as usize)]
    }

    /// Whether some page could not be read and is zeros now.
    pub(crate) fn has_faulted(&self) -> bool {
        self.guard.has_faulted()
    }
}

/// A segment in anonymous memory: written at or after `published`, read before it.
#[derive(Debug)]
pub(crate) struct MemoryMap {
    start: *mut u8,
    length: usize,
    published: AtomicUsize,
    writing: Mutex<()>,
    /// There until this is dropped.
    owner: Option<MmapMut>,
}

// SAFETY: the memory is owned by `owner` for as long as `self` lives. Reads go to bytes before
// `published` only, writes to bytes at or after it only, one at a time under `writing`.
unsafe impl Send for MemoryMap {}
// SAFETY: as above.
unsafe impl Sync for MemoryMap {}

impl MemoryMap {
    /// Room for at least `bytes`. What is in it is never read before it is written.
    pub(crate) fn new(bytes: u32) -> io::Result<Self> {
        let mut owner = spare_memory::take(bytes as usize)?;
        Ok(Self {
            start: owner.as_mut_ptr(),
            length: owner.len(),
            published: AtomicUsize::new(0),
            writing: Mutex::new(()),
            owner: Some(owner),
        })
    }

    /// Writes at `offset`, which is at or after everything published.
    pub(crate) fn write(&self, bytes: &[u8], offset: u32) -> io::Result<()> {
        let _alone = lock(&self.writing);
        let offset = offset as usize;
        let published = self.published.load(Ordering::Relaxed);
        let end = offset + bytes.len();
        if offset < published || end > self.length {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: `offset..end` lies within the map and after `published`, so no slice that was
        // handed out covers it; `writing` keeps other writers out.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(offset), bytes.len());
        }
        Ok(())
    }

    /// Lets readers see everything before `end`, which is not written again from now on.
    pub(crate) fn publish(&self, end: u32) {
        let _alone = lock(&self.writing);
        let end = self.length.min(end as usize);
        self.published.fetch_max(end, Ordering::Release);
    }

    /// The first `limit` bytes, or as many as are published.
    pub(crate) fn bytes(&self, limit: u32) -> &[u8] {
        let length = self.published.load(Ordering::Acquire).min(limit as usize);
        // SAFETY: `length` is within the map. Its bytes are initialised: anonymous memory is zeros, and the bytes of an
        // earlier segment are bytes. They are never written again while `self` lives, since `write` only writes at or
        // after `published`.
        unsafe { std::slice::from_raw_parts(self.start, length) }
    }
}

impl Drop for MemoryMap {
    fn drop(&mut self) {
        // No one reads it any more: every reader holds it.
        if let Some(owner) = self.owner.take() {
            spare_memory::put(owner);
        }
    }
}

/// A file of 64-bit words, mapped to be read and written, one word at a time.
#[derive(Debug)]
pub(crate) struct WordMap {
    guard: Guard,
    map: MmapMut,
    words: *const AtomicU64,
    count: usize,
}

// SAFETY: the words are atomics in memory that `map` owns; nothing else reads or writes it.
unsafe impl Send for WordMap {}
// SAFETY: as above.
unsafe impl Sync for WordMap {}

impl WordMap {
    /// Maps a whole file.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the file belongs to this crate alone; it is only touched through atomics.
        let mut map = unsafe { MmapOptions::new().map_mut(file)? };
        #[expect(
            clippy::cast_ptr_alignment,
            reason = "a map begins at a page, which is aligned for everything"
        )]
        let words = map.as_mut_ptr().cast::<AtomicU64>().cast_const();
        let count = map.len() / size_of::<AtomicU64>();
        let guard = Guard::register(words as usize, map.len(), true)?;
        Ok(Self {
            guard,
            map,
            words,
            count,
        })
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: a map begins at a page, so the words are aligned; `count` of them fit in it, and
        // `map` lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.words, self.count) }
    }

    /// Brings the words to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.map.flush()
    }

    pub(crate) fn has_faulted(&self) -> bool {
        self.guard.has_faulted()
    }
}

/// A range in the table of maps, for as long as this lives.
#[derive(Debug)]
struct Guard {
    slot: usize,
}

impl Guard {
    fn register(start: usize, bytes: usize, writable: bool) -> io::Result<Self> {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(install_handler);
        let mut free = free_slots();
        let slot = if let Some(slot) = free.pop() {
            slot
        } else {
            let slot = USED.load(Ordering::Relaxed);
            if slot == SLOT_COUNT {
                return Err(io::Error::other("too many maps"));
            }
            USED.store(slot + 1, Ordering::Release);
            slot
        };
        let entry = &SLOTS[slot];
        entry.faulted.store(false, Ordering::Relaxed);
        entry.writable.store(writable, Ordering::Relaxed);
        entry.end.store(start + bytes, Ordering::Relaxed);
        // Last: the handler takes a slot with a start as filled.
        entry.start.store(start, Ordering::Release);
        Ok(Self { slot })
    }

    fn has_faulted(&self) -> bool {
        SLOTS[self.slot].faulted.load(Ordering::Acquire)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        SLOTS[self.slot].start.store(0, Ordering::Release);
        free_slots().push(self.slot);
    }
}

fn free_slots() -> MutexGuard<'static, Vec<usize>> {
    static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    lock(&FREE)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One registered map; `start` is 0 while no one uses the slot.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    writable: AtomicBool,
    faulted: AtomicBool,
}

static SLOTS: [Slot; SLOT_COUNT] = [const {
    Slot {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        writable: AtomicBool::new(false),
        faulted: AtomicBool::new(false),
    }
}; SLOT_COUNT];

/// Slots handed out so far: the handler looks no further.
static USED: AtomicUsize = AtomicUsize::new(0);

/// A process cannot have more maps than this by default (`vm.max_map_count`). 1.5 MiB, untouched.
const SLOT_COUNT: usize = 1 << 16;

static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);

fn install_handler() {
    // SAFETY: sysconf only answers a question.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    if let Ok(page_bytes) = usize::try_from(page_bytes) {
        PAGE_BYTES.store(page_bytes, Ordering::Relaxed);
    }
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
    // SAFETY: zeros are a valid sigaction, the mask is initialised, and the handler has the signature
    // that SA_SIGINFO asks for. Should it be refused, a fault keeps its default: the process ends.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

/// Runs inside whatever was interrupted: atomics and direct system calls only.
extern "C" fn on_sigbus(signal: libc::c_int, about: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo, and for a fault (code above 0) its address.
    let (code, address) = unsafe { ((*about).si_code, (*about).si_addr() as usize) };
    if code > 0 && replace_page(address) {
        return;
    }
    // SAFETY: zeros with SIG_DFL are a valid sigaction. A fault happens again when we return and then
    // ends the process; a signal that was sent to us has to be sent again.
    unsafe {
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal, &raw const default, std::ptr::null_mut());
        if code <= 0 {
            libc::raise(signal);
        }
    }
}

/// Puts a page of zeros at `address`, if that lies in a registered map.
fn replace_page(address: usize) -> bool {
    let used = USED.load(Ordering::Acquire).min(SLOT_COUNT);
    let found = SLOTS[..used].iter().find(|slot| {
        let start = slot.start.load(Ordering::Acquire);
        let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
        let end = slot
            .end
            .load(Ordering::Relaxed)
            .next_multiple_of(page_bytes);
        start != 0 && (start..end).contains(&address)
    });
    let Some(slot) = found else {
        return false;
    };
    slot.faulted.store(true, Ordering::Release);
    let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
    let page = address & !(page_bytes - 1);
    let protection = if slot.writable.load(Ordering::Relaxed) {
        libc::PROT_READ | libc::PROT_WRITE
    } else {
        libc::PROT_READ
    };
    // SAFETY: the page belongs to a map of ours, whose owner is the code that was interrupted, so it
    // cannot go away now; it stays part of that map's range and is unmapped with it. errno is restored
    // because the interrupted code may be about to read it.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        let replaced = libc::mmap(
            page as *mut libc::c_void,
            page_bytes,
            protection,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        );
        *errno = saved;
        replaced != libc::MAP_FAILED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_went_away_reads_as_zeros_and_is_told() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let map = FileMap::new(&file, 8192).unwrap();
        assert!(!map.has_faulted());
        file.set_len(0).unwrap();
        assert_eq!(map.bytes(8192)[5000], 0);
        assert!(map.has_faulted());
    }

    #[test]
    fn words_can_be_written_where_the_file_went_away() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let map = WordMap::new(&file).unwrap();
        file.set_len(0).unwrap();
        map.words()[3].store(9, Ordering::Relaxed);
        assert_eq!(map.words()[3].load(Ordering::Relaxed), 9);
        assert!(map.has_faulted());
    }

    #[test]
    fn published_memory_is_never_written_again() {
        let map = MemoryMap::new(4096).unwrap();
        map.write(b"xyz", 0).unwrap();
        assert_eq!(map.bytes(4096), b"");
        map.write(b"abc", 0).unwrap();
        map.publish(3);
        assert!(map.write(b"x", 2).is_err());
        assert!(map.write(&[0; 4096], 3).is_err());
        map.write(b"d", 3).unwrap();
        assert_eq!(map.bytes(4096), b"abc");
        map.publish(4);
        assert_eq!(map.bytes(4096), b"abcd");
    }
}
