//! The JSON API, and what every answer has in common.

mod actions;
mod body;
mod config;
mod finish;
mod graphite;
mod history;
mod login;
mod metrics;
mod reads;

use std::sync::Arc;

use nsq_daemon::http::{Method, Reply, Router, StatusCode};

use crate::access::guard;
use crate::{Nsqadmin, pages};

/// All routes: the API's and the pages'.
pub(crate) fn router(nsqadmin: Arc<Nsqadmin>) -> Router<Nsqadmin> {
    let path = {
        let nsqadmin = Arc::clone(&nsqadmin);
        move |rest: &str| nsqadmin.settings.path(rest)
    };
    let has_login = nsqadmin.access.has_login();
    let has_proxy = nsqadmin.graphite.is_proxied();
    let (topics, topic, channel) = (
        path("/api/topics"),
        path("/api/topics/:topic"),
        path("/api/topics/:topic/:channel"),
    );
    let (nodes, node) = (path("/api/nodes"), path("/api/nodes/:node"));
    let config = path("/config/:opt");
    let counts = Arc::clone(&nsqadmin.requests);
    let mut router = Router::counted(nsqadmin, counts)
        .guarded_by(guard)
        .finished_by(finish::finish)
        .route(Method::GET, &path("/ping"), async |_, _| {
            Ok(Reply::plain(StatusCode::OK, "OK"))
        })
        .quiet_route(Method::GET, &path("/ready"), async |_, _| {
            Ok(Reply::plain(StatusCode::OK, "OK"))
        })
        .quiet_route(Method::GET, &path("/metrics"), metrics::show)
        .route(Method::GET, &topics, reads::topics)
        .route(Method::POST, &topics, actions::create)
        .route(Method::GET, &topic, reads::topic)
        .route(Method::POST, &topic, actions::act)
        .route(Method::DELETE, &topic, actions::delete)
        .route(Method::GET, &channel, reads::channel)
        .route(Method::POST, &channel, actions::act)
        .route(Method::DELETE, &channel, actions::delete)
        .route(Method::GET, &nodes, reads::nodes)
        .route(Method::GET, &node, reads::node)
        .route(Method::DELETE, &node, actions::tombstone)
        .route(Method::GET, &path("/api/counter"), reads::counter)
        .route(Method::GET, &path("/api/graphite"), graphite::rate)
        .route(Method::GET, &path("/api/history"), history::history)
        .route(Method::GET, &config, config::show)
        .route(Method::PUT, &config, config::change);
    if has_proxy {
        router = router.route(Method::GET, &path("/render"), graphite::render);
    }
    if has_login {
        router = router
            .route(Method::POST, &path("/login"), login::log_in)
            .route(Method::POST, &path("/logout"), login::log_out);
    }
    pages::add_routes(router, &path)
}
