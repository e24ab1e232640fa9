//! Who is logged in.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};

/// The cookie that identifies a session: 32 random bytes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SessionId([u8; 32]);

/// Sessions by the digest of their id: so the time of a look-up reveals nothing about an id.
#[derive(Debug)]
pub(super) struct Sessions {
    by_digest: HashMap<Vec<u8>, Session>,
    lifetime: Duration,
}

#[derive(Debug)]
struct Session {
    user: String,
    ends: Instant,
}

impl Sessions {
    pub(super) fn new(lifetime: Duration) -> Self {
        let by_digest = HashMap::new();
        Self {
            by_digest,
            lifetime,
        }
    }

    /// A session for a user whose password was verified. `None` when the system has no randomness.
    pub(super) fn begin(&mut self, user: &str, now: Instant) -> Option<SessionId> {
        let mut id = SessionId([0; 32]);
        SystemRandom::new().fill(&mut id.0).ok()?;
        self.by_digest.retain(|_, session| session.ends > now);
        if self.by_digest.len() >= MOST_SESSIONS {
            let oldest = self
                .by_digest
                .iter()
                .min_by_key(|(_, session)| session.ends);
            let oldest = oldest.map(|(digest, _)| digest.clone());
            oldest.and_then(|digest| self.by_digest.remove(&digest));
        }
        let session = Session {
            user: user.to_owned(),
            ends: now + self.lifetime,
        };
        self.by_digest.insert(id.digest(), session);
        Some(id)
    }

    pub(super) fn user_of(&self, id: &SessionId, now: Instant) -> Option<&str> {
        let session = self.by_digest.get(&id.digest())?;
        (session.ends > now).then_some(session.user.as_str())
    }

    pub(super) fn end(&mut self, id: &SessionId) {
        self.by_digest.remove(&id.digest());
    }
}

impl SessionId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// As it stands in the cookie.
    pub(super) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn digest(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, &self.0).as_ref().to_vec()
    }
}

impl fmt::Debug for SessionId {
    /// Nothing: it is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId")
    }
}

/// More browsers than that are not logged in at a time; the oldest is logged out.
const MOST_SESSIONS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_session_lasts_until_it_ends() {
        let mut sessions = Sessions::new(HOUR);
        let now = Instant::now();
        let id = sessions.begin("ann", now).unwrap();
        let shown = SessionId::parse(&id.text()).unwrap();
        assert_eq!(sessions.user_of(&shown, now), Some("ann"));
        assert_eq!(sessions.user_of(&shown, now + HOUR), None);
        sessions.end(&shown);
        assert_eq!(sessions.user_of(&shown, now), None);
        assert_ne!(sessions.begin("ann", now).unwrap(), id);
        assert_eq!(SessionId::parse("short"), None);
        assert_eq!(format!("{id:?}"), "SessionId");
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_goes() {
        let mut sessions = Sessions::new(HOUR);
        let start = Instant::now();
        let mut ids = Vec::new();
        for count in 0..=MOST_SESSIONS {
            let now = start + Duration::from_millis(u64::try_from(count).unwrap());
            ids.push(sessions.begin("ann", now).unwrap());
        }
        assert_eq!(sessions.by_digest.len(), MOST_SESSIONS);
        assert_eq!(sessions.user_of(&ids[0], start), None);
        assert_eq!(sessions.user_of(&ids[1], start), Some("ann"));
    }
}
