//! The life of one peer: connect, introduce, register everything, pass on changes, ping; and again.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nsq_daemon::http::json;
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};

use super::connection::{Connection, ConnectionError};
use super::{PeerState, Shared};
use crate::wire::Request;

/// What an nsqlookupd says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Introduction {
    tcp_port: i64,
    http_port: i64,
    version: String,
    broadcast_address: String,
}

/// Runs until it is aborted.
pub(super) async fn run(state: Arc<PeerState>, shared: Arc<Shared>) {
    let mut failure_count = 0;
    loop {
        let tried_at = Instant::now();
        let error = converse(&state, &shared, &mut failure_count).await;
        state.close_inbox();
        tracing::error!("LOOKUPD({}): {error}", state.address);

        let backoff = backoff(&shared, failure_count);
        failure_count = failure_count.saturating_add(1);
        tokio::select! {
            () = sleep(backoff) => {}
            // News are worth an attempt out of turn, but not one for each of a thousand new topics.
            () = state.wake.notified() => sleep_until(tried_at + shared.timing.shortest_gap).await,
        }
    }
}

/// One connection from its beginning to its end.
async fn converse(state: &PeerState, shared: &Shared, failure_count: &mut u32) -> ConnectionError {
    let mut connection = match connect(state, shared).await {
        Ok(connection) => connection,
        Err(error) => return error,
    };
    *failure_count = 0;
    let period = shared.timing.ping_interval;
    let mut ping = interval_at(Instant::now() + period, period);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            error = connection.closed() => return error,
            () = state.wake.notified() => pass_on_changes(state, shared, &mut connection).await,
            _ = ping.tick() => {
                tracing::debug!("LOOKUPD({}): sending heartbeat", state.address);
                connection.ask(Request::Ping).await.map(drop)
            }
        };
        if let Err(error) = done {
            return error;
        }
    }
}

async fn connect(state: &PeerState, shared: &Shared) -> Result<Connection, ConnectionError> {
    let address = &state.address;
    tracing::info!("LOOKUP connecting to {address}");
    let tls = shared.settings.tls.as_ref();
    let io_timeout = shared.timing.io_timeout;
    let max_answer_bytes = shared.settings.max_answer_bytes;
    let mut connection = Connection::open(address, tls, io_timeout, max_answer_bytes).await?;

    let announcement =
        json::to_vec(&shared.settings.announcement).expect("texts and numbers are always JSON");
    let answer = connection
        .ask(Request::Identify(announcement.into()))
        .await?;
    learn_http_address(state, &answer)?;

    // First the inbox, then the list: a change in between is told twice, and none is missed.
    state.open_inbox();
    let registrations = shared.catalog.registrations();
    let commands: Vec<Request> = registrations
        .into_iter()
        .flat_map(|(topic, channels)| {
            // A channel's registration includes its topic's.
            let topic_alone = channels
                .is_empty()
                .then(|| Request::Register(topic.clone(), None));
            let each = channels.into_iter();
            topic_alone
                .into_iter()
                .chain(each.map(move |channel| Request::Register(topic.clone(), Some(channel))))
        })
        .collect();
    for batch in commands.chunks(MAX_UNANSWERED) {
        for command in batch {
            tracing::info!("LOOKUPD({address}): {command}");
        }
        connection.ask_all(batch).await?;
    }
    Ok(connection)
}

fn learn_http_address(state: &PeerState, answer: &Bytes) -> Result<(), ConnectionError> {
    let Ok(introduction) = serde_json::from_slice::<Introduction>(answer) else {
        let answer = String::from_utf8_lossy(answer).into_owned();
        return Err(ConnectionError::Introduction(answer));
    };
    let address = &state.address;
    let Introduction {
        tcp_port,
        http_port,
        version,
        broadcast_address: host,
    } = introduction;
    tracing::info!(
        "LOOKUPD({address}): peer info {{TCPPort:{tcp_port} HTTPPort:{http_port} Version:{version} BroadcastAddress:{host}}}"
    );
    if host.is_empty() {
        tracing::error!("LOOKUPD({address}): no broadcast address");
    }
    state.set_http_address(match host.as_str() {
        "" => None,
        host if host.contains(':') && !host.starts_with('[') => {
            Some(format!("[{host}]:{http_port}"))
        }
        host => Some(format!("{host}:{http_port}")),
    });
    Ok(())
}

async fn pass_on_changes(
    state: &PeerState,
    shared: &Shared,
    connection: &mut Connection,
) -> Result<(), ConnectionError> {
    loop {
        let changes = state.take(MAX_UNANSWERED);
        if changes.is_empty() {
            return Ok(());
        }
        let commands: Vec<Request> = changes
            .into_iter()
            .map(|(topic, channel)| {
                let kind = if channel.is_some() {
                    "channel"
                } else {
                    "topic"
                };
                let command = if shared.catalog.has(&topic, channel.as_ref()) {
                    Request::Register(topic, channel)
                } else {
                    Request::Unregister(topic, channel)
                };
                tracing::info!("LOOKUPD({}): {kind} {command}", state.address);
                command
            })
            .collect();
        connection.ask_all(&commands).await?;
    }
}

/// Doubles with each failure, up to a bound; between half of that and all of it, so that a thousand
/// nsqds do not fall upon a restarted nsqlookupd in step.
fn backoff(shared: &Shared, failure_count: u32) -> Duration {
    let timing = &shared.timing;
    let factor = 2_u32.saturating_pow(failure_count);
    let whole = timing
        .shortest_backoff
        .saturating_mul(factor)
        .min(timing.longest_backoff);
    let random = u32::from(RandomState::new().hash_one(failure_count).to_le_bytes()[0]);
    whole / 2 + whole * random / 512
}

/// Commands sent ahead of their answers. One round trip each would make a distant nsqlookupd wait minutes
/// for ten thousand topics; this many fit any socket buffer, so neither side can block the other.
const MAX_UNANSWERED: usize = 64;
