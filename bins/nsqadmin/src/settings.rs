//! nsqadmin's settings: what the command line, the config file and the defaults come to.

mod check;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::time::Duration;

use nsq_daemon::http::{
    DEFAULT_BODY_TIMEOUT, DEFAULT_HEADER_TIMEOUT, DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_HEADER_BYTES,
    DEFAULT_MAX_HEADERS,
};
use nsq_daemon::log_level::LiveLevel;
use nsq_daemon::logging::LogFormat;
use nsq_daemon::options::{LiveList, LiveNumber, StringList};
use nsq_daemon::stop::Stop;
use nsq_daemon::{options, resolve};

/// The program's name, in usage, version line and start-up failures.
pub const PROGRAM: &str = "nsqadmin";

options! {
    /// nsqadmin's options, one row each.
    #[derive(Debug)]
    pub struct Settings {
        /// print the version and exit
        "version" (no key) => version: bool = false,
        /// path of a TOML config file
        "config" (no key) => config: String = String::new(),
        /// do not serve: print every option that a config file can give, with its value and where that comes from, and exit
        "print-config" (no key) => print_config: bool = false,
        /// do not serve: check command line, config file and the files they name, and exit; 0 when all is well
        "check-config" (no key) => check_config: bool = false,
        /// least serious log lines to print: debug, info, warn, error or fatal
        "log-level" => log_level: LiveLevel = LiveLevel::default(),
        /// what every log line begins with
        "log-prefix" => log_prefix: String = "[nsqadmin] ".to_owned(),
        /// form of the log lines: text, or json for one object a line
        "log-format" => log_format: LogFormat = LogFormat::Text,
        /// deprecated, has no effect: use --log-level
        "verbose" (no key) => verbose: bool = false,

        /// address and port for browsers and other HTTP clients
        "http-address" => http_address: String = "0.0.0.0:4171".to_owned(),
        /// path that every URL begins with, for a proxy that serves other sites too
        "base-path" => base_path: String = "/".to_owned(),
        /// folder to take the pages' files from in place of the built-in ones, for development
        "dev-static-dir" => dev_static_dir: String = String::new(),

        /// HTTP address of an nsqlookupd (may be given multiple times)
        "lookupd-http-address" ("nsqlookupd_http_addresses") => nsqlookupd_http_addresses: LiveList = LiveList::default(),
        /// HTTP address of an nsqd, where there is no nsqlookupd (may be given multiple times)
        "nsqd-http-address" ("nsqd_http_addresses") => nsqd_http_addresses: StringList = StringList::default(),

        /// how long to wait for a connection to nsqlookupd, nsqd and other servers
        "http-client-connect-timeout" => http_client_connect_timeout: Duration = Duration::from_secs(2),
        /// how long to wait for the whole of an answer
        "http-client-request-timeout" => http_client_request_timeout: Duration = Duration::from_secs(5),
        /// do not verify the certificates of nsqds that answer by HTTPS only
        "http-client-tls-insecure-skip-verify" => http_client_tls_insecure_skip_verify: bool = false,
        /// path of the certificate authorities in PEM form that nsqds' certificates are verified with
        "http-client-tls-root-ca-file" => http_client_tls_root_ca_file: String = String::new(),
        /// path of the certificate in PEM form to show to nsqds
        "http-client-tls-cert" => http_client_tls_cert: String = String::new(),
        /// path of that certificate's key in PEM form
        "http-client-tls-key" => http_client_tls_key: String = String::new(),

        /// URL of graphite, for graphs in addition to nsqadmin's own
        "graphite-url" => graphite_url: String = String::new(),
        /// fetch graphite's images for browsers that cannot reach it
        "proxy-graphite" => proxy_graphite: bool = false,
        /// how statsd names counters, with %s for the key; empty for the key alone
        "statsd-counter-format" => statsd_counter_format: String = "stats.counters.%s.count".to_owned(),
        /// how statsd names gauges, with %s for the key; empty for the key alone
        "statsd-gauge-format" => statsd_gauge_format: String = "stats.gauges.%s".to_owned(),
        /// what nsqd's keys begin with, %s being the host (must be nsqd's)
        "statsd-prefix" => statsd_prefix: String = "nsq.%s".to_owned(),
        /// time between two pushes of nsqd to statsd (must be nsqd's)
        "statsd-interval" => statsd_interval: Duration = Duration::from_mins(1),

        /// URL to POST every administrator's action to
        "notification-http-endpoint" => notification_http_endpoint: String = String::new(),

        /// addresses, in CIDR form, that /config answers (empty for all)
        "allow-config-from-cidr" => allow_config_from_cidr: String = "127.0.0.1/8".to_owned(),
        /// header in which a proxy that authenticates users names them
        "acl-http-header" => acl_http_header: String = "X-Forwarded-User".to_owned(),
        /// user who may act; with one given, all others may only look (may be given multiple times)
        "admin-user" ("admin_users") => admin_users: StringList = StringList::default(),

        /// user who may log in, as name:hash with a bcrypt hash as htpasswd -B makes it; with one given, everyone
        /// else must log in (may be given multiple times)
        "login-user" ("login_users") => login_users: StringList = StringList::default(),
        /// how long a login lasts
        "login-lifetime" => login_lifetime: Duration = Duration::from_hours(12),

        /// time between two looks at the whole cluster for the graphs' sake (0 for none)
        "history-interval" => history_interval: Duration = Duration::from_secs(5),
        /// how far the graphs go back
        "history-retention" => history_retention: Duration = Duration::from_hours(6),
        /// most memory the graphs' numbers may take, in bytes
        "history-memory" => history_memory: u64 = 128 << 20,

        /// most HTTP connections at a time, 0 for as many as there are file handles
        "max-http-connections" => max_http_connections: LiveNumber = LiveNumber::default(),
        /// most connections at a time from one address (one network of 64 bits in IPv6), 0 for no limit
        "max-connections-per-address" => max_connections_per_address: LiveNumber = LiveNumber::default(),
        /// time an HTTP request's head may take, 0 for no limit
        "http-header-timeout" => http_header_timeout: Duration = DEFAULT_HEADER_TIMEOUT,
        /// time an HTTP request's body may take, 0 for no limit
        "http-body-timeout" => http_body_timeout: Duration = DEFAULT_BODY_TIMEOUT,
        /// time an HTTP connection may be idle between requests, 0 for no limit
        "http-idle-timeout" => http_idle_timeout: Duration = DEFAULT_IDLE_TIMEOUT,
        /// largest head of an HTTP request in bytes, at least 8192
        "http-max-header-bytes" => http_max_header_bytes: u32 = DEFAULT_MAX_HEADER_BYTES,
        /// most headers of an HTTP request
        "http-max-headers" => http_max_headers: u16 = DEFAULT_MAX_HEADERS,
    }
}

impl Settings {
    /// Resolves `args`, the command line without the program's own name.
    ///
    /// # Errors
    /// [`Stop`] for `--version`, `--help` and `--print-config`, for misuse, for a config file that cannot be taken and for settings
    /// nsqadmin cannot run with.
    pub fn load(args: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let mut settings = Self::default();
        resolve::resolve(PROGRAM, args, &mut settings)?;
        check::check(&mut settings)
            .map_err(|error| Stop::Fatal(format!("failed to instantiate {PROGRAM} - {error}")))?;
        Ok(settings)
    }

    /// The path of `rest`, which begins with `/`, below `--base-path`.
    pub fn path(&self, rest: &str) -> String {
        match (self.base_path.as_str(), rest) {
            ("/", rest) => rest.to_owned(),
            (base, "/") => base.to_owned(),
            (base, rest) => format!("{base}{rest}"),
        }
    }
}
