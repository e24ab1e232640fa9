//! nsqlookupd: knows which nsqd has which topic, as long as it runs.

mod admission;
pub mod run;
pub mod settings;
pub mod start;
