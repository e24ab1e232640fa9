//! nsqlookupd's settings: from the command line, the config file and the defaults.

use std::ffi::OsString;
use std::time::Duration;

use nsq_daemon::http::{
    DEFAULT_BODY_TIMEOUT, DEFAULT_HEADER_TIMEOUT, DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_HEADER_BYTES,
    DEFAULT_MAX_HEADERS, HttpLimits,
};
use nsq_daemon::log_level::LiveLevel;
use nsq_daemon::logging::LogFormat;
use nsq_daemon::node_id::hostname;
use nsq_daemon::options::LiveNumber;
use nsq_daemon::stop::Stop;
use nsq_daemon::{options, resolve};
use nsq_lookup::DEFAULT_FIRST_COMMAND_TIMEOUT;

/// The program's name, in usage, version line and start-up failures.
pub const PROGRAM: &str = "nsqlookupd";

options! {
    /// nsqlookupd's options, one row each.
    #[derive(Debug)]
    pub struct Settings {
        /// print the version and exit
        "version" (no key) => version: bool = false,
        /// path of a TOML config file
        "config" (no key) => config: String = String::new(),
        /// do not serve: print every option that the config file can set, with its value and where the value comes from,
        /// and exit
        "print-config" (no key) => print_config: bool = false,
        /// do not serve: check the command line, the config file and the files they name, and exit; 0 if all is well
        "check-config" (no key) => check_config: bool = false,
        /// lowest level of log lines to print: debug, info, warn, error or fatal
        "log-level" => log_level: LiveLevel = LiveLevel::default(),
        /// prefix of every log line
        "log-prefix" => log_prefix: String = "[nsqlookupd] ".to_owned(),
        /// format of the log lines: text, or json for one JSON object per line
        "log-format" => log_format: LogFormat = LogFormat::Text,
        /// deprecated, has no effect: use --log-level
        "verbose" (no key) => verbose: bool = false,

        /// address to listen on for nsqd, host:port
        "tcp-address" => tcp_address: String = "0.0.0.0:4160".to_owned(),
        /// address to listen on for HTTP clients, host:port
        "http-address" => http_address: String = "0.0.0.0:4161".to_owned(),
        /// address of this host, to which nsqd sends its HTTP requests (the host name unless given)
        "broadcast-address" => broadcast_address: String = hostname(),

        /// path of the certificate (PEM) with which nsqd may connect by TLS; plain connections are still accepted
        "tls-cert" => tls_cert: String = String::new(),
        /// path of that certificate's private key (PEM)
        "tls-key" => tls_key: String = String::new(),
        /// refuse TCP connections without TLS
        "tls-required" => tls_required: bool = false,
        /// path of the certificate authorities (PEM) that verify the certificates of clients that connect by TLS (without
        /// it, no certificate is asked for)
        "tls-client-ca-file" => tls_client_ca_file: String = String::new(),

        /// how long an nsqd may be silent before answers leave it out
        "inactive-producer-timeout" => inactive_producer_timeout: Duration = Duration::from_mins(5),
        /// how long a tombstone hides an nsqd that keeps its registration
        "tombstone-lifetime" => tombstone_lifetime: Duration = Duration::from_secs(45),

        /// most TCP connections at the same time; with 0, only file handles limit them
        "max-connections" => max_connections: LiveNumber = LiveNumber::default(),
        /// most HTTP connections at the same time; with 0, only file handles limit them
        "max-http-connections" => max_http_connections: LiveNumber = LiveNumber::default(),
        /// most connections at the same time from one address (in IPv6, one /64 network), counted separately for TCP and
        /// HTTP; 0 for no limit
        "max-connections-per-address" => max_connections_per_address: LiveNumber = LiveNumber::default(),
        /// most registered topics; 0 for no limit
        "max-topics" => max_topics: LiveNumber = LiveNumber::default(),
        /// most registered channels of one topic; 0 for no limit
        "max-channels" => max_channels: LiveNumber = LiveNumber::default(),
        /// how long a new TCP connection may take to send its first command; 0 for no limit
        "first-command-timeout" => first_command_timeout: Duration = DEFAULT_FIRST_COMMAND_TIMEOUT,
        /// how long the head of an HTTP request may take to arrive; 0 for no limit
        "http-header-timeout" => http_header_timeout: Duration = DEFAULT_HEADER_TIMEOUT,
        /// how long the body of an HTTP request may take to arrive; 0 for no limit
        "http-body-timeout" => http_body_timeout: Duration = DEFAULT_BODY_TIMEOUT,
        /// how long an HTTP connection may be idle between requests; 0 for no limit
        "http-idle-timeout" => http_idle_timeout: Duration = DEFAULT_IDLE_TIMEOUT,
        /// largest head of an HTTP request in bytes, at least 8192
        "http-max-header-bytes" => http_max_header_bytes: u32 = DEFAULT_MAX_HEADER_BYTES,
        /// most header fields of an HTTP request
        "http-max-headers" => http_max_headers: u16 = DEFAULT_MAX_HEADERS,
    }
}

impl Settings {
    /// Resolves `args`, the command line without the program's own name.
    ///
    /// # Errors
    /// [`Stop`] for `--version`, `--help` and `--print-config`, for misuse, for a config file that cannot be taken, and
    /// for settings nsqlookupd cannot run with.
    pub fn load(args: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let mut settings = Self::default();
        resolve::resolve(PROGRAM, args, &mut settings)?;
        let (header_bytes, headers) = (settings.http_max_header_bytes, settings.http_max_headers);
        if let Some((flag, value, rule)) = HttpLimits::wrong(header_bytes, headers) {
            let text = format!("failed to instantiate {PROGRAM} - --{flag}={value}: {rule}");
            return Err(Stop::Fatal(text));
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use nsq_daemon::log_level::LogLevel;

    use super::*;

    fn load(args: &[&str]) -> Result<Settings, Stop> {
        Settings::load(args.iter().map(OsString::from))
    }

    fn load_file(file: &str, args: &[&str]) -> Result<Settings, Stop> {
        let mut on_disk = tempfile::NamedTempFile::new().unwrap();
        on_disk.write_all(file.as_bytes()).unwrap();
        let config = format!("--config={}", on_disk.path().display());
        let args = std::iter::once(config.as_str()).chain(args.iter().copied());
        Settings::load(args.map(OsString::from))
    }

    #[test]
    fn the_defaults_are_upstreams() {
        let settings = load(&[]).unwrap();
        assert_eq!(settings.tcp_address, "0.0.0.0:4160");
        assert_eq!(settings.http_address, "0.0.0.0:4161");
        assert_eq!(settings.broadcast_address, hostname());
        assert_eq!(settings.log_prefix, "[nsqlookupd] ");
        assert_eq!(settings.log_level.current(), LogLevel::Info);
        assert_eq!(settings.inactive_producer_timeout, Duration::from_mins(5));
        assert_eq!(settings.tombstone_lifetime, Duration::from_secs(45));
    }

    #[test]
    fn what_client_suites_pass_is_taken() {
        let settings = load(&[
            "--verbose",
            "-broadcast-address=127.0.0.1",
            "-tcp-address",
            "127.0.0.1:0",
            "--log-level=WARN",
        ])
        .unwrap();
        assert_eq!(settings.broadcast_address, "127.0.0.1");
        assert_eq!(settings.tcp_address, "127.0.0.1:0");
        assert_eq!(settings.log_level.current(), LogLevel::Warn);
    }

    #[test]
    fn the_example_file_says_what_the_defaults_are() {
        let example = include_str!("../../../config/nsqlookupd.cfg.example");
        for text in [example.to_owned(), uncommented(example)] {
            let settings = load_file(&text, &[]).unwrap();
            let default = load(&[]).unwrap();
            assert_eq!(settings.tcp_address, default.tcp_address);
            assert_eq!(settings.http_address, default.http_address);
            assert_eq!(settings.log_prefix, default.log_prefix);
            assert_eq!(settings.tombstone_lifetime, default.tombstone_lifetime);
            assert_eq!(
                settings.inactive_producer_timeout,
                default.inactive_producer_timeout
            );
        }
        assert_eq!(
            load_file(&uncommented(example), &[])
                .unwrap()
                .broadcast_address,
            "lookup-1.example.com"
        );
    }

    /// The file with its commented-out settings in force.
    fn uncommented(file: &str) -> String {
        let lines = file.lines().map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") => setting,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_file_fills_in_what_the_command_line_leaves_open() {
        let file = "inactive_producer_timeout = 250\ntombstone_lifetime = \"1m30s\"\nunknown = 1";
        let settings = load_file(file, &["--tombstone-lifetime=1s"]).unwrap();
        assert_eq!(
            settings.inactive_producer_timeout,
            Duration::from_millis(250)
        );
        assert_eq!(settings.tombstone_lifetime, Duration::from_secs(1));
    }

    #[test]
    fn what_cannot_be_taken_stops_the_start() {
        for (args, text) in [
            (&["--foo"][..], "flag provided but not defined: -foo"),
            (
                &["--log-level=foo"],
                "invalid value \"foo\" for flag -log-level: invalid log level 'foo' (debug, info, warn, error, fatal)",
            ),
            (
                &["--tombstone-lifetime=5"],
                "invalid value \"5\" for flag -tombstone-lifetime: parse error",
            ),
        ] {
            match load(args) {
                Err(Stop::Usage { text: got, .. }) => assert_eq!(got, text),
                other => panic!("{other:?} for {args:?}"),
            }
        }
        let fatal = Stop::Fatal("failed parsing log_level foo".to_owned());
        assert_eq!(load_file("log_level = \"foo\"", &[]).unwrap_err(), fatal);
        let plain = load_file("inactive_producer_timeout = \"abc\"", &[]).unwrap_err();
        assert!(matches!(plain, Stop::Plain(_)), "{plain:?}");
        assert!(matches!(
            load(&["-version", "--config=x"]),
            Err(Stop::Answer(_))
        ));
        assert!(matches!(load(&["-h"]), Err(Stop::Help(_))));
    }
}
