//! From path and method to page.

use std::sync::Arc;

use nsq_daemon::http::{ApiError, BodyError, Method, Query, Reply, Request, Router, StatusCode};

use crate::Nsqadmin;
use crate::access::see_other;
use crate::admin::Actor;
use crate::cluster::ClusterError;

use super::confirm::{self, Deed};
use super::deeds::{self, Elsewhere, Outcome};
use super::layout::{self, Page, Section};
use super::links;
use super::notice::{Notice, Tone};
use super::visit::Visit;
use super::{assets, channel, counter, login, lookup, node, nodes, topic, topics, trouble};

/// Adds the pages, their static files, and what their forms send, below what `path` makes of `/`.
pub(crate) fn add_routes(
    router: Router<Nsqadmin>,
    path: &dyn Fn(&str) -> String,
) -> Router<Nsqadmin> {
    router
        .quiet_route(
            Method::GET,
            &path("/static/:asset"),
            async |nsqadmin: Arc<Nsqadmin>, request: Request| {
                let name = request.path_param("asset");
                Ok(assets::reply(
                    name,
                    request.headers(),
                    &nsqadmin.settings.dev_static_dir,
                ))
            },
        )
        .route(Method::GET, &path("/"), show_topics)
        .route(Method::GET, &path("/topics"), show_topics)
        .route(Method::POST, &path("/topics"), post)
        .route(Method::GET, &path("/topics/:topic"), show_topic)
        .route(Method::POST, &path("/topics/:topic"), post)
        .route(Method::GET, &path("/topics/:topic/:channel"), show_channel)
        .route(Method::POST, &path("/topics/:topic/:channel"), post)
        .route(Method::GET, &path("/nodes"), show_nodes)
        .route(Method::GET, &path("/nodes/:node"), show_node)
        .route(Method::GET, &path("/lookup"), show_lookup)
        .route(Method::GET, &path("/counter"), show_counter)
        .route(Method::GET, &path("/login"), show_login)
}

type Answer = Result<Reply, ApiError>;

async fn show_topics(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let visit = visit(&nsqadmin, &request);
    let page = match nsqadmin.cluster.overview().await {
        Ok(overview) => match asked(&visit, &request) {
            Some(deed) => confirm::page(&visit, &overview, &deed, None),
            None => topics::page(&visit, &overview),
        },
        Err(error) => trouble::page(&visit, Section::Topics, &error),
    };
    Ok(layout::reply(&visit, &page))
}

async fn show_topic(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let visit = visit(&nsqadmin, &request);
    let page = match nsqadmin.cluster.overview().await {
        Ok(overview) => match asked(&visit, &request) {
            Some(deed) => confirm::page(&visit, &overview, &deed, None),
            None => topic::page(&visit, &overview, links::name(request.path_param("topic"))),
        },
        Err(error) => trouble::page(&visit, Section::Topics, &error),
    };
    Ok(layout::reply(&visit, &page))
}

async fn show_channel(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let visit = visit(&nsqadmin, &request);
    let (topic, name) = (
        links::name(request.path_param("topic")),
        links::name(request.path_param("channel")),
    );
    if let Some(deed) = asked(&visit, &request) {
        let page = match nsqadmin.cluster.overview().await {
            Ok(overview) => confirm::page(&visit, &overview, &deed, None),
            Err(error) => trouble::page(&visit, Section::Topics, &error),
        };
        return Ok(layout::reply(&visit, &page));
    }
    let page = match nsqadmin.cluster.channel(topic, name).await {
        Ok(found) => {
            let inside = match visit.query.first("look") {
                Some(look) if !look.is_empty() => nsqadmin
                    .cluster
                    .peek(topic, name, PEEK_MESSAGES, PEEK_BODY_BYTES)
                    .await
                    .ok(),
                _ => None,
            };
            channel::page(&visit, &found, inside.as_ref())
        }
        Err(ClusterError::NoSuchChannel) => channel::missing(&visit, topic, name),
        Err(error) => trouble::page(&visit, Section::Topics, &error),
    };
    Ok(layout::reply(&visit, &page))
}

async fn show_nodes(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let visit = visit(&nsqadmin, &request);
    let page = match nsqadmin.cluster.overview().await {
        Ok(overview) => nodes::page(&visit, &overview),
        Err(error) => trouble::page(&visit, Section::Nodes, &error),
    };
    Ok(layout::reply(&visit, &page))
}

async fn show_node(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let visit = visit(&nsqadmin, &request);
    let page = match nsqadmin.cluster.node(request.path_param("node")).await {
        Ok(found) => node::page(&visit, &found),
        Err(error) => trouble::page(&visit, Section::Nodes, &error),
    };
    Ok(layout::reply(&visit, &page))
}

async fn show_lookup(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let visit = visit(&nsqadmin, &request);
    let page = match nsqadmin.cluster.overview().await {
        Ok(overview) => match nsqadmin.cluster.inactive_topics().await {
            Ok(orphans) => lookup::page(&visit, &overview, &orphans),
            Err(error) => trouble::page(&visit, Section::Lookup, &error),
        },
        Err(error) => trouble::page(&visit, Section::Lookup, &error),
    };
    Ok(layout::reply(&visit, &page))
}

async fn show_counter(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let visit = visit(&nsqadmin, &request);
    let page = match nsqadmin.cluster.overview().await {
        Ok(overview) => counter::page(&visit, &overview),
        Err(error) => trouble::page(&visit, Section::Counter, &error),
    };
    Ok(layout::reply(&visit, &page))
}

async fn show_login(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    if !nsqadmin.access.has_login() {
        return Err(ApiError::not_found("NOT_FOUND"));
    }
    let visit = visit(&nsqadmin, &request);
    Ok(layout::reply(&visit, &login::page(&visit)))
}

/// All forms: whatever changes something.
async fn post(nsqadmin: Arc<Nsqadmin>, mut request: Request) -> Answer {
    let body = match request.read_body(LONGEST_FORM_BYTES).await {
        Ok(body) => body,
        Err(BodyError::TooBig { .. }) => return Err(ApiError::too_large("BODY_TOO_BIG")),
        Err(BodyError::Read(_)) => return Err(ApiError::bad_request("INVALID_REQUEST")),
        Err(BodyError::Late(answer)) => return Err(answer),
    };
    let visit = visit(&nsqadmin, &request);
    let form = std::str::from_utf8(&body)
        .ok()
        .and_then(|text| Query::parse(text).ok());
    let Some(form) = form else {
        return Err(ApiError::bad_request("INVALID_REQUEST"));
    };
    if !visit.may_act() {
        return Ok(refusal(
            &visit,
            "Only administrators may do this. Nothing has been done.",
        ));
    }
    let token = form.first("csrf_token").unwrap_or_default();
    if !nsqadmin.access.is_token_of(&visit.visitor, token) {
        let why = "This form is no longer valid: nsqadmin was started anew, or you have logged in again. \
                   Nothing has been done. Load the page again and repeat.";
        return Ok(refusal(&visit, why));
    }
    let actor = Actor::of(&nsqadmin, &request);
    let part =
        |part: &str| Some(links::name(request.path_param(part))).filter(|name| !name.is_empty());
    let (topic, channel) = (part("topic"), part("channel"));
    let action = form.first("action").unwrap_or_default();
    if let (Some(topic), None, "publish") = (topic, channel, action) {
        let next = deeds::publish(&nsqadmin, &visit.visitor, &visit.links, topic, &form).await;
        return Ok(go_on(&nsqadmin, next));
    }
    let Some(deed) = Deed::parse(action, topic, channel, form.first("node")) else {
        return Err(ApiError::bad_request("INVALID_ACTION"));
    };
    let overview = match nsqadmin.cluster.overview().await {
        Ok(overview) => overview,
        Err(error) => {
            return Ok(layout::reply(
                &visit,
                &trouble::page(&visit, Section::Topics, &error),
            ));
        }
    };
    Ok(
        match deeds::perform(&nsqadmin, &actor, &visit.links, &overview, deed, &form).await {
            Outcome::Elsewhere(next) => go_on(&nsqadmin, next),
            Outcome::Again { deed, error } => {
                let page = confirm::page(&visit, &overview, &deed, Some(&error));
                layout::reply(&visit, &page)
            }
        },
    )
}

/// What the page's `?action=` asks to be confirmed, if the visitor may.
fn asked(visit: &Visit<'_>, request: &Request) -> Option<Deed> {
    if !visit.may_act() {
        return None;
    }
    let part =
        |part: &str| Some(links::name(request.path_param(part))).filter(|name| !name.is_empty());
    let action = visit.query.first("action")?;
    Deed::parse(
        action,
        part("topic"),
        part("channel"),
        visit.query.first("node"),
    )
}

fn refusal(visit: &Visit<'_>, why: &str) -> Reply {
    let body = maud::html! { header.page-head { div.titles { h1 { "Not allowed" } } } };
    let mut page = Page::new("Not allowed", Section::None, body);
    page.status = StatusCode::FORBIDDEN;
    page.is_live = false;
    page.warnings.push(Notice::new(Tone::Bad, why));
    layout::reply(visit, &page)
}

/// On to a page that shows the notice. A reload of it repeats nothing.
fn go_on(nsqadmin: &Nsqadmin, Elsewhere { path, notice }: Elsewhere) -> Reply {
    see_other(&format!("{path}?notice={}", nsqadmin.notices.leave(notice)))
}

fn visit<'a>(nsqadmin: &'a Nsqadmin, request: &Request) -> Visit<'a> {
    let viewer = nsqadmin.access.viewer(request);
    Visit::new(nsqadmin, viewer, request.headers(), request.raw_query())
}

/// What fits a screen or two.
const PEEK_MESSAGES: u32 = 20;
const PEEK_BODY_BYTES: u32 = 4096;
/// A published message of nsqd's largest usual size, percent-encoded.
const LONGEST_FORM_BYTES: usize = 4 << 20;
