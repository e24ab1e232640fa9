//! From method and path to a handler, by the rules of the router upstream uses (httprouter 1.3).

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, StatusCode, header};

use crate::go_duration::GoDuration;

use super::counts::{Count, RequestCounts};
use super::limits::HttpLimits;
use super::path::{Case, Match, Pattern, clean, toggle_slash};
use super::query::{Plus, path_escape, percent_decode};
use super::{ApiError, Remote, Reply, Request};

/// The routes of one daemon, over its shared state `S`.
///
/// Besides calling handlers it answers, as upstream does: 404 for an unknown path, 405 with `Allow` for a
/// known path with another method (`HEAD` too), 200 with `Allow` for `OPTIONS`, a redirect for a path
/// that differs in a trailing slash, in letter case, or by `//` and `..`, and 500 for a handler that
/// panics.
pub struct Router<S> {
    state: Arc<S>,
    routes: Vec<Route<S>>,
    refusal: Option<Reply>,
    guard: Option<Guard<S>>,
    finish: Option<Finish<S>>,
    counts: Arc<RequestCounts>,
    /// Of what no route answers.
    unrouted: Arc<Count>,
}

struct Route<S> {
    method: Method,
    pattern: Pattern,
    log: AccessLog,
    count: Arc<Count>,
    handler: Handler<S>,
}

type Handler<S> = Box<dyn Fn(Arc<S>, Request) -> HandlerFuture + Send + Sync>;
type HandlerFuture = BoxFuture<'static, Result<Reply, ApiError>>;
type Guard<S> =
    Box<dyn Fn(Arc<S>, Request) -> BoxFuture<'static, Result<Request, Reply>> + Send + Sync>;
type Finish<S> = Box<dyn Fn(Arc<S>, HeaderMap, Reply) -> BoxFuture<'static, Reply> + Send + Sync>;

/// Whether a route's requests are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AccessLog {
    Written,
    /// At DEBUG with [`POLL_HEADER`], else at INFO.
    Polled,
    Quiet,
}

/// What the router makes of a method and a path.
enum Resolution<'r, S> {
    Route(&'r Route<S>, Match),
    Redirect { path: String },
    Options { allow: String },
    OtherMethod { allow: String },
    Unknown,
    BadEscape,
}

impl<S: Send + Sync + 'static> Router<S> {
    /// A router without routes.
    pub fn new(state: Arc<S>) -> Self {
        Self::counted(state, Arc::default())
    }

    /// A router without routes that counts its requests; several may share the counts.
    pub fn counted(state: Arc<S>, counts: Arc<RequestCounts>) -> Self {
        Self {
            state,
            routes: Vec::new(),
            refusal: None,
            guard: None,
            finish: None,
            unrouted: counts.of("other", "other"),
            counts,
        }
    }

    /// Adds a route. `pattern` may hold `:name` segments, and end in `*name` for all the rest.
    #[must_use]
    pub fn route<F, R>(self, method: Method, pattern: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Reply, ApiError>> + Send + 'static,
    {
        self.add(method, pattern, AccessLog::Written, handler)
    }

    /// Adds a route whose requests do not show in the access log.
    #[must_use]
    pub fn quiet_route<F, R>(self, method: Method, pattern: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Reply, ApiError>> + Send + 'static,
    {
        self.add(method, pattern, AccessLog::Quiet, handler)
    }

    /// Adds a route that only reports numbers or names, and that programs poll: its requests are logged at DEBUG if
    /// they carry [`POLL_HEADER`]. Any client can send that header, so no route that changes something or that shows
    /// messages may be one of these.
    #[must_use]
    pub fn polled_route<F, R>(self, pattern: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Reply, ApiError>> + Send + 'static,
    {
        self.add(Method::GET, pattern, AccessLog::Polled, handler)
    }

    /// Answers every request with `reply`, known path or not: nsqd's plain HTTP while TLS is required.
    #[must_use]
    pub fn refuse_all(mut self, reply: Reply) -> Self {
        self.refusal = Some(reply);
        self
    }

    /// Has `guard` see every request before a route does, known path or not. It lets the request through,
    /// perhaps with something added to its extensions, or answers in the route's place.
    #[must_use]
    pub fn guarded_by<F, R>(mut self, guard: F) -> Self
    where
        F: Fn(Arc<S>, Request) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Request, Reply>> + Send + 'static,
    {
        self.guard = Some(Box::new(move |state, request| {
            guard(state, request).boxed()
        }));
        self
    }

    /// Has `finish` make of every answer what the client gets; it is told the request's headers.
    #[must_use]
    pub fn finished_by<F, R>(mut self, finish: F) -> Self
    where
        F: Fn(Arc<S>, HeaderMap, Reply) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        self.finish = Some(Box::new(move |state, headers, reply| {
            finish(state, headers, reply).boxed()
        }));
        self
    }

    fn add<F, R>(mut self, method: Method, pattern: &str, log: AccessLog, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Reply, ApiError>> + Send + 'static,
    {
        self.routes.push(Route {
            count: self.counts.of(method.as_str(), pattern),
            method,
            pattern: Pattern::new(pattern),
            log,
            handler: Box::new(move |state, request| handler(state, request).boxed()),
        });
        self
    }

    /// Answers one request and logs it.
    pub(super) async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        remote: Remote,
        limits: Arc<HttpLimits>,
    ) -> Reply {
        if let Some(reply) = &self.refusal {
            self.unrouted.add(reply.status());
            return reply.clone();
        }
        let Some(finish) = &self.finish else {
            return self.resolve_and_call(request, remote, limits).await;
        };
        let headers = request.headers().clone();
        let reply = self.resolve_and_call(request, remote, limits).await;
        finish(Arc::clone(&self.state), headers, reply).await
    }

    async fn resolve_and_call(
        &self,
        request: hyper::Request<Incoming>,
        remote: Remote,
        limits: Arc<HttpLimits>,
    ) -> Reply {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let mut request = Request {
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            remote,
            path_params: Vec::new(),
            extensions: head.extensions,
            body,
            limits,
        };
        let line = RequestLine::of(&request);
        if let Some(guard) = &self.guard {
            match guard(Arc::clone(&self.state), request).await {
                Ok(let_through) => request = let_through,
                Err(reply) => {
                    self.unrouted.add(reply.status());
                    line.log(reply.status(), started);
                    return reply;
                }
            }
        }
        let mut count = &self.unrouted;
        let (reply, log) = match self.resolve(&request.method, request.path()) {
            Resolution::Route(route, found) => {
                request.path_params = found.params;
                count = &route.count;
                (self.call(route, request).await, route.log)
            }
            Resolution::Redirect { path } => {
                let status = match request.method {
                    Method::GET => StatusCode::MOVED_PERMANENTLY,
                    _ => StatusCode::TEMPORARY_REDIRECT,
                };
                let mut location = path_escape(&path);
                if let Some(query) = request.uri.query() {
                    location.push('?');
                    location.push_str(query);
                }
                let reply = Reply::bare(status, header::LOCATION, &location);
                (reply, AccessLog::Quiet)
            }
            Resolution::Options { allow } => {
                let reply = Reply::bare(StatusCode::OK, header::ALLOW, &allow);
                (reply, AccessLog::Quiet)
            }
            Resolution::OtherMethod { allow } => {
                let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED");
                let allow = allow.parse().expect("method names are header text");
                let reply = Reply::from(error).with_header(header::ALLOW, allow);
                (reply, AccessLog::Written)
            }
            Resolution::Unknown => {
                let error = ApiError::not_found("NOT_FOUND");
                (error.into(), AccessLog::Written)
            }
            Resolution::BadEscape => {
                let error = ApiError::bad_request("INVALID_REQUEST");
                (error.into(), AccessLog::Written)
            }
        };
        count.add(reply.status());
        match log {
            AccessLog::Polled if line.is_poll => line.log_at_debug(reply.status(), started),
            AccessLog::Written | AccessLog::Polled => line.log(reply.status(), started),
            AccessLog::Quiet => {}
        }
        reply
    }

    async fn call(&self, route: &Route<S>, request: Request) -> Reply {
        let state = Arc::clone(&self.state);
        // The state after a panic is as consistent as its locks: a poisoned one panics again, here.
        let call = AssertUnwindSafe(async { (route.handler)(state, request).await });
        match call.catch_unwind().await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => error.into(),
            Err(panic) => {
                tracing::error!("panic in HTTP handler - {}", panic_text(panic.as_ref()));
                ApiError::internal("INTERNAL_ERROR").into()
            }
        }
    }

    fn resolve(&self, method: &Method, raw_path: &str) -> Resolution<'_, S> {
        let Some(path) = percent_decode(raw_path, Plus::IsPlus) else {
            return Resolution::BadEscape;
        };
        let of_method = || self.routes.iter().filter(|route| route.method == *method);
        for route in of_method() {
            if let Some(found) = route.pattern.fit(&path, Case::Exact) {
                return Resolution::Route(route, found);
            }
        }
        if path != "/" && path != "*" {
            let cleaned = clean(&path);
            let candidates = [
                (toggle_slash(&path), Case::Exact),
                (cleaned.clone(), Case::Ignored),
                (toggle_slash(&cleaned), Case::Ignored),
            ];
            for (candidate, case) in candidates {
                let found = of_method().find_map(|route| route.pattern.fit(&candidate, case));
                if let Some(Match { canonical, .. }) = found {
                    return Resolution::Redirect { path: canonical };
                }
            }
        }
        match (self.allow(&path), method) {
            (Some(allow), &Method::OPTIONS) => Resolution::Options { allow },
            (Some(allow), _) => Resolution::OtherMethod { allow },
            (None, _) => Resolution::Unknown,
        }
    }

    /// The methods `path` can be asked with, or `None` if it is unknown. `*` means any path.
    fn allow(&self, path: &str) -> Option<String> {
        let mut methods: BTreeSet<&str> = self
            .routes
            .iter()
            .filter(|route| path == "*" || route.pattern.fit(path, Case::Exact).is_some())
            .map(|route| route.method.as_str())
            .collect();
        if methods.is_empty() {
            return None;
        }
        methods.insert("OPTIONS");
        Some(methods.into_iter().collect::<Vec<_>>().join(", "))
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.routes.iter().map(|r| (&r.method, &r.pattern)))
            .finish()
    }
}

/// The middle of an access log line: method, path with query, and who asked.
struct RequestLine {
    method: Method,
    uri: hyper::Uri,
    remote: Remote,
    is_poll: bool,
}

impl RequestLine {
    fn of(request: &Request) -> Self {
        Self {
            method: request.method.clone(),
            uri: request.uri.clone(),
            remote: request.remote.clone(),
            is_poll: request.headers.contains_key(POLL_HEADER),
        }
    }

    fn log(&self, status: StatusCode, started: Instant) {
        let elapsed = GoDuration::from(started.elapsed());
        tracing::info!("{} {self} {elapsed}", status.as_u16());
    }

    fn log_at_debug(&self, status: StatusCode, started: Instant) {
        let elapsed = GoDuration::from(started.elapsed());
        tracing::debug!("{} {self} {elapsed}", status.as_u16());
    }
}

impl fmt::Display for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        write!(f, "{} {path} ({})", self.method, self.remote)
    }
}

/// Marks a request that a program repeats on its own, such as those of nsqadmin's history.
pub const POLL_HEADER: &str = "nsq-poll";

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
