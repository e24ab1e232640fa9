//! What values options may have, however they were set.

use std::fmt::Display;
use std::time::Duration;

use nsq_protocol::go_duration::GoDuration;

use super::{Config, ConfigError};

impl Config {
    /// Checks every option's range, and what must hold between options.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check_ranges()?;
        if let Some(heartbeat_interval) = self.heartbeat_interval
            && heartbeat_interval > self.read_timeout
        {
            return Err(ConfigError::HeartbeatInterval {
                heartbeat_interval: heartbeat_interval.into(),
                read_timeout: self.read_timeout.into(),
            });
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(ConfigError::HalfIdentity);
        }
        Ok(())
    }

    /// Whether there are options that say how TLS is to be, other than whether. Questions to nsqlookupd by HTTPS follow
    /// them in any case.
    pub(crate) fn has_tls_options(&self) -> bool {
        self.tls_root_ca_file.is_some() || self.tls_cert.is_some() || self.tls_insecure_skip_verify
    }

    pub(super) fn check_ranges(&self) -> Result<(), ConfigError> {
        for (option, value, min, max) in [
            ("read_timeout", self.read_timeout, TENTH, FIVE_MINUTES),
            ("write_timeout", self.write_timeout, TENTH, FIVE_MINUTES),
            (
                "lookupd_poll_interval",
                self.lookupd_poll_interval,
                Duration::from_millis(10),
                FIVE_MINUTES,
            ),
            ("max_requeue_delay", self.max_requeue_delay, ZERO, HOUR),
            (
                "default_requeue_delay",
                self.default_requeue_delay,
                ZERO,
                HOUR,
            ),
            (
                "max_backoff_duration",
                self.max_backoff_duration,
                ZERO,
                HOUR,
            ),
            ("backoff_multiplier", self.backoff_multiplier, ZERO, HOUR),
            (
                "low_rdy_idle_timeout",
                self.low_rdy_idle_timeout,
                SECOND,
                FIVE_MINUTES,
            ),
            (
                "low_rdy_timeout",
                self.low_rdy_timeout,
                SECOND,
                FIVE_MINUTES,
            ),
            (
                "rdy_redistribute_interval",
                self.rdy_redistribute_interval,
                Duration::from_millis(1),
                Duration::from_secs(5),
            ),
        ] {
            within(option, value, min, max, GoDuration::from)?;
        }
        within(
            "lookupd_poll_jitter",
            self.lookupd_poll_jitter,
            0.0,
            1.0,
            |value| value,
        )?;
        within("sample_rate", self.sample_rate, 0, 99, |value| value)?;
        within("deflate_level", self.deflate_level, 1, 9, |value| value)?;
        let largest = i32::MAX.unsigned_abs();
        within("max_in_flight", self.max_in_flight, 0, largest, |value| {
            value
        })?;
        within("max_msg_size", self.max_msg_size, 0, largest, |value| value)
    }
}

fn within<T: PartialOrd + Copy, D: Display>(
    option: &'static str,
    value: T,
    min: T,
    max: T,
    shown: impl Fn(T) -> D,
) -> Result<(), ConfigError> {
    let outside = |relation, bound: T| {
        Err(ConfigError::Range {
            option,
            value: shown(value).to_string(),
            relation,
            bound: shown(bound).to_string(),
        })
    };
    // Not a number is neither, and refused by the second.
    if value < min {
        outside('<', min)
    } else if value <= max {
        Ok(())
    } else {
        outside('>', max)
    }
}

const ZERO: Duration = Duration::ZERO;
const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const FIVE_MINUTES: Duration = Duration::from_mins(5);
const HOUR: Duration = Duration::from_hours(1);
