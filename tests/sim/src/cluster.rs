//! Whole clusters: several machines run nsqd's node, clients speak the protocol to them, and everything that can fail does.
//!
//! ```text
//! run         the phases: form, live, heal, drain; then the model is asked
//!  ├─ faults    what fails, drawn from the seed
//!  ├─ clients   producers and consumers, on pipes to nsqd's own connections
//!  ├─ model     what must be true
//!  └─ machine   a process with its own runtime, clocks and disk
//!      └─ platform   lanes and blocking work on virtual time; network: requests between machines
//! ```
//! Each seed has a process of its own, in which one thread does everything: a seed always gives the same run. `CLUSTER_SEEDS`
//! chooses how many seeds, `CLUSTER_SEED` a single one, with all that happens.

mod clients;
mod faults;
mod machine;
mod model;
mod network;
mod pipe;
mod platform;
mod process;
mod run;
mod seeds;
mod trace;
