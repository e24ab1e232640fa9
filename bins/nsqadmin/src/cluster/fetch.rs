//! Requests to daemons.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nsq_daemon::http::client::{Cause, Client, ClientError, ClientOptions};
use nsq_daemon::version::VERSION;
use nsq_transport::tls::{Connector, Identity, MinVersion, PemFile, TlsError, Trust};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use tokio::time::timeout;

use super::failure::{DaemonKind, Failure};
use super::unresponsive::Unresponsive;
use crate::settings::Settings;

/// Asks daemons. A clone shares everything.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    client: Client,
    /// Less than the client's own patience; `None` for that.
    limit: Option<Duration>,
    unresponsive: Arc<Unresponsive>,
}

/// TLS files that cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ClientSetupError(#[from] TlsError);

impl Fetcher {
    pub(super) fn new(settings: &Settings) -> Result<Self, ClientSetupError> {
        let identity = Identity::load(
            &PemFile::new("http-client-tls-cert", &settings.http_client_tls_cert),
            &PemFile::new("http-client-tls-key", &settings.http_client_tls_key),
        )?;
        let authorities = PemFile::new(
            "http-client-tls-root-ca-file",
            &settings.http_client_tls_root_ca_file,
        );
        let trust = Trust::load(&authorities, settings.http_client_tls_insecure_skip_verify)?;
        let client = Client::new(ClientOptions {
            connect_timeout: settings.http_client_connect_timeout,
            request_timeout: settings.http_client_request_timeout,
            tls: Some(Connector::new(trust, identity, MinVersion::default())),
            user_agent: format!("nsqadmin/{VERSION}"),
            body_limit: LONGEST_ANSWER_BYTES,
        });
        Ok(Self {
            client,
            limit: None,
            unresponsive: Arc::default(),
        })
    }

    /// The client itself, for others than daemons.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The same, but waiting no longer than this for a daemon, and less for the [`Unresponsive`]: a page waits for all.
    pub(super) fn within(&self, limit: Duration) -> Self {
        Self {
            limit: Some(limit),
            ..self.clone()
        }
    }

    /// The same, marked as polling: the daemons log such requests at DEBUG.
    pub(super) fn polling(&self) -> Self {
        Self {
            client: self.client.polling(),
            ..self.clone()
        }
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
        let answer = self.client.get_json::<Object<T>>(&url);
        let answer = match self.limit {
            None => answer.await,
            Some(limit) => {
                let limit = self.unresponsive.patience(address, limit, Instant::now());
                let answer = timeout(limit, answer).await.unwrap_or_else(|_| {
                    Err(ClientError {
                        method: "Get",
                        url: url.clone(),
                        cause: Cause::Timeout(limit),
                    })
                });
                match &answer {
                    Err(error) if is_silence(&error.cause) => {
                        self.unresponsive.was_silent(address, limit, Instant::now());
                    }
                    Ok(_) | Err(_) => self.unresponsive.answered(address),
                }
                answer
            }
        };
        match answer {
            Ok(Object(answer)) => Ok(answer),
            Err(error) => Err(failure(kind, address, &error)),
        }
    }

    /// POSTs `body` to `path` (with its query).
    pub(super) async fn send(
        &self,
        kind: DaemonKind,
        address: &str,
        path: &str,
        body: Bytes,
    ) -> Result<(), Failure> {
        let url = format!("http://{address}{path}");
        tracing::info!("CI: querying {kind} {url}");
        let answer = self.client.send(&url, "application/octet-stream", body);
        answer.await.map_err(|error| failure(kind, address, &error))
    }

    /// POSTs nothing to `path` (with its query).
    pub(super) async fn order(
        &self,
        kind: DaemonKind,
        address: &str,
        path: &str,
    ) -> Result<(), Failure> {
        let url = format!("http://{address}{path}");
        tracing::info!("CI: querying {kind} {url}");
        let answer = self.client.order(&url).await;
        answer.map_err(|error| failure(kind, address, &error))
    }
}

/// A JSON object. Structs by themselves are also taken from an array, and then `[]` would be a daemon without topics.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// Whether nothing at all was heard for as long as it was waited for.
fn is_silence(cause: &Cause) -> bool {
    match cause {
        Cause::Timeout(_) => true,
        Cause::Connect { why, .. } => why == CONNECT_TIMEOUT,
        _ => false,
    }
}

fn failure(kind: DaemonKind, address: &str, error: &ClientError) -> Failure {
    let status = match &error.cause {
        Cause::Status { status, .. } => Some(status.as_u16()),
        _ => None,
    };
    Failure {
        kind,
        address: address.to_owned(),
        status,
        cause: error.cause.to_string(),
        text: error.to_string(),
    }
}

/// How the client words it that a connection took too long.
const CONNECT_TIMEOUT: &str = "i/o timeout";

/// The statistics of an nsqd with some hundred thousand channels and clients; more is taken for garbage.
const LONGEST_ANSWER_BYTES: usize = 256 << 20;
