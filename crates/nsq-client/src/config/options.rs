//! Options by name, as text.

use std::fmt::Display;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use nsq_protocol::go_duration::GoDuration;

use super::{BackoffStrategy, Config, TlsVersion};

/// An option that does not exist, or a value it cannot have. `Display` names option, value and rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no option of this name.
    #[error("invalid option {option}")]
    UnknownOption {
        /// As given, but `_` for `-`.
        option: String,
    },
    /// The text is no value of the option's type.
    #[error("failed to coerce option {option} ({value}) - {reason}")]
    Syntax {
        /// Its name.
        option: String,
        /// As given.
        value: String,
        /// What it should have been.
        reason: String,
    },
    /// The value lies outside what the option allows.
    #[error("invalid {option} ! {value} {relation} {bound}")]
    Range {
        /// Its name.
        option: &'static str,
        /// As it was understood.
        value: String,
        /// How it stands to `bound`: `<` or `>`.
        relation: char,
        /// The lowest or highest value allowed.
        bound: String,
    },
    /// Without heartbeats in time, every connection would seem dead.
    #[error("HeartbeatInterval {heartbeat_interval} must be less than ReadTimeout {read_timeout}")]
    HeartbeatInterval {
        /// As it stands.
        heartbeat_interval: GoDuration,
        /// As it stands.
        read_timeout: GoDuration,
    },
    /// One of them is of no use.
    #[error("tls_cert and tls_key must both be given")]
    HalfIdentity,
    /// What the TLS options name cannot be used.
    #[error("{0}")]
    Tls(String),
}

impl Config {
    /// Sets the option called `name`, in which `-` is as good as `_`, from its text.
    ///
    /// Durations are Go's, such as `1m30s`; truth is `1 t T TRUE true True` or `0 f F FALSE false
    /// False`. On an error nothing is changed.
    ///
    /// # Errors
    /// [`ConfigError`] for an unknown name, or a value that the option cannot have.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let name = name.replace('-', "_");
        let mut changed = self.clone();
        changed.assign(Given {
            option: &name,
            value,
        })?;
        changed.check_ranges()?;
        *self = changed;
        Ok(())
    }

    /// Sets an option from `name,value`, or to true from `name` alone: the form of a command line.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_pair(&mut self, pair: &str) -> Result<(), ConfigError> {
        let Some((name, value)) = pair.split_once(',') else {
            let mut trial = self.clone();
            let given = Given {
                option: &pair.replace('-', "_"),
                value: "true",
            };
            let is_switch = SWITCHES.contains(&given.option);
            return match trial.assign(given) {
                Err(error @ ConfigError::UnknownOption { .. }) => Err(error),
                _ if !is_switch => Err(given.refused(&"a value is missing: name,value")),
                outcome => outcome.map(|()| *self = trial),
            };
        };
        self.set(name, value)
    }

    fn assign(&mut self, given: Given<'_>) -> Result<(), ConfigError> {
        match given.option {
            "dial_timeout" => self.dial_timeout = given.duration("dial_timeout")?,
            "read_timeout" => self.read_timeout = given.duration("read_timeout")?,
            "write_timeout" => self.write_timeout = given.duration("write_timeout")?,
            "local_addr" => self.local_addr = Some(given.address()?),
            "lookupd_poll_interval" => {
                self.lookupd_poll_interval = given.duration("lookupd_poll_interval")?;
            }
            "lookupd_poll_jitter" => self.lookupd_poll_jitter = given.parse()?,
            "lookupd_poll_timeout" => {
                self.lookupd_poll_timeout = given.duration("lookupd_poll_timeout")?;
            }
            "max_requeue_delay" => self.max_requeue_delay = given.duration("max_requeue_delay")?,
            "default_requeue_delay" => {
                self.default_requeue_delay = given.duration("default_requeue_delay")?;
            }
            "backoff_strategy" => self.backoff_strategy = given.strategy()?,
            "max_backoff_duration" => {
                self.max_backoff_duration = given.duration("max_backoff_duration")?;
            }
            "backoff_multiplier" => {
                self.backoff_multiplier = given.duration("backoff_multiplier")?;
            }
            "max_attempts" => {
                self.max_attempts = given.integer("max_attempts", 0, u16::MAX.into())?;
            }
            "low_rdy_idle_timeout" => {
                self.low_rdy_idle_timeout = given.duration("low_rdy_idle_timeout")?;
            }
            "low_rdy_timeout" => self.low_rdy_timeout = given.duration("low_rdy_timeout")?,
            "rdy_redistribute_interval" => {
                self.rdy_redistribute_interval = given.duration("rdy_redistribute_interval")?;
            }
            "client_id" => given.value.clone_into(&mut self.client_id),
            "hostname" => given.value.clone_into(&mut self.hostname),
            "user_agent" => given.value.clone_into(&mut self.user_agent),
            "topology_region" => given.value.clone_into(&mut self.topology_region),
            "topology_zone" => given.value.clone_into(&mut self.topology_zone),
            "heartbeat_interval" => {
                self.heartbeat_interval = given.duration_or_off("heartbeat_interval")?;
            }
            "sample_rate" => self.sample_rate = given.integer("sample_rate", 0, 99)?,
            "tls_v1" => self.tls_v1 = given.switch()?,
            "tls_root_ca_file" => self.tls_root_ca_file = Some(given.value.into()),
            "tls_cert" => self.tls_cert = Some(given.value.into()),
            "tls_key" => self.tls_key = Some(given.value.into()),
            "tls_insecure_skip_verify" => self.tls_insecure_skip_verify = given.switch()?,
            "tls_min_version" => self.tls_min_version = given.tls_version()?,
            "deflate" => self.deflate = given.switch()?,
            "deflate_level" => self.deflate_level = given.integer("deflate_level", 1, 9)?,
            "snappy" => self.snappy = given.switch()?,
            "output_buffer_size" => self.output_buffer_size = given.parse()?,
            "output_buffer_timeout" => {
                self.output_buffer_timeout = given.duration_or_off("output_buffer_timeout")?;
            }
            "max_in_flight" => {
                self.max_in_flight = given.integer("max_in_flight", 0, i32::MAX.into())?;
            }
            "msg_timeout" => self.msg_timeout = given.duration("msg_timeout")?,
            "max_msg_size" => {
                self.max_msg_size = given.integer("max_msg_size", 0, i32::MAX.into())?;
            }
            "auth_secret" => self.auth_secret = given.value.into(),
            "skip_lookupd_authorization" => self.lookupd_authorization = given.switch()?,
            option => {
                let option = option.to_owned();
                return Err(ConfigError::UnknownOption { option });
            }
        }
        Ok(())
    }
}

/// An option's name and its text.
#[derive(Clone, Copy)]
struct Given<'a> {
    option: &'a str,
    value: &'a str,
}

impl Given<'_> {
    fn refused(self, reason: &dyn Display) -> ConfigError {
        ConfigError::Syntax {
            option: self.option.to_owned(),
            value: self.value.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn parse<T: FromStr<Err: Display>>(self) -> Result<T, ConfigError> {
        self.value
            .parse()
            .map_err(|error: T::Err| self.refused(&error))
    }

    fn go_duration(self) -> Result<GoDuration, ConfigError> {
        self.parse()
    }

    /// One that is not negative.
    fn duration(self, option: &'static str) -> Result<Duration, ConfigError> {
        let duration = self.go_duration()?;
        duration.try_into().map_err(|_| ConfigError::Range {
            option,
            value: duration.to_string(),
            relation: '<',
            bound: "0s".into(),
        })
    }

    /// As [`duration`](Self::duration); `-1ns`, and for readers' sake `-1ms`, turn it off.
    fn duration_or_off(self, option: &'static str) -> Result<Option<Duration>, ConfigError> {
        match self.go_duration()?.nanos() {
            -1 | -1_000_000 => Ok(None),
            _ => self.duration(option).map(Some),
        }
    }

    fn integer<T: TryFrom<i64>>(
        self,
        option: &'static str,
        min: i64,
        max: i64,
    ) -> Result<T, ConfigError> {
        let value: i64 = self.parse()?;
        let out_of_range = |relation, bound: i64| ConfigError::Range {
            option,
            value: value.to_string(),
            relation,
            bound: bound.to_string(),
        };
        if value < min {
            return Err(out_of_range('<', min));
        }
        match T::try_from(value) {
            Ok(number) if value <= max => Ok(number),
            _ => Err(out_of_range('>', max)),
        }
    }

    fn switch(self) -> Result<bool, ConfigError> {
        match self.value {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            _ => Err(self.refused(&"neither true nor false")),
        }
    }

    fn strategy(self) -> Result<BackoffStrategy, ConfigError> {
        match self.value {
            "" | "exponential" => Ok(BackoffStrategy::Exponential),
            "full_jitter" => Ok(BackoffStrategy::FullJitter),
            _ => Err(self.refused(&"neither exponential nor full_jitter")),
        }
    }

    fn tls_version(self) -> Result<TlsVersion, ConfigError> {
        match self.value {
            "ssl3.0" => Ok(TlsVersion::Ssl3),
            "tls1.0" => Ok(TlsVersion::Tls10),
            "tls1.1" => Ok(TlsVersion::Tls11),
            "tls1.2" => Ok(TlsVersion::Tls12),
            "tls1.3" => Ok(TlsVersion::Tls13),
            _ => Err(self.refused(&"none of ssl3.0, tls1.0, tls1.1, tls1.2, tls1.3")),
        }
    }

    fn address(self) -> Result<SocketAddr, ConfigError> {
        let text = if self.value.starts_with(':') {
            format!("0.0.0.0{}", self.value)
        } else {
            self.value.to_owned()
        };
        let mut found = text
            .to_socket_addrs()
            .map_err(|error| self.refused(&error))?;
        found.next().ok_or_else(|| self.refused(&"no such host"))
    }
}

/// Options that are set by their name alone.
const SWITCHES: [&str; 5] = [
    "tls_v1",
    "tls_insecure_skip_verify",
    "deflate",
    "snappy",
    "skip_lookupd_authorization",
];
