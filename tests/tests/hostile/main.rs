//! Clients that do harm, on purpose or not: limits and the errors of clients that reach them, floods, false sizes, and
//! silence.
//!
//! In each case nothing panics, memory and file handles return to about their earlier values, and a well-behaved client
//! next to the hostile ones gets every one of its messages.

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
