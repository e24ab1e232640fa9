//! `/cluster`: how the cluster is, maintenance of this node, and removing a member.

use std::sync::Arc;

use nsq_daemon::http::{ApiError, Method, Reply, Request, Router, StatusCode};

use super::arguments::read;
use super::replies::blocking;
use crate::cluster_ops::{ClusterOps, RemoveError};
use crate::nsqd::Nsqd;

pub(super) fn add_routes(router: Router<Nsqd>) -> Router<Nsqd> {
    router
        .polled_route("/cluster", show)
        .route(Method::POST, "/cluster/remove", remove)
        .route(Method::POST, "/cluster/stepdown", step_down)
        .route(Method::POST, "/cluster/resume", resume)
}

async fn show(nsqd: Arc<Nsqd>, _: Request) -> Result<Reply, ApiError> {
    let ops = ops(&nsqd)?;
    // With many shards this takes a while.
    let report = blocking(move || ops.report()).await?;
    Ok(Reply::json(&report))
}

async fn remove(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let ops = ops(&nsqd)?;
    let query = read(&mut request).await?;
    let node = query.first("node").filter(|node| !node.is_empty());
    let node = node.ok_or(ApiError::bad_request("MISSING_ARG_NODE"))?;
    match ops.remove_member(node).await {
        Ok(removed) => Ok(Reply::json(&removed)),
        Err(error) => {
            let status = match error {
                RemoveError::Unknown(_) => StatusCode::NOT_FOUND,
                RemoveError::Last => StatusCode::CONFLICT,
                RemoveError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            Err(ApiError::new(status, error.to_string()))
        }
    }
}

async fn step_down(nsqd: Arc<Nsqd>, _: Request) -> Result<Reply, ApiError> {
    Ok(Reply::json(&ops(&nsqd)?.step_down().await))
}

async fn resume(nsqd: Arc<Nsqd>, _: Request) -> Result<Reply, ApiError> {
    Ok(Reply::json(&ops(&nsqd)?.resume()))
}

fn ops(nsqd: &Nsqd) -> Result<Arc<dyn ClusterOps>, ApiError> {
    let cluster = nsqd.cluster.as_ref().ok_or(ApiError::not_found(
        "NOT_CLUSTERED: this nsqd was started without --cluster-peer",
    ))?;
    Ok(Arc::clone(&cluster.ops))
}
