//! One question to one daemon.

use std::sync::Arc;
use std::time::Duration;

use nsq_daemon::http::client::{self, ClientError, Limits};
use serde::de::DeserializeOwned;

use super::failure::{DaemonKind, Failure};
use crate::settings::Settings;

/// Asks daemons. A clone shares everything.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    limits: Arc<Limits>,
}

/// TLS files that cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ClientSetupError(String);

impl Fetcher {
    pub(super) fn new(settings: &Settings) -> Result<Self, ClientSetupError> {
        let limits = Limits {
            connect_timeout: settings.http_client_connect_timeout,
            total_timeout: settings.http_client_request_timeout,
            body_bytes: LONGEST_ANSWER_BYTES,
        };
        Ok(Self {
            limits: Arc::new(limits),
        })
    }

    /// GETs `path` (with its query) and decodes the JSON of a 200.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        kind: DaemonKind,
        address: &str,
        path: &str,
    ) -> Result<T, Failure> {
        let url = format!("http://{address}{path}");
        tracing::debug!("CI: querying {kind} {url}");
        let answer = client::get_json(&url, &self.limits).await;
        answer.map_err(|error| failure(kind, address, "GET", path, &error))
    }

    /// The same with less patience, where a page waits for all.
    pub(super) fn within(&self, limit: Duration) -> Self {
        let mut limits = *self.limits;
        limits.total_timeout = limits.total_timeout.min(limit);
        Self {
            limits: Arc::new(limits),
        }
    }
}

fn failure(
    kind: DaemonKind,
    address: &str,
    method: &str,
    path: &str,
    error: &ClientError,
) -> Failure {
    let status = match error {
        ClientError::Status { status, .. } => Some(status.as_u16()),
        _ => None,
    };
    Failure {
        kind,
        address: address.to_owned(),
        request: format!("{method} {path}"),
        status,
        cause: error.to_string(),
    }
}

/// The statistics of an nsqd with some ten thousand channels and clients; more is taken for garbage.
const LONGEST_ANSWER_BYTES: usize = 256 << 20;
