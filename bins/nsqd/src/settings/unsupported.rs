//! What this build cannot do yet. Options that ask for it stop the start, so that nobody runs
//! without the protection or the numbers they asked for; those that merely allow it do not.

use nsq_daemon::listen::is_unix_path;
use nsq_daemon::options::Given;

use super::NsqdOptions;

/// An option that asks for what this build cannot do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{flag} is not supported yet by this build: {why}")]
pub(super) struct Unsupported {
    flag: &'static str,
    why: &'static str,
}

/// Refuses the first of [`REFUSALS`] that is used, on the command line or in the config file.
pub(super) fn refuse(options: &NsqdOptions) -> Result<(), Unsupported> {
    match REFUSALS.iter().find(|(_, is_used, _)| is_used(options)) {
        Some(&(flag, _, why)) => Err(Unsupported { flag, why }),
        None => Ok(()),
    }
}

type Refusal = (&'static str, fn(&NsqdOptions) -> bool, &'static str);

/// One line for each missing feature's option.
#[rustfmt::skip]
const REFUSALS: &[Refusal] = &[
    ("tcp-address", |o| is_unix_path(&o.tcp_address), NO_UNIX),
    ("http-address", |o| !o.http_address.is_empty() && is_unix_path(&o.http_address), NO_UNIX),
];

const NO_UNIX: &str = "it takes host:port only, not the path of a unix socket";

/// Logs a line for each option that was given but does not do what it says.
pub(super) fn log_notices(given: &Given) {
    for notice in notices(given) {
        tracing::warn!("{notice}");
    }
}

fn notices(given: &Given) -> Vec<&'static str> {
    let mut notices = Vec::new();
    if given.has("queue-scan-worker-pool-max") || given.has("queue-scan-selection-count") {
        notices
            .push("the --queue-scan options have no effect: timeouts are exact, without scanning");
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_come_for_options_given_not_for_defaults() {
        let mut options = NsqdOptions::default();
        assert!(notices(&Given::default()).is_empty());
        for (args, count) in [
            (&["--deflate", "--snappy"][..], 0),
            (&["--queue-scan-selection-count=20"], 1),
            (&["--snappy", "--queue-scan-worker-pool-max=1"], 1),
        ] {
            let args = args.iter().map(std::ffi::OsString::from);
            let given = nsq_daemon::go_flags::parse("nsqd", args, &mut options).unwrap();
            assert_eq!(notices(&given).len(), count);
        }
    }
}
