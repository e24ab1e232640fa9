//! nsqadmin's settings: from the command line, the config file and the defaults.

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
        /// do not serve: print every option that the config file can set, with its value and where the value comes from,
        /// and exit
        "print-config" (no key) => print_config: bool = false,
        /// do not serve: check the command line, the config file and the files they name, and exit; 0 if all is well
        "check-config" (no key) => check_config: bool = false,
        /// lowest level of log lines to print: debug, info, warn, error or fatal
        "log-level" => log_level: LiveLevel = LiveLevel::default(),
        /// prefix of every log line
        "log-prefix" => log_prefix: String = "[nsqadmin] ".to_owned(),
        /// format of the log lines: text, or json for one JSON object per line
        "log-format" => log_format: LogFormat = LogFormat::Text,
        /// deprecated, has no effect: use --log-level
        "verbose" (no key) => verbose: bool = false,

        /// address to listen on for browsers and other HTTP clients, host:port
        "http-address" => http_address: String = "0.0.0.0:4171".to_owned(),
        /// path that every URL begins with, for use behind a proxy that also serves other sites
        "base-path" => base_path: String = "/".to_owned(),
        /// for development: folder whose files replace the built-in files of the pages
        "dev-static-dir" => dev_static_dir: String = String::new(),

        /// HTTP address of an nsqlookupd (may be given multiple times)
        "lookupd-http-address" ("nsqlookupd_http_addresses") => nsqlookupd_http_addresses: LiveList = LiveList::default(),
        /// HTTP address of an nsqd, where there is no nsqlookupd (may be given multiple times)
        "nsqd-http-address" ("nsqd_http_addresses") => nsqd_http_addresses: StringList = StringList::default(),

        /// timeout for connecting to nsqlookupd, nsqd and other servers
        "http-client-connect-timeout" => http_client_connect_timeout: Duration = Duration::from_secs(2),
        /// timeout for a whole HTTP request to one of them
        "http-client-request-timeout" => http_client_request_timeout: Duration = Duration::from_secs(5),
        /// do not verify the certificates of nsqds that answer only by HTTPS
        "http-client-tls-insecure-skip-verify" => http_client_tls_insecure_skip_verify: bool = false,
        /// path of the certificate authorities (PEM) that verify the certificates of nsqds
        "http-client-tls-root-ca-file" => http_client_tls_root_ca_file: String = String::new(),
        /// path of the certificate (PEM) to show to nsqds
        "http-client-tls-cert" => http_client_tls_cert: String = String::new(),
        /// path of that certificate's private key (PEM)
        "http-client-tls-key" => http_client_tls_key: String = String::new(),

        /// URL of graphite, to serve its graphs next to nsqadmin's own
        "graphite-url" => graphite_url: String = String::new(),
        /// fetch graphite's images for browsers that cannot reach it
        "proxy-graphite" => proxy_graphite: bool = false,
        /// how statsd names counters, with %s for the key; empty for the key alone
        "statsd-counter-format" => statsd_counter_format: String = "stats.counters.%s.count".to_owned(),
        /// how statsd names gauges, with %s for the key; empty for the key alone
        "statsd-gauge-format" => statsd_gauge_format: String = "stats.gauges.%s".to_owned(),
        /// prefix of nsqd's keys at statsd, with %s for the host (as nsqd's option of that name)
        "statsd-prefix" => statsd_prefix: String = "nsq.%s".to_owned(),
        /// time between two pushes of nsqd to statsd (as nsqd's option of that name)
        "statsd-interval" => statsd_interval: Duration = Duration::from_mins(1),

        /// URL that gets every administrator's action by POST
        "notification-http-endpoint" => notification_http_endpoint: String = String::new(),

        /// addresses, in CIDR form, that may use /config (empty for all)
        "allow-config-from-cidr" => allow_config_from_cidr: String = "127.0.0.1/8".to_owned(),
        /// header in which an authenticating proxy names the user
        "acl-http-header" => acl_http_header: String = "X-Forwarded-User".to_owned(),
        /// user who may change things; if any is given, all others may only look (may be given multiple times)
        "admin-user" ("admin_users") => admin_users: StringList = StringList::default(),

        /// user who may log in, as name:hash with a bcrypt hash made by htpasswd -B; if any is given, everyone must log in
        /// (may be given multiple times)
        "login-user" ("login_users") => login_users: StringList = StringList::default(),
        /// how long a login lasts
        "login-lifetime" => login_lifetime: Duration = Duration::from_hours(12),

        /// how often to read the statistics of the whole cluster for the graphs (0 for never)
        "history-interval" => history_interval: Duration = Duration::from_secs(5),
        /// how far the graphs go back
        "history-retention" => history_retention: Duration = Duration::from_hours(6),
        /// most memory in bytes for the numbers of the graphs
        "history-memory" => history_memory: u64 = 128 << 20,

        /// most HTTP connections at the same time; with 0, only file handles limit them
        "max-http-connections" => max_http_connections: LiveNumber = LiveNumber::default(),
        /// most connections at the same time from one address (in IPv6, one /64 network); 0 for no limit
        "max-connections-per-address" => max_connections_per_address: LiveNumber = LiveNumber::default(),
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
