//! `/ping` and `/info`: whether nsqd is well, and what it is.

use nsq_daemon::http::{Reply, StatusCode};
use nsq_daemon::node_id::hostname;
use nsq_daemon::version::{self, VERSION};
use serde::Serialize;

use crate::nsqd::Nsqd;

pub(super) fn ping(nsqd: &Nsqd) -> Reply {
    let health = nsqd.view().health();
    let status = if health == "OK" {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    Reply::plain(status, health)
}

/// Whether new messages and clients are to be sent here.
pub(super) fn ready(nsqd: &Nsqd) -> Reply {
    let view = nsqd.view();
    let health = view.health();
    let state = if view.is_draining() {
        "NOK - draining".to_owned()
    } else if nsqd.server.is_exiting() {
        "NOK - exiting".to_owned()
    } else {
        health
    };
    let status = if state == "OK" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Reply::plain(status, state)
}

/// Compat: times are in nanoseconds here, in milliseconds in IDENTIFY's answer (doInfo, nsqd/http.go).
#[derive(Serialize)]
struct SelfReport<'a> {
    version: &'a str,
    broadcast_address: &'a str,
    hostname: &'a str,
    http_port: i32,
    tcp_port: i32,
    start_time: i64,
    #[serde(rename = "max_heartbeat_interval")]
    max_heartbeat_interval_nanos: u128,
    max_output_buffer_size: i64,
    #[serde(rename = "max_output_buffer_timeout")]
    max_output_buffer_timeout_nanos: u128,
    max_deflate_level: i64,
    topology_zone: &'a str,
    topology_region: &'a str,
    /// Not upstream's.
    build: String,
}

pub(super) fn info(nsqd: &Nsqd) -> Reply {
    let settings = &nsqd.settings;
    Reply::json(&SelfReport {
        version: VERSION,
        broadcast_address: &settings.broadcast_address,
        hostname: &hostname(),
        http_port: nsqd.ports.http.map_or(-1, i32::from),
        tcp_port: nsqd.ports.tcp.map_or(-1, i32::from),
        start_time: nsqd.started.unix_seconds,
        max_heartbeat_interval_nanos: settings.max_heartbeat_interval.as_nanos(),
        max_output_buffer_size: settings.max_output_buffer_size,
        max_output_buffer_timeout_nanos: settings.max_output_buffer_timeout.as_nanos(),
        max_deflate_level: settings.max_deflate_level,
        topology_zone: &settings.topology_zone,
        topology_region: &settings.topology_region,
        build: version::build(),
    })
}
