//! Questions to nsqlookupd: who has a topic.
//!
//! Source: `queryLookupd`, `buildLookupAddr`, go-nsq, consumer.go; `apiRequestNegotiateV1`, api_request.go.

use std::sync::Arc;

use nsq_protocol::TopicName;
use reqwest::header::{ACCEPT, AUTHORIZATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::error::SetupError;
use crate::transport;

/// Why an nsqlookupd gave no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// It could not be reached, or did not answer in time.
    #[error("{}", with_causes(.0))]
    Http(#[from] reqwest::Error),
    /// It answered with something else than success: TOPIC_NOT_FOUND, most often.
    #[error("got response {status} {body:?}")]
    Status {
        /// The status line's number and reason.
        status: StatusCode,
        /// The beginning of what it said.
        body: String,
    },
    /// Its answer is not what it should be.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Its answer is longer than this many bytes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// What is wrong, down to the operating system's word for it.
fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// Asks one nsqlookupd for one topic.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    client: Client,
    url: Url,
    /// In the form of the header, where nsqlookupd is to have the secret.
    authorization: Option<Arc<str>>,
}

impl Lookup {
    pub(crate) fn new(url: Url, config: &Config) -> Result<Self, SetupError> {
        let secret = &config.auth_secret;
        let authorization = (config.lookupd_authorization && !secret.is_empty())
            .then(|| format!("Bearer {}", secret.reveal()).into());
        let client = Client::builder()
            .tls_backend_preconfigured(transport::tls(config)?.client_config())
            .user_agent(&config.user_agent)
            .connect_timeout(config.lookupd_poll_timeout)
            .timeout(config.lookupd_poll_timeout)
            // Who finds nsqds is not asked through someone else.
            .no_proxy()
            .redirect(Policy::custom(|attempt| {
                // What holds for one scheme's certificates does not for the other's.
                let first = attempt.previous().first().map(Url::scheme);
                if first == Some(attempt.url().scheme())
                    && attempt.previous().len() <= MOST_REDIRECTS
                {
                    attempt.follow()
                } else {
                    attempt.stop()
                }
            }))
            .build()
            .map_err(|error| SetupError::LookupAddress {
                address: url.to_string(),
                reason: with_causes(&error),
            })?;
        Ok(Self {
            client,
            url,
            authorization,
        })
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// The addresses of the nsqds that have the topic.
    pub(crate) async fn ask(&self) -> Result<Vec<String>, LookupError> {
        let request = self.client.get(self.url.clone());
        let mut request = request.header(ACCEPT, VERSION_1);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, &**authorization);
        }
        let response = request.send().await?;
        let status = response.status();
        let is_version_1 = response
            .headers()
            .get("X-NSQ-Content-Type")
            .is_some_and(|value| value == "nsq; version=1.0");
        let body = read(response).await?;
        if status != StatusCode::OK {
            let body = &body[..body.len().min(SHOWN_BYTES)];
            let body = String::from_utf8_lossy(body).into_owned();
            return Err(LookupError::Status { status, body });
        }
        Ok(addresses(&body, is_version_1)?)
    }
}

/// The addresses in an answer.
pub(crate) fn addresses(body: &[u8], is_version_1: bool) -> Result<Vec<String>, serde_json::Error> {
    let found: Found = if is_version_1 {
        parse(body)?
    } else {
        parse::<Wrapped>(body)?.data
    };
    Ok(found.producers.iter().map(Producer::address).collect())
}

async fn read(mut response: Response) -> Result<Vec<u8>, LookupError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(LookupError::TooLong(MOST_BYTES));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Nothing at all stands for an empty object.
fn parse<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, serde_json::Error> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
}

/// The answer of an nsqlookupd from before versions.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wrapped {
    data: Found,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Found {
    producers: Vec<Producer>,
}

#[derive(Deserialize)]
struct Producer {
    broadcast_address: String,
    tcp_port: u16,
}

impl Producer {
    fn address(&self) -> String {
        let Self {
            broadcast_address,
            tcp_port,
        } = self;
        if broadcast_address.contains(':') {
            format!("[{broadcast_address}]:{tcp_port}")
        } else {
            format!("{broadcast_address}:{tcp_port}")
        }
    }
}

/// What to ask the nsqlookupd at `address` for `topic`: `host:port`, or a URL with a port, whose path and
/// query are kept.
pub(crate) fn url(address: &str, topic: &TopicName) -> Result<Url, SetupError> {
    let refused = |reason: &dyn std::fmt::Display| SetupError::LookupAddress {
        address: address.to_owned(),
        reason: reason.to_string(),
    };
    let text = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let mut url = Url::parse(&text).map_err(|error| refused(&error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused(&"neither http nor https"));
    }
    if !has_port(&text) {
        return Err(refused(&"missing port"));
    }
    if url.path() == "/" {
        url.set_path("/lookup");
    }
    url.query_pairs_mut().append_pair("topic", topic.as_str());
    Ok(url)
}

/// `Url` forgets a port that is its scheme's own.
fn has_port(url: &str) -> bool {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next();
    let host_and_port = authority.and_then(|text| text.rsplit('@').next());
    host_and_port.is_some_and(|text| {
        let port = text.rsplit_once(':').map(|(_, port)| port);
        port.is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
    })
}

const VERSION_1: &str = "application/vnd.nsq; version=1.0";

/// Tens of thousands of nsqds.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Enough of an answer to know it by.
const SHOWN_BYTES: usize = 256;

const MOST_REDIRECTS: usize = 10;
