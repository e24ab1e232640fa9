//! The command line of `nsq_to_file`.

use std::path::PathBuf;
use std::time::Duration;

use nsq_client::Config;
use nsq_daemon::go_pattern;
use nsq_daemon::log_level::{LiveLevel, LogLevel};
use nsq_daemon::logging;
use nsq_daemon::options::{Given, StringList};
use nsq_daemon::stop::Stop;
use nsq_tools::client_options::ClientOptions;
use nsq_tools::sources::Sources;
use nsq_tools::{fatal, start};
use regex::bytes::Regex;

use crate::archive::Layout;
use crate::file_name::{FileNames, MissingRevision, Parts};
use crate::rotation::Rotation;

/// The program's name.
pub(crate) const PROGRAM: &str = "nsq_to_file";

nsq_daemon::options! {
    /// Every option.
    #[derive(Debug)]
    pub(crate) struct Options {
        /// print version string
        "version" (no key) => version: bool = false,
        /// set log verbosity: debug, info, warn, error, or fatal
        "log-level" (no key) => log_level: String = "info".to_owned(),
        /// log message prefix
        "log-prefix" (no key) => log_prefix: String = "[nsq_to_file] ".to_owned(),
        /// nsq channel
        "channel" (no key) => channel: String = PROGRAM.to_owned(),
        /// max number of messages to allow in flight
        "max-in-flight" (no key) => max_in_flight: i64 = 200,
        /// directory to write output files to
        "output-dir" (no key) => output_dir: String = "/tmp".to_owned(),
        /// directory for in-progress files before moving to output-dir
        "work-dir" (no key) => work_dir: String = String::new(),
        /// strftime compatible format for <DATETIME> in filename format
        "datetime-format" (no key) => datetime_format: String = "%Y-%m-%d_%H".to_owned(),
        /// output filename format (<TOPIC>, <HOST>, <PID>, <DATETIME>, <REV> are replaced. <REV> is increased when file
        /// already exists)
        "filename-format" (no key) => filename_format: String = "<TOPIC>.<HOST><REV>.<DATETIME>.log".to_owned(),
        /// value to output in log filename in place of hostname. <SHORT_HOST> and <HOSTNAME> are valid replacement tokens
        "host-identifier" (no key) => host_identifier: String = String::new(),
        /// gzip compression level (1-9, 1=BestSpeed, 9=BestCompression)
        "gzip-level" (no key) => gzip_level: i64 = 6,
        /// gzip output files.
        "gzip" (no key) => gzip: bool = false,
        /// skip writing empty files
        "skip-empty-files" (no key) => skip_empty_files: bool = false,
        /// how frequently the topic list should be refreshed
        "topic-refresh" (no key) => topic_refresh: Duration = Duration::from_mins(1),
        /// only log topics matching the following pattern
        "topic-pattern" (no key) => topic_pattern: String = String::new(),
        /// rotate the file when it grows bigger than this many bytes
        "rotate-size" (no key) => rotate_size: i64 = 0,
        /// rotate the file every duration
        "rotate-interval" (no key) => rotate_interval: Duration = Duration::ZERO,
        /// sync file to disk every duration
        "sync-interval" (no key) => sync_interval: Duration = Duration::from_secs(30),
        /// timeout for HTTP connect
        "http-client-connect-timeout" (no key) => http_connect_timeout: Duration = Duration::from_secs(2),
        /// timeout for HTTP request
        "http-client-request-timeout" (no key) => http_request_timeout: Duration = Duration::from_secs(5),
        /// nsqd TCP address (may be given multiple times)
        "nsqd-tcp-address" (no key) => nsqds: StringList = StringList::default(),
        /// lookupd HTTP address (may be given multiple times)
        "lookupd-http-address" (no key) => lookupds: StringList = StringList::default(),
        /// nsq topic (may be given multiple times)
        "topic" (no key) => topics: StringList = StringList::default(),
        /// option of the consumer as name,value (may be given multiple times)
        "consumer-opt" (no key) => consumer: ClientOptions = without_limit_of_attempts(),
    }
}

/// An archive must not skip what is in it because it came often: only who asks for a limit has one.
fn without_limit_of_attempts() -> ClientOptions {
    let mut options = ClientOptions::default();
    options.max_attempts = 0;
    options
}

/// The options, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) topics: Vec<String>,
    pub(crate) topic_pattern: Option<Regex>,
    pub(crate) topic_refresh: Duration,
    pub(crate) channel: String,
    pub(crate) sources: Sources,
    pub(crate) config: Config,
    pub(crate) layout: Layout,
    pub(crate) sync_interval: Duration,
    pub(crate) http_connect_timeout: Duration,
    pub(crate) http_request_timeout: Duration,
    filename_format: String,
    datetime_format: String,
    host_identifier: String,
}

impl Settings {
    /// Checks everything, in upstream's order, and begins the log.
    pub(crate) fn check(options: &Options, given: &Given) -> Result<Self, Stop> {
        if !given.words().is_empty() {
            let words = given.words().join(" ");
            return Err(fatal(format_args!("unknown arguments: [{words}]")));
        }
        let log_level: LogLevel = options
            .log_level
            .parse()
            .map_err(|_| fatal("--log-level is invalid"))?;
        if options.version {
            return Err(Stop::Answer(start::version_line(PROGRAM)));
        }
        if options.channel.is_empty() {
            return Err(fatal("--channel is required"));
        }
        must_be_positive(
            "--http-client-connect-timeout",
            options.http_connect_timeout,
        )?;
        must_be_positive(
            "--http-client-request-timeout",
            options.http_request_timeout,
        )?;
        let sources = Sources::new(&options.nsqds, &options.lookupds, ".")?;
        let gzip_level = u32::try_from(options.gzip_level)
            .ok()
            .filter(|level| (1..=9).contains(level))
            .ok_or_else(|| {
                let level = options.gzip_level;
                fatal(format_args!(
                    "invalid --gzip-level value ({level}), should be 1-9"
                ))
            })?;
        if options.topics.is_empty() {
            if options.topic_pattern.is_empty() {
                return Err(fatal("--topic or --topic-pattern required"));
            }
            if matches!(sources, Sources::Nsqds(_)) {
                return Err(fatal(
                    "--lookupd-http-address must be specified when no --topic specified",
                ));
            }
            must_be_positive("--topic-refresh", options.topic_refresh)?;
        }
        must_be_positive("--sync-interval", options.sync_interval)?;
        let topic_pattern = match options.topic_pattern.as_str() {
            "" => None,
            pattern => Some(
                go_pattern::compile(pattern, PATTERN_BYTES).map_err(|error| {
                    // The lines before the last draw a picture of where it is.
                    let text = error.to_string();
                    let why = text.lines().last().unwrap_or_default();
                    let why = why.trim_start_matches("error: ");
                    fatal(format_args!(
                        "--topic-pattern {pattern:?} is invalid: {why}"
                    ))
                })?,
            ),
        };
        let mut config = options.consumer.for_program(PROGRAM);
        config.max_in_flight = u32::try_from(options.max_in_flight).map_err(|_| {
            fatal(format_args!(
                "invalid max_in_flight ! {} < 0",
                options.max_in_flight
            ))
        })?;
        config.validate().map_err(fatal)?;
        let output_dir = PathBuf::from(&options.output_dir);
        let work_dir = match options.work_dir.as_str() {
            "" => output_dir.clone(),
            folder => PathBuf::from(folder),
        };
        let layout = Layout {
            output_dir,
            work_dir,
            gzip_level: options.gzip.then_some(gzip_level),
            rotation: Rotation {
                size: u64::try_from(options.rotate_size)
                    .ok()
                    .filter(|size| *size > 0),
                interval: Some(options.rotate_interval).filter(|every| !every.is_zero()),
            },
            skips_empty_files: options.skip_empty_files,
        };
        logging::start_tool(&options.log_prefix, &LiveLevel::new(log_level));
        Ok(Self {
            topics: options.topics.to_vec(),
            topic_pattern,
            topic_refresh: options.topic_refresh,
            channel: options.channel.clone(),
            sources,
            config,
            layout,
            sync_interval: options.sync_interval,
            http_connect_timeout: options.http_connect_timeout,
            http_request_timeout: options.http_request_timeout,
            filename_format: options.filename_format.clone(),
            datetime_format: options.datetime_format.clone(),
            host_identifier: options.host_identifier.clone(),
        })
    }

    /// What a topic's files are called.
    pub(crate) fn file_names(&self, topic: &str) -> Result<FileNames, MissingRevision> {
        let uname = rustix::system::uname();
        FileNames::new(&Parts {
            filename_format: &self.filename_format,
            datetime_format: &self.datetime_format,
            topic,
            hostname: &uname.nodename().to_string_lossy(),
            host_identifier: &self.host_identifier,
            process: std::process::id(),
            is_gzip: self.layout.gzip_level.is_some(),
            needs_revision: self.layout.needs_revision(),
        })
    }
}

fn must_be_positive(flag: &str, duration: Duration) -> Result<(), Stop> {
    if duration.is_zero() {
        return Err(fatal(format_args!("{flag} should be positive")));
    }
    Ok(())
}

/// What `--topic-pattern` may take when compiled: enough for a list of thousands of names.
const PATTERN_BYTES: usize = 10 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(line: &[&str]) -> Result<Settings, Stop> {
        let mut options = Options::default();
        let args = line.iter().map(std::ffi::OsString::from);
        let given = nsq_daemon::go_flags::parse(PROGRAM, args, &mut options)?;
        Settings::check(&options, &given)
    }

    #[test]
    fn the_first_thing_that_is_wrong_is_told() {
        let base = ["--topic=t", "--nsqd-tcp-address=a:1"];
        for (line, text) in [
            (&["foo", "bar"][..], "unknown arguments: [foo bar]"),
            (&["--log-level=loud", "--version"], "--log-level is invalid"),
            (&["--channel="], "--channel is required"),
            (
                &["--http-client-connect-timeout=0"],
                "--http-client-connect-timeout should be positive",
            ),
            (
                &["--http-client-request-timeout=0"],
                "--http-client-request-timeout should be positive",
            ),
            (
                &[],
                "--nsqd-tcp-address or --lookupd-http-address required.",
            ),
            (
                &["--nsqd-tcp-address=a:1", "--lookupd-http-address=a:1"],
                "use --nsqd-tcp-address or --lookupd-http-address not both",
            ),
            (
                &["--nsqd-tcp-address=a:1", "--gzip-level=0"],
                "invalid --gzip-level value (0), should be 1-9",
            ),
            (
                &["--nsqd-tcp-address=a:1"],
                "--topic or --topic-pattern required",
            ),
            (
                &["--nsqd-tcp-address=a:1", "--topic-pattern=x"],
                "--lookupd-http-address must be specified when no --topic specified",
            ),
            (
                &[base[0], base[1], "--sync-interval=0"],
                "--sync-interval should be positive",
            ),
            (
                &[base[0], base[1], "--max-in-flight=-1"],
                "invalid max_in_flight ! -1 < 0",
            ),
            (
                &[base[0], base[1], "--topic-pattern=a("],
                "--topic-pattern \"a(\" is invalid: unclosed group",
            ),
            (
                &[base[0], base[1], "--topic-pattern=[a&&b]"],
                "--topic-pattern \"[a&&b]\" is invalid: \"&&\" has a meaning here that it does not have in Go: escape it",
            ),
        ] {
            assert_eq!(checked(line).unwrap_err(), fatal(text), "{line:?}");
        }
        let version = Stop::Answer("nsq_to_file v1.3.0".to_owned());
        assert_eq!(checked(&["--version"]).unwrap_err(), version);
    }

    #[test]
    fn a_limit_of_attempts_is_only_there_when_it_was_asked_for() {
        let base = ["--topic=t", "--nsqd-tcp-address=a:1"];
        assert_eq!(checked(&base).unwrap().config.max_attempts, 0);
        let line = [base[0], base[1], "--consumer-opt=max_attempts,7"];
        assert_eq!(checked(&line).unwrap().config.max_attempts, 7);
    }

    #[test]
    fn the_revision_is_needed_as_soon_as_a_name_can_come_twice() {
        let base = ["--topic=t", "--nsqd-tcp-address=a:1"];
        for (flag, needed) in [
            ("--gzip=false", false),
            ("--work-dir=/tmp", false),
            ("--gzip", true),
            ("--rotate-size=1", true),
            ("--rotate-interval=1s", true),
            ("--work-dir=/elsewhere", true),
        ] {
            let settings = checked(&[base[0], base[1], flag]).unwrap();
            assert_eq!(settings.layout.needs_revision(), needed, "{flag}");
        }
    }
}
