//! nsqd's HTTP API: publishing, managing topics and channels, looking at messages, statistics,
//! options.
//!
//! Routing, headers and error bodies are [`nsq_daemon::http`]'s; each module here answers the endpoints of one
//! subject.

pub(crate) mod batch;
mod config;
mod debug;
mod drain;
mod manage;
mod metrics;
mod peek;
mod publish;
mod self_report;
mod stats;

use std::future::{Ready, ready};
use std::sync::Arc;

use nsq_core::{StoreError, Topic};
use nsq_daemon::http::{ApiError, Method, Query, Reply, Request, Router, StatusCode};
use nsq_protocol::TopicName;

pub(crate) use self::metrics::Metrics;
use crate::nsqd::Nsqd;

/// All endpoints, over one nsqd.
pub(crate) fn router(nsqd: Arc<Nsqd>) -> Router<Nsqd> {
    let counts = Arc::clone(&nsqd.metrics.requests);
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
        .route(
            Method::GET,
            "/info",
            at_once(|nsqd, _| Ok(self_report::info(nsqd))),
        )
        .quiet_route(Method::POST, "/pub", publish::publish)
        .quiet_route(Method::POST, "/mpub", publish::publish_many)
        .route(Method::GET, "/stats", stats::stats)
        .quiet_route(Method::GET, "/metrics", metrics::metrics)
        .route(Method::GET, "/config/:opt", at_once(config::show))
        .route(Method::PUT, "/config/:opt", config::change);
    let router = drain::add_routes(manage::add_routes(router));
    debug::add_routes(peek::add_routes(router))
}

/// What plain HTTP answers to everything while TLS is required. `port` is that of HTTPS, 0 when it is off.
pub(crate) fn tls_required(port: u16) -> Reply {
    let body = format!(r#"{{"message": "TLS_REQUIRED", "https_port": {port}}}"#);
    Reply::raw_json(body).with_status(StatusCode::FORBIDDEN)
}

/// A handler that needs neither the request's body nor to wait.
fn at_once(
    answer: impl Fn(&Nsqd, &Request) -> Result<Reply, ApiError>,
) -> impl Fn(Arc<Nsqd>, Request) -> Ready<Result<Reply, ApiError>> {
    move |nsqd, request| ready(answer(&nsqd, &request))
}

/// Runs what may block on the disk or take long, where it holds up nobody else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("HTTP: {error}");
        internal_error()
    })
}

/// The topic that a publish or `/topic/create` names, made if it is new.
async fn wanted_topic(nsqd: &Nsqd, query: &Query) -> Result<Arc<Topic>, ApiError> {
    let name = query
        .first("topic")
        .ok_or(ApiError::bad_request("MISSING_ARG_TOPIC"))?;
    if let Some(topic) = nsqd.broker.topic(name) {
        return Ok(topic);
    }
    let name = TopicName::parse(name).map_err(|_| ApiError::bad_request("INVALID_TOPIC"))?;
    nsqd.create_topic(&name)
        .await
        .map_err(|error| not_made(&format!("TOPIC({name})"), &error))
}

/// The answer when `what`, a topic or a channel, could not be made.
fn not_made(what: &str, error: &StoreError) -> ApiError {
    match error {
        StoreError::Exiting => exiting(),
        StoreError::Draining => drain::draining(),
        StoreError::Refused(why) => {
            let code = format!("LIMIT_REACHED: {why}");
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, code)
        }
        StoreError::Io { .. } | StoreError::Log(_) => {
            tracing::error!("{what}: cannot be made: {error}");
            internal_error()
        }
    }
}

fn exiting() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "EXITING")
}

fn internal_error() -> ApiError {
    ApiError::internal("INTERNAL_ERROR")
}
