//! Users with passwords, and their sessions.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nsq_daemon::http::header::{HeaderName, HeaderValue};
use nsq_daemon::http::{ApiError, Remote, Reply, StatusCode};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use super::sessions::{SessionId, Sessions};
use super::throttle::Throttle;
use super::{SESSION_COOKIE, Viewer};
use crate::settings::Settings;

/// What makes a login impossible. It never shows a hash.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Not of the form.
    #[error(
        "--login-user number {number}: must be name:hash, the hash by bcrypt as `htpasswd -B` makes it"
    )]
    Form {
        /// Which of them, from 1.
        number: usize,
    },
    /// A hash that would take minutes to verify.
    #[error("--login-user {name}: the hash's cost must be at most {MOST_COST}")]
    Cost {
        /// Whose.
        name: String,
    },
    /// One name, two passwords.
    #[error("--login-user {name}: given twice")]
    Twice {
        /// Whose.
        name: String,
    },
    /// The system has none to give.
    #[error("the system has no random numbers")]
    NoRandomness,
}

/// Why a password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such user, or another password: which, is not said.
    Wrong,
    /// Wrong too often, or too many are tried at once.
    TooMany,
}

/// The users who may log in, and the sessions of those who have.
#[derive(Debug)]
pub(crate) struct Login {
    hashes: HashMap<String, String>,
    /// Verified for unknown names, so that they take as long.
    decoy: String,
    lifetime: Duration,
    sessions: Mutex<Sessions>,
    throttle: Mutex<Throttle>,
    /// Passwords that scripts have shown recently, under a key of our own: bcrypt is slow by intent, and a script
    /// shows its password with every request.
    verified: Mutex<HashMap<Vec<u8>, Instant>>,
    verified_key: hmac::Key,
    /// bcrypt takes a processor for a tenth of a second: strangers get no more than these.
    verifications: Semaphore,
}

impl Login {
    /// `None` without `--login-user`: everyone is let in.
    pub(super) fn new(settings: &Settings) -> Result<Option<Self>, LoginError> {
        if settings.login_users.is_empty() {
            return Ok(None);
        }
        let mut hashes = HashMap::new();
        for (position, user) in settings.login_users.iter().enumerate() {
            let form = || LoginError::Form {
                number: position + 1,
            };
            let (name, hash) = user.split_once(':').ok_or_else(form)?;
            let parts = bcrypt::HashParts::from_str(hash).map_err(|_| form())?;
            if name.is_empty() {
                return Err(form());
            }
            let name = name.to_owned();
            if parts.get_cost() > MOST_COST {
                return Err(LoginError::Cost { name });
            }
            if hashes.insert(name.clone(), hash.to_owned()).is_some() {
                return Err(LoginError::Twice { name });
            }
        }
        let decoy = hashes.values().next().cloned();
        let decoy = decoy.expect("there is a user");
        let random = SystemRandom::new();
        Ok(Some(Self {
            hashes,
            decoy,
            lifetime: settings.login_lifetime,
            sessions: Mutex::new(Sessions::new(settings.login_lifetime)),
            throttle: Mutex::default(),
            verified: Mutex::default(),
            verified_key: hmac::Key::generate(hmac::HMAC_SHA256, &random)
                .map_err(|_| LoginError::NoRandomness)?,
            verifications: Semaphore::new(VERIFICATIONS_AT_ONCE),
        }))
    }

    /// Whose session this is.
    pub(super) fn user_of(&self, id: &SessionId) -> Option<String> {
        let sessions = lock(&self.sessions);
        sessions.user_of(id, Instant::now()).map(str::to_owned)
    }

    /// Begins a session for a user whose password is right; returns its `Set-Cookie`.
    pub(crate) fn begin(&self, user: &str, path: &str, secure: bool) -> Option<HeaderValue> {
        let id = lock(&self.sessions).begin(user, Instant::now())?;
        cookie(&id.text(), self.lifetime, path, secure)
    }

    /// Ends the viewer's session; the `Set-Cookie` that takes it from the browser.
    pub(crate) fn end(&self, viewer: &Viewer, path: &str, secure: bool) -> Option<HeaderValue> {
        if let Some(id) = &viewer.session {
            lock(&self.sessions).end(id);
        }
        cookie("", Duration::ZERO, path, secure)
    }

    /// Whether it is this user's password.
    pub(crate) async fn check(
        &self,
        remote: &Remote,
        user: &str,
        password: &str,
    ) -> Result<(), Refusal> {
        let address = match remote {
            Remote::Tcp(address) => address.ip(),
            Remote::Unix => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let shown = hmac::sign(&self.verified_key, format!("{user}\0{password}").as_bytes());
        let shown = shown.as_ref().to_vec();
        let now = Instant::now();
        if lock(&self.verified)
            .get(&shown)
            .is_some_and(|ends| *ends > now)
        {
            return Ok(());
        }
        if password.len() > LONGEST_PASSWORD_BYTES {
            return Err(Refusal::Wrong);
        }
        if lock(&self.throttle).is_exhausted(address, now) {
            return Err(Refusal::TooMany);
        }
        let turn = tokio::time::timeout(LONGEST_WAIT, self.verifications.acquire());
        let Ok(Ok(_turn)) = turn.await else {
            return Err(Refusal::TooMany);
        };
        // Again, for those who came with many at once and waited.
        if lock(&self.throttle).is_exhausted(address, now) {
            return Err(Refusal::TooMany);
        }
        let known = self.hashes.get(user);
        let hash = known.unwrap_or(&self.decoy).clone();
        let password = password.to_owned();
        let verified = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
        let is_right = matches!(verified, Ok(Ok(true))) && known.is_some();
        if !is_right {
            lock(&self.throttle).add_failure(address, now);
            tracing::warn!("HTTP: a login as {user:?} by {remote} failed");
            return Err(Refusal::Wrong);
        }
        lock(&self.throttle).forget(address);
        let mut verified = lock(&self.verified);
        verified.retain(|_, ends| *ends > now);
        if verified.len() < MOST_VERIFIED {
            verified.insert(shown, now + VERIFIED_FOR);
        }
        Ok(())
    }
}

impl Refusal {
    /// The answer to a script.
    pub(super) fn reply(self) -> Reply {
        let (status, code) = match self {
            Self::Wrong => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_LOGINS"),
        };
        let reply = Reply::from(ApiError::new(status, code));
        match self {
            Self::Wrong => reply,
            Self::TooMany => reply.with_header(
                HeaderName::from_static("retry-after"),
                HeaderValue::from_static("300"),
            ),
        }
    }
}

fn cookie(value: &str, lifetime: Duration, path: &str, secure: bool) -> Option<HeaderValue> {
    let seconds = lifetime.as_secs();
    let secure = if secure { "; Secure" } else { "" };
    let text = format!(
        "{SESSION_COOKIE}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    );
    HeaderValue::from_str(&text).ok()
}

/// A lock held for a look-up; a panic under it left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A second or two to verify.
const MOST_COST: u32 = 15;
const VERIFICATIONS_AT_ONCE: usize = 2;
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// bcrypt looks at 72 bytes.
const LONGEST_PASSWORD_BYTES: usize = 1024;
/// How long a script's password is not verified again.
const VERIFIED_FOR: Duration = Duration::from_mins(5);
const MOST_VERIFIED: usize = 1000;

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn login_of(users: &[&str]) -> Result<Option<Login>, LoginError> {
        let flags = users.iter().map(|user| format!("--login-user={user}"));
        let args = std::iter::once("--nsqd-http-address=127.0.0.1:1".to_owned()).chain(flags);
        Login::new(&Settings::load(args.map(OsString::from)).unwrap())
    }

    /// As `htpasswd -nbB ann secret` with cost 4.
    fn ann() -> String {
        let hash = bcrypt::hash_with_result("secret", 4).unwrap();
        format!("ann:{}", hash.format_for_version(bcrypt::Version::TwoY))
    }

    fn from(ip: &str) -> Remote {
        Remote::Tcp(format!("{ip}:1").parse().unwrap())
    }

    #[test]
    fn what_is_no_user_is_named_without_its_hash() {
        assert!(login_of(&[]).unwrap().is_none());
        for user in ["ann", "ann:secret", ":", "ann:$2y$04$short"] {
            let error = login_of(&[&ann(), user]).unwrap_err();
            assert_eq!(error, LoginError::Form { number: 2 });
        }
        let name = "ann".to_owned();
        let error = login_of(&[&ann(), &ann()]).unwrap_err();
        assert_eq!(error, LoginError::Twice { name: name.clone() });
        let slow = ann().replace("$04$", "$31$");
        assert_eq!(login_of(&[&slow]).unwrap_err(), LoginError::Cost { name });
    }

    #[tokio::test]
    async fn a_password_is_right_or_wrong_and_wrong_ones_have_to_wait() {
        let login = login_of(&[&ann()]).unwrap().unwrap();
        let home = from("10.0.0.1");
        assert_eq!(login.check(&home, "ann", "secret").await, Ok(()));
        assert_eq!(lock(&login.verified).len(), 1);
        assert_eq!(login.check(&home, "ann", "secret").await, Ok(()));
        for (user, password) in [("ann", "Secret"), ("bob", "secret"), ("", "")] {
            let wrong = login.check(&home, user, password).await;
            assert_eq!(wrong, Err(Refusal::Wrong), "{user}");
        }
        let attacker = from("10.0.0.2");
        for _ in 0..10 {
            let wrong = login.check(&attacker, "ann", "guess").await;
            assert_eq!(wrong, Err(Refusal::Wrong));
        }
        let more = login.check(&attacker, "ann", "guess").await;
        assert_eq!(more, Err(Refusal::TooMany));
        assert_eq!(login.check(&home, "ann", "secret").await, Ok(()));
    }
}
