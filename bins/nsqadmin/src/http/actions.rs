//! What the API does: create, delete, pause, unpause, empty, tombstone.

use std::sync::Arc;

use nsq_daemon::http::{ApiError, BodyError, Reply, Request};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Nsqadmin;
use crate::admin::{Actor, Deed, perform};
use crate::cluster::{Action, Target, Warnings};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names {
    topic: Option<String>,
    channel: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Order {
    action: Option<String>,
    /// Beyond upstream: one nsqd alone.
    node: Option<String>,
}

/// `POST /api/topics` with `{"topic":"t"}` or `{"topic":"t","channel":"c"}`.
pub(super) async fn create(
    nsqadmin: Arc<Nsqadmin>,
    mut request: Request,
) -> Result<Reply, ApiError> {
    let actor = actor(&nsqadmin, &request)?;
    let Names { topic, channel } = read(&mut request).await?;
    let topic = topic.unwrap_or_default();
    let target = Target {
        topic: &topic,
        channel: channel.as_deref().filter(|channel| !channel.is_empty()),
    };
    let done = perform(&nsqadmin, &actor, Deed::Create(target)).await?;
    Ok(reply(&done))
}

/// `DELETE /api/topics/:topic` and `/api/topics/:topic/:channel`.
pub(super) async fn delete(nsqadmin: Arc<Nsqadmin>, request: Request) -> Result<Reply, ApiError> {
    let actor = actor(&nsqadmin, &request)?;
    let deed = Deed::Delete(target(&request));
    let done = perform(&nsqadmin, &actor, deed).await?;
    Ok(reply(&done))
}

/// `POST /api/topics/:topic` and `/api/topics/:topic/:channel` with `{"action":"pause"}`.
pub(super) async fn act(nsqadmin: Arc<Nsqadmin>, mut request: Request) -> Result<Reply, ApiError> {
    let actor = actor(&nsqadmin, &request)?;
    let Order { action, node } = read(&mut request).await?;
    let action = match action.as_deref() {
        Some("pause") => Action::Pause,
        Some("unpause") => Action::Unpause,
        Some("empty") => Action::Empty,
        _ => return Err(ApiError::bad_request("INVALID_ACTION")),
    };
    let deed = Deed::Act(action, target(&request), node.as_deref());
    let done = perform(&nsqadmin, &actor, deed).await?;
    Ok(reply(&done))
}

/// `DELETE /api/nodes/:node` with `{"topic":"t"}`.
pub(super) async fn tombstone(
    nsqadmin: Arc<Nsqadmin>,
    mut request: Request,
) -> Result<Reply, ApiError> {
    let actor = actor(&nsqadmin, &request)?;
    let names: Names = read(&mut request)
        .await
        .map_err(|_| ApiError::bad_request("INVALID_BODY"))?;
    let topic = names.topic.unwrap_or_default();
    let deed = Deed::Tombstone {
        topic: &topic,
        node: request.path_param("node"),
    };
    let done = perform(&nsqadmin, &actor, deed).await?;
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

/// Reads a JSON body, whatever its content type.
///
/// Compat: what follows the first value is ignored, and `null` is an object without keys.
async fn read<T: DeserializeOwned + Default>(request: &mut Request) -> Result<T, ApiError> {
    let body = request.read_body(LONGEST_BODY_BYTES).await;
    let body = body.map_err(|error| match error {
        BodyError::TooBig { .. } => ApiError::too_large("BODY_TOO_BIG"),
        BodyError::Read(_) => ApiError::bad_request("unexpected EOF"),
        BodyError::Late(answer) => answer,
    })?;
    let mut values = serde_json::Deserializer::from_slice(&body).into_iter::<Option<T>>();
    match values.next() {
        None => Err(ApiError::bad_request("EOF")),
        Some(Ok(value)) => Ok(value.unwrap_or_default()),
        Some(Err(error)) if error.is_eof() => Err(ApiError::bad_request("unexpected EOF")),
        Some(Err(error)) => Err(ApiError::bad_request(error.to_string())),
    }
}

/// Two names and an action.
const LONGEST_BODY_BYTES: usize = 64 * 1024;
