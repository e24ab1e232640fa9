//! Moving in from upstream's nsqd and back: folders its daemon made, and folders as it would make them.

mod export;
mod full_disk;
mod kills;
mod rollback;
mod upstream_folder;
mod vectors;
