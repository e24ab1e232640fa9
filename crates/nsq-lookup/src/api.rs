//! nsqlookupd's HTTP door: consumers ask where a topic is, nsqadmin asks and changes.
//!
//! Compat: the names of errors are upstream's, although nsqd says `INVALID_TOPIC` for what is
//! `INVALID_ARG_TOPIC` here. `*` is a name like any other that no one can have: upstream's wildcard search
//! leaks out of `/lookup`, `/channels` and `/topic/delete`, where it deletes everything.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nsq_daemon::http::json::GoFormatter;
use nsq_daemon::http::{ApiError, Method, Query, Reply, Request, Router, StatusCode};
use nsq_daemon::version;
use nsq_protocol::{ChannelName, TopicName};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tokio::task::spawn_blocking;

use crate::metrics;
use crate::registry::{Cursor, Dump, DumpEntry};
use crate::{Lookupd, Node};

type Answer = Result<Reply, ApiError>;

/// All of nsqlookupd's endpoints.
pub fn router(lookupd: Arc<Lookupd>) -> Router<Lookupd> {
    let counts = Arc::clone(&lookupd.requests);
    Router::counted(lookupd, counts)
        .route(Method::GET, "/ping", ping)
        .quiet_route(Method::GET, "/ready", ping)
        .polled_route("/info", info)
        .route(Method::GET, "/debug", debug)
        .quiet_route(Method::GET, "/metrics", async |lookupd, _| {
            at_length(move || metrics::reply(&lookupd)).await
        })
        .route(Method::GET, "/lookup", lookup)
        .polled_route("/topics", topics)
        .route(Method::GET, "/channels", channels)
        .polled_route("/nodes", nodes)
        .route(Method::POST, "/topic/create", create_topic)
        .route(Method::POST, "/topic/delete", delete_topic)
        .route(Method::POST, "/channel/create", create_channel)
        .route(Method::POST, "/channel/delete", delete_channel)
        .route(Method::POST, "/topic/tombstone", tombstone)
}

async fn ping(_: Arc<Lookupd>, _: Request) -> Answer {
    Ok(Reply::plain(StatusCode::OK, "OK"))
}

async fn info(lookupd: Arc<Lookupd>, _: Request) -> Answer {
    #[derive(Serialize)]
    struct Info {
        version: &'static str,
        /// Not upstream's.
        build: String,
    }
    let version = lookupd.introduction().version;
    let build = version::build();
    Ok(Reply::json(&Info { version, build }))
}

async fn lookup(lookupd: Arc<Lookupd>, mut request: Request) -> Answer {
    #[derive(Serialize)]
    struct Body<'a> {
        channels: Vec<&'a str>,
        producers: Vec<&'a Node>,
    }
    let query = read(&mut request).await?;
    let topic = argument(&query, "topic", "MISSING_ARG_TOPIC")?;
    let found = lookupd.registry().lookup(topic, Instant::now());
    let found = found.ok_or(ApiError::not_found("TOPIC_NOT_FOUND"))?;
    Ok(Reply::json(&Body {
        channels: found.channels.iter().map(ChannelName::as_str).collect(),
        producers: found.producers.iter().map(AsRef::as_ref).collect(),
    }))
}

async fn channels(lookupd: Arc<Lookupd>, mut request: Request) -> Answer {
    #[derive(Serialize)]
    struct Body<'a> {
        channels: Vec<&'a str>,
    }
    let query = read(&mut request).await?;
    let topic = argument(&query, "topic", "MISSING_ARG_TOPIC")?;
    let channels = lookupd.registry().channels(topic);
    Ok(Reply::json(&Body {
        channels: channels.iter().map(ChannelName::as_str).collect(),
    }))
}

async fn topics(lookupd: Arc<Lookupd>, _: Request) -> Answer {
    #[derive(Serialize)]
    struct Body<'a> {
        topics: Vec<&'a str>,
    }
    at_length(move || {
        let mut topics = Vec::new();
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = lookupd.registry().topics_page(from, PAGE_SIZE, &mut topics);
        }
        topics.sort_unstable();
        Reply::json(&Body {
            topics: topics.iter().map(TopicName::as_str).collect(),
        })
    })
    .await
}

async fn nodes(lookupd: Arc<Lookupd>, _: Request) -> Answer {
    #[derive(Serialize)]
    struct Body<'a> {
        producers: Vec<Producer<'a>>,
    }
    #[derive(Serialize)]
    struct Producer<'a> {
        #[serde(flatten)]
        node: &'a Node,
        // nsqadmin reads the tombstone at a topic's index, so the two have one length.
        tombstones: Vec<bool>,
        topics: Vec<&'a str>,
    }
    at_length(move || {
        let now = Instant::now();
        let mut reports = Vec::new();
        let mut cursor = Cursor::default();
        loop {
            let next = lookupd.registry().next_node(cursor, now);
            let Some((report, after)) = next else {
                break;
            };
            reports.push(report);
            cursor = after;
        }
        for report in &mut reports {
            report.topics.sort_unstable();
        }
        let producers = reports.iter().map(|report| Producer {
            node: &report.node,
            tombstones: report.topics.iter().map(|(_, hidden)| *hidden).collect(),
            topics: report
                .topics
                .iter()
                .map(|(name, _)| name.as_str())
                .collect(),
        });
        Reply::json(&Body {
            producers: producers.collect(),
        })
    })
    .await
}

async fn create_topic(lookupd: Arc<Lookupd>, mut request: Request) -> Answer {
    let query = read(&mut request).await?;
    let topic = topic_argument(&query)?;
    tracing::info!("DB: adding topic({topic})");
    let mut registry = lookupd.registry();
    lookupd.limits().check(&registry, &topic, None)?;
    registry.create_topic(&topic);
    Ok(Reply::empty())
}

async fn delete_topic(lookupd: Arc<Lookupd>, mut request: Request) -> Answer {
    let query = read(&mut request).await?;
    // Not validated: a name no one can have is a topic no one has.
    let topic = argument(&query, "topic", "MISSING_ARG_TOPIC")?;
    if let Some(channels) = lookupd.registry().delete_topic(topic) {
        for channel in channels {
            tracing::info!("DB: removing channel({channel}) from topic({topic})");
        }
        tracing::info!("DB: removing topic({topic})");
    }
    Ok(Reply::empty())
}

async fn create_channel(lookupd: Arc<Lookupd>, mut request: Request) -> Answer {
    let query = read(&mut request).await?;
    let (topic, channel) = channel_arguments(&query)?;
    tracing::info!("DB: adding channel({channel}) in topic({topic})");
    tracing::info!("DB: adding topic({topic})");
    let mut registry = lookupd.registry();
    lookupd.limits().check(&registry, &topic, Some(&channel))?;
    registry.create_channel(&topic, &channel);
    Ok(Reply::empty())
}

async fn delete_channel(lookupd: Arc<Lookupd>, mut request: Request) -> Answer {
    let query = read(&mut request).await?;
    let (topic, channel) = channel_arguments(&query)?;
    if !lookupd
        .registry()
        .delete_channel(topic.as_str(), channel.as_str())
    {
        return Err(ApiError::not_found("CHANNEL_NOT_FOUND"));
    }
    tracing::info!("DB: removing channel({channel}) from topic({topic})");
    Ok(Reply::empty())
}

async fn tombstone(lookupd: Arc<Lookupd>, mut request: Request) -> Answer {
    let query = read(&mut request).await?;
    let topic = argument(&query, "topic", "MISSING_ARG_TOPIC")?;
    let node = argument(&query, "node", "MISSING_ARG_NODE")?;
    tracing::info!("DB: setting tombstone for producer@{node} of topic({topic})");
    lookupd.registry().tombstone(topic, node, Instant::now());
    Ok(Reply::empty())
}

/// Everything, by registration. Upstream's own cluster test and people with a problem read it.
async fn debug(lookupd: Arc<Lookupd>, _: Request) -> Answer {
    at_length(move || {
        let clock = WallClock::now();
        let mut out = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, GoFormatter);
        match write_dump(&lookupd, clock, &mut serializer) {
            Ok(()) => Reply::raw_json(out),
            Err(error) => ApiError::internal(error.to_string()).into(),
        }
    })
    .await
}

fn write_dump<S: Serializer>(lookupd: &Lookupd, clock: WallClock, out: S) -> Result<(), S::Error> {
    let mut map = out.serialize_map(None)?;
    let mut page = vec![lookupd.registry().dump_nodes()];
    page.retain(|dump| !dump.entries.is_empty());
    let mut cursor = Some(Cursor::default());
    loop {
        for dump in page.drain(..) {
            let entries: Vec<_> = dump
                .entries
                .iter()
                .map(|e| DebugEntry::new(e, clock))
                .collect();
            map.serialize_entry(&registration_text(&dump), &entries)?;
        }
        let Some(from) = cursor else {
            break;
        };
        cursor = lookupd.registry().dump_page(from, PAGE_SIZE, &mut page);
    }
    map.end()?;
    Ok(())
}

/// `category:key:subkey`.
fn registration_text(dump: &Dump) -> String {
    match (&dump.topic, &dump.channel) {
        (Some(topic), Some(channel)) => format!("channel:{topic}:{channel}"),
        (Some(topic), None) => format!("topic:{topic}:"),
        (None, _) => "client::".to_owned(),
    }
}

#[derive(Serialize)]
struct DebugEntry<'a> {
    broadcast_address: &'a str,
    hostname: &'a str,
    http_port: i64,
    id: &'a str,
    last_update: i64,
    tcp_port: i64,
    tombstoned: bool,
    tombstoned_at: i64,
    topology_region: &'a str,
    topology_zone: &'a str,
    version: &'a str,
}

impl<'a> DebugEntry<'a> {
    fn new(entry: &'a DumpEntry, clock: WallClock) -> Self {
        let node = &*entry.node;
        Self {
            broadcast_address: &node.broadcast_address,
            hostname: &node.hostname,
            http_port: node.http_port,
            id: &node.remote_address,
            last_update: clock.unix_nanos(entry.last_update),
            tcp_port: node.tcp_port,
            tombstoned: entry.tombstoned_at.is_some(),
            tombstoned_at: entry
                .tombstoned_at
                .map_or(NEVER_TOMBSTONED, |at| clock.unix_nanos(at)),
            topology_region: &node.topology_region,
            topology_zone: &node.topology_zone,
            version: &node.version,
        }
    }
}

/// Both clocks at one moment: the registry counts on the steady one, people read the other.
#[derive(Debug, Clone, Copy)]
struct WallClock {
    steady: Instant,
    wall: SystemTime,
}

impl WallClock {
    fn now() -> Self {
        Self {
            steady: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn unix_nanos(self, at: Instant) -> i64 {
        let ago = self.steady.saturating_duration_since(at);
        let wall = self.wall.checked_sub(ago).unwrap_or(UNIX_EPOCH);
        let since_epoch = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
    }
}

/// Answers whose length grows with the cluster are put together outside the runtime's workers, so that
/// lookups continue meanwhile.
async fn at_length(answer: impl FnOnce() -> Reply + Send + 'static) -> Answer {
    match spawn_blocking(answer).await {
        Ok(reply) => Ok(reply),
        Err(error) => match error.try_into_panic() {
            // The router knows what to do with it.
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(ApiError::internal("INTERNAL_ERROR")),
        },
    }
}

/// The query of a request whose body, whatever it is, was sent for nothing.
async fn read(request: &mut Request) -> Result<Query, ApiError> {
    let query = request.query()?;
    request.discard_body().await?;
    Ok(query)
}

fn argument<'q>(query: &'q Query, key: &str, missing: &'static str) -> Result<&'q str, ApiError> {
    query.first(key).ok_or(ApiError::bad_request(missing))
}

fn topic_argument(query: &Query) -> Result<TopicName, ApiError> {
    let name = argument(query, "topic", "MISSING_ARG_TOPIC")?;
    TopicName::parse(name).map_err(|_| ApiError::bad_request("INVALID_ARG_TOPIC"))
}

fn channel_arguments(query: &Query) -> Result<(TopicName, ChannelName), ApiError> {
    let topic = topic_argument(query)?;
    let name = argument(query, "channel", "MISSING_ARG_CHANNEL")?;
    let channel =
        ChannelName::parse(name).map_err(|_| ApiError::bad_request("INVALID_ARG_CHANNEL"))?;
    Ok((topic, channel))
}

/// Topics looked at per hold of the registry's lock: well under a millisecond.
pub(crate) const PAGE_SIZE: usize = 1024;

/// Compat: the result of the overflow of Go's zero time (http.go, doDebug).
const NEVER_TOMBSTONED: i64 = -6_795_364_578_871_345_152;
