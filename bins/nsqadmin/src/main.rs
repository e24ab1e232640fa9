//! The nsqadmin program: see [`nsqadmin::run`].

use std::process::ExitCode;

fn main() -> ExitCode {
    nsqadmin::start::main()
}
