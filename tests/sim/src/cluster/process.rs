//! Whether the process that runs now is dead already: what it still does until its machine's turn is over must reach no one.

use std::cell::Cell;

use crate::disk;

thread_local! {
    static HAS_ENDED: Cell<bool> = const { Cell::new(false) };
}

/// Another process's turn begins.
pub(super) fn begin_turn() {
    HAS_ENDED.set(false);
}

/// The process that runs now ends itself.
pub(super) fn end() {
    HAS_ENDED.set(true);
}

/// Whether it has ended itself.
pub(super) fn has_ended() -> bool {
    HAS_ENDED.get()
}

/// Whether it has ended itself, or was killed in the middle of a change of a file.
pub(super) fn is_dead() -> bool {
    has_ended() || disk::with(|disk| disk.is_killed()).unwrap_or(false)
}
