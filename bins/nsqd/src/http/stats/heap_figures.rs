//! The memory block of `/stats`.

use nsq_daemon::process::Memory;
use serde::Serialize;

/// Upstream's figures of its Go heap, in the order in which both formats show them.
///
/// One has a counterpart here: what the process holds in heap and stacks. The rest is about a garbage collector,
/// and zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct HeapFigures {
    heap_objects: u64,
    heap_idle_bytes: u64,
    heap_in_use_bytes: u64,
    heap_released_bytes: u64,
    gc_pause_usec_100: u64,
    gc_pause_usec_99: u64,
    gc_pause_usec_95: u64,
    next_gc_bytes: u64,
    gc_total_runs: u64,
}

impl HeapFigures {
    pub(super) fn now() -> HeapFigures {
        HeapFigures::in_use(Memory::now().anonymous_bytes)
    }

    pub(super) fn in_use(bytes: u64) -> HeapFigures {
        HeapFigures {
            heap_in_use_bytes: bytes,
            ..HeapFigures::default()
        }
    }

    /// Names and values, for the text.
    pub(super) fn rows(&self) -> [(&'static str, u64); 9] {
        [
            ("heap_objects", self.heap_objects),
            ("heap_idle_bytes", self.heap_idle_bytes),
            ("heap_in_use_bytes", self.heap_in_use_bytes),
            ("heap_released_bytes", self.heap_released_bytes),
            ("gc_pause_usec_100", self.gc_pause_usec_100),
            ("gc_pause_usec_99", self.gc_pause_usec_99),
            ("gc_pause_usec_95", self.gc_pause_usec_95),
            ("next_gc_bytes", self.next_gc_bytes),
            ("gc_total_runs", self.gc_total_runs),
        ]
    }
}
