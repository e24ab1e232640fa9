//! `/config/:opt`: options read, and two of them changed, while nsqd runs.

use std::sync::Arc;

use nsq_daemon::http::{ApiError, BodyError, Reply, Request};
use nsq_daemon::options::ConfigValue;

use super::arguments::limit_of;
use super::replies::internal_error;
use crate::nsqd::Nsqd;

pub(super) fn show(nsqd: &Nsqd, request: &Request) -> Result<Reply, ApiError> {
    let value = nsqd.settings.config_value(request.path_param("opt"));
    value
        .map(reply)
        .ok_or(ApiError::bad_request("INVALID_OPTION"))
}

pub(super) async fn change(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let bad_size = || ApiError::too_large("INVALID_VALUE");
    let body = request
        .read_body(limit_of(nsqd.server.settings().limits.max_msg_size))
        .await;
    let body = body.map_err(|error| match error {
        BodyError::TooBig { .. } => bad_size(),
        BodyError::Read(_) => internal_error(),
        BodyError::Late(answer) => answer,
    })?;
    if body.is_empty() {
        return Err(bad_size());
    }
    let option = request.path_param("opt");
    let value = nsqd.settings.put_config_value(option, &body);
    let value = value.map_err(|error| ApiError::bad_request(error.to_string()))?;
    nsqd.registration.apply(&nsqd.settings, &nsqd.broker);
    Ok(reply(value))
}

/// Compat: an empty string has no content type, as nothing was there to sniff at (net/http).
fn reply(value: ConfigValue) -> Reply {
    match value {
        ConfigValue::Text(text) if text.is_empty() => Reply::empty(),
        ConfigValue::Text(text) => Reply::text(text),
        ConfigValue::Json(json) => Reply::raw_json(json),
    }
}
