//! `/stats`: what is asked for, and gathering it. How it is shown is in [`json`] and [`text`].

mod clients;
#[cfg(test)]
mod fixtures;
mod heap_figures;
mod json;
mod report;
mod text;

use std::sync::Arc;

use nsq_core::stats::ChannelStats;
use nsq_daemon::http::{ApiError, Query, Reply, Request};

use self::clients::Clients;
use self::heap_figures::HeapFigures;
use self::report::{ChannelReport, Stats, TopicReport};
use super::arguments::read;
use super::replies::blocking;
use crate::clock;
use crate::nsqd::Nsqd;
use crate::view::TopicParts;

pub(super) async fn stats(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let query = StatsQuery::parse(&read(&mut request).await?);
    // With many topics and clients this takes a while.
    blocking(move || {
        let stats = gather(&nsqd, &query);
        match query.format {
            Format::Json => json::reply(&stats),
            Format::Text => Reply::text(text::render(&stats)),
        }
    })
    .await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Text,
}

/// What to show. Filters are `None` when not given or empty.
#[derive(Debug, PartialEq, Eq)]
struct StatsQuery {
    format: Format,
    topic: Option<String>,
    channel: Option<String>,
    include_clients: bool,
    include_memory: bool,
}

impl StatsQuery {
    fn parse(query: &Query) -> StatsQuery {
        let filter = |key: &str| {
            query
                .first(key)
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
        };
        let is_wanted = |key: &str| !matches!(query.first(key), Some("false" | "0"));
        StatsQuery {
            format: if query.first("format") == Some("json") {
                Format::Json
            } else {
                Format::Text
            },
            topic: filter("topic"),
            channel: filter("channel"),
            include_clients: is_wanted("include_clients"),
            include_memory: is_wanted("include_mem"),
        }
    }
}

fn gather(nsqd: &Nsqd, query: &StatsQuery) -> Stats {
    let view = nsqd.view();
    let topics = match &query.topic {
        Some(name) => view.topic(name).map(|topic| vec![topic]),
        None => Some(view.topics()),
    };
    let mut clients = match &topics {
        Some(_) if query.include_clients => Clients::gather(&nsqd.clients, query.topic.as_deref()),
        _ => Clients::default(),
    };
    let topics = topics.map(|topics| {
        topics
            .iter()
            .filter_map(|topic| topic_report(topic, query, &mut clients))
            .collect()
    });
    Stats {
        health: view.health(),
        start_time: nsqd.started.unix_seconds,
        uptime: nsqd.started.instant.elapsed(),
        topics,
        memory: query.include_memory.then(HeapFigures::now),
        producers: clients.producers,
    }
}

/// `None` when a channel is asked for that the topic does not have.
fn topic_report(
    topic: &TopicParts,
    query: &StatsQuery,
    clients: &mut Clients,
) -> Option<TopicReport> {
    let mut stats = topic.stats_with_percentiles(clock::now());
    let mut channels = std::mem::take(&mut stats.channels);
    if let Some(name) = &query.channel {
        channels.retain(|channel| channel.name.as_str() == name);
        if channels.is_empty() {
            return None;
        }
    }
    let report = |stats: ChannelStats| {
        let clients = query.include_clients.then(|| {
            let channel = topic.channel(stats.name.as_str());
            channel.map_or_else(Vec::new, |channel| clients.take(&channel))
        });
        ChannelReport { stats, clients }
    };
    let channels = channels.into_iter().map(report).collect();
    Some(TopicReport { stats, channels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parse(query: &str) -> StatsQuery {
        StatsQuery::parse(&Query::parse(query).unwrap())
    }

    #[test]
    fn everything_is_shown_unless_the_query_says_otherwise() {
        let everything = StatsQuery {
            format: Format::Text,
            topic: None,
            channel: None,
            include_clients: true,
            include_memory: true,
        };
        assert_eq!(parse(""), everything);
        assert_eq!(
            parse("format=JSON&topic=&channel=&include_clients=no&include_mem=FALSE"),
            everything
        );
        let narrow = StatsQuery {
            format: Format::Json,
            topic: Some("t!".to_owned()),
            channel: Some("c".to_owned()),
            include_clients: false,
            include_memory: false,
        };
        assert_eq!(
            parse("format=json&topic=t!&channel=c&include_clients=0&include_mem=false"),
            narrow
        );
        assert_eq!(
            parse("format=json&topic=t!&channel=c&include_clients=false&include_mem=0"),
            narrow
        );
    }
}
