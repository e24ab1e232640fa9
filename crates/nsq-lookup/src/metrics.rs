//! `/metrics`: figures in the format of Prometheus.
//!
//! There is no series for each topic: what nsqlookupd knows of one, its nsqds know better.

use std::time::Instant;

use nsq_daemon::http::Reply;
use nsq_daemon::metrics::{Exposition, write_process};

use crate::Lookupd;
use crate::api::PAGE_SIZE;
use crate::registry::{Cursor, Tally};

/// Holds the registry for a page at a time.
pub(crate) fn reply(lookupd: &Lookupd) -> Reply {
    let now = Instant::now();
    let (nodes, inactive_nodes) = lookupd.registry().node_counts(now);
    let mut tally = Tally::default();
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        cursor = lookupd
            .registry()
            .tally_page(from, PAGE_SIZE, now, &mut tally);
    }
    let mut out = Exposition::default();
    out.build_info("nsqlookupd_build_info");
    for (name, help, value) in [
        ("nsqlookupd_topics", "Topics registered.", tally.topics),
        (
            "nsqlookupd_channels",
            "Channels registered.",
            tally.channels,
        ),
        (
            "nsqlookupd_nodes",
            "nsqds that are connected and have identified themselves.",
            nodes,
        ),
        (
            "nsqlookupd_inactive_nodes",
            "Connected nsqds that answers leave out because they were silent for too long.",
            inactive_nodes,
        ),
        (
            "nsqlookupd_producers",
            "Topics at nsqds, each counted once for each nsqd that has it.",
            tally.producers,
        ),
        (
            "nsqlookupd_tombstoned_producers",
            "Topics at nsqds that a tombstone hides.",
            tally.tombstoned_producers,
        ),
    ] {
        out.gauge(name, help).sample(&[], value);
    }
    let (opened, open) = lookupd.connection_counts();
    out.gauge("nsqlookupd_connections", "TCP connections.")
        .sample(&[], open);
    out.counter(
        "nsqlookupd_connections_opened_total",
        "TCP connections accepted.",
    )
    .sample(&[], opened);
    let limits = lookupd.limits();
    out.gauge("nsqlookupd_http_connections", "HTTP connections.")
        .sample(&[], limits.http.gate.open_count());
    limits.refusals.write(&mut out.counter(
        "nsqlookupd_refusals_total",
        "Connections, registrations and requests refused, by the limit (its flag).",
    ));
    lookupd.requests.write(&mut out.counter(
        "nsqlookupd_http_requests_total",
        "HTTP requests answered, by route and kind of answer.",
    ));
    write_process(&mut out);
    out.into_reply()
}
