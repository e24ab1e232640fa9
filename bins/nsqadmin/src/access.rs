//! Who sends a request, and what they may do.
//!
//! ```text
//! request ─▶ forgery ─▶ login ─▶ Viewer, in the request's extensions ─▶ handler: is_admin?
//! ```
//!
//! Without `--login-user` everyone may look, and a proxy that authenticates users names them in
//! `--acl-http-header`, as upstream has it: a client that reaches nsqadmin past the proxy can claim any name. With
//! `--login-user` that header means nothing; a session or a password does. Either way `--admin-user` says who may
//! act; without one, everyone who may look may act.

mod forgery;
mod login;
mod sessions;
mod throttle;

pub use self::login::LoginError;
pub(crate) use self::login::{Login, Refusal};

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nsq_daemon::http::client::query_escape;
use nsq_daemon::http::{ApiError, HeaderMap, Method, Reply, Request, StatusCode, header};
use ring::hmac;
use ring::rand::SystemRandom;

use crate::Nsqadmin;
use crate::settings::Settings;

use self::sessions::SessionId;

/// The rules.
#[derive(Debug)]
pub struct Access {
    /// Empty when everyone is one.
    admins: Vec<String>,
    acl_http_header: String,
    /// `None` when everyone may look.
    login: Option<Login>,
    /// Signs the tokens in forms, as long as this nsqadmin runs.
    token_key: hmac::Key,
}

/// The sender of a request.
#[derive(Debug, Clone, Default)]
pub struct Viewer {
    /// The name they logged in with, or that a proxy gives them.
    pub user: Option<String>,
    /// Whether they may act.
    pub is_admin: bool,
    /// Whether there is a session that [`crate::access`] could end.
    pub can_log_out: bool,
    /// What a form has to send as `csrf_token`.
    pub csrf_token: String,
    session: Option<SessionId>,
}

impl Access {
    /// The rules that the settings make.
    ///
    /// # Errors
    /// What is wrong with a `--login-user`.
    pub fn new(settings: &Settings) -> Result<Self, LoginError> {
        let random = SystemRandom::new();
        Ok(Self {
            admins: settings.admin_users.to_vec(),
            acl_http_header: settings.acl_http_header.clone(),
            login: Login::new(settings)?,
            token_key: hmac::Key::generate(hmac::HMAC_SHA256, &random)
                .map_err(|_| LoginError::NoRandomness)?,
        })
    }

    /// Who makes this request, as the guard found out.
    pub fn viewer(&self, request: &Request) -> Viewer {
        let found = request.extensions().get::<Viewer>();
        found.cloned().unwrap_or_default()
    }

    /// Whether there is a login, and so a page for it.
    pub fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// The login, if there is one.
    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Whether `token` is the one that was given to this viewer's forms.
    pub fn is_token_of(&self, viewer: &Viewer, token: &str) -> bool {
        let Ok(tag) = URL_SAFE_NO_PAD.decode(token) else {
            return false;
        };
        hmac::verify(&self.token_key, &token_subject(viewer), &tag).is_ok()
    }

    fn viewer_named(&self, user: Option<String>, session: Option<SessionId>) -> Viewer {
        let is_admin =
            self.admins.is_empty() || user.as_ref().is_some_and(|user| self.admins.contains(user));
        let mut viewer = Viewer {
            is_admin,
            can_log_out: session.is_some(),
            user,
            session,
            csrf_token: String::new(),
        };
        let tag = hmac::sign(&self.token_key, &token_subject(&viewer));
        viewer.csrf_token = URL_SAFE_NO_PAD.encode(tag);
        viewer
    }
}

/// A form belongs to a session, or else to a name: a page that was open through a new login does not act for the
/// other user.
fn token_subject(viewer: &Viewer) -> Vec<u8> {
    match (&viewer.session, &viewer.user) {
        (Some(session), _) => session.as_bytes().to_vec(),
        (None, user) => user.clone().unwrap_or_default().into_bytes(),
    }
}

/// Lets a request through with its [`Viewer`], or answers it.
pub(crate) async fn guard(nsqadmin: Arc<Nsqadmin>, mut request: Request) -> Result<Request, Reply> {
    forgery::refuse(&request)?;
    let access = &nsqadmin.access;
    let Some(login) = &access.login else {
        let header = request.headers().get(&access.acl_http_header);
        let user = header.and_then(|value| value.to_str().ok());
        let viewer = access.viewer_named(user.map(str::to_owned), None);
        request.extensions_mut().insert(viewer);
        return Ok(request);
    };
    let session = session_cookie(request.headers());
    let session_user = session.as_ref().and_then(|id| login.user_of(id));
    if session_user.is_some() {
        let viewer = access.viewer_named(session_user, session);
        request.extensions_mut().insert(viewer);
        return Ok(request);
    }
    let settings = &nsqadmin.settings;
    // Who has a password may read the names in metrics too.
    let is_metrics = request.path() == settings.path("/metrics");
    let has_password = request.headers().contains_key(header::AUTHORIZATION);
    if is_open(settings, request.path()) && !(is_metrics && has_password) {
        return Ok(request);
    }
    if let Some((user, password)) = basic_credentials(request.headers()) {
        login
            .check(request.remote(), &user, &password)
            .await
            .map_err(Refusal::reply)?;
        let viewer = access.viewer_named(Some(user), None);
        request.extensions_mut().insert(viewer);
        return Ok(request);
    }
    Err(ask_to_log_in(settings, &request))
}

/// Whether a path needs no login.
fn is_open(settings: &Settings, path: &str) -> bool {
    let exactly = ["/ping", "/ready", "/metrics", "/login"];
    let below = ["/static/", "/fonts/"];
    exactly.iter().any(|open| path == settings.path(open))
        || below
            .iter()
            .any(|open| path.starts_with(&settings.path(open)))
}

/// For a page, the way to the login; for a script, what to send.
fn ask_to_log_in(settings: &Settings, request: &Request) -> Reply {
    let path = request.path();
    let is_page = *request.method() == Method::GET
        && ["/api/", "/config/", "/render"]
            .iter()
            .all(|other| !path.starts_with(&settings.path(other)));
    if is_page {
        let mut wanted = path.to_owned();
        if !request.raw_query().is_empty() {
            wanted.push('?');
            wanted.push_str(request.raw_query());
        }
        let login = settings.path("/login");
        return see_other(&format!("{login}?next={}", query_escape(&wanted)));
    }
    let refusal = Reply::from(ApiError::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED"));
    // Not to a page's own script: the browser would put its dialog over the page.
    if request.headers().contains_key("sec-fetch-mode") {
        return refusal;
    }
    let realm = header::HeaderValue::from_static("Basic realm=\"nsqadmin\", charset=\"UTF-8\"");
    refusal.with_header(header::WWW_AUTHENTICATE, realm)
}

/// 303 to `location`, which is of our own making.
pub(crate) fn see_other(location: &str) -> Reply {
    let location =
        header::HeaderValue::from_str(location).unwrap_or(header::HeaderValue::from_static("/"));
    Reply::plain(StatusCode::SEE_OTHER, "").with_header(header::LOCATION, location)
}

/// User and password of HTTP Basic authentication.
pub(crate) fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let credentials = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (user, password) = credentials.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn session_cookie(headers: &HeaderMap) -> Option<SessionId> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let cookies = cookies.filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| {
            cookie
                .trim()
                .strip_prefix(SESSION_COOKIE)?
                .strip_prefix('=')
        })
        .find_map(SessionId::parse)
}

/// The session cookie's name.
const SESSION_COOKIE: &str = "nsqadmin_session";
