//! AUTH, and whether the client may do what it asks for.
//!
//! While the authorization server is asked, the client's commands wait, and only they: heartbeats and messages go
//! out, and the connection can be closed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use nsq_daemon::http::json;
use nsq_protocol::{ChannelName, CommandError, CommandName, TopicName, frame};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, Next};
use crate::auth::{Action, Applicant, AskError, Grants, Question};

/// What the connection knows of the client's permissions.
#[derive(Default)]
pub(super) struct Authorization {
    /// From AUTH; for when the grants have expired.
    secret: Vec<u8>,
    /// `None` until the first answer.
    grants: Option<Arc<Grants>>,
    /// The topic that publishing to was allowed last, while the grants last.
    last_allowed: String,
    /// A server is being asked.
    question: Option<Box<Question>>,
    /// Whether the answer to the question is the answer to AUTH.
    is_auth: bool,
}

/// The answer to AUTH. The order of the keys is that on the wire.
#[derive(Serialize)]
struct Welcome<'a> {
    identity: &'a str,
    identity_url: &'a str,
    permission_count: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// AUTH. The answer comes with that of the authorization server.
    pub(super) fn authenticate(&mut self, secret: &[u8]) -> Next {
        let grants = self.authorization.as_ref().and_then(|a| a.grants.as_ref());
        if grants.is_some_and(|grants| grants.count() > 0) {
            return self.refuse(&CommandError::AuthAlreadySet);
        }
        if self.nsqd.authorizer.is_none() {
            return self.refuse(&CommandError::AuthDisabled);
        }
        self.authorization = Some(Box::new(Authorization {
            secret: secret.to_vec(),
            is_auth: true,
            ..Authorization::default()
        }));
        self.ask();
        Next::Answered
    }

    /// Whether the client may carry out `command`. The error says how to go on: with a refusal, or with the same
    /// command when the authorization server has said once more what the client may do.
    #[inline]
    pub(super) fn authorize(
        &mut self,
        command: CommandName,
        topic: &str,
        action: Action<'_>,
    ) -> Result<(), Next> {
        if self.nsqd.authorizer.is_none() {
            return Ok(());
        }
        self.check_grants(command, topic, action)
    }

    /// The topic of an MPUB that has only begun, where permission is needed: without it, the rest is not waited for.
    pub(super) fn awaited_batch<'a>(&self, bytes: &'a [u8]) -> Option<&'a str> {
        self.nsqd.authorizer.as_ref()?;
        self.decoder.awaited_batch(bytes)
    }

    fn check_grants(
        &mut self,
        command: CommandName,
        topic: &str,
        action: Action<'_>,
    ) -> Result<(), Next> {
        let authorization = self.authorization.as_deref_mut();
        let Some((authorization, grants)) = authorization.and_then(|authorization| {
            let grants = Arc::clone(authorization.grants.as_ref()?);
            Some((authorization, grants))
        }) else {
            return Err(self.refuse(&CommandError::AuthRequired { command }));
        };
        if grants.are_expired(Instant::now()) {
            self.ask();
            return Err(Next::AskFirst);
        }
        if action == Action::Publish {
            if authorization.last_allowed == topic {
                return Ok(());
            }
            if grants.allow(topic, action) {
                topic.clone_into(&mut authorization.last_allowed);
                return Ok(());
            }
        } else if grants.allow(topic, action) {
            return Ok(());
        }
        let channel = match action {
            Action::Publish => None,
            Action::Subscribe(channel) => ChannelName::parse(channel).ok(),
        };
        // The decoder has checked the names.
        let topic = TopicName::parse(topic).map_err(|_| Next::Drop)?;
        Err(self.refuse(&CommandError::Unauthorized {
            command,
            topic,
            channel,
        }))
    }

    /// Begins to ask the authorization servers.
    fn ask(&mut self) {
        let (Some(authorizer), Some(authorization)) =
            (&self.nsqd.authorizer, &mut self.authorization)
        else {
            return;
        };
        let session = self.client.details().tls.clone();
        let question = authorizer.ask(Applicant {
            remote_ip: self.client.remote_ip.clone(),
            tls: session.is_some(),
            common_name: session.map_or(String::new(), |session| session.peer_common_name),
            secret: authorization.secret.clone(),
        });
        authorization.question = Some(Box::new(question));
    }

    /// Whether the client's commands wait for an authorization server.
    pub(super) fn is_asking(&self) -> bool {
        let authorization = self.authorization.as_ref();
        authorization.is_some_and(|authorization| authorization.question.is_some())
    }

    /// Waits for the authorization server, if one was asked, and says how to go on.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let authorization = self.authorization.as_mut();
        let Some(question) =
            authorization.and_then(|authorization| authorization.question.as_mut())
        else {
            return Poll::Pending;
        };
        let answer = ready!(Pin::new(question.as_mut()).poll(cx));
        Poll::Ready(self.take_answer(answer))
    }

    fn take_answer(&mut self, answer: Result<Grants, AskError>) -> Next {
        let Some(authorization) = &mut self.authorization else {
            return Next::Again;
        };
        authorization.question = None;
        let is_auth = std::mem::take(&mut authorization.is_auth);
        let grants = match answer {
            Ok(grants) => Arc::new(grants),
            Err(why) => {
                // Only here: who is not trusted yet learns nothing of the servers.
                let client = &self.client.remote_address;
                tracing::warn!("PROTOCOL(V2): [{client}] AUTH failed {why}");
                return self.refuse(&CommandError::AuthFailed);
            }
        };
        authorization.last_allowed.clear();
        authorization.grants = Some(Arc::clone(&grants));
        self.client.details().grants = Some(Arc::clone(&grants));
        if is_auth {
            if grants.count() == 0 {
                return self.refuse(&CommandError::NoAuthorizations);
            }
            let welcome = Welcome {
                identity: &grants.identity,
                identity_url: &grants.identity_url,
                permission_count: grants.count(),
            };
            let welcome = json::to_vec(&welcome).expect("texts and numbers are always JSON");
            self.outbox
                .write(|out| frame::write_response(out, &welcome));
        }
        Next::Again
    }
}
