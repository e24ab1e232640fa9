//! A simulation of nsqd, for tests: the real sessions, core and log under a virtual clock, on a disk that loses
//! what was not synced, with clients that misbehave; checked against a model, repeatable from a seed.
//!
//! ```text
//! world    what happens, drawn from the seed
//!  ├─ client    commands as bytes, frames read back
//!  ├─ server    nsqd's own server, with its connections, timers, syncs and registry
//!  ├─ model     what must be true
//!  └─ disk      what each instant would leave (medium), told by stand-ins for the C library's file calls (system)
//! ```
//! `docs/PROOFS.md` says how to run it and what it found.

#[cfg(test)]
mod client;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod connection;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod medium;
#[cfg(test)]
mod model;
#[cfg(test)]
mod random;
#[cfg(test)]
mod server;
#[cfg(test)]
mod settings;
#[cfg(test)]
#[expect(unsafe_code, reason = "stands in for the C library's file calls")]
mod system;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wal_tests;
#[cfg(test)]
mod world;
