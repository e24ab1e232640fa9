//! How nodes become a cluster: who founds it, how others join, and what a node does that cannot trust its disk.
//!
//! ```text
//! no identity ─▶ ask every peer ─┬ all answer, none has a cluster, all lists agree ─▶ the smallest address founds
//!                                └ one belongs to a running cluster ─▶ join
//! founding    ─▶ store, then `Found` to every founder; all have stored it ─▶ initialise the directory's group
//! untrusted   ─▶ ask every member ─┬ a majority can be trusted ─▶ join under another number
//!                                  └ no such majority can exist ─▶ trust what is there
//! ```
//! [`Bootstrap`] decides and does nothing itself: nsqd's driver, or a simulation, calls [`Bootstrap::next`], does what it says,
//! and reports back. [`Greeter`] answers the calls of other nodes, during the bootstrap and afterwards. [`admit`] is the other
//! end of a join, at the directory's leader.
//!
//! **Why there are never two clusters of one list.** Only the node with the smallest address of a list founds, and only after
//! every node on the list has answered that it has no identity and the same list. The founder stores the cluster's id before
//! it sends it anywhere. If it loses its disk afterwards, it meets its own cluster at the nodes that stored it, and carries on
//! with that one: nothing can have been committed yet, since none of the others has an entry.

mod admission;
mod call;
mod call_codec;
mod decision;
mod fresh;
mod greeter;
mod next;
mod rounds;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod untrusted;

pub use self::admission::{Admission, Asked, admit};
pub use self::call::{Call, CallAnswer, Found, Introduction, Join, Membered};
pub use self::decision::Bootstrap;
pub use self::greeter::{Greeter, Handled};
pub use self::next::{BootstrapError, BootstrapOptions, Done, Next, Start, must_found};
pub use self::untrusted::{UntrustedNode, Verdict};
