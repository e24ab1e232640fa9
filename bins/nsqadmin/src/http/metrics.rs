//! `/metrics`: counters of nsqadmin itself in the format of Prometheus. Each nsqd reports its own at its own `/metrics`.

use std::sync::Arc;

use nsq_daemon::http::{ApiError, Reply, Request};
use nsq_daemon::metrics::{Exposition, write_process};

use crate::Nsqadmin;

pub(super) async fn show(nsqadmin: Arc<Nsqadmin>, _: Request) -> Result<Reply, ApiError> {
    let mut out = Exposition::default();
    out.build_info("nsqadmin_build_info");
    nsqadmin.requests.write(&mut out.counter(
        "nsqadmin_http_requests_total",
        "HTTP requests answered, by route and kind of answer.",
    ));
    let limits = &nsqadmin.http_limits;
    out.gauge("nsqadmin_http_connections", "HTTP connections.")
        .sample(&[], limits.gate.open_count());
    limits.refusals.write(&mut out.counter(
        "nsqadmin_refusals_total",
        "Connections and requests refused, by the limit (its flag).",
    ));
    write_process(&mut out);
    Ok(out.into_reply())
}
