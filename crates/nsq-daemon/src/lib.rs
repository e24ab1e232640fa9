//! What makes a program a daemon: flags, configuration, logging, listeners, HTTP.
//!
//! A program's start, with each step in its module: [`preflight`] checks the process's limits, [`go_flags`] reads the command line into the
//! program's [options](mod@options), [`config`] adds the config file, [`logging`] begins, [`data_path`] locks the
//! data, [`listen`] binds, [`signals`] tell when to end. Whatever goes wrong on the way is a [`stop::Stop`].

pub mod config;
pub mod data_path;
pub mod go_flags;
pub mod go_pattern;
pub mod http;
pub mod limits;
pub mod listen;
pub mod log_level;
pub mod logging;
pub mod metrics;
pub mod node_id;
pub mod options;
pub mod os_error;
pub mod preflight;
pub mod process;
pub mod reference;
pub mod refusals;
pub mod reload;
pub mod resolve;
pub mod signals;
pub mod start;
pub mod stop;
pub mod supervisor;
pub mod version;

pub use nsq_protocol::{go_duration, go_quote};
