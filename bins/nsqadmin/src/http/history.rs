//! `/api/history`: time series as the pages draw them.

use std::collections::BTreeMap;
use std::sync::Arc;

use nsq_daemon::go_duration::GoDuration;
use nsq_daemon::http::{ApiError, Query, Reply, Request};
use serde::Serialize;

use crate::Nsqadmin;
use crate::history::{Key, Metric, Range};

/// Times, and for each metric as many values: `null` where nothing is known.
#[derive(Serialize)]
struct Answer {
    /// Unix seconds.
    times: Vec<i64>,
    metrics: BTreeMap<&'static str, Vec<Option<f64>>>,
}

/// `GET /api/history?topic=&channel=&node=&metric=&from=&until=&step=`.
///
/// Without topic and node: the whole cluster. `from` and `until` are Unix seconds or a length of time before now,
/// such as `-15m` (the default of `from`); `step` is a length of time.
pub(super) async fn history(nsqadmin: Arc<Nsqadmin>, request: Request) -> Result<Reply, ApiError> {
    if !nsqadmin.history.is_on() {
        return Err(ApiError::not_found("HISTORY_OFF"));
    }
    let query = request.query()?;
    let given = |key: &str| query.first(key).filter(|value| !value.is_empty());
    let name = |key: &str| given(key).map(Arc::<str>::from);
    let key = match (name("topic"), name("channel"), name("node")) {
        (None, None, None) => Key::Cluster,
        (None, None, Some(node)) => Key::Node(node),
        (Some(topic), None, None) => Key::Topic(topic),
        (Some(topic), Some(channel), None) => Key::Channel(topic, channel),
        (Some(topic), None, Some(node)) => Key::TopicOnNode(topic, node),
        (Some(topic), Some(channel), Some(node)) => Key::ChannelOnNode(topic, channel, node),
        (None, Some(_), _) => return Err(ApiError::bad_request("MISSING_ARG_TOPIC")),
    };
    let now = jiff::Timestamp::now().as_second();
    let range = Range {
        from: time(given("from").unwrap_or("-15m"), now, "INVALID_ARG_FROM")?,
        until: time(given("until").unwrap_or("-0s"), now, "INVALID_ARG_UNTIL")?.saturating_add(1),
        step: step(&query)?,
    };
    let metrics = match given("metric") {
        None => key.metrics().to_vec(),
        Some(names) => metrics_named(names)?,
    };
    let mut answer = Answer {
        times: Vec::new(),
        metrics: BTreeMap::new(),
    };
    for metric in metrics {
        let points = nsqadmin.history.series(&key, metric, range);
        if points.is_empty() {
            continue;
        }
        let (times, values): (Vec<_>, Vec<_>) = points.into_iter().unzip();
        answer.times = times;
        answer.metrics.insert(metric.name(), values);
    }
    Ok(Reply::json(&answer))
}

fn metrics_named(names: &str) -> Result<Vec<Metric>, ApiError> {
    names
        .split(',')
        .map(|name| {
            let found = Metric::ALL.into_iter().find(|metric| metric.name() == name);
            found.ok_or(ApiError::bad_request("INVALID_ARG_METRIC"))
        })
        .collect()
}

fn time(text: &str, now: i64, code: &'static str) -> Result<i64, ApiError> {
    let bad = || ApiError::bad_request(code);
    if let Some(before) = text.strip_prefix('-') {
        let before: GoDuration = before.parse().map_err(|_| bad())?;
        return Ok(now.saturating_sub(before.nanos() / NANOS_PER_SECOND));
    }
    text.parse().map_err(|_| bad())
}

fn step(query: &Query) -> Result<u32, ApiError> {
    let bad = || ApiError::bad_request("INVALID_ARG_STEP");
    let Some(text) = query.first("step").filter(|text| !text.is_empty()) else {
        return Ok(1);
    };
    let step: GoDuration = text.parse().map_err(|_| bad())?;
    u32::try_from(step.nanos() / NANOS_PER_SECOND).map_err(|_| bad())
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;
