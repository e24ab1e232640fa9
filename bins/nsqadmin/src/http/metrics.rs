//! `/metrics`: counters of nsqadmin itself, and its judgement on every channel, in the format of Prometheus. Each nsqd
//! reports its own figures at its own `/metrics`.

use std::sync::Arc;

use nsq_daemon::http::{ApiError, Reply, Request};
use nsq_daemon::metrics::{Exposition, write_process};

use crate::Nsqadmin;
use crate::access::Viewer;
use crate::snapshot::Snapshot;
use crate::watch::{Judgement, Severity};

/// Open to everyone, but for the names of topics and channels: where there is a login, those are for who logs in.
pub(super) async fn show(nsqadmin: Arc<Nsqadmin>, request: Request) -> Result<Reply, ApiError> {
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
    if !nsqadmin.access.has_login() || request.extensions().get::<Viewer>().is_some() {
        if !nsqadmin.history.is_on() {
            // No one else looks at the cluster. If it does not answer, the last judgement stands.
            let _ = Snapshot::take(&nsqadmin).await;
        }
        write_judgements(&mut out, &nsqadmin);
    }
    write_process(&mut out);
    Ok(out.into_reply())
}

/// What the pages say of each channel, and how many channels there are of each severity.
fn write_judgements(out: &mut Exposition, nsqadmin: &Nsqadmin) {
    let judgements = nsqadmin.watch.judgements();
    let mut counts = out.gauge(
        "nsqadmin_channels",
        "Channels over all nodes, by how bad their state is.",
    );
    for severity in Severity::ALL {
        let alike = judgements.iter().filter(|each| each.severity == severity);
        counts.sample(&[("severity", severity.name())], alike.count());
    }
    let (shown, omitted) = judgements.split_at(judgements.len().min(MOST_CHANNELS));
    let mut states = out.gauge(
        "nsqadmin_channel_state",
        "The state of a channel as the pages show it, always 1; the worst of all nodes.",
    );
    for Judgement {
        topic,
        channel,
        condition,
        severity,
        waits_on_lost,
    } in shown
    {
        let mut sample = |state, severity: Severity| {
            let severity = ("severity", severity.name());
            let labels = [
                ("topic", &**topic),
                ("channel", &**channel),
                ("state", state),
                severity,
            ];
            states.sample(&labels, 1_u64);
        };
        sample(condition.name(), *severity);
        match waits_on_lost {
            Some(1..) => sample("node_lost", Severity::Bad),
            Some(_) => sample("node_lost", Severity::Info),
            None => {}
        }
    }
    out.gauge(
        "nsqadmin_metrics_omitted_channels",
        "Channels without a series of their own: there are too many, and these are the least bad.",
    )
    .sample(&[], omitted.len());
    out.gauge(
        "nsqadmin_lost_nodes",
        "Nodes that do not respond, or have gone and were not dismissed.",
    )
    .sample(&[], nsqadmin.watch.lost_nodes().len());
}

/// Channels with series of their own, as many as nsqd has by default.
const MOST_CHANNELS: usize = 2000;
