//! Which settings nsqd starts with: upstream's checks in upstream's order, then ours where upstream
//! would crash later.

use std::time::Duration;

use nsq_daemon::go_duration::GoDuration;
use nsq_daemon::http::HttpLimits;

use crate::drain::address::Address;

use super::table::NsqdOptions;
use super::tls_words::TlsRequired;

/// Settings nsqd does not start with.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum SettingsError {
    #[error("--max-deflate-level must be [1,9]")]
    MaxDeflateLevel,
    #[error("--node-id must be [0,1024)")]
    NodeId,
    #[error("cannot require TLS client connections without TLS key and cert")]
    TlsWithoutCertificate,
    #[error("--auth-http-request-method must be post or get")]
    AuthMethod,
    #[error("invalid E2E processing latency percentile: {0}")]
    Percentile(f64),
    #[error("--{flag}={value}: {rule}")]
    OutOfRange {
        flag: &'static str,
        value: String,
        rule: &'static str,
    },
}

/// Checks `options` and sets what follows from others: a client policy implies that TLS is required.
pub(super) fn check(options: &mut NsqdOptions) -> Result<(), SettingsError> {
    if !(1..=9).contains(&options.max_deflate_level) {
        return Err(SettingsError::MaxDeflateLevel);
    }
    if !(0..1024).contains(&options.node_id) {
        return Err(SettingsError::NodeId);
    }
    if !options.tls_client_auth_policy.is_empty() && options.tls_required == TlsRequired::No {
        options.tls_required = TlsRequired::Yes;
    }
    let has_certificate = !options.tls_cert.is_empty() || !options.tls_key.is_empty();
    if options.tls_required != TlsRequired::No && !has_certificate {
        return Err(SettingsError::TlsWithoutCertificate);
    }
    if !["post", "get"].contains(&options.auth_http_request_method.as_str()) {
        return Err(SettingsError::AuthMethod);
    }
    let percentiles = options.e2e_processing_latency_percentiles.iter();
    for &percentile in percentiles {
        // Not `<= 0`: a NaN is no percentile either.
        if !(percentile > 0.0 && percentile <= 1.0) {
            return Err(SettingsError::Percentile(percentile));
        }
    }
    if !options.drain_to.is_empty()
        && let Err(rule) = Address::parse(&options.drain_to)
    {
        let (flag, value) = ("drain-to", options.drain_to.clone());
        return Err(SettingsError::OutOfRange { flag, value, rule });
    }
    check_ranges(options)
}

/// Values that upstream accepts, to panic over them or to serve no one afterwards.
fn check_ranges(options: &NsqdOptions) -> Result<(), SettingsError> {
    for (flag, value) in [
        ("mem-queue-size", options.mem_queue_size),
        ("max-free-segment-bytes", options.max_free_segment_bytes),
        ("max-channel-consumers", options.max_channel_consumers),
        ("metrics-max-topics", options.metrics_max_topics),
        ("metrics-max-channels", options.metrics_max_channels),
    ] {
        if value < 0 {
            let value = value.to_string();
            let rule = "must not be negative";
            return Err(SettingsError::OutOfRange { flag, value, rule });
        }
    }
    let (header_bytes, headers) = (options.http_max_header_bytes, options.http_max_headers);
    if let Some((flag, value, rule)) = HttpLimits::wrong(header_bytes, headers) {
        return Err(SettingsError::OutOfRange { flag, value, rule });
    }
    let wrong_duration = |flag, value: Duration, rule| {
        let value = GoDuration::from(value).to_string();
        Err(SettingsError::OutOfRange { flag, value, rule })
    };
    for (flag, value) in [
        ("sync-timeout", options.sync_timeout),
        ("output-buffer-timeout", options.output_buffer_timeout),
    ] {
        if value.is_zero() {
            return wrong_duration(flag, value, "must be more than 0");
        }
    }
    let keeps_percentiles = !options.e2e_processing_latency_percentiles.is_empty();
    let window = options.e2e_processing_latency_window_time;
    if keeps_percentiles && window.is_zero() {
        let flag = "e2e-processing-latency-window-time";
        return wrong_duration(flag, window, "must be more than 0");
    }
    let is_sent_to_statsd = !options.statsd_address.is_empty();
    if is_sent_to_statsd && options.statsd_interval <= STATSD_PAUSE {
        let rule = "must be more than 1s, over which the packets of one sending are spread";
        return wrong_duration("statsd-interval", options.statsd_interval, rule);
    }
    Ok(())
}

/// Packets go out evenly over the interval less this.
const STATSD_PAUSE: Duration = Duration::from_secs(1);
