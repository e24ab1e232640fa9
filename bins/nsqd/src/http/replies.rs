//! Answers that several endpoints give, and how a handler gives them.

use std::future::{Ready, ready};
use std::sync::Arc;

use nsq_core::StoreError;
use nsq_daemon::http::{ApiError, BodyError, Reply, Request, StatusCode};

use crate::cluster_ops::ClusterError;
use crate::nsqd::Nsqd;
use crate::topics::NotMade;

/// A handler that needs neither the request's body nor to wait.
pub(super) fn at_once(
    answer: impl Fn(&Nsqd, &Request) -> Result<Reply, ApiError>,
) -> impl Fn(Arc<Nsqd>, Request) -> Ready<Result<Reply, ApiError>> {
    move |nsqd, request| ready(answer(&nsqd, &request))
}

/// Runs what may block on the disk or take long, where it holds up no one else.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("HTTP: {error}");
        internal_error()
    })
}

/// The answer when `what`, a topic or a channel, could not be made.
pub(super) fn not_made(what: &str, error: &StoreError) -> ApiError {
    match error {
        StoreError::Exiting => exiting(),
        StoreError::Draining => draining(),
        StoreError::Refused(why) => {
            let code = format!("LIMIT_REACHED: {why}");
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, code)
        }
        StoreError::Io { .. } | StoreError::Log(_) => {
            tracing::error!("{what}: cannot be created: {error}");
            internal_error()
        }
    }
}

/// The answer when `what`, a topic or a channel, could not be made here or in the cluster.
pub(super) fn not_made_anywhere(what: &str, error: &NotMade) -> ApiError {
    match error {
        NotMade::Here(error) => not_made(what, error),
        NotMade::Cluster(error) => refused_by_cluster(error),
    }
}

/// The answer when the cluster did not do what it was asked for.
pub(super) fn refused_by_cluster(error: &ClusterError) -> ApiError {
    let code = match error {
        ClusterError::NoTopic => return topic_not_found(),
        ClusterError::NoChannel => return channel_not_found(),
        ClusterError::Exiting => return exiting(),
        ClusterError::NotLeading => "NOT_LEADING",
        ClusterError::Unavailable(_) => "CLUSTER_UNAVAILABLE",
    };
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("{code}: {error}"))
}

pub(super) fn exiting() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "EXITING")
}

pub(super) fn internal_error() -> ApiError {
    ApiError::internal("INTERNAL_ERROR")
}

/// The answer to whatever would bring something new.
pub(super) fn draining() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "DRAINING")
}

pub(super) fn unreadable(error: &BodyError, too_big: &'static str) -> ApiError {
    match error {
        BodyError::TooBig { .. } => ApiError::too_large(too_big),
        BodyError::Read(_) => internal_error(),
        BodyError::Late(answer) => answer.clone(),
    }
}

pub(super) fn topic_not_found() -> ApiError {
    ApiError::not_found("TOPIC_NOT_FOUND")
}

pub(super) fn channel_not_found() -> ApiError {
    ApiError::not_found("CHANNEL_NOT_FOUND")
}
