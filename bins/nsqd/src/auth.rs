//! Who may do what: authorization servers are asked over HTTP, and what they grant holds for a while.
//!
//! ```text
//! AUTH secret ─▶ Authorizer::ask ── GET or POST ─▶ authorization server
//!                     │ Grants, good for their TTL
//! SUB, PUB, … ────────┴▶ nsq_server::Grants::allow(topic, channel)
//! ```
//!
//! Source: internal/auth/authorizations.go, nsq 1.3.0.

mod applicant;
pub(crate) mod grants;
pub(crate) mod pattern;

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use nsq_daemon::http::client::{Cause, Client, ClientOptions};
use nsq_daemon::version::VERSION;
use nsq_server::Grants;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

pub(crate) use self::applicant::Applicant;
use self::grants::{AnswerError, read_answer};
use self::pattern::Patterns;
use crate::clock;
use crate::settings::Settings;

/// Asks the authorization servers. Clones are the same.
#[derive(Clone)]
pub(crate) struct Authorizer(Arc<Inner>);

struct Inner {
    servers: Vec<Server>,
    method: Method,
    /// Another one each time certificates are read again.
    client: Mutex<Client>,
    patterns: Arc<Patterns>,
    /// Which server the next question goes to first.
    turn: AtomicUsize,
    /// Where questions are asked: a worker has connections to serve.
    control: Handle,
}

struct Server {
    /// As configured.
    address: String,
    url: String,
}

#[derive(Clone, Copy)]
enum Method {
    Get,
    Post,
}

/// No one could say what the client may do. `Display` is for the log, and has no secret in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct AskError(String);

/// Why one server's answer does not count.
#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error(transparent)]
    Request(#[from] Cause),
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error("nsqd is going down")]
    Exiting,
}

/// A question under way; dropped, it is given up.
pub(crate) struct Question(JoinHandle<Result<Grants, AskError>>);

impl Authorizer {
    /// `None` where no authorization is asked for.
    pub(crate) fn new(settings: &Settings, control: Handle) -> Option<Authorizer> {
        let addresses = &settings.auth_http_addresses;
        let servers: Vec<_> = addresses.iter().map(|a| Server::at(a)).collect();
        if servers.is_empty() {
            return None;
        }
        let method = match settings.auth_http_request_method.as_str() {
            "post" => Method::Post,
            _ => Method::Get,
        };
        Some(Authorizer(Arc::new(Inner {
            servers,
            method,
            client: Mutex::new(client(settings)),
            patterns: Arc::default(),
            turn: AtomicUsize::new(0),
            control,
        })))
    }

    /// Goes by the settings' certificates as they are now, on new connections.
    pub(crate) fn renew_tls(&self, settings: &Settings) {
        *self.0.client.lock().unwrap_or_else(PoisonError::into_inner) = client(settings);
    }

    /// Begins to ask what the applicant may do.
    pub(crate) fn ask(&self, applicant: Applicant) -> Question {
        let inner = Arc::clone(&self.0);
        let asking = async move { inner.ask_any(&applicant).await };
        Question(self.0.control.spawn(asking))
    }
}

impl Inner {
    /// Asks one server after the other until one has an answer.
    async fn ask_any(&self, applicant: &Applicant) -> Result<Grants, AskError> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.servers.len();
        let (before, from) = self.servers.split_at(first);
        let mut failures = Vec::new();
        for server in from.iter().chain(before) {
            match self.ask_one(server, applicant).await {
                Ok(grants) => return Ok(grants),
                Err(error) => {
                    let address = &server.address;
                    failures.push(format!("failed to auth against {address} - {error}"));
                }
            }
        }
        Err(AskError(failures.join("; ")))
    }

    async fn ask_one(&self, server: &Server, applicant: &Applicant) -> Result<Grants, ServerError> {
        let client = {
            let client = self.client.lock();
            client.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let answer = match self.method {
            Method::Get => {
                let url = applicant.url(&server.url);
                client.get_json::<Value>(&url).await
            }
            Method::Post => {
                let body = applicant.json().into();
                client.post_json(&server.url, body).await
            }
        };
        // Only the cause: the URL has the client's secret in it.
        let answer = answer.map_err(|error| error.cause)?;
        let patterns = Arc::clone(&self.patterns);
        // A long list of patterns takes its time.
        let reading =
            tokio::task::spawn_blocking(move || read_answer(&answer, &patterns, clock::tick()));
        Ok(reading.await.map_err(|_| ServerError::Exiting)??)
    }
}

fn client(settings: &Settings) -> Client {
    Client::new(ClientOptions {
        connect_timeout: settings.http_client_connect_timeout,
        request_timeout: settings.http_client_request_timeout,
        tls: Some(settings.auth_tls().clone()),
        user_agent: format!("nsqd/{VERSION}"),
        body_limit: ANSWER_BYTES,
    })
}

impl Server {
    fn at(address: &str) -> Server {
        let url = if address.contains("://") {
            address.to_owned()
        } else {
            format!("http://{address}/auth")
        };
        let address = address.to_owned();
        Server { address, url }
    }
}

impl Future for Question {
    type Output = Result<Grants, AskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(answer.unwrap_or_else(|_| Err(AskError(ServerError::Exiting.to_string()))))
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The longest answer to read: some ten thousand topics by name.
const ANSWER_BYTES: usize = 1 << 20;
