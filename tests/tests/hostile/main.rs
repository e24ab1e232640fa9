//! Clients that mean harm, or might as well: limits and what those see who meet them, floods, lies, and silence.
//!
//! In each case: nothing panics, memory and file handles go back to about what they were, and a good client beside it
//! gets every one of its messages.

mod bombs;
mod floods;
mod footprint;
mod garbage;
mod leaks;
mod limits;
mod neighbour;
mod registrations;
mod silence;
mod sizes;
mod sockets;
#[path = "../../../crates/nsq-transport/src/tls/test_authority.rs"]
mod test_authority;
mod unread;
