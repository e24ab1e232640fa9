//! A client's own settings, from the numbers in its IDENTIFY.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::CommandError;
use crate::identify::IdentifyRequest;

/// What nsqd's settings allow an IDENTIFY to ask for, and what a client gets without asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentifyLimits {
    /// Longest heartbeat interval.
    pub max_heartbeat_interval: Duration,
    /// Shortest output buffer timeout.
    pub min_output_buffer_timeout: Duration,
    /// Longest output buffer timeout.
    pub max_output_buffer_timeout: Duration,
    /// Largest output buffer, in bytes.
    pub max_output_buffer_size: i64,
    /// Longest message timeout a client may ask for.
    pub max_msg_timeout: Duration,
    /// Output buffer timeout of a client that asks for none.
    pub default_output_buffer_timeout: Duration,
    /// Message timeout of a client that asks for none; may exceed the longest.
    pub default_msg_timeout: Duration,
}

/// How nsqd treats one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// Time between heartbeats; `None` for no heartbeats and no deadlines.
    pub heartbeat_interval: Option<Duration>,
    /// How much is gathered before it is written, at most; 1 for nothing.
    pub output_buffer_size: usize,
    /// How long a message may wait in the output buffer; `None` for no bound of its own.
    pub output_buffer_timeout: Option<Duration>,
    /// Per cent of the messages the client wants, 0 to 99; 0 for all.
    pub sample_rate: u8,
    /// How long the client may hold a message.
    pub msg_timeout: Duration,
}

impl ClientSettings {
    /// The settings of a client that has not said anything.
    pub fn defaults(limits: &IdentifyLimits) -> Self {
        Self {
            heartbeat_interval: Some(DEFAULT_HEARTBEAT_INTERVAL),
            output_buffer_size: DEFAULT_OUTPUT_BUFFER_BYTES,
            output_buffer_timeout: Some(limits.default_output_buffer_timeout)
                .filter(|timeout| !timeout.is_zero()),
            sample_rate: 0,
            msg_timeout: limits.default_msg_timeout,
        }
    }
}

impl IdentifyRequest {
    /// The settings that a connection's first IDENTIFY asks for.
    ///
    /// # Errors
    /// [`CommandError`] with the first value out of range, in upstream's order.
    pub fn validate(&self, limits: &IdentifyLimits) -> Result<ClientSettings, CommandError> {
        self.revise(&ClientSettings::defaults(limits), limits)
    }

    /// The settings that a further IDENTIFY asks for: where it says nothing, `current` stays.
    ///
    /// Source: `clientV2.Identify`, nsq 1.3.0, nsqd/client_v2.go.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn revise(
        &self,
        current: &ClientSettings,
        limits: &IdentifyLimits,
    ) -> Result<ClientSettings, CommandError> {
        let heartbeat_interval = match self.heartbeat_interval {
            -1 => None,
            0 => current.heartbeat_interval,
            millis => Some(
                within(
                    millis,
                    MIN_MILLIS..=whole_millis(limits.max_heartbeat_interval),
                )
                .ok_or(CommandError::HeartbeatInterval(millis))?,
            ),
        };
        let output_buffer_timeout = match self.output_buffer_timeout {
            -1 => None,
            0 => current.output_buffer_timeout,
            millis => {
                let min = whole_millis(limits.min_output_buffer_timeout);
                let max = whole_millis(limits.max_output_buffer_timeout);
                // Only a shortest timeout of zero lets a negative one come this far.
                Some(within(millis, min..=max).ok_or(CommandError::OutputBufferTimeout(millis))?)
            }
        };
        let (output_buffer_size, output_buffer_timeout) = match self.output_buffer_size {
            // Compat: no buffer means no timer either (client_v2.go, SetOutputBuffer).
            -1 => (1, None),
            0 => (current.output_buffer_size, output_buffer_timeout),
            bytes => {
                let size = usize::try_from(bytes).ok().filter(|_| {
                    (MIN_OUTPUT_BUFFER_BYTES..=limits.max_output_buffer_size).contains(&bytes)
                });
                let size = size.ok_or(CommandError::OutputBufferSize(bytes))?;
                (size, output_buffer_timeout)
            }
        };
        let sample_rate = u8::try_from(self.sample_rate)
            .ok()
            .filter(|&rate| rate <= MAX_SAMPLE_RATE)
            .ok_or(CommandError::SampleRate(self.sample_rate))?;
        let msg_timeout = match self.msg_timeout {
            0 => current.msg_timeout,
            millis => within(millis, MIN_MILLIS..=whole_millis(limits.max_msg_timeout))
                .ok_or(CommandError::MessageTimeout(millis))?,
        };
        Ok(ClientSettings {
            heartbeat_interval,
            output_buffer_size,
            output_buffer_timeout,
            sample_rate,
            msg_timeout,
        })
    }
}

fn within(millis: i64, range: RangeInclusive<i64>) -> Option<Duration> {
    let in_range = range.contains(&millis);
    u64::try_from(millis)
        .ok()
        .filter(|_| in_range)
        .map(Duration::from_millis)
}

/// Compat: bounds are cut to whole milliseconds (client_v2.go).
pub(super) fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Compat: half of a fixed 60 s, not a flag (client_v2.go, newClientV2).
const DEFAULT_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_OUTPUT_BUFFER_BYTES: usize = 16 * 1024;
const MIN_OUTPUT_BUFFER_BYTES: i64 = 64;
/// The shortest heartbeat interval and message timeout.
const MIN_MILLIS: i64 = 1000;
const MAX_SAMPLE_RATE: u8 = 99;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Upstream's defaults, but for a bound that is not in whole milliseconds.
    pub(in crate::identify) fn limits() -> IdentifyLimits {
        IdentifyLimits {
            max_heartbeat_interval: Duration::from_mins(1),
            min_output_buffer_timeout: Duration::from_micros(25_900),
            max_output_buffer_timeout: Duration::from_secs(30),
            max_output_buffer_size: 65536,
            max_msg_timeout: Duration::from_mins(15),
            default_output_buffer_timeout: Duration::from_millis(250),
            default_msg_timeout: Duration::from_mins(1),
        }
    }

    fn check(json: &str, change: impl FnOnce(&mut ClientSettings)) {
        let mut expected = ClientSettings::defaults(&limits());
        change(&mut expected);
        let request = IdentifyRequest::parse(json.as_bytes()).unwrap();
        assert_eq!(request.validate(&limits()), Ok(expected), "{json}");
    }

    fn check_refused(json: &str, body: &str) {
        let request = IdentifyRequest::parse(json.as_bytes()).unwrap();
        let refused = request.validate(&limits()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("E_BAD_BODY IDENTIFY {body}"),
            "{json}"
        );
    }

    #[test]
    fn a_client_that_asks_for_nothing_gets_the_defaults() {
        check("{}", |settings| {
            assert_eq!(settings.heartbeat_interval, Some(Duration::from_secs(30)));
            assert_eq!(settings.output_buffer_size, 16384);
            assert_eq!(
                settings.output_buffer_timeout,
                Some(Duration::from_millis(250))
            );
            assert_eq!(settings.sample_rate, 0);
            assert_eq!(settings.msg_timeout, Duration::from_mins(1));
        });
    }

    #[test]
    fn values_at_both_bounds_are_taken() {
        let millis = Duration::from_millis;
        for (value, interval) in [(1000, millis(1000)), (60000, millis(60000))] {
            check(
                &format!(r#"{{"heartbeat_interval":{value}}}"#),
                |settings| {
                    settings.heartbeat_interval = Some(interval);
                },
            );
        }
        for value in [25, 30000] {
            check(
                &format!(r#"{{"output_buffer_timeout":{value}}}"#),
                |settings| {
                    settings.output_buffer_timeout = Some(millis(value));
                },
            );
        }
        for value in [64, 65536] {
            check(
                &format!(r#"{{"output_buffer_size":{value}}}"#),
                |settings| {
                    settings.output_buffer_size = value;
                },
            );
        }
        check(r#"{"sample_rate":99}"#, |settings| {
            settings.sample_rate = 99;
        });
        for value in [1000, 900_000] {
            check(&format!(r#"{{"msg_timeout":{value}}}"#), |settings| {
                settings.msg_timeout = millis(value);
            });
        }
    }

    #[test]
    fn minus_one_turns_things_off() {
        check(r#"{"heartbeat_interval":-1}"#, |settings| {
            settings.heartbeat_interval = None;
        });
        check(r#"{"output_buffer_timeout":-1}"#, |settings| {
            settings.output_buffer_timeout = None;
        });
        check(
            r#"{"output_buffer_size":-1,"output_buffer_timeout":100}"#,
            |settings| {
                settings.output_buffer_size = 1;
                settings.output_buffer_timeout = None;
            },
        );
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for value in [-2, 1, 999, 60001, i64::MAX, i64::MIN] {
            let text = format!("heartbeat interval ({value}) is invalid");
            check_refused(&format!(r#"{{"heartbeat_interval":{value}}}"#), &text);
        }
        for value in [-2, 1, 24, 30001, i64::MAX, i64::MIN] {
            let text = format!("output buffer timeout ({value}) is invalid");
            check_refused(&format!(r#"{{"output_buffer_timeout":{value}}}"#), &text);
        }
        for value in [-2, 1, 63, 65537, i64::MAX, i64::MIN] {
            let text = format!("output buffer size ({value}) is invalid");
            check_refused(&format!(r#"{{"output_buffer_size":{value}}}"#), &text);
        }
        for value in [-1, 100, 256, i32::MIN] {
            let text = format!("sample rate ({value}) is invalid");
            check_refused(&format!(r#"{{"sample_rate":{value}}}"#), &text);
        }
        for value in [-1, 1, 999, 900_001, i64::MAX, i64::MIN] {
            let text = format!("msg timeout ({value}) is invalid");
            check_refused(&format!(r#"{{"msg_timeout":{value}}}"#), &text);
        }
    }

    #[test]
    fn the_first_failure_in_upstreams_order_wins() {
        let mut request = IdentifyRequest {
            heartbeat_interval: 1,
            output_buffer_timeout: 1,
            output_buffer_size: 1,
            sample_rate: 100,
            msg_timeout: 1,
            ..IdentifyRequest::default()
        };
        let refused = |request: &IdentifyRequest| request.validate(&limits()).unwrap_err();
        assert_eq!(refused(&request), CommandError::HeartbeatInterval(1));
        request.heartbeat_interval = 0;
        assert_eq!(refused(&request), CommandError::OutputBufferTimeout(1));
        request.output_buffer_timeout = 0;
        assert_eq!(refused(&request), CommandError::OutputBufferSize(1));
        request.output_buffer_size = 0;
        assert_eq!(refused(&request), CommandError::SampleRate(100));
        request.sample_rate = 0;
        assert_eq!(refused(&request), CommandError::MessageTimeout(1));
    }

    #[test]
    fn a_further_identify_keeps_what_it_does_not_name_but_the_sample_rate() {
        let first = r#"{"heartbeat_interval":-1,"output_buffer_size":-1,"msg_timeout":5000,"sample_rate":9}"#;
        let first = IdentifyRequest::parse(first.as_bytes()).unwrap();
        let first = first.validate(&limits()).unwrap();
        let second = IdentifyRequest::default()
            .revise(&first, &limits())
            .unwrap();
        assert_eq!(
            second,
            ClientSettings {
                sample_rate: 0,
                ..first
            }
        );
    }
}
