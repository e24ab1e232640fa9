//! The actions of the API: create, delete, pause, unpause, empty, tombstone.

use std::sync::Arc;

use nsq_daemon::http::{ApiError, Reply, Request};
use serde::Serialize;

use crate::Nsqadmin;
use crate::admin::{Action, Actor, perform};
use crate::cluster::{QueueAction, Target, Warnings};

use super::body::read_fields;

/// `POST /api/topics` with `{"topic":"t"}` or `{"topic":"t","channel":"c"}`.
pub(super) async fn create(
    nsqadmin: Arc<Nsqadmin>,
    mut request: Request,
) -> Result<Reply, ApiError> {
    let actor = actor(&nsqadmin, &request)?;
    let [topic, channel] = read_fields(&mut request, ["topic", "channel"]).await?;
    let target = Target {
        topic: &topic,
        channel: Some(channel.as_str()).filter(|channel| !channel.is_empty()),
    };
    let done = perform(&nsqadmin, &actor, Action::Create(target)).await?;
    Ok(reply(&done))
}

/// `DELETE /api/topics/:topic` and `/api/topics/:topic/:channel`.
pub(super) async fn delete(nsqadmin: Arc<Nsqadmin>, request: Request) -> Result<Reply, ApiError> {
    let actor = actor(&nsqadmin, &request)?;
    let action = Action::Delete(target(&request));
    let done = perform(&nsqadmin, &actor, action).await?;
    Ok(reply(&done))
}

/// `POST /api/topics/:topic` and `/api/topics/:topic/:channel` with `{"action":"pause"}`.
pub(super) async fn act(nsqadmin: Arc<Nsqadmin>, mut request: Request) -> Result<Reply, ApiError> {
    let actor = actor(&nsqadmin, &request)?;
    let [action, node] = read_fields(&mut request, ["action", "node"]).await?;
    let action = match action.as_str() {
        "pause" => QueueAction::Pause,
        "unpause" => QueueAction::Unpause,
        "empty" => QueueAction::Empty,
        _ => return Err(ApiError::bad_request("INVALID_ACTION")),
    };
    // `node` is ours: one nsqd alone.
    let node = Some(node.as_str()).filter(|node| !node.is_empty());
    let action = Action::Queue(action, target(&request), node);
    let done = perform(&nsqadmin, &actor, action).await?;
    Ok(reply(&done))
}

/// `DELETE /api/nodes/:node` with `{"topic":"t"}`.
pub(super) async fn tombstone(
    nsqadmin: Arc<Nsqadmin>,
    mut request: Request,
) -> Result<Reply, ApiError> {
    let actor = actor(&nsqadmin, &request)?;
    let fields = read_fields(&mut request, ["topic"]).await;
    let [topic] = fields.map_err(|_| ApiError::bad_request("INVALID_BODY"))?;
    let action = Action::Tombstone {
        topic: &topic,
        node: request.path_param("node"),
    };
    let done = perform(&nsqadmin, &actor, action).await?;
    Ok(reply(&done))
}

/// Who acts, if they may: asked before the body is read.
fn actor(nsqadmin: &Nsqadmin, request: &Request) -> Result<Actor, ApiError> {
    let actor = Actor::of(nsqadmin, request);
    actor.check()?;
    Ok(actor)
}

fn target(request: &Request) -> Target<'_> {
    let channel = request.path_param("channel");
    Target {
        topic: request.path_param("topic"),
        channel: Some(channel).filter(|channel| !channel.is_empty()),
    }
}

fn reply(done: &Warnings) -> Reply {
    #[derive(Serialize)]
    struct Message {
        message: String,
    }
    Reply::json(&Message {
        message: done.message(),
    })
}
