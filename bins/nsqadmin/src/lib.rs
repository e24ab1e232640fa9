//! nsqadmin: shows a cluster of nsqds and nsqlookupds, and lets administrators act on it.
//!
//! ```text
//! nsqlookupds, nsqds ◀── cluster ◀─┬─ http (the JSON API)
//!                                  ├─ pages
//!                                  └─ history (polls, keeps time series) ─▶ watch (what is wrong, since when)
//! ```
//!
//! [`cluster`] asks and puts together; `http` and `pages` show the same values;
//! [`access`] decides who may look, and [`admin`] lets administrators act.

pub mod access;
pub mod admin;
mod cidr;
pub mod cluster;
pub mod finish_rates;
mod graphite;
pub mod history;
mod http;
pub mod notify;
pub mod nsqadmin;
pub mod pages;
pub mod replication;
pub mod run;
pub mod settings;
pub mod snapshot;
pub mod start;
pub mod watch;

pub use self::nsqadmin::Nsqadmin;
