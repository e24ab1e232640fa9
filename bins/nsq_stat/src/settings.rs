//! The command line of `nsq_stat`.

use std::time::Duration;

use nsq_daemon::go_duration::GoDuration;
use nsq_daemon::options::StringList;
use nsq_daemon::stop::Stop;
use nsq_tools::{fatal, start};

use crate::addresses::Addresses;
use crate::count::Count;

/// The program's name.
pub(crate) const PROGRAM: &str = "nsq_stat";

nsq_daemon::options! {
    /// Every option.
    #[derive(Debug)]
    pub(crate) struct Options {
        /// print version
        "version" (no key) => version: bool = false,
        /// NSQ channel
        "channel" (no key) => channel: String = String::new(),
        /// number of reports
        "count" (no key) => count: Count = Count::default(),
        /// timeout for HTTP connect
        "http-client-connect-timeout" (no key) => connect_timeout: GoDuration = GoDuration::from(Duration::from_secs(2)),
        /// timeout for HTTP request
        "http-client-request-timeout" (no key) => request_timeout: GoDuration = GoDuration::from(Duration::from_secs(5)),
        /// time between reports
        "interval" (no key) => interval: GoDuration = GoDuration::from(Duration::from_secs(2)),
        /// lookupd HTTP address (may be given multiple times)
        "lookupd-http-address" (no key) => lookupds: StringList = StringList::default(),
        /// nsqd HTTP address (may be given multiple times)
        "nsqd-http-address" (no key) => nsqds: StringList = StringList::default(),
        /// NSQ topic
        "topic" (no key) => topic: String = String::new(),
    }
}

/// The options, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) topic: String,
    pub(crate) channel: String,
    pub(crate) interval: Duration,
    /// Reports to print; `None` for no end.
    pub(crate) count: Option<u64>,
    pub(crate) addresses: Addresses,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
}

impl Settings {
    pub(crate) fn check(options: &Options) -> Result<Self, Stop> {
        if options.version {
            return Err(Stop::Answer(start::version_line(PROGRAM)));
        }
        if options.topic.is_empty() || options.channel.is_empty() {
            return Err(fatal("--topic and --channel are required"));
        }
        let interval = positive("--interval", options.interval)?;
        let connect_timeout = positive("--http-client-connect-timeout", options.connect_timeout)?;
        let request_timeout = positive("--http-client-request-timeout", options.request_timeout)?;
        let count = match options.count.0.map(u64::try_from) {
            None => None,
            Some(Ok(count)) if count > 0 => Some(count),
            Some(_) => return Err(fatal("--count should be positive")),
        };
        Ok(Self {
            topic: options.topic.clone(),
            channel: options.channel.clone(),
            interval,
            count,
            addresses: Addresses::new(&options.nsqds, &options.lookupds)?,
            connect_timeout,
            request_timeout,
        })
    }
}

fn positive(flag: &str, duration: GoDuration) -> Result<Duration, Stop> {
    Duration::try_from(duration)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| fatal(format_args!("{flag} should be positive")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(line: &[&str]) -> Result<Settings, Stop> {
        let mut options = Options::default();
        let args = line.iter().map(std::ffi::OsString::from);
        nsq_daemon::go_flags::parse(PROGRAM, args, &mut options)?;
        Settings::check(&options)
    }

    #[test]
    fn what_is_wrong_is_told_in_upstreams_order() {
        let mut line = vec![
            "--interval=-1s",
            "--http-client-connect-timeout=0",
            "--http-client-request-timeout=-1ms",
            "--count=0",
        ];
        for (flag, text) in [
            ("--topic=t", "--topic and --channel are required"),
            ("--channel=c", "--topic and --channel are required"),
            ("--interval=1s", "--interval should be positive"),
            (
                "--http-client-connect-timeout=1s",
                "--http-client-connect-timeout should be positive",
            ),
            (
                "--http-client-request-timeout=1s",
                "--http-client-request-timeout should be positive",
            ),
            ("--count=3", "--count should be positive"),
            (
                "--nsqd-http-address=http://a:1",
                "--nsqd-http-address or --lookupd-http-address required",
            ),
            (
                "--lookupd-http-address=http://a:1",
                "--nsqd-http-address error - address should not contain scheme",
            ),
        ] {
            assert_eq!(checked(&line).unwrap_err(), fatal(text), "{line:?}");
            line.push(flag);
        }
        assert_eq!(
            checked(&line).unwrap_err(),
            fatal("use --nsqd-http-address or --lookupd-http-address not both")
        );
        assert_eq!(
            checked(&["--topic=t", "--channel=c", "--lookupd-http-address=http:1"]).unwrap_err(),
            fatal("--lookupd-http-address error - address should not contain scheme")
        );
        let version = Stop::Answer("nsq_stat v1.3.0".to_owned());
        assert_eq!(checked(&["--version"]).unwrap_err(), version);
    }
}
