//! AUTH, and whether the client may do what it asks for.
//!
//! While the authorization server is asked, the client's commands wait, and only they: heartbeats and messages go
//! out, and the connection can be closed.

use std::fmt::{self, Debug};
use std::sync::Arc;

use nsq_core::{Now, Tick};
use nsq_protocol::{ChannelName, CommandError, CommandName, TopicName, escape_go_json, frame};
use serde::Serialize;

use super::{Hold, Next, Observer, Session, Stop};

/// What a client wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Publish to it.
    Publish,
    /// Subscribe to this channel of it.
    Subscribe(&'a str),
}

/// What an authorization server permits a client.
pub trait Permissions: Debug + Send + Sync {
    /// Whether all of `action` is permitted.
    fn allow(&self, topic: &str, action: Action<'_>) -> bool;
}

/// An authorization server's answer.
#[derive(Debug)]
pub struct Grants {
    /// Whom the server takes the client for.
    pub identity: String,
    /// A page about that identity.
    pub identity_url: String,
    /// How many authorizations there are. Without any, the client is known but not welcome.
    pub count: usize,
    /// After that, the server must be asked again.
    pub expires: Tick,
    /// What the client may do.
    pub permissions: Box<dyn Permissions>,
}

impl Grants {
    /// Whether the authorization server must be asked again.
    pub fn are_expired(&self, now: Tick) -> bool {
        now > self.expires
    }

    /// Whether the client may do this.
    pub fn allow(&self, topic: &str, action: Action<'_>) -> bool {
        self.permissions.allow(topic, action)
    }
}

/// What the session knows of the client's permissions.
#[derive(Default)]
pub(super) struct Authorization {
    /// From AUTH; for when the grants have expired.
    secret: Vec<u8>,
    /// `None` until the first answer.
    grants: Option<Arc<Grants>>,
    /// The topic that publishing to was allowed last, while the grants last.
    last_allowed: String,
}

/// What a question to the authorization server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// The answer to AUTH is the answer to the question.
    Auth,
    /// Grants have expired; the command at the front of the input is tried again.
    Renewal,
}

/// The answer to AUTH. The order of the keys is that on the wire.
#[derive(Serialize)]
struct Welcome<'a> {
    identity: &'a str,
    identity_url: &'a str,
    permission_count: usize,
}

impl<O: Observer> Session<O> {
    /// What the client said in AUTH, for the authorization server; see [`Next::Ask`].
    pub fn secret(&self) -> &[u8] {
        self.authorization
            .as_ref()
            .map_or(&[], |authorization| &authorization.secret)
    }

    /// AUTH. The answer comes with that of the authorization server.
    pub(super) fn authenticate(&mut self, secret: &[u8]) -> Stop {
        let grants = self.authorization.as_ref().and_then(|a| a.grants.as_ref());
        if grants.is_some_and(|grants| grants.count > 0) {
            return self.refuse(&CommandError::AuthAlreadySet);
        }
        if !self.must_authenticate() {
            return self.refuse(&CommandError::AuthDisabled);
        }
        self.authorization = Some(Box::new(Authorization {
            secret: secret.to_vec(),
            ..Authorization::default()
        }));
        Stop::Ask(Question::Auth)
    }

    /// Whether the client may carry out `command`. The error says how to continue: with a refusal, or with the same
    /// command when the authorization server has said once more what the client may do.
    #[inline]
    pub(super) fn authorize(
        &mut self,
        command: CommandName,
        topic: &str,
        action: Action<'_>,
        now: Now,
    ) -> Result<(), Stop> {
        if !self.must_authenticate() {
            return Ok(());
        }
        self.check_grants(command, topic, action, now)
    }

    /// The topic of an MPUB that has only begun, where permission is needed: without it, the rest is not waited for.
    pub(super) fn awaited_batch<'a>(&self, bytes: &'a [u8]) -> Option<&'a str> {
        if self.must_authenticate() {
            self.decoder.awaited_batch(bytes)
        } else {
            None
        }
    }

    fn must_authenticate(&self) -> bool {
        self.server.settings().features.auth_required
    }

    fn check_grants(
        &mut self,
        command: CommandName,
        topic: &str,
        action: Action<'_>,
        now: Now,
    ) -> Result<(), Stop> {
        let authorization = self.authorization.as_deref_mut();
        let Some((authorization, grants)) = authorization.and_then(|authorization| {
            let grants = Arc::clone(authorization.grants.as_ref()?);
            Some((authorization, grants))
        }) else {
            return Err(self.refuse(&CommandError::AuthRequired { command }));
        };
        if grants.are_expired(now.tick) {
            return Err(Stop::Ask(Question::Renewal));
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
        let topic = TopicName::parse(topic).map_err(|_| Stop::Drop)?;
        Err(self.refuse(&CommandError::Unauthorized {
            command,
            topic,
            channel,
        }))
    }

    /// The answer to [`Next::Ask`]: what the client is granted, or why no server could say so, for the log.
    pub fn handle_grants(&mut self, answer: Result<Grants, impl fmt::Display>, now: Now) -> Next {
        let Hold::Grants(question) = self.hold else {
            return Next::Wait;
        };
        let Some(authorization) = &mut self.authorization else {
            return Next::Wait;
        };
        let grants = match answer {
            Ok(grants) => Arc::new(grants),
            Err(why) => {
                // Only here: a client that is not trusted yet learns nothing of the servers.
                let client = self.client.remote_address();
                tracing::warn!("PROTOCOL(V2): [{client}] AUTH failed {why}");
                let stop = self.refuse(&CommandError::AuthFailed);
                return self.go_on(stop, now);
            }
        };
        authorization.last_allowed.clear();
        authorization.grants = Some(Arc::clone(&grants));
        self.client.details().grants = Some(Arc::clone(&grants));
        if question == Question::Auth {
            if grants.count == 0 {
                let stop = self.refuse(&CommandError::NoAuthorizations);
                return self.go_on(stop, now);
            }
            let welcome = Welcome {
                identity: &grants.identity,
                identity_url: &grants.identity_url,
                permission_count: grants.count,
            };
            let welcome = serde_json::to_string(&welcome);
            let welcome = escape_go_json(welcome.expect("texts and numbers are always JSON"));
            self.answer(|out| frame::write_response(out, welcome.as_bytes()));
        }
        self.resume(now)
    }
}
