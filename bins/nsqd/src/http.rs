//! nsqd's HTTP API: publishing, managing topics and channels, looking at messages, statistics,
//! options.
//!
//! Routing, headers and error bodies are [`nsq_daemon::http`]'s; each module here answers the endpoints of one
//! subject.

mod arguments;
pub(crate) mod batch;
mod cluster;
mod config;
mod debug;
mod drain;
mod manage;
mod metrics;
mod peek;
mod publish;
mod replies;
mod self_report;
mod stats;

use std::sync::Arc;

use nsq_daemon::http::{Method, Reply, Router, StatusCode};

use self::replies::at_once;
use crate::nsqd::Nsqd;

/// All endpoints, over one nsqd.
pub(crate) fn router(nsqd: Arc<Nsqd>) -> Router<Nsqd> {
    let counts = Arc::clone(&nsqd.scrapes.requests);
    let router = Router::counted(nsqd, counts)
        .route(
            Method::GET,
            "/ping",
            at_once(|nsqd, _| Ok(self_report::ping(nsqd))),
        )
        .quiet_route(
            Method::GET,
            "/ready",
            at_once(|nsqd, _| Ok(self_report::ready(nsqd))),
        )
        .polled_route("/info", at_once(|nsqd, _| Ok(self_report::info(nsqd))))
        .quiet_route(Method::POST, "/pub", publish::publish)
        .quiet_route(Method::POST, "/mpub", publish::publish_many)
        .polled_route("/stats", stats::stats)
        .quiet_route(Method::GET, "/metrics", metrics::metrics)
        .route(Method::GET, "/config/:opt", at_once(config::show))
        .route(Method::PUT, "/config/:opt", config::change);
    let router = cluster::add_routes(drain::add_routes(manage::add_routes(router)));
    debug::add_routes(peek::add_routes(router))
}

/// What plain HTTP answers to everything while TLS is required. `port` is that of HTTPS, 0 when it is off.
pub(crate) fn tls_required(port: u16) -> Reply {
    let body = format!(r#"{{"message": "TLS_REQUIRED", "https_port": {port}}}"#);
    Reply::raw_json(body).with_status(StatusCode::FORBIDDEN)
}
