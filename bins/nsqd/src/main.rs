//! The nsqd program: see [`nsqd::run`].

use std::process::ExitCode;

fn main() -> ExitCode {
    nsqd::start::main()
}
