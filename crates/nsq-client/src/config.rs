//! How a client behaves: every option of the suite's `--consumer-opt` and `--producer-opt`.
//!
//! Names, defaults and ranges are go-nsq's (`Config`, config.go), so that command lines carry over.

mod options;
mod ranges;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use self::options::ConfigError;

/// What a [`Consumer`](crate::Consumer) or [`Producer`](crate::Producer) is made with.
///
/// Set fields directly, or by name with [`set`](Self::set). Ranges are checked by
/// [`validate`](Self::validate), which a consumer or producer calls when it is made.
///
/// ```
/// use nsq_client::Config;
///
/// let mut config = Config::default();
/// config.max_in_flight = 200;
/// config.set("msg_timeout", "30s")?;
/// assert!(config.set("sample_rate", "100").is_err());
/// # Ok::<(), nsq_client::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub struct Config {
    /// How long a TCP connection may take to come about. 1 s.
    pub dial_timeout: Duration,
    /// How long nsqd may be silent; heartbeats count. 100 ms to 5 min, 60 s.
    pub read_timeout: Duration,
    /// How long nsqd may take none of what is sent. 100 ms to 5 min, 1 s.
    pub write_timeout: Duration,
    /// The address to connect from. Port 0 stands for any.
    pub local_addr: Option<SocketAddr>,

    /// Time between questions to nsqlookupd, and between attempts to reach an nsqd that was lost.
    /// 10 ms to 5 min, 60 s.
    pub lookupd_poll_interval: Duration,
    /// The first interval is longer by a random part of this fraction of it. 0 to 1, 0.3.
    pub lookupd_poll_jitter: f64,
    /// How long nsqlookupd may take to answer. 1 min.
    pub lookupd_poll_timeout: Duration,

    /// Longest delay of a requeue that names none. 0 to 60 min, 15 min.
    pub max_requeue_delay: Duration,
    /// Delay of a requeue that names none, times the message's attempts. 0 to 60 min, 90 s.
    pub default_requeue_delay: Duration,
    /// How backing off grows with every failure.
    pub backoff_strategy: BackoffStrategy,
    /// Longest time to back off; 0 never backs off. 0 to 60 min, 2 min.
    pub max_backoff_duration: Duration,
    /// Unit of backing off. 0 to 60 min, 1 s.
    pub backoff_multiplier: Duration,
    /// A message delivered more often than this is finished without being handed out, with a
    /// warning and an event. 0 stands for any number. 5.
    pub max_attempts: u16,

    /// How long a connection may bring nothing before its ready count goes to another one, when
    /// there are not enough for all. 1 s to 5 min, 10 s.
    pub low_rdy_idle_timeout: Duration,
    /// As `low_rdy_idle_timeout`, but whether it brings something or not. 1 s to 5 min, 30 s.
    pub low_rdy_timeout: Duration,
    /// How often that is looked at. 1 ms to 5 s, 5 s.
    pub rdy_redistribute_interval: Duration,

    /// Who this client is. The host's name up to its first dot.
    pub client_id: String,
    /// Where it runs. The host's name.
    pub hostname: String,
    /// Which software it is.
    pub user_agent: String,
    /// Where it runs, for nsqds that prefer consumers close by.
    pub topology_region: String,
    /// Where it runs, more closely.
    pub topology_zone: String,

    /// Time between nsqd's heartbeats, at most `read_timeout`. `None` (by name: `-1ns`) has none.
    /// 30 s.
    pub heartbeat_interval: Option<Duration>,
    /// Per cent of the channel's messages to get; 0 stands for all. 0 to 99, 0.
    pub sample_rate: u8,

    /// Whether to ask nsqd for TLS.
    pub tls_v1: bool,
    /// PEM file with the authorities that may vouch for nsqd. The system's if not given.
    pub tls_root_ca_file: Option<PathBuf>,
    /// PEM file with the certificate to show to nsqd. Goes with `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the key of `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// Whether to take nsqd's certificate without looking at it. Only for tests.
    pub tls_insecure_skip_verify: bool,
    /// Lowest version of TLS to speak.
    pub tls_min_version: TlsVersion,

    /// Whether to ask nsqd for deflate.
    pub deflate: bool,
    /// How hard deflate works. 1 to 9, 6.
    pub deflate_level: u8,
    /// Whether to ask nsqd for snappy.
    pub snappy: bool,

    /// Bytes that nsqd may gather for this client before it sends them; -1 turns that off. 16384.
    pub output_buffer_size: i64,
    /// How long nsqd may gather. `None` (by name: `-1ns`) sends only full buffers. 250 ms.
    pub output_buffer_timeout: Option<Duration>,

    /// Messages to hold at once, over all connections. 0 pauses. 1.
    pub max_in_flight: u32,
    /// How long this client may hold a message; 0 leaves it to nsqd. 0.
    pub msg_timeout: Duration,
    /// Bytes of the largest message to take; 0 takes any. 0.
    pub max_msg_size: u32,

    /// What to authorize with, where nsqd wants that.
    pub auth_secret: Secret,
    /// Whether nsqlookupd gets the secret as well, as `Authorization: Bearer`. The option's name
    /// is `skip_lookupd_authorization`, and means this: true, its default, sends it.
    pub lookupd_authorization: bool,
}

/// How the time to back off follows from the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackoffStrategy {
    /// The multiplier times 2 to the level.
    Exponential,
    /// A random part of that.
    FullJitter,
}

/// A version of TLS, as `tls_min_version` names it.
///
/// Versions below 1.2 are accepted for the sake of old command lines, but never spoken: they mean 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are numbers")]
pub enum TlsVersion {
    Ssl3,
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

/// A text that does not show in debug output.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "..." })
    }
}

impl Default for Config {
    fn default() -> Self {
        let hostname = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let client_id = hostname.split('.').next().unwrap_or_default().to_owned();
        Self {
            dial_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_secs(1),
            local_addr: None,
            lookupd_poll_interval: Duration::from_mins(1),
            lookupd_poll_jitter: 0.3,
            lookupd_poll_timeout: Duration::from_mins(1),
            max_requeue_delay: Duration::from_mins(15),
            default_requeue_delay: Duration::from_secs(90),
            backoff_strategy: BackoffStrategy::Exponential,
            max_backoff_duration: Duration::from_mins(2),
            backoff_multiplier: Duration::from_secs(1),
            max_attempts: 5,
            low_rdy_idle_timeout: Duration::from_secs(10),
            low_rdy_timeout: Duration::from_secs(30),
            rdy_redistribute_interval: Duration::from_secs(5),
            client_id,
            hostname,
            user_agent: format!("nsq-client/{}", env!("CARGO_PKG_VERSION")),
            topology_region: String::new(),
            topology_zone: String::new(),
            heartbeat_interval: Some(Duration::from_secs(30)),
            sample_rate: 0,
            tls_v1: false,
            tls_root_ca_file: None,
            tls_cert: None,
            tls_key: None,
            tls_insecure_skip_verify: false,
            tls_min_version: TlsVersion::Tls12,
            deflate: false,
            deflate_level: 6,
            snappy: false,
            output_buffer_size: 16 * 1024,
            output_buffer_timeout: Some(Duration::from_millis(250)),
            max_in_flight: 1,
            msg_timeout: Duration::ZERO,
            max_msg_size: 0,
            auth_secret: Secret::default(),
            lookupd_authorization: true,
        }
    }
}

#[cfg(test)]
mod tests;
