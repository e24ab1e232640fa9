//! The command line of `to_nsq`.

use nsq_client::{Config, TopicName};
use nsq_daemon::options::StringList;
use nsq_daemon::stop::Stop;
use nsq_tools::client_options::ClientOptions;
use nsq_tools::fatal;

/// The program's name.
pub(crate) const PROGRAM: &str = "to_nsq";

nsq_daemon::options! {
    /// Every option.
    #[derive(Debug)]
    pub(crate) struct Options {
        /// character to split input from stdin
        "delimiter" (no key) => delimiter: String = "\n".to_owned(),
        /// destination nsqd TCP address (may be given multiple times)
        "nsqd-tcp-address" (no key) => nsqds: StringList = StringList::default(),
        /// option of the producer as name,value (may be given multiple times)
        "producer-opt" (no key) => producer: ClientOptions = ClientOptions::default(),
        /// Throttle messages to n/second. 0 to disable
        "rate" (no key) => rate: i64 = 0,
        /// NSQ topic to publish to
        "topic" (no key) => topic: String = String::new(),
    }
}

/// The options, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) topic: TopicName,
    pub(crate) delimiter: u8,
    /// Each once.
    pub(crate) nsqds: Vec<String>,
    /// Records a second; `None` for no limit.
    pub(crate) rate: Option<u32>,
    pub(crate) config: Config,
}

impl Settings {
    pub(crate) fn check(options: &Options) -> Result<Self, Stop> {
        if options.topic.is_empty() {
            return Err(fatal("--topic required"));
        }
        let [delimiter] = *options.delimiter.as_bytes() else {
            return Err(fatal("--delimiter must be a single byte"));
        };
        let mut nsqds: Vec<String> = Vec::new();
        for address in options.nsqds.iter() {
            if !nsqds.contains(address) {
                nsqds.push(address.clone());
            }
        }
        if nsqds.is_empty() {
            return Err(fatal("--nsqd-tcp-address required"));
        }
        let topic = TopicName::parse(&options.topic).map_err(|_| {
            // nsqd's own words for it, which upstream shows at the first record.
            fatal(format_args!(
                "E_BAD_TOPIC PUB topic name {} is not valid",
                nsq_daemon::go_quote(&options.topic)
            ))
        })?;
        Ok(Self {
            topic,
            delimiter,
            nsqds,
            rate: u32::try_from(options.rate).ok().filter(|rate| *rate > 0),
            config: options.producer.for_program(PROGRAM),
        })
    }
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
    fn what_is_missing_is_told_in_upstreams_order() {
        let text = |line: &[&str]| match checked(line).unwrap_err() {
            Stop::Plain(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(&["--delimiter=ab"]), "--topic required");
        assert_eq!(
            text(&["--topic=t", "--delimiter=ab"]),
            "--delimiter must be a single byte"
        );
        assert_eq!(
            text(&["--topic=t", "--delimiter="]),
            "--delimiter must be a single byte"
        );
        assert_eq!(text(&["--topic=t"]), "--nsqd-tcp-address required");
        assert_eq!(
            text(&["--topic=tn$", "--nsqd-tcp-address=a:1"]),
            "E_BAD_TOPIC PUB topic name \"tn$\" is not valid"
        );
    }

    #[test]
    fn an_address_counts_once_and_a_rate_below_one_is_none() {
        let address = "--nsqd-tcp-address=a:1";
        let settings = checked(&["--topic=t", address, address, "--rate=-3"]).unwrap();
        assert_eq!(settings.nsqds, ["a:1"]);
        assert_eq!(settings.rate, None);
        assert_eq!(settings.delimiter, b'\n');
        assert_eq!(settings.config.user_agent, "to_nsq/1.3.0 go-nsq/1.1.0");
    }

    #[test]
    fn there_is_no_version_flag_as_upstream() {
        assert!(matches!(checked(&["--version"]), Err(Stop::Usage { .. })));
    }
}
