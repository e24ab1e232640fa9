//! The `nsq_to_file` program: archives topics in files.
//!
//! A message is finished once its bytes are on disk, and not before: whatever kills the program, what it has finished is
//! in a file. What is in a file beyond that is cut off by the next start, and comes again.

mod archive;
mod file_name;
mod folder;
mod gzip_members;
mod leftover;
mod output_file;
mod rotation;
mod settings;
mod strftime;
mod topic;
mod topics;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use nsq_tools::start;

use crate::settings::{Options, PROGRAM, Settings};

fn main() -> ExitCode {
    // What failed has been logged where it did; only the exit code is left to tell.
    let all_is_well = AtomicBool::new(true);
    let code = start::run(
        PROGRAM,
        |options: Options, given| Settings::check(&options, given),
        |settings| async {
            all_is_well.store(topics::run(settings).await?, Ordering::Relaxed);
            Ok(())
        },
    );
    if all_is_well.into_inner() {
        code
    } else {
        ExitCode::FAILURE
    }
}
