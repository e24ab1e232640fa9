//! `/config/:opt`: options read, and two of them changed, while nsqadmin runs.

use std::sync::Arc;

use nsq_daemon::http::{ApiError, BodyError, Remote, Reply, Request, StatusCode};
use nsq_daemon::options::{ConfigValue, Options as _};

use crate::Nsqadmin;

pub(super) async fn show(nsqadmin: Arc<Nsqadmin>, request: Request) -> Result<Reply, ApiError> {
    check(&nsqadmin, &request)?;
    let option = request.path_param("opt");
    let value = nsqadmin.settings.config_value(option);
    let value = value.filter(|_| !SECRET.contains(&option));
    value
        .map(reply)
        .ok_or(ApiError::bad_request("INVALID_OPTION"))
}

pub(super) async fn change(
    nsqadmin: Arc<Nsqadmin>,
    mut request: Request,
) -> Result<Reply, ApiError> {
    check(&nsqadmin, &request)?;
    let bad_size = || ApiError::too_large("INVALID_VALUE");
    let body = request.read_body(LONGEST_VALUE_BYTES).await;
    let body = body.map_err(|error| match error {
        BodyError::TooBig { .. } => bad_size(),
        BodyError::Read(_) => ApiError::internal("INTERNAL_ERROR"),
        BodyError::Late(answer) => answer,
    })?;
    if body.is_empty() {
        return Err(bad_size());
    }
    let option = request.path_param("opt");
    let value = nsqadmin.settings.put_config_value(option, &body);
    let value = value.map_err(|error| ApiError::bad_request(error.to_string()))?;
    tracing::info!("CONFIG: {option} changed by {}", request.remote());
    Ok(reply(value))
}

/// Only addresses of `--allow-config-from-cidr`; admins or not is no question here.
fn check(nsqadmin: &Nsqadmin, request: &Request) -> Result<(), ApiError> {
    let Some(readers) = &nsqadmin.config_readers else {
        return Ok(());
    };
    match request.remote() {
        Remote::Tcp(address) if readers.contains(address.ip()) => Ok(()),
        Remote::Tcp(_) => Err(ApiError::new(StatusCode::FORBIDDEN, "FORBIDDEN")),
        Remote::Unix => Err(ApiError::bad_request("INVALID_REMOTE_ADDR")),
    }
}

/// Compat: an empty string has no content type, as nothing was there to sniff at (net/http).
fn reply(value: ConfigValue) -> Reply {
    match value {
        ConfigValue::Text(text) if text.is_empty() => Reply::empty(),
        ConfigValue::Text(text) => Reply::text(text),
        ConfigValue::Json(json) => Reply::raw_json(json),
    }
}

/// Options that are never shown.
const SECRET: [&str; 1] = ["login_users"];

const LONGEST_VALUE_BYTES: usize = 1 << 20;
