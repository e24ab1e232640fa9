//! `/api/graphite` and `/render`: what graphite knows.

use std::sync::Arc;

use nsq_daemon::http::client::query_escape;
use nsq_daemon::http::{ApiError, Query, Remote, Reply, Request};
use serde::{Deserialize, Serialize};

use crate::Nsqadmin;

/// `/api/graphite?metric=rate&target=T`: the target's value an interval ago, per second.
pub(super) async fn rate(nsqadmin: Arc<Nsqadmin>, request: Request) -> Result<Reply, ApiError> {
    #[derive(Deserialize)]
    struct Series {
        #[serde(default)]
        datapoints: Vec<Vec<Option<f64>>>,
    }
    #[derive(Serialize)]
    struct Rate {
        rate: String,
    }
    let query: Query = request.query()?;
    if query.first("metric") != Some("rate") {
        return Err(ApiError::bad_request("INVALID_ARG_METRIC"));
    }
    let target = query
        .first("target")
        .ok_or(ApiError::bad_request("INVALID_ARG_TARGET"))?;
    let settings = &nsqadmin.settings;
    let interval = settings.statsd_interval.as_secs();
    let url = format!(
        "{}/render?format=json&from=-{}sec&target={}&until=-{interval}sec",
        settings.graphite_url,
        settings.statsd_interval.saturating_mul(2).as_secs(),
        query_escape(target)
    );
    tracing::info!("GRAPHITE: {url}");
    let failed = |why: &dyn std::fmt::Display| {
        tracing::error!("graphite request failed - {why}");
        ApiError::internal("INTERNAL_ERROR")
    };
    let series: Vec<Series> = nsqadmin
        .cluster
        .client()
        .get_json(&url)
        .await
        .map_err(|error| failed(&error.cause))?;
    let first = series.first().and_then(|series| series.datapoints.first());
    let value = first.and_then(|point| point.first().copied().flatten());
    let value = value.ok_or_else(|| failed(&"no data point"))?;
    #[expect(clippy::cast_precision_loss, reason = "an interval is seconds to days")]
    let per_second = value / interval as f64;
    let rate = if value < 0.0 || !per_second.is_finite() {
        "N/A".to_owned()
    } else {
        format!("{per_second:.2}")
    };
    Ok(Reply::json(&Rate { rate }))
}

/// `/render`: an image of graphite's, or its numbers.
pub(super) async fn render(nsqadmin: Arc<Nsqadmin>, request: Request) -> Result<Reply, ApiError> {
    let ip = match request.remote() {
        Remote::Tcp(address) => address.ip().to_string(),
        Remote::Unix => String::new(),
    };
    let (path, query) = (request.path().to_owned(), request.raw_query().to_owned());
    let headers = request.headers().clone();
    Ok(nsqadmin.graphite.render(&path, &query, &headers, &ip).await)
}
