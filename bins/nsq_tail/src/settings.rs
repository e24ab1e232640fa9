//! The command line of `nsq_tail`.

use std::hash::{BuildHasher as _, RandomState};

use nsq_client::Config;
use nsq_daemon::options::StringList;
use nsq_daemon::stop::Stop;
use nsq_tools::client_options::ClientOptions;
use nsq_tools::sources::Sources;
use nsq_tools::{fatal, start};

/// The program's name.
pub(crate) const PROGRAM: &str = "nsq_tail";

nsq_daemon::options! {
    /// Every option.
    #[derive(Debug)]
    pub(crate) struct Options {
        /// print version string
        "version" (no key) => version: bool = false,
        /// NSQ channel
        "channel" (no key) => channel: String = String::new(),
        /// option of the consumer as name,value (may be given multiple times)
        "consumer-opt" (no key) => consumer: ClientOptions = ClientOptions::default(),
        /// lookupd HTTP address (may be given multiple times)
        "lookupd-http-address" (no key) => lookupds: StringList = StringList::default(),
        /// max number of messages to allow in flight
        "max-in-flight" (no key) => max_in_flight: i64 = 200,
        /// total messages to show (will wait if starved)
        "n" (no key) => count: i64 = 0,
        /// nsqd TCP address (may be given multiple times)
        "nsqd-tcp-address" (no key) => nsqds: StringList = StringList::default(),
        /// print topic name where the message was received
        "print-topic" (no key) => print_topic: bool = false,
        /// NSQ topic (may be given multiple times)
        "topic" (no key) => topics: StringList = StringList::default(),
    }
}

/// The options, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) topics: Vec<String>,
    pub(crate) channel: String,
    pub(crate) sources: Sources,
    /// How many messages of each topic; `None` for all.
    pub(crate) count: Option<usize>,
    pub(crate) print_topic: bool,
    pub(crate) config: Config,
}

impl Settings {
    pub(crate) fn check(options: &Options) -> Result<Self, Stop> {
        if options.version {
            return Err(Stop::Answer(start::version_line(PROGRAM)));
        }
        let sources = Sources::new(&options.nsqds, &options.lookupds, "")?;
        if options.topics.is_empty() {
            return Err(fatal("--topic required"));
        }
        let count = usize::try_from(options.count).ok().filter(|n| *n > 0);
        let mut config = options
            .consumer
            .for_consumer(PROGRAM, options.max_in_flight)?;
        if let Some(count) = count.and_then(|count| u32::try_from(count).ok()) {
            // No more than are wanted.
            config.max_in_flight = config.max_in_flight.min(count);
        }
        Ok(Self {
            topics: options.topics.to_vec(),
            channel: match options.channel.as_str() {
                "" => ephemeral_channel(),
                name => name.to_owned(),
            },
            sources,
            count,
            print_topic: options.print_topic,
            config,
        })
    }
}

/// A channel of its own for each run, gone with it.
fn ephemeral_channel() -> String {
    let random = RandomState::new().hash_one(0);
    format!("tail{:06}#ephemeral", random % 999_999)
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
    fn the_version_comes_before_everything_that_is_missing() {
        let version = Stop::Answer("nsq_tail v1.3.0".to_owned());
        assert_eq!(checked(&["--version"]).unwrap_err(), version);
        assert_eq!(
            checked(&["--nsqd-tcp-address=a:1"]).unwrap_err(),
            fatal("--topic required")
        );
    }

    #[test]
    fn a_channel_of_its_own_unless_one_is_given() {
        let settings = checked(&["--topic=t", "--nsqd-tcp-address=a:1"]).unwrap();
        let digits = settings.channel.strip_prefix("tail").unwrap();
        let digits = digits.strip_suffix("#ephemeral").unwrap();
        assert!(digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit()));
        let settings = checked(&["--topic=t", "--channel=c", "--nsqd-tcp-address=a:1"]).unwrap();
        assert_eq!(settings.channel, "c");
    }

    #[test]
    fn no_more_in_flight_than_are_wanted() {
        let base = ["--topic=t", "--nsqd-tcp-address=a:1"];
        for (more, expected) in [
            (&[][..], 200),
            (&["-n=3"], 3),
            (&["-n=500"], 200),
            (&["-n=0", "--max-in-flight=7"], 7),
        ] {
            let settings = checked(&[&base[..], more].concat()).unwrap();
            assert_eq!(settings.config.max_in_flight, expected, "{more:?}");
        }
        let error = checked(&[&base[..], &["--max-in-flight=-1"]].concat()).unwrap_err();
        assert_eq!(error, fatal("invalid max_in_flight ! -1 < 0"));
    }
}
