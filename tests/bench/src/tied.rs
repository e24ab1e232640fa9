//! A program that ends when this one's parent ends, for whatever reason.
//!
//! Servers are started through this, so that even a killed run leaves no server running.

use std::{ffi::OsString, io, os::unix::process::CommandExt as _, process::Command};

use anyhow::Context as _;
use clap::Args;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The program to run, and the process that it ends with.
#[derive(Debug, Args)]
pub(crate) struct Tied {
    /// The process that has to be the parent.
    parent: i32,
    program: OsString,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// The arguments that make this program run `program` tied to the calling process.
pub(crate) fn command(program: &std::path::Path) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("tied")
        .arg(std::process::id().to_string())
        .arg(program);
    Ok(command)
}

/// Becomes the program. Returns only when that fails.
///
/// # Errors
/// The program cannot be run.
pub(crate) fn run(tied: &Tied) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have ended before the signal was set.
    if getppid().map(Pid::as_raw_pid) != Some(tied.parent) {
        return Ok(());
    }
    // The signal stays set: exec keeps it, and the process id too.
    Err(Command::new(&tied.program).args(&tied.args).exec())
        .with_context(|| format!("cannot run {}", tied.program.display()))
}
