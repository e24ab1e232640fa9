//! Sending a message, and judging the answer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use nsq_daemon::http::client::{Cause, ClientError, broke_off, system_tls};
use nsq_daemon::stop::Stop;
use nsq_tools::destinations::Destinations;
use nsq_tools::fatal;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::sampling::Sampling;
use crate::settings::{Settings, Spread};

/// Sends messages to endpoints. Holds no more of an answer than a piece at a time.
#[derive(Debug)]
pub(crate) struct Publisher {
    http: Client,
    headers: HeaderMap,
    request_timeout: Duration,
    endpoints: Vec<Endpoint>,
    destinations: Destinations,
    spread: Spread,
    sampling: Sampling,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// The endpoint's last word.
    #[error("got status code {}", .0.as_u16())]
    Status(StatusCode),
    /// There was none.
    #[error(transparent)]
    NoAnswer(#[from] ClientError),
    /// It cannot be put into the URL.
    #[error("{0}")]
    Address(String),
}

impl Publisher {
    pub(crate) fn new(settings: &Settings) -> Result<Self, Stop> {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(system_tls().client_config())
            .redirect(Policy::custom(|attempt| {
                if attempt.previous().len() < MOST_REQUESTS {
                    attempt.follow()
                } else {
                    attempt.error(format!("stopped after {MOST_REQUESTS} redirects"))
                }
            }))
            .no_proxy()
            .http1_title_case_headers()
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MOST_IDLE_PER_HOST);
        if !settings.connect_timeout.is_zero() {
            builder = builder.connect_timeout(settings.connect_timeout);
        }
        Ok(Self {
            http: builder.build().map_err(fatal)?,
            headers: settings.headers.clone(),
            request_timeout: settings.request_timeout,
            endpoints: settings.endpoints.clone(),
            destinations: Destinations::new(
                &settings.addresses,
                settings.spread.mode(),
                settings.status_every,
            ),
            spread: settings.spread,
            sampling: Sampling::new(settings.sample),
        })
    }

    /// Sends a message to one endpoint, or to all of them: then the first that fails is the last that is tried.
    pub(crate) async fn publish(&self, message: &Bytes) -> Result<(), PublishError> {
        if !self.sampling.takes_next() {
            return Ok(());
        }
        let since = Instant::now();
        match self.spread {
            Spread::ToAll => {
                for index in 0..self.endpoints.len() {
                    self.publish_to(index, message).await?;
                }
            }
            Spread::ToOne(_) => {
                let index = self.destinations.choose();
                let outcome = self.publish_to(index, message).await;
                match outcome {
                    Ok(()) => self.destinations.succeeded(index, since),
                    Err(_) => self.destinations.failed(index),
                }
                outcome?;
            }
        }
        self.destinations.note_aggregate(since.elapsed());
        Ok(())
    }

    async fn publish_to(&self, index: usize, message: &Bytes) -> Result<(), PublishError> {
        let since = Instant::now();
        let endpoint = &self.endpoints[index];
        let url = endpoint.url(message).map_err(PublishError::Address)?;
        let status = self.exchange(endpoint, &url, message).await?;
        let is_taken = match endpoint {
            Endpoint::Post(_) => status.is_success(),
            // Compat: nothing but 200 counts (nsq_to_http.go, GetPublisher).
            Endpoint::Get { .. } => status == StatusCode::OK,
        };
        if !is_taken {
            return Err(PublishError::Status(status));
        }
        self.destinations.note(index, since.elapsed());
        Ok(())
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        url: &Url,
        message: &Bytes,
    ) -> Result<StatusCode, ClientError> {
        let limit = match self.request_timeout {
            Duration::ZERO => FOR_EVER,
            limit => limit,
        };
        let deadline = Instant::now() + limit;
        let answer = match timeout(limit, self.ask(endpoint, url, message)).await {
            Ok(answer) => answer.map_err(|error| Cause::of(&error, url)),
            Err(_) => Err(Cause::Timeout(limit)),
        };
        let mut response = answer.map_err(|cause| ClientError {
            method: match endpoint {
                Endpoint::Post(_) => "Post",
                Endpoint::Get { .. } => "Get",
            },
            url: url.to_string(),
            cause,
        })?;
        let status = response.status();
        // The verdict has been spoken: a body that breaks off, or never ends, does not change it. Reading it keeps the
        // connection for the next request.
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = timeout(left, async {
            while let Ok(Some(_)) = response.chunk().await {}
        })
        .await;
        Ok(status)
    }

    async fn ask(
        &self,
        endpoint: &Endpoint,
        url: &Url,
        message: &Bytes,
    ) -> reqwest::Result<Response> {
        match self.request(endpoint, url, message).send().await {
            // A kept connection that the other side gave up as we took it; a GET may be asked again, as Go's client does.
            Err(error) if matches!(endpoint, Endpoint::Get { .. }) && broke_off(&error) => {
                self.request(endpoint, url, message).send().await
            }
            answer => answer,
        }
    }

    fn request(&self, endpoint: &Endpoint, url: &Url, message: &Bytes) -> RequestBuilder {
        let request = match endpoint {
            Endpoint::Post(_) => self.http.post(url.clone()).body(message.clone()),
            Endpoint::Get { .. } => self.http.get(url.clone()),
        };
        request.headers(self.headers.clone())
    }
}

/// Go's client gives up at the tenth redirect.
const MOST_REQUESTS: usize = 10;

/// As Go's transport keeps them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
const MOST_IDLE_PER_HOST: usize = 2;

/// A limit that is none: a request timeout of zero.
const FOR_EVER: Duration = Duration::from_hours(100 * 365 * 24);
