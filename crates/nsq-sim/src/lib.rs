//! A simulation of the broker, for tests: the real protocol, core and log under a virtual clock, on a disk that loses
//! what was not synced, with clients that misbehave; checked against a model, repeatable from a seed.
//!
//! ```text
//! world    what happens, drawn from the seed
//!  ├─ client    commands as bytes, frames read back
//!  ├─ server    a broker and its connections (session), timers, syncer, registry
//!  ├─ model     what must be true
//!  └─ disk      what each instant would leave (medium), told by stand-ins for the C library's file calls (system)
//! ```
//! `docs/RELIABILITY.md` tells how to run it and what it found.

#[cfg(test)]
mod client;
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
mod session;
#[cfg(test)]
#[expect(unsafe_code, reason = "stands in for the C library's file calls")]
mod system;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
