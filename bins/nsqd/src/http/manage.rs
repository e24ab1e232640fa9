//! `/topic/*` and `/channel/*`: making, deleting, emptying, pausing.
//!
//! All of it may be repeated, and is done when the answer arrives: what was deleted is gone, and what was paused or
//! deleted stays so after a kill. In a cluster, durable topics and channels are made and deleted in the whole cluster, and
//! emptied and paused in all shards that this node leads.

use std::sync::Arc;

use nsq_daemon::http::{ApiError, Method, Reply, Request, Router};
use nsq_protocol::TopicName;

use super::arguments::{Target, read, topic_argument, valid_topic_argument};
use super::replies::{
    blocking, channel_not_found, internal_error, not_made, not_made_anywhere, refused_by_cluster,
    topic_not_found,
};
use crate::clock;
use crate::cluster_ops::ClusterOps;
use crate::nsqd::Nsqd;

pub(super) fn add_routes(router: Router<Nsqd>) -> Router<Nsqd> {
    let post = Method::POST;
    router
        .route(post.clone(), "/topic/create", create_topic)
        .route(post.clone(), "/topic/delete", delete_topic)
        .route(post.clone(), "/topic/empty", empty_topic)
        .route(post.clone(), "/topic/pause", |nsqd, request| {
            set_topic_paused(nsqd, request, true)
        })
        .route(post.clone(), "/topic/unpause", |nsqd, request| {
            set_topic_paused(nsqd, request, false)
        })
        .route(post.clone(), "/channel/create", create_channel)
        .route(post.clone(), "/channel/delete", delete_channel)
        .route(post.clone(), "/channel/empty", empty_channel)
        .route(post.clone(), "/channel/pause", |nsqd, request| {
            set_channel_paused(nsqd, request, true)
        })
        .route(post, "/channel/unpause", |nsqd, request| {
            set_channel_paused(nsqd, request, false)
        })
}

/// The cluster, for what is replicated.
fn cluster(nsqd: &Nsqd, is_ephemeral: bool) -> Option<&dyn ClusterOps> {
    let cluster = nsqd.cluster.as_ref().filter(|_| !is_ephemeral);
    cluster.map(|cluster| &*cluster.ops)
}

// ---- topics ----

async fn create_topic(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let query = read(&mut request).await?;
    let name = TopicName::parse(topic_argument(&query)?);
    let name = name.map_err(|_| ApiError::bad_request("INVALID_TOPIC"))?;
    let made = nsqd.topics.make(&name, None).await;
    made.map_err(|error| not_made_anywhere(&format!("TOPIC({name})"), &error))?;
    Ok(Reply::empty())
}

async fn delete_topic(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let query = read(&mut request).await?;
    let name = existing_topic_argument(topic_argument(&query)?)?;
    if let Some(cluster) = cluster(&nsqd, name.is_ephemeral()) {
        let deleted = cluster.delete_topic(&name).await;
        return deleted
            .map(|()| Reply::empty())
            .map_err(|error| refused_by_cluster(&error));
    }
    let is_deleted = blocking(move || {
        let is_deleted = nsqd.broker.delete_topic(name.as_str());
        if is_deleted {
            save_metadata(&nsqd);
        }
        is_deleted
    });
    if is_deleted.await? {
        Ok(Reply::empty())
    } else {
        Err(topic_not_found())
    }
}

async fn empty_topic(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let query = read(&mut request).await?;
    let name = existing_topic_argument(valid_topic_argument(&query)?)?;
    if let Some(cluster) = cluster(&nsqd, name.is_ephemeral()) {
        let emptied = cluster.empty_topic(&name).await;
        return emptied
            .map(|()| Reply::empty())
            .map_err(|error| refused_by_cluster(&error));
    }
    let topic = nsqd.view().topic(name.as_str());
    let topic = topic.ok_or_else(topic_not_found)?;
    let outcome = blocking(move || {
        let mut parts = topic.parts();
        let outcome = parts.try_for_each(|topic| topic.empty());
        outcome.inspect_err(|error| {
            tracing::error!("TOPIC({}): cannot be emptied: {error}", topic.name());
        })
    });
    outcome.await?.map_err(|_| internal_error())?;
    Ok(Reply::empty())
}

/// Compat: as with a delete, the name need not be one (doPauseTopic, nsqd/http.go).
async fn set_topic_paused(
    nsqd: Arc<Nsqd>,
    mut request: Request,
    paused: bool,
) -> Result<Reply, ApiError> {
    let query = read(&mut request).await?;
    let name = existing_topic_argument(topic_argument(&query)?)?;
    if let Some(cluster) = cluster(&nsqd, name.is_ephemeral()) {
        let done = cluster.pause_topic(&name, paused).await;
        return done
            .map(|()| Reply::empty())
            .map_err(|error| refused_by_cluster(&error));
    }
    let topic = nsqd.view().topic(name.as_str());
    let topic = topic.ok_or_else(topic_not_found)?;
    blocking(move || {
        for topic in topic.parts() {
            topic.set_paused(paused, clock::now());
        }
        save_metadata(&nsqd);
    })
    .await?;
    Ok(Reply::empty())
}

// ---- channels ----

async fn create_channel(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let target = Target::read(&mut request).await?;
    let what = format!("TOPIC({}): channel {}", target.topic, target.channel);
    if let Some(cluster) = nsqd.cluster.as_ref().filter(|_| !target.is_ephemeral()) {
        let Target { topic, channel } = &target;
        let made = nsqd.topics.make_channel_everywhere(cluster, topic, channel);
        let made = made.await.map(|()| Reply::empty());
        return made.map_err(|error| not_made_anywhere(&what, &error));
    }
    let (topic, name) = target.topic(&nsqd)?;
    let outcome = blocking(move || {
        let mut parts = topic.parts();
        let made = parts
            .try_for_each(|topic| topic.get_or_create_channel(&name, clock::now()).map(|_| ()));
        made.map_err(|error| not_made(&what, &error))
    });
    outcome.await??;
    Ok(Reply::empty())
}

async fn delete_channel(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let target = Target::read(&mut request).await?;
    if let Some(cluster) = cluster(&nsqd, target.is_ephemeral()) {
        let deleted = cluster.delete_channel(&target.topic, &target.channel).await;
        return deleted
            .map(|()| Reply::empty())
            .map_err(|error| refused_by_cluster(&error));
    }
    let (topic, name) = target.topic(&nsqd)?;
    let is_deleted = blocking(move || {
        let mut is_deleted = false;
        for topic in topic.parts() {
            is_deleted |= topic.delete_channel(name.as_str());
        }
        if is_deleted {
            topic
                .parts()
                .for_each(|topic| nsqd.broker.drop_if_unused(topic));
            save_metadata(&nsqd);
        }
        is_deleted
    });
    if is_deleted.await? {
        Ok(Reply::empty())
    } else {
        Err(channel_not_found())
    }
}

async fn empty_channel(nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    let target = Target::read(&mut request).await?;
    if let Some(cluster) = cluster(&nsqd, target.is_ephemeral()) {
        let emptied = cluster.empty_channel(&target.topic, &target.channel).await;
        return emptied
            .map(|()| Reply::empty())
            .map_err(|error| refused_by_cluster(&error));
    }
    let (_, channel) = target.channel(&nsqd)?;
    blocking(move || {
        for cell in channel.parts() {
            cell.lock().empty();
        }
    })
    .await?;
    Ok(Reply::empty())
}

async fn set_channel_paused(
    nsqd: Arc<Nsqd>,
    mut request: Request,
    paused: bool,
) -> Result<Reply, ApiError> {
    let target = Target::read(&mut request).await?;
    if let Some(cluster) = cluster(&nsqd, target.is_ephemeral()) {
        let Target { topic, channel } = &target;
        let done = cluster.pause_channel(topic, channel, paused).await;
        return done
            .map(|()| Reply::empty())
            .map_err(|error| refused_by_cluster(&error));
    }
    let (_, channel) = target.channel(&nsqd)?;
    blocking(move || {
        for cell in channel.parts() {
            cell.lock().set_paused(paused);
        }
        save_metadata(&nsqd);
    })
    .await?;
    Ok(Reply::empty())
}

// ---- arguments and files ----

/// The name of a topic that must exist. Compat: a text that is no name is not found, rather than refused
/// (doDeleteTopic, nsqd/http.go).
fn existing_topic_argument(name: &str) -> Result<TopicName, ApiError> {
    TopicName::parse(name).map_err(|_| topic_not_found())
}

/// Writes `nsqd.dat` now, so that a kill does not undo what is about to be answered. A failure is not the client's
/// affair: what it asked for was done. In a cluster only what is ephemeral comes here, and no file names that.
fn save_metadata(nsqd: &Nsqd) {
    if nsqd.cluster.is_some() {
        return;
    }
    if let Err(error) = nsqd.broker.save_metadata() {
        tracing::error!("failed to persist metadata - {error}");
    }
}
