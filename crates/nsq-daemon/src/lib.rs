//! What makes a program a daemon: flags, configuration, logging, listeners, HTTP.

pub mod http;
