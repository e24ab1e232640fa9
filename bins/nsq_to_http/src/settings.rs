//! The command line of `nsq_to_http`.

use std::time::Duration;

use nsq_client::{Config, Mode};
use nsq_daemon::options::StringList;
use nsq_daemon::stop::Stop;
use nsq_tools::client_options::ClientOptions;
use nsq_tools::sources::Sources;
use nsq_tools::{destinations, fatal, start};
use reqwest::header::HeaderMap;

use crate::endpoint::Endpoint;
use crate::headers;

/// The program's name.
pub(crate) const PROGRAM: &str = "nsq_to_http";

const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

nsq_daemon::options! {
    /// Every option.
    #[derive(Debug)]
    pub(crate) struct Options {
        /// print version string
        "version" (no key) => version: bool = false,
        /// NSQ channel
        "channel" (no key) => channel: String = "nsq_to_http".to_owned(),
        /// option of the consumer as name,value (may be given multiple times)
        "consumer-opt" (no key) => consumer: ClientOptions = ClientOptions::default(),
        /// the Content-Type of POST requests
        "content-type" (no key) => content_type: String = DEFAULT_CONTENT_TYPE.to_owned(),
        /// HTTP address to GET, with %s where the message goes (may be given multiple times)
        "get" (no key) => get: StringList = StringList::default(),
        /// 'Name: value' for every HTTP request (may be given multiple times)
        "header" (no key) => headers: StringList = StringList::default(),
        /// timeout for HTTP connect
        "http-client-connect-timeout" (no key) => connect_timeout: Duration = Duration::from_secs(2),
        /// timeout for HTTP request
        "http-client-request-timeout" (no key) => request_timeout: Duration = Duration::from_secs(20),
        /// lookupd HTTP address (may be given multiple times)
        "lookupd-http-address" (no key) => lookupds: StringList = StringList::default(),
        /// max number of messages to allow in flight
        "max-in-flight" (no key) => max_in_flight: i64 = 200,
        /// how to choose an address: round-robin, hostpool, epsilon-greedy; any other word sends to all
        "mode" (no key) => mode: String = "hostpool".to_owned(),
        /// number of concurrent publishers
        "n" (no key) => publishers: i64 = 100,
        /// nsqd TCP address (may be given multiple times)
        "nsqd-tcp-address" (no key) => nsqds: StringList = StringList::default(),
        /// HTTP address to POST to, with the message as the body (may be given multiple times)
        "post" (no key) => post: StringList = StringList::default(),
        /// share of the messages to send, from 0 to 1
        "sample" (no key) => sample: f64 = 1.0,
        /// log times after this many requests (per address), 0 for never
        "status-every" (no key) => status_every: i64 = 250,
        /// NSQ topic
        "topic" (no key) => topic: String = String::new(),
    }
}

/// Which addresses a message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// One, chosen so.
    ToOne(Mode),
    /// All of them, in order.
    ToAll,
}

impl Spread {
    /// How one is chosen, where one is.
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::ToOne(mode) => mode,
            Self::ToAll => Mode::RoundRobin,
        }
    }
}

/// The options, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) topic: String,
    pub(crate) channel: String,
    pub(crate) sources: Sources,
    /// As given, for logs.
    pub(crate) addresses: Vec<String>,
    /// As many, in the same order.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) headers: HeaderMap,
    pub(crate) spread: Spread,
    pub(crate) sample: f64,
    pub(crate) publisher_count: usize,
    pub(crate) connect_timeout: Duration,
    /// Zero for no limit.
    pub(crate) request_timeout: Duration,
    pub(crate) status_every: i64,
    pub(crate) config: Config,
}

impl Settings {
    pub(crate) fn check(options: &Options) -> Result<Self, Stop> {
        if options.version {
            return Err(Stop::Answer(start::version_line(PROGRAM)));
        }
        headers::split(&options.headers)?;
        if options.topic.is_empty() || options.channel.is_empty() {
            return Err(fatal("--topic and --channel are required"));
        }
        if options.content_type != DEFAULT_CONTENT_TYPE {
            if options.post.is_empty() {
                return Err(fatal("--content-type only used with --post"));
            }
            if options.content_type.is_empty() {
                return Err(fatal("--content-type requires a value when used"));
            }
        }
        let sources = Sources::new(&options.nsqds, &options.lookupds, "")?;
        let (addresses, content_type) = match (&options.get[..], &options.post[..]) {
            ([], []) => return Err(fatal("--get or --post required")),
            ([], post) => (post, Some(options.content_type.as_str())),
            (get, []) => (get, None),
            (_, _) => return Err(fatal("use --get or --post not both")),
        };
        let endpoint = match content_type {
            Some(_) => Endpoint::post,
            None => Endpoint::get,
        };
        let endpoints = addresses.iter().map(|address| endpoint(address));
        let endpoints = endpoints.collect::<Result<_, _>>()?;
        if options.sample > 1.0 || options.sample < 0.0 {
            return Err(fatal("ERROR: --sample must be between 0.0 and 1.0"));
        }
        let publisher_count = usize::try_from(options.publishers)
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| fatal("-n should be positive"))?;
        let agent = start::version_line(PROGRAM);
        Ok(Self {
            topic: options.topic.clone(),
            channel: options.channel.clone(),
            sources,
            addresses: addresses.to_vec(),
            endpoints,
            headers: headers::headers(&agent, content_type, &options.headers)?,
            spread: match destinations::mode(&options.mode) {
                Some(mode) => Spread::ToOne(mode),
                // Compat: a word that is none of the three, such as multicast, is all (nsq_to_http.go, main).
                None => Spread::ToAll,
            },
            sample: options.sample,
            // A message is handled by one of them.
            publisher_count: publisher_count.min(most_publishers(options.max_in_flight)),
            connect_timeout: options.connect_timeout,
            request_timeout: options.request_timeout,
            status_every: options.status_every,
            config: options
                .consumer
                .for_consumer(PROGRAM, options.max_in_flight)?,
        })
    }
}

/// More than are in flight would have nothing to do.
fn most_publishers(max_in_flight: i64) -> usize {
    usize::try_from(max_in_flight).unwrap_or(0).max(1)
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
        let source = "--nsqd-tcp-address or --lookupd-http-address required";
        let mut line = vec!["--sample=2", "--content-type="];
        for (flag, text) in [
            ("--topic=t", "--topic and --channel are required"),
            ("--post=http://a/", "--content-type only used with --post"),
            (
                "--content-type=x",
                "--content-type requires a value when used",
            ),
            ("--nsqd-tcp-address=a:1", source),
            (
                "--get=http://a/",
                "ERROR: --sample must be between 0.0 and 1.0",
            ),
            ("--lookupd-http-address=b:1", "use --get or --post not both"),
            (
                "--header=a",
                "use --nsqd-tcp-address or --lookupd-http-address not both",
            ),
            ("", "--header value format should be 'key=value'"),
        ] {
            assert_eq!(checked(&line).unwrap_err(), fatal(text), "{line:?}");
            line.push(flag);
        }
        let line = ["--topic=t", "--nsqd-tcp-address=a:1"];
        assert_eq!(
            checked(&line).unwrap_err(),
            fatal("--get or --post required")
        );
        let version = Stop::Answer("nsq_to_http v1.3.0".to_owned());
        assert_eq!(checked(&["--version", "--header=a"]).unwrap_err(), version);
    }

    #[test]
    fn an_unknown_mode_sends_to_all_and_a_get_has_no_content_type() {
        let base = ["--topic=t", "--nsqd-tcp-address=a:1", "--get=http://a/%s"];
        let settings = checked(&base).unwrap();
        assert_eq!(settings.spread, Spread::ToOne(Mode::HostPool));
        assert!(!settings.headers.contains_key("content-type"));
        assert_eq!(settings.headers["user-agent"], "nsq_to_http v1.3.0");
        let settings = checked(&[&base[..], &["--mode=multicast"]].concat()).unwrap();
        assert_eq!(settings.spread, Spread::ToAll);
        let error = checked(&[&base[..], &["-n=0"]].concat()).unwrap_err();
        assert_eq!(error, fatal("-n should be positive"));
    }
}
