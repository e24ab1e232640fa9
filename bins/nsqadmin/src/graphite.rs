//! Graphite: its numbers, and its images for browsers that cannot reach it.

use std::time::Duration;

use nsq_daemon::http::client::system_tls;
use nsq_daemon::http::{HeaderMap, Reply, StatusCode, header};
use reqwest::Url;

use crate::settings::Settings;

/// Graphite, as `--graphite-url` and `--proxy-graphite` have it.
#[derive(Debug)]
pub(crate) struct Graphite {
    proxy: Option<Proxy>,
}

#[derive(Debug)]
struct Proxy {
    client: reqwest::Client,
    url: Url,
}

/// A graphite that cannot be asked. `Display` names the option.
#[derive(Debug, thiserror::Error)]
pub enum GraphiteError {
    /// Not a URL of a host.
    #[error("failed to parse --graphite-url ({url}) - {why}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The client cannot be made.
    #[error("--proxy-graphite: {0}")]
    Client(#[source] reqwest::Error),
}

impl Graphite {
    pub(crate) fn new(settings: &Settings) -> Result<Self, GraphiteError> {
        if !settings.proxy_graphite {
            return Ok(Self { proxy: None });
        }
        let wrong = |why: String| GraphiteError::Url {
            url: settings.graphite_url.clone(),
            why,
        };
        let url = Url::parse(&settings.graphite_url).map_err(|error| wrong(error.to_string()))?;
        if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
            return Err(wrong("must be http://host or https://host".to_owned()));
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(system_tls().client_config())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(settings.http_client_connect_timeout)
            .timeout(settings.http_client_request_timeout.max(SHORTEST_PATIENCE))
            .build()
            .map_err(GraphiteError::Client)?;
        let proxy = Some(Proxy { client, url });
        Ok(Self { proxy })
    }

    /// Whether `/render` is answered.
    pub(crate) fn is_proxied(&self) -> bool {
        self.proxy.is_some()
    }

    /// Has graphite asked for the same path and query; 502 when it does not answer.
    ///
    /// Of the browser's headers only those that say what it takes go along: our sessions and passwords are none of
    /// graphite's business.
    pub(crate) async fn render(
        &self,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        ip: &str,
    ) -> Reply {
        let bad_gateway = || Reply::plain(StatusCode::BAD_GATEWAY, "");
        let Some(proxy) = &self.proxy else {
            return bad_gateway();
        };
        let mut url = proxy.url.clone();
        url.set_path(path);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        let mut request = proxy.client.get(url);
        for name in PASSED_ON {
            if let Some(value) = headers.get(&name) {
                request = request.header(name, value);
            }
        }
        let forwarded = match headers.get(FORWARDED_FOR).and_then(|it| it.to_str().ok()) {
            Some(before) => format!("{before}, {ip}"),
            None => ip.to_owned(),
        };
        match fetch(request.header(FORWARDED_FOR, forwarded)).await {
            Ok(reply) => reply,
            Err(why) => {
                tracing::error!("graphite request failed - {why}");
                bad_gateway()
            }
        }
    }
}

async fn fetch(request: reqwest::RequestBuilder) -> Result<Reply, String> {
    let text = |error: reqwest::Error| error.without_url().to_string();
    let mut response = request.send().await.map_err(text)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(text)? {
        if body.len() + chunk.len() > LONGEST_IMAGE_BYTES {
            return Err(format!("body is longer than {LONGEST_IMAGE_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    let mut reply = Reply::content("application/octet-stream", body).with_status(response.status());
    for name in [
        header::CONTENT_TYPE,
        header::CACHE_CONTROL,
        header::EXPIRES,
        header::LAST_MODIFIED,
        header::ETAG,
    ] {
        if let Some(value) = response.headers().get(&name) {
            reply = reply.with_header(name, value.clone());
        }
    }
    Ok(reply)
}

const PASSED_ON: [header::HeaderName; 6] = [
    header::HOST,
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::USER_AGENT,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
];
const FORWARDED_FOR: &str = "x-forwarded-for";

/// More than any graph.
const LONGEST_IMAGE_BYTES: usize = 32 << 20;

/// Upstream bounds only the wait for the answer's head: an image may take longer than a list of topics.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(5);
