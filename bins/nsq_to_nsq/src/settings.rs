//! The command line of `nsq_to_nsq`.

use nsq_client::{ChannelName, Config, Mode, TopicName};
use nsq_daemon::options::StringList;
use nsq_daemon::stop::Stop;
use nsq_tools::client_options::ClientOptions;
use nsq_tools::sources::Sources;
use nsq_tools::{destinations, fatal, start};

use crate::filter::Filter;

/// The program's name.
pub(crate) const PROGRAM: &str = "nsq_to_nsq";

nsq_daemon::options! {
    /// Every option.
    #[derive(Debug)]
    pub(crate) struct Options {
        /// print version string
        "version" (no key) => version: bool = false,
        /// NSQ channel
        "channel" (no key) => channel: String = "nsq_to_nsq".to_owned(),
        /// option of the consumer as name,value (may be given multiple times)
        "consumer-opt" (no key) => consumer: ClientOptions = ClientOptions::default(),
        /// destination nsqd TCP address (may be given multiple times)
        "destination-nsqd-tcp-address" (no key) => destinations: StringList = StringList::default(),
        /// publish everything to this topic (default is the topic it came from)
        "destination-topic" (no key) => destination_topic: String = String::new(),
        /// lookupd HTTP address (may be given multiple times)
        "lookupd-http-address" (no key) => lookupds: StringList = StringList::default(),
        /// max number of messages to allow in flight
        "max-in-flight" (no key) => max_in_flight: i64 = 200,
        /// how to choose a destination: round-robin, hostpool, epsilon-greedy
        "mode" (no key) => mode: String = "hostpool".to_owned(),
        /// nsqd TCP address (may be given multiple times)
        "nsqd-tcp-address" (no key) => nsqds: StringList = StringList::default(),
        /// option of the producers as name,value (may be given multiple times)
        "producer-opt" (no key) => producer: ClientOptions = ClientOptions::default(),
        /// for JSON messages: only pass messages that have this field
        "require-json-field" (no key) => require_field: String = String::new(),
        /// for JSON messages: only pass messages whose required field has this value
        "require-json-value" (no key) => require_value: String = String::new(),
        /// log times after this many requests (per destination), 0 for never
        "status-every" (no key) => status_every: i64 = 250,
        /// NSQ topic (may be given multiple times)
        "topic" (no key) => topics: StringList = StringList::default(),
        /// for JSON messages: pass this field (may be given multiple times)
        "whitelist-json-field" (no key) => whitelist: StringList = StringList::default(),
    }
}

/// The options, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) topics: Vec<TopicName>,
    pub(crate) channel: String,
    pub(crate) sources: Sources,
    pub(crate) destinations: Vec<String>,
    /// `None` for the topic a message came from.
    pub(crate) destination_topic: Option<TopicName>,
    pub(crate) mode: Mode,
    pub(crate) status_every: i64,
    /// `None` to pass everything as it is.
    pub(crate) filter: Option<Filter>,
    pub(crate) config: Config,
    pub(crate) producer_config: Config,
}

impl Settings {
    pub(crate) fn check(options: &Options) -> Result<Self, Stop> {
        if options.version {
            return Err(Stop::Answer(start::version_line(PROGRAM)));
        }
        if options.topics.is_empty() || options.channel.is_empty() {
            return Err(fatal("--topic and --channel are required"));
        }
        let topics = options
            .topics
            .iter()
            .map(|name| TopicName::parse(name).map_err(|_| fatal("--topic is invalid")))
            .collect::<Result<Vec<_>, _>>()?;
        let destination_topic = match options.destination_topic.as_str() {
            "" => None,
            name => {
                let parsed = TopicName::parse(name);
                Some(parsed.map_err(|_| fatal("--destination-topic is invalid"))?)
            }
        };
        if ChannelName::parse(&options.channel).is_err() {
            return Err(fatal("--channel is invalid"));
        }
        let sources = Sources::new(&options.nsqds, &options.lookupds, "")?;
        if options.destinations.is_empty() {
            return Err(fatal("--destination-nsqd-tcp-address required"));
        }
        let producer_config = options.producer.for_program(PROGRAM);
        producer_config
            .validate()
            .map_err(|error| fatal(format_args!("failed creating producer {error}")))?;
        Ok(Self {
            topics,
            channel: options.channel.clone(),
            sources,
            destinations: options.destinations.to_vec(),
            destination_topic,
            // Compat: a word that is none of the three is round robin (nsq_to_nsq.go, main).
            mode: destinations::mode(&options.mode).unwrap_or(Mode::RoundRobin),
            status_every: options.status_every,
            filter: Filter::new(
                &options.require_field,
                &options.require_value,
                &options.whitelist,
            ),
            config: options
                .consumer
                .for_consumer(PROGRAM, options.max_in_flight)?,
            producer_config,
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
        let both = "use --nsqd-tcp-address or --lookupd-http-address not both";
        let none = "--nsqd-tcp-address or --lookupd-http-address required";
        let mut line = vec!["--destination-topic=$"];
        for (flag, text) in [
            ("--topic=$", "--topic and --channel are required"),
            ("--topic=t", "--topic is invalid"),
            ("--destination-topic=$", "--topic is invalid"),
        ] {
            assert_eq!(checked(&line).unwrap_err(), fatal(text), "{line:?}");
            line.push(flag);
        }
        let mut line = vec!["--topic=t", "--destination-topic=$", "--channel=$"];
        for (flag, text) in [
            ("--destination-topic=d", "--destination-topic is invalid"),
            ("--channel=c", "--channel is invalid"),
            ("--nsqd-tcp-address=a:1", none),
            (
                "--lookupd-http-address=b:1",
                "--destination-nsqd-tcp-address required",
            ),
            ("--destination-nsqd-tcp-address=d:1", both),
        ] {
            assert_eq!(checked(&line).unwrap_err(), fatal(text), "{line:?}");
            line.push(flag);
        }
        assert_eq!(checked(&line).unwrap_err(), fatal(both));
        let version = Stop::Answer("nsq_to_nsq v1.3.0".to_owned());
        assert_eq!(checked(&["--version"]).unwrap_err(), version);
    }

    #[test]
    fn an_unknown_mode_is_round_robin_and_clients_are_named_after_the_program() {
        let base = [
            "--topic=t",
            "--nsqd-tcp-address=a:1",
            "--destination-nsqd-tcp-address=d:1",
        ];
        let settings = checked(&base).unwrap();
        assert_eq!(settings.mode, Mode::HostPool);
        assert!(settings.filter.is_none());
        let agent = "nsq_to_nsq/1.3.0 go-nsq/1.1.0";
        assert_eq!(settings.config.user_agent, agent);
        assert_eq!(settings.producer_config.user_agent, agent);
        let settings = checked(&[&base[..], &["--mode=multicast"]].concat()).unwrap();
        assert_eq!(settings.mode, Mode::RoundRobin);
    }
}
