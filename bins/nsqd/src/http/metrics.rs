//! `/metrics`: figures in the format of Prometheus.
//!
//! Topics and channels have series of their own up to a bound, the first by name so that they stay the same; the
//! totals are of all, ephemeral and left out ones too, and their counters include what was deleted.

mod series;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use nsq_core::stats::{TopicStats, Totals};
use nsq_daemon::http::{ApiError, Reply, Request, RequestCounts};
use nsq_daemon::metrics::{Exposition, write_process};

use self::series::{Shown, write_series};
use super::blocking;
use crate::nsqd::Nsqd;
use crate::settings::NsqdOptions;

/// What is counted for the metrics alone.
#[derive(Default)]
pub(crate) struct Metrics {
    /// Of all listeners.
    pub(crate) requests: Arc<RequestCounts>,
    /// The totals as they were last shown, which they never fall below: a topic deleted during a scrape is missed by it.
    shown: Mutex<Totals>,
}

pub(super) async fn metrics(nsqd: Arc<Nsqd>, _: Request) -> Result<Reply, ApiError> {
    // With many topics this takes a while.
    blocking(move || {
        let figures = Figures::gather(&nsqd);
        let mut out = Exposition::default();
        write_nsqd(&mut out, &nsqd);
        figures.write(&mut out, &nsqd.settings);
        write_process(&mut out);
        out.into_reply()
    })
    .await
}

/// The topics, by name, and what they come to.
struct Figures {
    topics: Vec<TopicStats>,
    totals: Totals,
}

impl Figures {
    /// Locks one topic or channel at a time.
    fn gather(nsqd: &Nsqd) -> Figures {
        let mut totals = nsqd.broker.departed();
        let topics = nsqd.broker.topics();
        let topics: Vec<_> = topics.iter().map(|topic| topic.stats()).collect();
        for topic in &topics {
            totals.add(topic);
        }
        let mut shown = nsqd
            .metrics
            .shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        totals.raise_to(&shown);
        shown.clone_from(&totals);
        drop(shown);
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
    out.build_info("nsqd_build_info");
    out.gauge("nsqd_healthy", "Whether the last write to a log succeeded.")
        .sample(&[], nsqd.broker.health() == "OK");
    out.counter(
        "nsqd_append_errors_total",
        "Publishes that failed because the log could not be written.",
    )
    .sample(&[], nsqd.broker.failed_append_count());
    let syncer = &nsqd.notes.syncer;
    out.counter("nsqd_sync_errors_total", "Syncs of a topic that failed.")
        .sample(&[], syncer.failure_count());
    syncer.durations().write(
        &mut out.histogram(
            "nsqd_sync_duration_seconds",
            "Time a sync of a topic to the disk took.",
        ),
        &[],
    );
    out.gauge("nsqd_connections", "TCP connections of clients.")
        .sample(&[], nsqd.client_count());
    out.counter(
        "nsqd_connections_opened_total",
        "TCP connections of clients accepted.",
    )
    .sample(&[], nsqd.opened_count());
    let admission = &nsqd.notes.admission;
    out.gauge("nsqd_http_connections", "HTTP and HTTPS connections.")
        .sample(&[], admission.http.open_count());
    admission.refusals.write(&mut out.counter(
        "nsqd_refusals_total",
        "Connections, topics, channels and requests refused, by the limit (its flag).",
    ));
    nsqd.metrics.requests.write(&mut out.counter(
        "nsqd_http_requests_total",
        "HTTP requests answered, by route and kind of answer.",
    ));
}
