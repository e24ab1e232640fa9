//! The settings of the cluster: who the peers are, where this node listens for them, and what protects that port.
//!
//! `--cluster-peer` switches the cluster on. Every other cluster option needs it: an option that was given and does
//! nothing would be a mistake that shows only after a node is lost.

mod address;
mod protection;
mod secret;

use std::net::SocketAddr;
use std::time::Duration;

use nsq_cluster::directory::MAX_ZONE_BYTES;
use nsq_daemon::options::Given;
use nsq_transport::tls::TlsError;

pub use self::protection::ClusterSecurity;
pub use self::secret::ClusterSecret;

use self::address::{AddressError, Peer};
use self::secret::SecretError;
use super::byte_size::ByteSize;
use super::table::NsqdOptions;

/// The most bytes of a region or a zone; together they are a zone of the directory.
const LONGEST_ZONE: usize = 99;
const _: () = assert!(2 * LONGEST_ZONE < MAX_ZONE_BYTES);
/// The least of `--cluster-max-log-bytes`: a log must hold some of the largest entries.
const LEAST_MAX_LOG_BYTES: ByteSize = ByteSize(1 << 20);

/// The least of `--cluster-transfer-rate`: chunks that wait for longer than their time-out would be asked for again.
const LEAST_TRANSFER_RATE: ByteSize = ByteSize(1 << 20);

/// The checked settings of a node of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// `--cluster-peer`: `host:port` of each, in lower case, sorted, each once. Nodes that found a cluster together
    /// have equal lists.
    pub peers: Vec<String>,
    /// `--cluster-address`: where this node listens for the others.
    pub listen: SocketAddr,
    /// `--cluster-broadcast-address`: `host:port` by which the others reach this node, in the form of `peers`.
    pub broadcast_address: String,
    /// Where this node stands: `--topology-region` and `--topology-zone` as `region/zone`, or the one that is given, or nothing.
    pub zone: String,
    /// `--replicas`: how many members the Raft group of a shard has; at least 1.
    pub replicas: usize,
    /// `--cluster-replace-after`: how long a node may be away until its replicas are built elsewhere.
    pub replace_after: Duration,
    /// `--cluster-publish-timeout`: how long a publish waits for a majority of the replicas.
    pub publish_timeout: Duration,
    /// `--cluster-max-log-bytes`: the most that a write-ahead log keeps for slow followers.
    pub max_log_bytes: u64,
    /// `--cluster-transfer-rate`: the most bytes of whole replicas that this node sends in a second; 0 for no limit.
    pub transfer_rate: u64,
    /// What a peer must prove.
    pub security: ClusterSecurity,
}

/// Cluster settings that nsqd does not start with.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum ClusterError {
    #[error(
        "--{0} needs --cluster-peer: without it nsqd is a single node and the option has no effect"
    )]
    WithoutPeers(&'static str),
    #[error("--{flag}={value}: {error}")]
    Address {
        flag: &'static str,
        value: String,
        error: AddressError,
    },
    #[error("--{flag}={value}: {rule}")]
    OutOfRange {
        flag: &'static str,
        value: String,
        rule: String,
    },
    #[error(
        "--cluster-address={0}: is not an address of the loopback interface, so the cluster's port needs protection: \
         give --cluster-secret-file, or --cluster-tls-cert, --cluster-tls-key and --cluster-tls-root-ca-file"
    )]
    Unprotected(String),
    #[error(
        "--cluster-secret-file and --cluster-tls-cert exclude each other: nodes authenticate each other with one of them"
    )]
    TwoProtections,
    #[error("--{given} also needs --{missing}: peers of a cluster verify each other's certificate")]
    HalfTls {
        given: &'static str,
        missing: &'static str,
    },
    #[error("--cluster-secret-file={path}: {error}")]
    Secret { path: String, error: SecretError },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(
        "--drain-to cannot be given with --cluster-peer: a node leaves a cluster by POST /cluster/remove, and the other \
         replicas have its messages"
    )]
    DrainTo,
    #[error("--cluster-address and --{0} are both {1}: give one of them another port")]
    SamePort(&'static str, String),
}

/// The options that mean something in a cluster only.
const CLUSTER_FLAGS: [&str; 11] = [
    "cluster-address",
    "cluster-broadcast-address",
    "replicas",
    "cluster-replace-after",
    "cluster-publish-timeout",
    "cluster-max-log-bytes",
    "cluster-transfer-rate",
    "cluster-secret-file",
    "cluster-tls-cert",
    "cluster-tls-key",
    "cluster-tls-root-ca-file",
];

/// Checks the options and reads the files that they name. `None` for a single node.
pub(super) fn load(
    options: &NsqdOptions,
    given: &Given,
) -> Result<Option<ClusterSettings>, ClusterError> {
    if options.cluster_peers.is_empty() {
        let useless = CLUSTER_FLAGS.into_iter().find(|flag| given.has(flag));
        return useless.map_or(Ok(None), |flag| Err(ClusterError::WithoutPeers(flag)));
    }
    if !options.drain_to.is_empty() {
        return Err(ClusterError::DrainTo);
    }
    let mut peers = Vec::new();
    for peer in options.cluster_peers.iter() {
        peers.push(parsed("cluster-peer", peer)?.to_string());
    }
    peers.sort_unstable();
    peers.dedup();
    let listen = address::listen(&options.cluster_address)
        .map_err(|error| address_error("cluster-address", &options.cluster_address, error))?;
    let broadcast_address = if options.cluster_broadcast_address.is_empty() {
        let host = options.broadcast_address.as_str();
        let broadcast = Peer::new(host, listen.port());
        broadcast.map_err(|error| address_error("broadcast-address", host, error))?
    } else {
        parsed(
            "cluster-broadcast-address",
            &options.cluster_broadcast_address,
        )?
    };
    check_ports(options, listen)?;
    check_ranges(options)?;
    let security = protection::load(options, listen)?;
    Ok(Some(ClusterSettings {
        peers,
        listen,
        broadcast_address: broadcast_address.to_string(),
        zone: zone(options)?,
        replicas: usize::from(options.replicas),
        replace_after: options.cluster_replace_after,
        publish_timeout: options.cluster_publish_timeout,
        max_log_bytes: options.cluster_max_log_bytes.0,
        transfer_rate: options.cluster_transfer_rate.0,
        security,
    }))
}

/// Zones of different regions may have the same name.
fn zone(options: &NsqdOptions) -> Result<String, ClusterError> {
    let (region, zone) = (&options.topology_region, &options.topology_zone);
    for (flag, value) in [("topology-region", region), ("topology-zone", zone)] {
        if value.len() > LONGEST_ZONE || value.contains(char::is_control) {
            return Err(ClusterError::OutOfRange {
                flag,
                value: value.clone(),
                rule: format!("must be a name of at most {LONGEST_ZONE} bytes in a cluster"),
            });
        }
    }
    Ok(match (region.is_empty(), zone.is_empty()) {
        (false, false) => format!("{region}/{zone}"),
        (true, _) => zone.clone(),
        (false, true) => region.clone(),
    })
}

fn parsed(flag: &'static str, value: &str) -> Result<Peer, ClusterError> {
    Peer::parse(value).map_err(|error| address_error(flag, value, error))
}

fn address_error(flag: &'static str, value: &str, error: AddressError) -> ClusterError {
    let value = value.to_owned();
    ClusterError::Address { flag, value, error }
}

/// The HTTPS port is the same by default. Bound one after the other, the second would fail without a hint.
fn check_ports(options: &NsqdOptions, listen: SocketAddr) -> Result<(), ClusterError> {
    let serves_https = !options.tls_cert.is_empty() && !options.https_address.is_empty();
    for (flag, address, is_used) in [
        ("tcp-address", &options.tcp_address, true),
        ("http-address", &options.http_address, true),
        ("https-address", &options.https_address, serves_https),
    ] {
        let port = address.rsplit_once(':').map(|(_, port)| port);
        let is_same = port.is_some_and(|port| port.parse() == Ok(listen.port()));
        if is_used && is_same {
            return Err(ClusterError::SamePort(
                flag,
                format!("port {}", listen.port()),
            ));
        }
    }
    Ok(())
}

fn check_ranges(options: &NsqdOptions) -> Result<(), ClusterError> {
    let out_of_range = |flag, value, rule: &str| {
        let rule = rule.to_owned();
        Err(ClusterError::OutOfRange { flag, value, rule })
    };
    if options.replicas == 0 {
        return out_of_range("replicas", "0".to_owned(), "must be at least 1");
    }
    for (flag, value) in [
        ("cluster-replace-after", options.cluster_replace_after),
        ("cluster-publish-timeout", options.cluster_publish_timeout),
    ] {
        if value.is_zero() {
            return out_of_range(flag, "0s".to_owned(), "must be more than 0");
        }
    }
    let max_log_bytes = options.cluster_max_log_bytes;
    if max_log_bytes < LEAST_MAX_LOG_BYTES {
        let value = max_log_bytes.0.to_string();
        return out_of_range("cluster-max-log-bytes", value, "must be at least 1MiB");
    }
    let transfer_rate = options.cluster_transfer_rate;
    if transfer_rate.0 > 0 && transfer_rate < LEAST_TRANSFER_RATE {
        let value = transfer_rate.0.to_string();
        let rule = "must be at least 1MiB, or 0 for no limit";
        return out_of_range("cluster-transfer-rate", value, rule);
    }
    Ok(())
}

/// What an operator should know about the cluster options that were given.
pub(super) fn notices(settings: Option<&ClusterSettings>, given: &Given) -> Vec<String> {
    let Some(settings) = settings else {
        return Vec::new();
    };
    let mut notices = Vec::new();
    if settings.replicas % 2 == 0 {
        notices.push(format!(
            "--replicas={}: an even number tolerates no more lost nodes than {}, and waits for one more node",
            settings.replicas,
            settings.replicas - 1
        ));
    }
    if let ClusterSecurity::Secret(secret) = &settings.security
        && secret.is_open_to_others
    {
        notices.push(
            "--cluster-secret-file: every user of this machine can read the file: chmod 600 would close it"
                .to_owned(),
        );
    }
    if given.has("node-id") {
        notices.push(
            "--node-id has no effect with --cluster-peer: the numbers of the shards make message ids unique"
                .to_owned(),
        );
    }
    notices
}

#[cfg(test)]
mod tests;
