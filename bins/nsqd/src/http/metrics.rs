//! `/metrics`: figures in the format of Prometheus.
//!
//! Topics and channels have series of their own up to a bound, the first by name so that they stay the same; the
//! totals are of all, ephemeral and left out ones too, and their counters include what was deleted.

mod series;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use nsq_core::stats::{TopicStats, Totals};
use nsq_daemon::http::{ApiError, Reply, Request};
use nsq_daemon::metrics::{Exposition, write_process};

use self::series::{Shown, write_series};
use super::replies::blocking;
use crate::nsqd::Nsqd;
use crate::settings::NsqdOptions;
use crate::view::TopicParts;

pub(super) async fn metrics(nsqd: Arc<Nsqd>, _: Request) -> Result<Reply, ApiError> {
    // With many topics this takes a while.
    blocking(move || {
        let figures = Figures::gather(&nsqd);
        let mut out = Exposition::default();
        write_nsqd(&mut out, &nsqd);
        figures.write(&mut out, &nsqd.settings);
        if let Some(cluster) = &nsqd.cluster {
            cluster.ops.write_metrics(&mut out);
        }
        write_process(&mut out);
        out.into_reply()
    })
    .await
}

/// The topics, by name, and their totals.
struct Figures {
    topics: Vec<TopicStats>,
    totals: Totals,
}

impl Figures {
    /// Locks one topic or channel at a time.
    fn gather(nsqd: &Nsqd) -> Figures {
        let (view, gone) = nsqd.upkeep.counted().all();
        let mut totals = view.departed();
        let topics = view.topics();
        let mut topics: Vec<_> = topics.iter().map(TopicParts::stats).collect();
        for topic in &topics {
            totals.add(topic);
        }
        totals.merge(&gone.totals);
        gone.add_to(&mut topics);
        nsqd.scrapes.show(&mut totals);
        Figures { topics, totals }
    }

    fn write(&self, out: &mut Exposition, options: &NsqdOptions) {
        let shown = Shown::choose(&self.topics, options);
        let channel_count: usize = self.topics.iter().map(|topic| topic.channels.len()).sum();
        out.gauge("nsqd_topics", "Topics.")
            .sample(&[], self.topics.len());
        out.gauge("nsqd_channels", "Channels.")
            .sample(&[], channel_count);
        out.gauge(
            "nsqd_metrics_omitted_topics",
            "Topics without series of their own: ephemeral, or above --metrics-max-topics.",
        )
        .sample(&[], self.topics.len() - shown.topics.len());
        out.gauge(
            "nsqd_metrics_omitted_channels",
            "Channels without series of their own: ephemeral, of such a topic, or above --metrics-max-channels.",
        )
        .sample(&[], channel_count - shown.channels.len());
        series::write_totals(out, &self.topics, &self.totals);
        write_series(out, &shown);
    }
}

fn write_nsqd(out: &mut Exposition, nsqd: &Nsqd) {
    let (view, gone) = nsqd.upkeep.counted().all();
    out.build_info("nsqd_build_info");
    out.gauge("nsqd_healthy", "Whether the last write to a log succeeded.")
        .sample(&[], view.health() == "OK");
    out.counter(
        "nsqd_append_errors_total",
        "Appends that failed because a log could not be written: publishes, and messages that were adopted or moved.",
    )
    .sample(&[], view.failed_append_count() + gone.failed_append_count);
    let syncer = &nsqd.sync_runner;
    out.counter("nsqd_sync_errors_total", "Syncs of a topic that failed.")
        .sample(&[], syncer.failure_count(&nsqd.server));
    syncer.durations().write(
        &mut out.histogram(
            "nsqd_sync_duration_seconds",
            "Time a sync of a topic to the disk took.",
        ),
        &[],
    );
    out.gauge("nsqd_connections", "TCP connections of clients.")
        .sample(&[], nsqd.clients.count());
    out.counter(
        "nsqd_connections_opened_total",
        "TCP connections of clients accepted.",
    )
    .sample(&[], nsqd.clients.opened_count());
    let admission = &nsqd.admission;
    out.gauge("nsqd_http_connections", "HTTP and HTTPS connections.")
        .sample(&[], admission.gates.http.open_count());
    admission.gates.refusals.write(&mut out.counter(
        "nsqd_refusals_total",
        "Connections, topics, channels and requests refused, by the limit (its flag).",
    ));
    nsqd.scrapes.requests.write(&mut out.counter(
        "nsqd_http_requests_total",
        "HTTP requests answered, by route and kind of answer.",
    ));
}
