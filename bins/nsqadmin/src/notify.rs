//! Tells `--notification-http-endpoint` of what administrators do.
//!
//! One notice after the other, in the background: an action never waits for the endpoint, and an endpoint that is
//! down or slow costs notices and nothing else.

use bytes::Bytes;
use nsq_daemon::http::client::{Client, ClientOptions};
use nsq_daemon::http::json;
use nsq_daemon::version::VERSION;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::settings::Settings;

/// The JSON that is sent. Source: `AdminAction`, nsq 1.3.0, nsqadmin/notify.go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the keys are upstream's own")]
pub struct Notice {
    pub action: String,
    pub topic: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Unix seconds.
    pub timestamp: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    pub remote_ip: String,
    pub user_agent: String,
    pub url: String,
    pub via: String,
}

/// Where notices go in.
#[derive(Debug)]
pub struct Notifier {
    /// `None` without an endpoint.
    queue: Option<mpsc::Sender<Notice>>,
}

/// Where they go out.
#[derive(Debug)]
pub(crate) struct Delivery {
    queue: mpsc::Receiver<Notice>,
    client: Client,
    endpoint: String,
}

impl Notifier {
    /// The two ends, the second to be [run](Delivery::run); `None` without an endpoint.
    pub(crate) fn new(settings: &Settings) -> (Self, Option<Delivery>) {
        let endpoint = settings.notification_http_endpoint.clone();
        if endpoint.is_empty() {
            return (Self { queue: None }, None);
        }
        let (sender, queue) = mpsc::channel(MOST_WAITING);
        let client = Client::new(ClientOptions {
            connect_timeout: settings.http_client_connect_timeout,
            request_timeout: settings.http_client_request_timeout,
            // Compat: the endpoint is no nsqd, so the certificate for nsqds is not shown to it.
            tls: None,
            user_agent: format!("nsqadmin/{VERSION}"),
            body_limit: LONGEST_ANSWER_BYTES,
        });
        let delivery = Delivery {
            queue,
            client,
            endpoint,
        };
        let queue = Some(sender);
        (Self { queue }, Some(delivery))
    }

    /// Queues `notice` to be sent after those before it.
    pub(crate) fn send(&self, notice: Notice) {
        let Some(queue) = &self.queue else {
            return;
        };
        if let Err(error) = queue.try_send(notice) {
            let notice = error.into_inner();
            tracing::error!(
                "failed to POST notification - {MOST_WAITING} wait already, {} of {} is dropped",
                notice.action,
                notice.topic
            );
        }
    }
}

impl Delivery {
    /// Delivers until all senders are gone.
    pub(crate) async fn run(mut self) {
        while let Some(notice) = self.queue.recv().await {
            let body = match json::to_vec(&notice) {
                Ok(body) => Bytes::from(body),
                Err(error) => {
                    tracing::error!("failed to serialize admin action - {error}");
                    continue;
                }
            };
            tracing::info!("POSTing notification to {}", self.endpoint);
            let sent = self.client.post(&self.endpoint, "application/json", body);
            if let Err(error) = sent.await {
                tracing::error!("failed to POST notification - {}", error.cause);
            }
        }
    }
}

/// Notices that wait for an endpoint that is down; administrators do not click that fast.
const MOST_WAITING: usize = 1000;

/// The answer is not read further than this, nor heeded.
const LONGEST_ANSWER_BYTES: usize = 1 << 20;
