//! The nsqlookupd program: see [`nsqlookupd::run`].

use std::process::ExitCode;

fn main() -> ExitCode {
    nsqlookupd::start::main()
}
