//! Registering this nsqd with the nsqlookupds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nsq_core::Broker;
use nsq_core::broker::Change;
use nsq_daemon::http::client::{Client, ClientOptions};
use nsq_daemon::node_id::hostname;
use nsq_daemon::version::VERSION;
use nsq_lookup::peer::{Announcement, Catalog, LookupHandle, Settings as LookupSettings};
use nsq_protocol::{ChannelName, TopicName};
use nsq_server::Server;

use crate::cluster_ops::Catalogue;
use crate::nsqd::Nsqd;
use crate::settings::Settings;
use crate::view::View;

/// The longest list of channels to take from an nsqlookupd, in bytes: a hundred thousand names.
const DISCOVERY_BYTES: usize = 8 << 20;

/// What is registered: everything that this nsqd has. In a cluster, every node registers all durable topics and channels of
/// the cluster, so that consumers are connected to it before it leads anything.
struct Registered {
    server: Arc<Server>,
    catalogue: Option<Arc<dyn Catalogue>>,
}

impl Catalog for Registered {
    fn registrations(&self) -> Vec<(TopicName, Vec<ChannelName>)> {
        let served = View::of(&self.server).topics();
        let served = served
            .iter()
            .map(|topic| (topic.name().clone(), topic.channel_names()));
        match &self.catalogue {
            None => served.collect(),
            Some(catalogue) => with_ephemerals(catalogue.topics(), served),
        }
    }

    fn has(&self, topic: &TopicName, channel: Option<&ChannelName>) -> bool {
        let is_served = || View::of(&self.server).has(topic, channel);
        let Some(catalogue) = &self.catalogue else {
            return is_served();
        };
        if topic.is_ephemeral() {
            is_served()
        } else if channel.is_some_and(ChannelName::is_ephemeral) {
            catalogue.has(topic, None) && is_served()
        } else {
            catalogue.has(topic, channel)
        }
    }
}

/// The durable topics and channels of the cluster with the ephemeral ones of this node. What a shard still has of a
/// deleted topic is left out.
fn with_ephemerals(
    durable: Vec<(TopicName, Vec<ChannelName>)>,
    served: impl Iterator<Item = (TopicName, Vec<ChannelName>)>,
) -> Vec<(TopicName, Vec<ChannelName>)> {
    let mut all: BTreeMap<_, _> = durable.into_iter().collect();
    for (topic, mut channels) in served {
        if topic.is_ephemeral() {
            all.insert(topic, channels);
        } else if let Some(known) = all.get_mut(&topic) {
            channels.retain(ChannelName::is_ephemeral);
            known.extend(channels);
        }
    }
    all.into_iter().collect()
}

/// The registration with the nsqlookupds, from the start of nsqd on.
#[derive(Default)]
pub(crate) struct Registration {
    handle: OnceLock<LookupHandle>,
    /// Held while changed addresses are put into effect: of two changes at once the later must be the one that stays.
    applying: Mutex<()>,
}

impl Registration {
    /// Begins to register with the nsqlookupds of the settings. Their list may be empty, and change.
    pub(crate) fn start(&self, nsqd: &Nsqd) {
        let registered = Registered {
            server: Arc::clone(&nsqd.server),
            catalogue: nsqd
                .cluster
                .as_ref()
                .map(|cluster| Arc::clone(&cluster.catalogue)),
        };
        // Nothing else sets it.
        let _ = self.handle.set(start(&nsqd.settings, registered));
    }

    /// A topic or channel was made or deleted: in a broker, or in the cluster.
    pub(crate) fn announce(&self, change: &Change) {
        let Some(handle) = self.handle.get() else {
            return;
        };
        match change {
            Change::TopicCreated(topic) | Change::TopicDeleted(topic) => {
                handle.topic_changed(topic);
            }
            Change::ChannelCreated(topic, channel) | Change::ChannelDeleted(topic, channel) => {
                handle.channel_changed(topic, channel);
            }
        }
    }

    /// An option was changed while nsqd runs, or whether it drains.
    pub(crate) fn apply(&self, settings: &Settings, broker: &Broker) {
        let _applying = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(handle) = self.handle.get() else {
            return;
        };
        if broker.is_draining() {
            // nsqlookupd forgets an nsqd whose connection ends, and nothing registers again.
            handle.set_addresses(&[]);
        } else {
            handle.set_addresses(&settings.nsqlookupd_tcp_addresses.current());
        }
    }

    /// Where to ask for the channels that a topic has elsewhere, if anywhere.
    pub(crate) fn directory(&self) -> Option<&LookupHandle> {
        let handle = self.handle.get();
        handle.filter(|handle| !handle.addresses().is_empty())
    }
}

fn start(settings: &Settings, registered: Registered) -> LookupHandle {
    let announcement = Announcement {
        broadcast_address: settings.broadcast_address.clone(),
        hostname: hostname(),
        http_port: settings.broadcast_http_port.into(),
        tcp_port: settings.broadcast_tcp_port.into(),
        topology_region: settings.topology_region.clone(),
        topology_zone: settings.topology_zone.clone(),
        version: VERSION,
    };
    let lookup = LookupSettings {
        announcement,
        max_answer_bytes: usize::try_from(settings.max_body_size).unwrap_or_default(),
        tls: settings.lookupd_connector().cloned(),
        discovery: Client::new(ClientOptions {
            connect_timeout: settings.http_client_connect_timeout,
            request_timeout: settings.http_client_request_timeout,
            tls: None,
            user_agent: format!("nsqd/{VERSION}"),
            body_limit: DISCOVERY_BYTES,
        }),
    };
    let addresses = settings.nsqlookupd_tcp_addresses.current();
    LookupHandle::start(lookup, registered, &addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, channels: &[&str]) -> (TopicName, Vec<ChannelName>) {
        let channels = channels
            .iter()
            .map(|name| ChannelName::parse(name).unwrap());
        (TopicName::parse(name).unwrap(), channels.collect())
    }

    #[test]
    fn a_node_registers_the_topics_of_the_cluster_and_its_own_ephemerals() {
        let durable = vec![topic("a", &["c"]), topic("led-elsewhere", &["d"])];
        let served = [
            topic("a", &["c", "e#ephemeral", "deleted"]),
            topic("deleted", &["c", "e#ephemeral"]),
            topic("t#ephemeral", &["c"]),
        ];
        assert_eq!(
            with_ephemerals(durable, served.into_iter()),
            [
                topic("a", &["c", "e#ephemeral"]),
                topic("led-elsewhere", &["d"]),
                topic("t#ephemeral", &["c"]),
            ]
        );
    }
}
