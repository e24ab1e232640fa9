//! How a utility starts and ends.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use nsq_daemon::log_level::LiveLevel;
use nsq_daemon::options::{Given, Options};
use nsq_daemon::preflight::{self, Needs};
use nsq_daemon::stop::Stop;
use nsq_daemon::{go_flags, logging, version};

/// The line of a utility's `--version`, such as `nsq_tail v1.3.0`.
pub fn version_line(program: &str) -> String {
    format!("{program} v{}", version::VERSION)
}

/// Runs a utility with this process's command line and returns its exit code.
///
/// `check` makes settings of the options, or says why not; `body` is the program, in a runtime of one thread: the
/// utilities wait more than they compute, and one thread hands nothing over.
pub fn run<T, S, F>(
    program: &str,
    check: impl FnOnce(T, &Given) -> Result<S, Stop>,
    body: impl FnOnce(S) -> F,
) -> ExitCode
where
    T: Options,
    F: Future<Output = Result<(), Stop>>,
{
    match start(program, std::env::args_os().skip(1), check, body) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.report(program),
    }
}

fn start<T, S, F>(
    program: &str,
    args: impl IntoIterator<Item = OsString>,
    check: impl FnOnce(T, &Given) -> Result<S, Stop>,
    body: impl FnOnce(S) -> F,
) -> Result<(), Stop>
where
    T: Options,
    F: Future<Output = Result<(), Stop>>,
{
    preflight::check(Needs::UTILITY).map_err(crate::fatal)?;
    let mut options = T::default();
    let given = go_flags::parse(program, args, &mut options)?;
    let settings = check(options, &given)?;
    // Only the first start counts: a program with a log of its own has begun it in `check`.
    logging::start_tool("", &LiveLevel::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(crate::fatal)?;
    let outcome = runtime.block_on(body(settings));
    // A read of stdin, or a look-up of a name, may never end, and nothing waits for it any more.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    nsq_daemon::options! {
        /// One option.
        struct Sample {
            /// how many
            "n" (no key) => n: i64 = 0,
        }
    }

    fn outcome(line: &[&str]) -> Result<(), Stop> {
        let check = |options: Sample, _: &Given| match options.n {
            0 => Err(crate::fatal("n is required")),
            n => Ok(n),
        };
        let body = |n| async move {
            if n > 5 {
                return Err(crate::fatal("too much"));
            }
            Ok(())
        };
        start("sample", line.iter().map(OsString::from), check, body)
    }

    #[test]
    fn command_line_check_and_body_each_can_end_it() {
        assert_eq!(outcome(&["-n", "1"]), Ok(()));
        assert!(matches!(outcome(&["-x"]), Err(Stop::Usage { .. })));
        assert_eq!(outcome(&[]), Err(crate::fatal("n is required")));
        assert_eq!(outcome(&["-n=9"]), Err(crate::fatal("too much")));
    }

    #[test]
    fn the_version_is_told_without_the_compiler() {
        assert_eq!(version_line("nsq_tail"), "nsq_tail v1.3.0");
    }
}
