//! The process itself, under the names that every Prometheus client library uses.

use super::Exposition;
use crate::process::{Memory, Usage};

/// Writes what is known of this process; where there is no `/proc`, nothing.
pub fn write_process(out: &mut Exposition) {
    let Some(usage) = Usage::now() else {
        return;
    };
    out.counter(
        "process_cpu_seconds_total",
        "User and system CPU time spent in seconds.",
    )
    .sample(&[], usage.cpu.as_secs_f64());
    out.gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes, mapped log files included.",
    )
    .sample(&[], Memory::now().resident_bytes);
    out.gauge(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
    )
    .sample(&[], usage.virtual_bytes);
    out.gauge("process_open_fds", "Number of open file descriptors.")
        .sample(&[], usage.open_files);
    if let Some(limit) = usage.max_files {
        out.gauge(
            "process_max_fds",
            "Maximum number of open file descriptors.",
        )
        .sample(&[], limit);
    }
    out.gauge("process_threads", "Number of threads.")
        .sample(&[], usage.threads);
    out.gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
    )
    .sample(&[], usage.start_time.as_secs_f64());
}
