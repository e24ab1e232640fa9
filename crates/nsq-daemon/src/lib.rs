//! What makes a program a daemon: flags, configuration, logging, listeners, HTTP.
//!
//! A program's start, with each step in its module: [`go_flags`] reads the command line into the
//! program's [options](mod@options), [`config`] adds the config file, [`logging`] begins
//! Whatever goes wrong on the way is a
//! [`stop::Stop`].

pub mod config;
pub mod go_duration;
pub mod go_flags;
pub mod http;
pub mod log_level;
pub mod logging;
pub mod options;
pub mod os_error;
pub mod stop;
