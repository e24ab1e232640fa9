//! Measures everything that docs/PERFORMANCE.md shows, and writes its tables and charts.
//!
//! ```text
//! run:      suite ─▶ starts servers, has nsq_bench load each ─▶ result file ─▶ document
//! document: result file ─▶ tables and charts
//! floor:    a server that does as little as possible, for comparison
//! ```

mod document;
mod floor;
mod peer;
mod suite;
mod tied;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use document::DocumentOptions;
use floor::Floor;
use suite::SuiteOptions;
use tied::Tied;

/// Measures nsqd, next to another nsqd and to other queues, and writes the document about it.
#[derive(Debug, Parser)]
#[command(name = "bench_suite", version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the servers, measures them, and writes tables and charts.
    Run(SuiteOptions),
    /// Writes tables and charts from the result file of an earlier run.
    Document(DocumentOptions),
    /// Serves as the floor: answers and delivers as nsqd does, keeping nothing.
    Floor(Floor),
    /// Runs a program that ends when this one's parent does.
    #[command(hide = true)]
    Tied(Tied),
}

fn main() -> ExitCode {
    let outcome = match Options::parse().command {
        Command::Run(options) => suite::run(&options),
        Command::Document(options) => document::run(&options).map(|()| true),
        Command::Floor(options) => floor::run(&options).map(|()| true),
        Command::Tied(options) => tied::run(&options).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // If standard error is closed, the exit code has to do.
            let _ = writeln!(io::stderr(), "bench_suite: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{text}").context("cannot print the tables")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Options::command().debug_assert();
    }
}
