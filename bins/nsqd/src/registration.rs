//! What nsqd tells the nsqlookupds of itself.

use std::sync::Arc;

use nsq_core::Broker;
use nsq_daemon::http::client::{Client, ClientOptions};
use nsq_daemon::node_id::hostname;
use nsq_daemon::version::VERSION;
use nsq_lookup::peer::{Announcement, Catalog, LookupHandle, Settings as LookupSettings};
use nsq_protocol::{ChannelName, TopicName};

use crate::settings::Settings;

/// The longest list of channels to take from an nsqlookupd, in bytes: a hundred thousand names.
const DISCOVERY_BYTES: usize = 8 << 20;

struct Registered(Arc<Broker>);

impl Catalog for Registered {
    fn registrations(&self) -> Vec<(TopicName, Vec<ChannelName>)> {
        let topics = self.0.topics();
        let topics = topics.iter().map(|topic| {
            let channels = topic.channels();
            (
                topic.name().clone(),
                channels.iter().map(|cell| cell.name().clone()).collect(),
            )
        });
        topics.collect()
    }

    fn has(&self, topic: &TopicName, channel: Option<&ChannelName>) -> bool {
        let topic = self.0.topic(topic.as_str());
        topic.is_some_and(|topic| {
            channel.is_none_or(|channel| topic.channel(channel.as_str()).is_some())
        })
    }
}

/// Begins to register with the nsqlookupds of the settings. Their list may be empty, and change.
pub(crate) fn start(settings: &Settings, broker: &Arc<Broker>) -> LookupHandle {
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
    LookupHandle::start(lookup, Registered(Arc::clone(broker)), &addresses)
}
