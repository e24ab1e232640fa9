//! What the small utilities (`nsq_to_file`, `nsq_tail` and so on) share in addition to the client itself: how they start and
//! end, the options they all have, where their messages come from, how they report times and progress.
//!
//! A utility's start: [`start::run`] reads the command line, and calls the program with its options in a runtime. A
//! wrong command line is a [`Stop`](nsq_daemon::stop::Stop) with upstream's text and exit code.

pub mod client_options;
pub mod destinations;
pub mod given_up;
pub mod progress;
pub mod sources;
pub mod start;
pub mod timing;

/// The error that ends a utility: `YYYY/MM/DD HH:MM:SS <text>` on stderr, exit code 1.
pub fn fatal(text: impl std::fmt::Display) -> nsq_daemon::stop::Stop {
    nsq_daemon::stop::Stop::Plain(text.to_string())
}
