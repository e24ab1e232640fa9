//! The JSON API, and what every answer has in common.

use std::sync::Arc;

use nsq_daemon::http::{Method, Reply, Router, StatusCode};

use crate::{Nsqadmin, pages};

/// All routes: the API's and the pages'.
pub(crate) fn router(nsqadmin: Arc<Nsqadmin>) -> Router<Nsqadmin> {
    let path = {
        let nsqadmin = Arc::clone(&nsqadmin);
        move |rest: &str| nsqadmin.settings.path(rest)
    };
    let router = Router::new(nsqadmin).route(Method::GET, &path("/ping"), async |_, _| {
        Ok(Reply::plain(StatusCode::OK, "OK"))
    });
    pages::add_routes(router, &path)
}
