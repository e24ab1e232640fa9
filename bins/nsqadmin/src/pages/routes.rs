//! The routes of the pages.

use std::sync::Arc;

use tokio::time::timeout;

use nsq_daemon::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use nsq_daemon::http::{ApiError, BodyError, Method, Query, Reply, Request, Router, StatusCode};

use crate::Nsqadmin;
use crate::access::see_other;
use crate::admin::Actor;
use crate::cluster::{ClusterError, ClusterReport, Found, Member, MemberAction, Peek, Producer};
use crate::snapshot::Snapshot;

use super::actions::{self, Outcome, Redirect};
use super::confirm::{self, Action};
use super::context::PageContext;
use super::layout::{self, Page, Section};
use super::links;
use super::notice::{Notice, Tone};
use super::peek::{self, Wanted};
use super::{
    assets, channel, consumers, counter, errors, jump, login, lookup, lost, node, nodes,
    publishers, replication, topic, topics,
};

/// Adds the pages, their static files, and what their forms send, below what `path` makes of `/`.
pub(crate) fn add_routes(
    router: Router<Nsqadmin>,
    path: &dyn Fn(&str) -> String,
) -> Router<Nsqadmin> {
    let root = path("/");
    let router = router.route(Method::GET, &root, show_topics);
    // Below a base path, the root has two spellings: a proxy may redirect `/nsq` to `/nsq/`, and a redirect back would
    // never end.
    let router = match root.as_str() {
        "/" => router,
        root => router.route(Method::GET, &format!("{root}/"), show_topics),
    };
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
        .route(Method::GET, &path("/topics"), show_topics)
        .route(Method::POST, &path("/topics"), post)
        .route(Method::GET, &path("/topics/:topic"), show_topic)
        .route(Method::POST, &path("/topics/:topic"), post)
        .route(Method::GET, &path("/topics/:topic/:channel"), show_channel)
        .route(Method::POST, &path("/topics/:topic/:channel"), post)
        .route(Method::GET, &path("/nodes"), show_nodes)
        .route(Method::GET, &path("/nodes/:node"), show_node)
        .route(Method::POST, &path("/nodes/:node"), post)
        .route(Method::GET, &path("/consumers"), show_consumers)
        .route(Method::GET, &path("/publishers"), show_publishers)
        .route(Method::GET, &path("/jump"), show_jump)
        .route(Method::GET, &path("/cluster"), show_cluster)
        .route(Method::POST, &path("/cluster"), post)
        .route(Method::GET, &path("/lookup"), show_lookup)
        .route(Method::GET, &path("/counter"), show_counter)
        .route(Method::GET, &path("/login"), show_login)
}

type Answer = Result<Reply, ApiError>;

async fn show_topics(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let context = context(&nsqadmin, &request);
    let page = match Snapshot::take(&nsqadmin).await {
        Ok(snapshot) => match asked(&context, &request) {
            Some(action) => confirm::page(&context, &snapshot.overview, &action, None),
            None => topics::page(&context, &snapshot).of_snapshot(&context, &snapshot),
        },
        Err(error) => errors::page(&context, Section::Topics, &error),
    };
    Ok(layout::reply(&context, &page))
}

async fn show_topic(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let context = context(&nsqadmin, &request);
    let page = match Snapshot::take(&nsqadmin).await {
        Ok(snapshot) => {
            if let Some(action) = asked(&context, &request) {
                confirm::page(&context, &snapshot.overview, &action, None)
            } else {
                let name = links::name(request.path_param("topic"));
                let parts = snapshot.overview.topic(name);
                let parts = parts.map_or(&[][..], |topic| &*topic.nodes);
                let having = having(parts, &snapshot, |part| &part.node);
                if let Some(reply) = download(&nsqadmin, &context, &having, (name, None)).await {
                    return Ok(reply);
                }
                let seen = look(&nsqadmin, &context, having, (name, None)).await;
                let seen = seen.as_ref().map(|(wanted, found)| (wanted, found));
                topic::page(&context, &snapshot, name, seen).of_snapshot(&context, &snapshot)
            }
        }
        Err(error) => errors::page(&context, Section::Topics, &error),
    };
    Ok(layout::reply(&context, &page))
}

async fn show_channel(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let context = context(&nsqadmin, &request);
    let snapshot = match Snapshot::take(&nsqadmin).await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let page = errors::page(&context, Section::Topics, &error);
            return Ok(layout::reply(&context, &page));
        }
    };
    if let Some(action) = asked(&context, &request) {
        let page = confirm::page(&context, &snapshot.overview, &action, None);
        return Ok(layout::reply(&context, &page));
    }
    let (topic, name) = (
        links::name(request.path_param("topic")),
        links::name(request.path_param("channel")),
    );
    let nodes = snapshot.responding();
    let asked = nsqadmin
        .cluster
        .channel_on(nodes, topic, name, snapshot.patience());
    let page = match asked.await {
        Ok(mut found) => {
            found.warnings.extend(snapshot.overview.warnings.clone());
            let having = having(&found.value.nodes, &snapshot, |part| &part.node);
            let owner = (topic, Some(name));
            if let Some(reply) = download(&nsqadmin, &context, &having, owner).await {
                return Ok(reply);
            }
            let seen = look(&nsqadmin, &context, having, owner).await;
            let seen = seen.as_ref().map(|(wanted, found)| (wanted, found));
            channel::page(&context, &snapshot, &found, seen)
        }
        Err(ClusterError::NoSuchChannel) => channel::missing(&context, &snapshot, topic, name),
        Err(error) => errors::page(&context, Section::Topics, &error),
    };
    Ok(layout::reply(
        &context,
        &page.of_snapshot(&context, &snapshot),
    ))
}

/// The nodes that have a part of it.
fn having<T>(
    parts: &[Arc<T>],
    snapshot: &Snapshot,
    node: impl Fn(&T) -> &Arc<str>,
) -> Vec<Producer> {
    let addresses: Vec<&Arc<str>> = parts.iter().map(|part| node(part)).collect();
    let nodes = snapshot.overview.nodes.iter();
    nodes
        .filter(|report| report.stats.is_ok() && addresses.contains(&&report.address))
        .map(|report| report.producer.clone())
        .collect()
}

/// The messages of a topic or channel, if the query asks for them.
async fn look(
    nsqadmin: &Nsqadmin,
    context: &PageContext<'_>,
    nodes: Vec<Producer>,
    owner: (&str, Option<&str>),
) -> Option<(Wanted, Found<Vec<Peek>>)> {
    let wanted = Wanted::of(context)?;
    let asked = nsqadmin
        .cluster
        .peek(nodes, owner, wanted.fetched(), PEEK_BODY_BYTES);
    let found = asked.await;
    Some((wanted, found))
}

/// One message as a file, if the query asks for it: `?download=<id>&node=<address>`.
async fn download(
    nsqadmin: &Nsqadmin,
    context: &PageContext<'_>,
    nodes: &[Producer],
    owner: (&str, Option<&str>),
) -> Option<Reply> {
    let id = context.query.first("download")?;
    let address = context.query.first("node")?;
    let node = nodes.iter().find(|node| node.http_address() == address)?;
    let asked = nsqadmin
        .cluster
        .peek(vec![node.clone()], owner, MOST_MESSAGES, WHOLE_BODY_BYTES);
    let found = asked.await;
    let peek = found.value.first()?;
    let mut messages = peek
        .queued
        .iter()
        .chain(&peek.in_flight)
        .chain(&peek.deferred);
    let body = peek::body::decode(&messages.find(|message| message.id == id)?.body)?;
    // The id of a message that was found is hexadecimal.
    let name = HeaderValue::from_str(&format!("attachment; filename=\"message-{id}\"")).ok()?;
    let octets = HeaderValue::from_static("application/octet-stream");
    Some(
        Reply::plain(StatusCode::OK, body)
            .with_header(CONTENT_TYPE, octets)
            .with_header(CONTENT_DISPOSITION, name),
    )
}

async fn show_nodes(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let context = context(&nsqadmin, &request);
    let page = match Snapshot::take(&nsqadmin).await {
        Ok(snapshot) => nodes::page(&context, &snapshot).of_snapshot(&context, &snapshot),
        Err(error) => errors::page(&context, Section::Nodes, &error),
    };
    Ok(layout::reply(&context, &page))
}

async fn show_node(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let context = context(&nsqadmin, &request);
    let address = request.path_param("node");
    let snapshot = match Snapshot::take(&nsqadmin).await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let page = errors::page(&context, Section::Nodes, &error);
            return Ok(layout::reply(&context, &page));
        }
    };
    let page = match snapshot.lost_node(address) {
        Some(lost) => lost::page(&context, lost),
        None => match registered(&snapshot, address) {
            Some(producer) => {
                let asked = nsqadmin.cluster.node_within(producer, snapshot.patience());
                match asked.await {
                    Ok(node) => node::page(&context, &node),
                    Err(error) => errors::page(&context, Section::Nodes, &error),
                }
            }
            None => errors::page(&context, Section::Nodes, &ClusterError::NoSuchNode),
        },
    };
    Ok(layout::reply(
        &context,
        &page.of_snapshot(&context, &snapshot),
    ))
}

/// The node at this address, as it is registered or given by a flag.
fn registered(snapshot: &Snapshot, address: &str) -> Option<Producer> {
    let mut nodes = snapshot.overview.nodes.iter();
    let node = nodes.find(|node| *node.address == *address)?;
    Some(node.producer.clone())
}

async fn show_lookup(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let context = context(&nsqadmin, &request);
    let page = match Snapshot::take(&nsqadmin).await {
        Ok(snapshot) => {
            let asked = timeout(
                snapshot.patience_with_lookupds(),
                nsqadmin.cluster.inactive_topics(),
            );
            let orphans = match asked.await {
                Ok(Ok(orphans)) => Some(orphans),
                Ok(Err(_)) | Err(_) => None,
            };
            lookup::page(&context, &snapshot, orphans.as_ref()).of_snapshot(&context, &snapshot)
        }
        Err(error) => errors::page(&context, Section::Lookup, &error),
    };
    Ok(layout::reply(&context, &page))
}

async fn show_consumers(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let context = context(&nsqadmin, &request);
    let page = match Snapshot::take(&nsqadmin).await {
        Ok(snapshot) => {
            let nodes = snapshot.responding();
            let asked = nsqadmin
                .cluster
                .nodes_with_clients(nodes, snapshot.patience());
            let nodes = asked.await;
            consumers::page(&context, &snapshot, &nodes).of_snapshot(&context, &snapshot)
        }
        Err(error) => errors::page(&context, Section::Clients, &error),
    };
    Ok(layout::reply(&context, &page))
}

async fn show_publishers(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let context = context(&nsqadmin, &request);
    let page = match Snapshot::take(&nsqadmin).await {
        Ok(snapshot) => {
            let nodes = snapshot.responding();
            let asked = nsqadmin
                .cluster
                .nodes_with_clients(nodes, snapshot.patience());
            let nodes = asked.await;
            publishers::page(&context, &snapshot, &nodes).of_snapshot(&context, &snapshot)
        }
        Err(error) => errors::page(&context, Section::Clients, &error),
    };
    Ok(layout::reply(&context, &page))
}

async fn show_jump(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let context = context(&nsqadmin, &request);
    let page = match Snapshot::take(&nsqadmin).await {
        Ok(snapshot) => {
            // All clients of a big cluster are much to read for a first letter.
            let processes = if jump::wanted(&context).chars().count() >= 2 {
                let nodes = snapshot.responding();
                let asked = nsqadmin
                    .cluster
                    .nodes_with_clients(nodes, snapshot.patience());
                let nodes = asked.await;
                consumers::processes(consumers::channels_of(&nodes), |_| None)
            } else {
                Vec::new()
            };
            jump::page(&context, &snapshot, &processes)
        }
        Err(error) => errors::page(&context, Section::None, &error),
    };
    Ok(layout::reply(&context, &page))
}

async fn show_cluster(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let context = context(&nsqadmin, &request);
    let snapshot = match Snapshot::take(&nsqadmin).await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let page = errors::page(&context, Section::Cluster, &error);
            return Ok(layout::reply(&context, &page));
        }
    };
    crate::replication::refresh(&nsqadmin, &snapshot.overview).await;
    let page = match nsqadmin.replication.latest() {
        None => replication::none(&context),
        Some(report) => match asked_of_member(&context, &report, &context.query) {
            Some((action, member)) => {
                replication::question(&context, &report, action, member, None)
            }
            None => replication::page(&context, &report).of_snapshot(&context, &snapshot),
        },
    };
    Ok(layout::reply(&context, &page))
}

/// The action on a node of the cluster that the query or the form asks for, if the viewer may.
fn asked_of_member<'r>(
    context: &PageContext<'_>,
    report: &'r ClusterReport,
    query: &Query,
) -> Option<(MemberAction, &'r Member)> {
    if !context.may_act() {
        return None;
    }
    let action = MemberAction::parse(query.first("action")?)?;
    let member = report.member(query.first("node")?.parse().ok()?)?;
    Some((action, member))
}

async fn show_counter(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    let context = context(&nsqadmin, &request);
    let page = match Snapshot::take(&nsqadmin).await {
        Ok(snapshot) => {
            counter::page(&context, &snapshot.overview).of_snapshot(&context, &snapshot)
        }
        Err(error) => errors::page(&context, Section::Counter, &error),
    };
    Ok(layout::reply(&context, &page))
}

async fn show_login(nsqadmin: Arc<Nsqadmin>, request: Request) -> Answer {
    if !nsqadmin.access.has_login() {
        return Err(ApiError::not_found("NOT_FOUND"));
    }
    let context = context(&nsqadmin, &request);
    Ok(layout::reply(&context, &login::page(&context)))
}

/// All forms that change something.
async fn post(nsqadmin: Arc<Nsqadmin>, mut request: Request) -> Answer {
    let body = match request.read_body(LONGEST_FORM_BYTES).await {
        Ok(body) => body,
        Err(BodyError::TooBig { .. }) => return Err(ApiError::too_large("BODY_TOO_BIG")),
        Err(BodyError::Read(_)) => return Err(ApiError::bad_request("INVALID_REQUEST")),
        Err(BodyError::Late(answer)) => return Err(answer),
    };
    let context = context(&nsqadmin, &request);
    let form = std::str::from_utf8(&body)
        .ok()
        .and_then(|text| Query::parse(text).ok());
    let Some(form) = form else {
        return Err(ApiError::bad_request("INVALID_REQUEST"));
    };
    if !context.may_act() {
        return Ok(refusal(
            &context,
            "Only administrators may do this. Nothing was changed.",
        ));
    }
    let token = form.first("csrf_token").unwrap_or_default();
    if !nsqadmin.access.is_token_of(&context.viewer, token) {
        let why = "This form is no longer valid: nsqadmin was restarted, or you have logged in again. \
                   Nothing was changed. Reload the page and try again.";
        return Ok(refusal(&context, why));
    }
    let actor = Actor::of(&nsqadmin, &request);
    let part =
        |part: &str| Some(links::name(request.path_param(part))).filter(|name| !name.is_empty());
    let (topic, channel) = (part("topic"), part("channel"));
    let action = form.first("action").unwrap_or_default();
    if let (Some(topic), None, "publish") = (topic, channel, action) {
        let next = actions::publish(&nsqadmin, &context.viewer, &context.links, topic, &form).await;
        return Ok(go_on(&nsqadmin, next));
    }
    if let Some(action) = MemberAction::parse(action).filter(|_| is_of_cluster(&request)) {
        return post_to_member(&nsqadmin, &context, action, &form).await;
    }
    if let (Some(node), "dismiss") = (part("node"), action) {
        return Ok(go_on(
            &nsqadmin,
            actions::dismiss(&nsqadmin, &context, node),
        ));
    }
    let Some(action) = Action::parse(action, topic, channel, form.first("node")) else {
        return Err(ApiError::bad_request("INVALID_ACTION"));
    };
    let overview = match nsqadmin.cluster.overview().await {
        Ok(overview) => overview,
        Err(error) => {
            return Ok(layout::reply(
                &context,
                &errors::page(&context, Section::Topics, &error),
            ));
        }
    };
    Ok(
        match actions::perform(&nsqadmin, &actor, &context.links, &overview, action, &form).await {
            Outcome::Redirect(next) => go_on(&nsqadmin, next),
            Outcome::Again { action, error } => {
                let page = confirm::page(&context, &overview, &action, Some(&error));
                layout::reply(&context, &page)
            }
        },
    )
}

/// Whether the form was sent to the cluster's page: the only one without a name in its path but that of the topics.
fn is_of_cluster(request: &Request) -> bool {
    request.path().ends_with("/cluster")
}

/// An action on a node of the cluster, after its question.
async fn post_to_member(
    nsqadmin: &Nsqadmin,
    context: &PageContext<'_>,
    action: MemberAction,
    form: &Query,
) -> Answer {
    let Some(report) = nsqadmin.replication.latest() else {
        return Err(ApiError::not_found("NOT_CLUSTERED"));
    };
    let Some((_, member)) = asked_of_member(context, &report, form) else {
        return Err(ApiError::not_found("NODE_NOT_FOUND"));
    };
    let typed = form.first("typed").unwrap_or_default();
    if action == MemberAction::Remove && typed != member.address {
        let error = "That is not the address. Nothing was changed.";
        let mut page = replication::question(context, &report, action, member, Some(error));
        page.status = StatusCode::BAD_REQUEST;
        return Ok(layout::reply(context, &page));
    }
    let next = actions::act_on_member(nsqadmin, context, &report, action, member).await;
    Ok(go_on(nsqadmin, next))
}

/// What the page's `?action=` asks to be confirmed, if the viewer may.
fn asked(context: &PageContext<'_>, request: &Request) -> Option<Action> {
    if !context.may_act() {
        return None;
    }
    let part =
        |part: &str| Some(links::name(request.path_param(part))).filter(|name| !name.is_empty());
    let action = context.query.first("action")?;
    Action::parse(
        action,
        part("topic"),
        part("channel"),
        context.query.first("node"),
    )
}

fn refusal(context: &PageContext<'_>, why: &str) -> Reply {
    let body = maud::html! { header.page-head { div.titles { h1 { "Not allowed" } } } };
    let mut page = Page::new("Not allowed", Section::None, body);
    page.status = StatusCode::FORBIDDEN;
    page.is_live = false;
    page.warnings.push(Notice::new(Tone::Bad, why));
    layout::reply(context, &page)
}

/// Redirects to a page that shows the notice. A reload of that page repeats nothing.
fn go_on(nsqadmin: &Nsqadmin, Redirect { path, notice }: Redirect) -> Reply {
    see_other(&format!("{path}?notice={}", nsqadmin.notices.leave(notice)))
}

fn context<'a>(nsqadmin: &'a Nsqadmin, request: &Request) -> PageContext<'a> {
    let viewer = nsqadmin.access.viewer(request);
    PageContext::new(nsqadmin, viewer, request.headers(), request.raw_query())
}

/// The beginning of a message's body, for a list.
const PEEK_BODY_BYTES: u32 = 4096;
/// The most that nsqd shows.
const MOST_MESSAGES: u32 = 200;
/// The most of a body that nsqd shows.
pub(crate) const WHOLE_BODY_BYTES: u32 = 64 << 10;
/// A published message of nsqd's largest usual size, percent-encoded.
const LONGEST_FORM_BYTES: usize = 4 << 20;
