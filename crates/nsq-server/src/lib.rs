//! nsqd without sockets: what a client's commands do, when deadlines pass, and when a publish is safe to answer.
//!
//! Everything is plain state. Bytes go in, and answers, wake-ups and deadlines come out; the program around it owns the
//! sockets, the threads and the clock, and `now` is always an argument. nsqd is one such program, the simulation is
//! another.
//!
//! ```text
//! Server   what all connections share: the broker, the settings, the syncs
//!  ├─ Shards       in a cluster: the brokers of the shards that this node leads
//!  ├─ Router       in a cluster: where publishes go
//!  ├─ Fetcher      in a cluster: messages of shards that other nodes lead, for this node's clients
//!  ├─ Feed         in a cluster: messages of the shards that this node leads, for clients of another node
//!  ├─ Session      one connection: decodes commands, applies them, queues answers and messages
//!  │   └─ Client   the same connection as others see it: statistics, wake-ups, closing
//!  ├─ Syncs        which topics are to be synced, and who waits for which sync
//!  └─ TimerQueue   which channels have to be looked at, and when
//! ```

#![warn(clippy::too_many_lines)]

mod client;
pub mod feed;
pub mod fetch;
mod router;
mod server;
pub mod session;
mod shards;
mod spare_inboxes;
pub mod syncs;
#[cfg(test)]
mod testing;
mod timers;
mod topology;

pub use client::{Client, Details};
pub use router::{RouteError, Router};
pub use server::{Host, Server, Settings};
pub use session::{Action, Grants, Next, Observer, Permissions, Session};
pub use shards::{ServedShard, Shards};
pub use syncs::Syncs;
pub use timers::TimerQueue;
pub use topology::Topology;
