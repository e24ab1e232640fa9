//! What an operator should know about the options that were given: those that are taken and do nothing here.

use nsq_daemon::options::Given;

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
    use super::super::NsqdOptions;
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
