//! Which settings nsqadmin starts with: upstream's checks in upstream's order, then ours.

use std::net::ToSocketAddrs as _;
use std::time::Duration;

use nsq_daemon::go_duration::GoDuration;
use nsq_daemon::http::HttpLimits;
use nsq_daemon::listen::split_host_port;

use super::Settings;

/// Settings nsqadmin does not start with.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum SettingsError {
    #[error("--nsqd-http-address or --lookupd-http-address required")]
    NoDaemons,
    #[error("use --nsqd-http-address or --lookupd-http-address not both")]
    BothKinds,
    #[error("--{missing} must be specified with --{given}")]
    HalfAPair {
        given: &'static str,
        missing: &'static str,
    },
    #[error("failed to resolve --{flag} ({address}) - {why}")]
    Address {
        flag: &'static str,
        address: String,
        why: String,
    },
    #[error("--{flag}={value}: {rule}")]
    OutOfRange {
        flag: &'static str,
        value: String,
        rule: &'static str,
    },
}

/// Checks `settings`, and brings the base path into its one form.
pub(super) fn check(settings: &mut Settings) -> Result<(), SettingsError> {
    let lookupds = settings.nsqlookupd_http_addresses.current();
    let nsqds = &settings.nsqd_http_addresses;
    match (lookupds.is_empty(), nsqds.is_empty()) {
        (true, true) => return Err(SettingsError::NoDaemons),
        (false, false) => return Err(SettingsError::BothKinds),
        (true, false) | (false, true) => {}
    }
    let (cert, key) = ("http-client-tls-cert", "http-client-tls-key");
    match (
        settings.http_client_tls_cert.is_empty(),
        settings.http_client_tls_key.is_empty(),
    ) {
        (false, true) => {
            let (given, missing) = (cert, key);
            return Err(SettingsError::HalfAPair { given, missing });
        }
        (true, false) => {
            let (given, missing) = (key, cert);
            return Err(SettingsError::HalfAPair { given, missing });
        }
        (true, true) | (false, false) => {}
    }
    for address in lookupds.iter() {
        check_address("lookupd-http-address", address)?;
    }
    for address in nsqds.iter() {
        check_address("nsqd-http-address", address)?;
    }
    settings.base_path = normalized(&settings.base_path);
    check_ranges(settings)
}

/// Values that upstream has no use for either, or that are ours.
fn check_ranges(settings: &Settings) -> Result<(), SettingsError> {
    if settings
        .base_path
        .split('/')
        .any(|segment| segment.starts_with([':', '*']))
    {
        return Err(SettingsError::OutOfRange {
            flag: "base-path",
            value: settings.base_path.clone(),
            rule: "no part of it may begin with : or *",
        });
    }
    let (header_bytes, headers) = (settings.http_max_header_bytes, settings.http_max_headers);
    if let Some((flag, value, rule)) = HttpLimits::wrong(header_bytes, headers) {
        return Err(SettingsError::OutOfRange { flag, value, rule });
    }
    let too_short = |flag, value: Duration, rule| {
        let value = GoDuration::from(value).to_string();
        Err(SettingsError::OutOfRange { flag, value, rule })
    };
    let interval = settings.history_interval;
    if !interval.is_zero() && !HISTORY_INTERVALS.contains(&interval) {
        return too_short(
            "history-interval",
            interval,
            "must be 0, or from 1s to 1m0s",
        );
    }
    let retention = settings.history_retention;
    if !HISTORY_RETENTIONS.contains(&retention) {
        return too_short(
            "history-retention",
            retention,
            "must be from 1m0s to 168h0m0s",
        );
    }
    if settings.login_lifetime < Duration::from_mins(1) {
        return too_short(
            "login-lifetime",
            settings.login_lifetime,
            "must be 1m0s at least",
        );
    }
    Ok(())
}

/// `host:port` whose host is known now: a wrong name shows at the start and not as an empty page.
fn check_address(flag: &'static str, address: &str) -> Result<(), SettingsError> {
    let error = |why: String| SettingsError::Address {
        flag,
        address: address.to_owned(),
        why,
    };
    let (host, port) =
        split_host_port(address).map_err(|why| error(format!("address {address}: {why}")))?;
    let port: u16 = port
        .parse()
        .map_err(|_| error(format!("address {address}: invalid port")))?;
    let host = if host.is_empty() { "localhost" } else { host };
    let found = (host, port).to_socket_addrs();
    match found.map(|mut addresses| addresses.next()) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(error(format!("lookup {host}: no such host"))),
        Err(why) => Err(error(format!("lookup {host}: {why}"))),
    }
}

/// With a slash in front and none at the end, and without empty, `.` and `..` parts.
fn normalized(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

const HISTORY_INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_mins(1);
const HISTORY_RETENTIONS: std::ops::RangeInclusive<Duration> =
    Duration::from_mins(1)..=Duration::from_hours(168);
