//! Making topics for publishers, subscribers and operators.

use std::sync::Arc;

use nsq_core::{Broker, StoreError, Topic};
use nsq_protocol::{ChannelName, TopicName};
use tokio::runtime::Handle;

use crate::admission::Admission;
use crate::clock;
use crate::cluster_ops::ClusterError;
use crate::nsqd::Cluster;
use crate::registration::Registration;

/// Makes topics. Clones are the same.
#[derive(Clone)]
pub(crate) struct TopicMaker {
    /// Has all topics in a single node, and the ephemeral ones in a node of a cluster.
    broker: Arc<Broker>,
    cluster: Option<Cluster>,
    admission: Arc<Admission>,
    registration: Arc<Registration>,
    /// Where what outlives a connection runs.
    control: Handle,
}

/// A topic or channel could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotMade {
    /// By this nsqd.
    #[error(transparent)]
    Here(#[from] StoreError),
    /// In the cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl TopicMaker {
    pub(crate) fn new(
        broker: Arc<Broker>,
        cluster: Option<Cluster>,
        admission: Arc<Admission>,
        registration: Arc<Registration>,
        control: Handle,
    ) -> TopicMaker {
        TopicMaker {
            broker,
            cluster,
            admission,
            registration,
            control,
        }
    }

    /// Makes the topic if it is new: here, or in the whole cluster. In the cluster also that durable channel of it; here the
    /// caller makes channels itself.
    pub(crate) async fn make(
        &self,
        topic: &TopicName,
        channel: Option<&ChannelName>,
    ) -> Result<(), NotMade> {
        match self.cluster_for(topic) {
            None => self.make_here(topic).await.map(drop)?,
            Some(cluster) => self.make_everywhere(cluster, topic, channel).await?,
        }
        Ok(())
    }

    /// Makes a durable channel of a topic that exists, in the whole cluster.
    pub(crate) async fn make_channel_everywhere(
        &self,
        cluster: &Cluster,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<(), NotMade> {
        self.may_make_channel(cluster, topic, channel)?;
        Ok(cluster.ops.create_channel(topic, channel).await?)
    }

    /// The cluster, for what is replicated.
    fn cluster_for(&self, topic: &TopicName) -> Option<&Cluster> {
        self.cluster.as_ref().filter(|_| !topic.is_ephemeral())
    }

    /// With nsqlookupds configured, a topic that is new to the cluster also gets the channels that it has outside of it.
    async fn make_everywhere(
        &self,
        cluster: &Cluster,
        topic: &TopicName,
        channel: Option<&ChannelName>,
    ) -> Result<(), NotMade> {
        let catalogue = &cluster.catalogue;
        let mut channels: Vec<_> = channel.into_iter().cloned().collect();
        if catalogue.has(topic, None) {
            let Some(channel) = channel.filter(|channel| !catalogue.has(topic, Some(channel)))
            else {
                // Shards that do not have it yet are about to follow the directory.
                return Ok(());
            };
            self.may_make_channel(cluster, topic, channel)?;
        } else {
            // Of topics that two nodes make at the same moment, one too many may be made.
            let allowed = self.admission.may_make_topic(catalogue.topic_count());
            allowed.map_err(StoreError::Refused)?;
            if let Some(directory) = self.registration.directory() {
                let elsewhere = directory.channels_of(topic).await.channels;
                let elsewhere = elsewhere.into_iter().filter(|name| !name.is_ephemeral());
                channels.extend(elsewhere.filter(|name| Some(name) != channel));
            }
        }
        Ok(cluster.ops.create_topic(topic, &channels).await?)
    }

    fn may_make_channel(
        &self,
        cluster: &Cluster,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<(), StoreError> {
        if cluster.catalogue.has(topic, Some(channel)) {
            return Ok(());
        }
        let count = cluster.catalogue.channel_count(topic);
        let allowed = self.admission.may_make_channel(count);
        allowed.map_err(StoreError::Refused)
    }

    /// The topic of that name, made if it is new. With nsqlookupds configured, a new topic first gets the channels
    /// that it has elsewhere, so that none of them misses its first messages; publishes by others are accepted
    /// meanwhile. If an nsqlookupd does not answer in time, that is logged and its channels are left out.
    pub(crate) async fn make_here(&self, name: &TopicName) -> Result<Arc<Topic>, StoreError> {
        let directory = self.registration.directory();
        let made = self
            .broker
            .get_or_create_topic(name, directory.is_some(), clock::now());
        let (topic, is_new) = made?;
        if let Some(directory) = directory.filter(|_| is_new) {
            let (directory, made) = (directory.clone(), Arc::clone(&topic));
            // A task of its own: the client that asked may leave, and the topic must still begin.
            let beginning = self.control.spawn(async move {
                for channel in directory.channels_of(made.name()).await.channels {
                    if let Err(error) = made.get_or_create_channel(&channel, clock::now()) {
                        tracing::error!(
                            "TOPIC({}): channel {channel} cannot be created: {error}",
                            made.name()
                        );
                    }
                }
                made.start(clock::now());
            });
            // It fails only when nsqd is going down.
            let _ = beginning.await;
        }
        Ok(topic)
    }
}

/// For a session, which knows the errors of a broker.
impl From<NotMade> for StoreError {
    fn from(error: NotMade) -> StoreError {
        match error {
            NotMade::Here(error) => error,
            NotMade::Cluster(ClusterError::Exiting) => StoreError::Exiting,
            NotMade::Cluster(error) => StoreError::Refused(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
