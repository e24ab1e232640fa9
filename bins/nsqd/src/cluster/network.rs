//! The port for other nodes, as the settings want it.

use std::sync::Arc;

use nsq_cluster::ClusterId;
use nsq_cluster::transport::{
    Handler, Security, Transport, TransportError, TransportLimits, TransportOptions,
};

use crate::settings::{ClusterSecurity, ClusterSettings};

/// Listens for other nodes. Must be called in the runtime that is to serve them.
///
/// # Errors
/// When the address cannot be listened on.
pub(super) fn listen(
    settings: &ClusterSettings,
    handler: Arc<dyn Handler>,
    former: Vec<ClusterId>,
) -> Result<Transport, TransportError> {
    let security = match &settings.security {
        ClusterSecurity::Loopback => Security::Loopback,
        ClusterSecurity::Secret(secret) => Security::Secret(secret.bytes().to_vec()),
        ClusterSecurity::MutualTls {
            acceptor,
            connector,
        } => Security::MutualTls {
            acceptor: acceptor.clone(),
            connector: connector.clone(),
        },
    };
    Transport::start(TransportOptions {
        listen: settings.listen,
        security,
        handler,
        former,
        limits: TransportLimits::default(),
    })
}
