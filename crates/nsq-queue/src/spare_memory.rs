//! Memory of freed segments, kept for the next ones: memory that was never touched costs a page fault for each 4 KiB, which
//! is more than copying a message of that size into it.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

/// The most that is kept, of all logs together. A channel in memory is trimmed some thousand messages at a time, so
/// segments come back in bursts.
const MAX_BYTES: usize = 64 << 20;
/// A map may be larger than what was asked for by this factor.
const MAX_FACTOR: usize = 2;

static SPARE: Mutex<Spare> = Mutex::new(Spare {
    maps: Vec::new(),
    bytes: 0,
    least_bytes: 0,
});

struct Spare {
    /// The one freed last comes first: it is the likeliest to be in the processor's cache.
    maps: Vec<MmapMut>,
    bytes: usize,
    /// The least that was spare since [`let_go`] was called last: so much no one has needed.
    least_bytes: usize,
}

fn spare() -> MutexGuard<'static, Spare> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A map of at least `bytes`, with anything in it.
pub(crate) fn take(bytes: usize) -> io::Result<MmapMut> {
    let mut spare = spare();
    let fits = |map: &MmapMut| (bytes..=bytes.saturating_mul(MAX_FACTOR)).contains(&map.len());
    if let Some(at) = spare.maps.iter().rposition(fits) {
        let map = spare.maps.remove(at);
        spare.bytes -= map.len();
        spare.least_bytes = spare.least_bytes.min(spare.bytes);
        return Ok(map);
    }
    drop(spare);
    // Not of huge pages: they save page faults, but where a host lends the memory, whole huge pages are what the system has
    // given back to it, and getting them again takes longer than the faults.
    MmapMut::map_anon(bytes)
}

/// Gives a map back that no one uses any more.
pub(crate) fn put(map: MmapMut) {
    let mut spare = spare();
    if spare.bytes + map.len() <= MAX_BYTES {
        spare.bytes += map.len();
        spare.maps.push(map);
    } else {
        // Returning it to the system takes a while.
        drop(spare);
        drop(map);
    }
}

/// Returns to the system what no one needed since the last call.
pub(crate) fn let_go() {
    let mut spare = spare();
    let mut left = spare.least_bytes;
    let mut is_needed = |map: &MmapMut| {
        let is_needed = map.len() > left;
        if !is_needed {
            left -= map.len();
        }
        is_needed
    };
    // Those freed longest ago first.
    let count = spare.maps.iter().take_while(|map| !is_needed(map)).count();
    let unneeded: Vec<_> = spare.maps.drain(..count).collect();
    spare.bytes -= unneeded.iter().map(|map| map.len()).sum::<usize>();
    spare.least_bytes = spare.bytes;
    // Returning it to the system takes a while.
    drop(spare);
    drop(unneeded);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_freed_segment_serves_the_next_one_until_nobody_needs_it() {
        // Other tests of this process take and give too, but none of this size.
        const BYTES: usize = 7 << 20;
        let count = || spare().maps.iter().filter(|map| map.len() == BYTES).count();
        let map = take(BYTES).unwrap();
        put(map);
        assert_eq!(count(), 1);
        let map = take(BYTES / 2 + 1).unwrap();
        assert_eq!((map.len(), count()), (BYTES, 0));
        put(map);
        while count() > 0 {
            let_go();
        }
        assert!(spare().bytes <= MAX_BYTES);
    }
}
