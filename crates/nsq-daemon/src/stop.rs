//! Why a program ends before it serves anything, what it prints then, and its exit code.

use std::io::Write as _;
use std::process::ExitCode;

use crate::logging;

/// An end before the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// `--version` and other questions: the answer on stdout, exit code 0.
    Answer(String),
    /// `--help`: the usage text on stderr, exit code 0.
    Help(String),
    /// A wrong command line: what is wrong and the usage text on stderr, exit code 2.
    Usage {
        /// What is wrong, one line.
        text: String,
        /// The usage text.
        usage: String,
    },
    /// A line on stderr with the time to the second before it and no prefix, exit code 1.
    Plain(String),
    /// A FATAL log line on stderr, exit code 1.
    Fatal(String),
}

impl Stop {
    /// What it says, without the usage text.
    pub fn text(&self) -> &str {
        match self {
            Self::Answer(text)
            | Self::Help(text)
            | Self::Usage { text, .. }
            | Self::Plain(text)
            | Self::Fatal(text) => text,
        }
    }

    /// Prints what there is to print and returns the exit code. FATAL lines of a start begin with
    /// the program's own name whatever the log prefix is.
    pub fn report(&self, program: &str) -> ExitCode {
        // A closed stdout or stderr leaves no one to tell.
        match self {
            Self::Answer(text) => {
                let _ = writeln!(std::io::stdout(), "{}", text.trim_end_matches('\n'));
                ExitCode::SUCCESS
            }
            Self::Help(usage) => {
                let _ = write!(std::io::stderr(), "{usage}");
                ExitCode::SUCCESS
            }
            Self::Usage { text, usage } => {
                let _ = write!(std::io::stderr(), "{text}\n{usage}");
                ExitCode::from(2)
            }
            Self::Plain(text) => {
                let time = logging::seconds_text(&jiff::Zoned::now());
                let _ = writeln!(std::io::stderr(), "{time} {text}");
                ExitCode::FAILURE
            }
            Self::Fatal(text) => {
                logging::fatal_at_start(program, text);
                ExitCode::FAILURE
            }
        }
    }
}
