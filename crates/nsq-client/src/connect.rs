//! From an address to a connection that is ready for commands: dial, magic, IDENTIFY, the layers that
//! were agreed on, AUTH.
//!
//! Source: `Conn.Connect`, go-nsq, conn.go.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nsq_protocol::encode;
use nsq_transport::Compression;
use nsq_transport::tls::Connector;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use crate::config::{Config, ConfigError};
use crate::error::ConnectError;
use crate::transport::{self, Transport};
use crate::wire::{Answer, Timeouts, Wire};

/// A connection past its handshake.
pub(crate) struct Connected {
    pub(crate) wire: Wire,
    /// Highest ready count nsqd takes.
    pub(crate) max_rdy_count: u32,
    /// How long nsqd waits for a message's answer.
    pub(crate) message_timeout: Duration,
    /// Who nsqd's authorization server says we are.
    pub(crate) authorized: Option<Authorized>,
    /// The addresses of its cluster's nodes, if it was asked for them and is in a cluster.
    pub(crate) cluster_nodes: Vec<String>,
}

/// The answer to AUTH.
#[derive(Debug, Deserialize)]
pub(crate) struct Authorized {
    #[serde(default)]
    pub(crate) identity: String,
    #[serde(default)]
    pub(crate) identity_url: String,
    #[serde(default)]
    pub(crate) permission_count: i64,
}

/// Makes connections.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) config: Config,
    /// Only if TLS is asked for.
    tls: Option<Connector>,
    /// Whether to ask for the nodes of the cluster.
    asks_for_nodes: bool,
}

impl Dialer {
    /// Checks the configuration, and reads the files it names.
    pub(crate) fn new(config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        if !config.tls_v1 && config.has_tls_options() {
            tracing::warn!("TLS options without tls_v1: connections to nsqd are not encrypted");
        }
        let tls = config.tls_v1.then(|| transport::tls(&config)).transpose()?;
        Ok(Self {
            config,
            tls,
            asks_for_nodes: false,
        })
    }

    /// From now on asks each nsqd for the nodes of its cluster.
    pub(crate) fn asking_for_nodes(mut self) -> Self {
        self.asks_for_nodes = true;
        self
    }

    /// Connects to `address`, which is `host:port`.
    pub(crate) async fn connect(&self, address: &str) -> Result<Connected, ConnectError> {
        let tcp = self.dial(address).await?;
        let config = &self.config;
        let timeouts = Timeouts {
            read: config.read_timeout,
            write: config.write_timeout,
        };
        let mut wire = Wire::new(Transport::plain(tcp), config.max_msg_size, timeouts);
        let identified = identify(&mut wire, &Identity::new(config, self.asks_for_nodes)).await?;
        self.upgrade(&mut wire, address, &identified).await?;
        let mut authorized = None;
        if identified.auth_required {
            authorized = Some(authorize(&mut wire, config).await?);
        }
        Ok(Connected {
            wire,
            max_rdy_count: identified.max_rdy_count,
            message_timeout: identified.message_timeout(),
            authorized,
            cluster_nodes: identified.cluster_nodes,
        })
    }

    async fn dial(&self, address: &str) -> Result<TcpStream, ConnectError> {
        let dialled = dial(address, self.config.local_addr);
        let dialled = timeout(self.config.dial_timeout, dialled).await;
        let tcp = dialled.map_err(|_| ConnectError::DialTimeout {
            address: address.to_owned(),
        })??;
        // A command must not wait for the answer to the one before.
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    async fn upgrade(
        &self,
        wire: &mut Wire,
        address: &str,
        identified: &Identified,
    ) -> Result<(), ConnectError> {
        match &self.tls {
            Some(connector) if identified.tls_v1 => wire.start_tls(connector, address).await?,
            // Compat: go-nsq continues without TLS; a caller who asked for TLS does not want that.
            Some(_) => return Err(ConnectError::NoTls),
            None => {}
        }
        if identified.deflate {
            let level = self.config.deflate_level;
            wire.compress(Compression::Deflate { level }).await?;
        } else if identified.snappy {
            wire.compress(Compression::Snappy).await?;
        }
        Ok(())
    }
}

async fn dial(address: &str, local: Option<SocketAddr>) -> Result<TcpStream, ConnectError> {
    let unresolved = |source| ConnectError::Resolve {
        address: address.to_owned(),
        source,
    };
    let mut last = unresolved(io::Error::other("no such host"));
    for remote in lookup_host(address).await.map_err(unresolved)? {
        match dial_one(remote, local).await {
            Ok(tcp) => return Ok(tcp),
            Err((act, source)) => {
                let address = address.to_owned();
                last = ConnectError::Dial {
                    address,
                    act,
                    source,
                };
            }
        }
    }
    Err(last)
}

async fn dial_one(
    remote: SocketAddr,
    local: Option<SocketAddr>,
) -> Result<TcpStream, (&'static str, io::Error)> {
    let socket = if remote.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let socket = socket.map_err(|error| ("socket", error))?;
    if let Some(mut local) = local {
        if local.ip().is_unspecified() && local.is_ipv4() != remote.is_ipv4() {
            // "Any" is meant in whichever family it takes.
            let any: SocketAddr = if remote.is_ipv4() {
                ([0; 4], local.port()).into()
            } else {
                ([0_u16; 8], local.port()).into()
            };
            local = any;
        }
        socket.bind(local).map_err(|error| ("bind", error))?;
    }
    socket
        .connect(remote)
        .await
        .map_err(|error| ("connect", error))
}

/// IDENTIFY's body: keys and values as go-nsq sends them.
#[derive(Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
struct Identity<'a> {
    client_id: &'a str,
    deflate: bool,
    deflate_level: u8,
    feature_negotiation: bool,
    heartbeat_interval: i64,
    hostname: &'a str,
    long_id: &'a str,
    msg_timeout: i64,
    output_buffer_size: i64,
    output_buffer_timeout: i64,
    sample_rate: u8,
    short_id: &'a str,
    snappy: bool,
    tls_v1: bool,
    topology_region: &'a str,
    topology_zone: &'a str,
    user_agent: &'a str,
    /// Not go-nsq's.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_nodes: Option<bool>,
}

impl<'a> Identity<'a> {
    fn new(config: &'a Config, asks_for_nodes: bool) -> Self {
        // -1 turns a thing off.
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self {
            client_id: &config.client_id,
            deflate: config.deflate,
            deflate_level: config.deflate_level,
            feature_negotiation: true,
            heartbeat_interval: config.heartbeat_interval.map_or(-1, millis),
            hostname: &config.hostname,
            long_id: &config.hostname,
            msg_timeout: millis(config.msg_timeout),
            output_buffer_size: config.output_buffer_size,
            output_buffer_timeout: config.output_buffer_timeout.map_or(-1, millis),
            sample_rate: config.sample_rate,
            short_id: &config.client_id,
            snappy: config.snappy,
            tls_v1: config.tls_v1,
            topology_region: &config.topology_region,
            topology_zone: &config.topology_zone,
            user_agent: &config.user_agent,
            cluster_nodes: asks_for_nodes.then_some(true),
        }
    }
}

/// What matters of IDENTIFY's answer.
#[derive(Debug, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
struct Identified {
    max_rdy_count: u32,
    /// In milliseconds.
    msg_timeout: u64,
    tls_v1: bool,
    deflate: bool,
    snappy: bool,
    auth_required: bool,
    cluster_nodes: Vec<String>,
}

impl Identified {
    /// Within reason, whatever nsqd said.
    fn message_timeout(&self) -> Duration {
        match self.msg_timeout {
            0 => Duration::from_millis(DEFAULT_MSG_TIMEOUT_MILLIS),
            millis => Duration::from_millis(millis).min(LONGEST_MESSAGE_TIMEOUT),
        }
    }
}

impl Default for Identified {
    /// What an nsqd that does not negotiate leaves to be assumed.
    fn default() -> Self {
        Self {
            max_rdy_count: DEFAULT_MAX_RDY_COUNT,
            msg_timeout: DEFAULT_MSG_TIMEOUT_MILLIS,
            tls_v1: false,
            deflate: false,
            snappy: false,
            auth_required: false,
            cluster_nodes: Vec::new(),
        }
    }
}

async fn identify(wire: &mut Wire, identity: &Identity<'_>) -> Result<Identified, ConnectError> {
    let refused = |text: String| ConnectError::Identify { text };
    let json = serde_json::to_vec(identity).map_err(|error| refused(error.to_string()))?;
    let mut hello = Vec::with_capacity(json.len() + 32);
    encode::magic_v2(&mut hello);
    encode::identify(&mut hello, &json);
    wire.send(&hello).await?;
    let identified = match wire.answer().await? {
        Answer::Error(text) => return Err(refused(text)),
        Answer::Response(body) if body.starts_with(b"{") => {
            serde_json::from_slice(&body).map_err(|error| refused(error.to_string()))?
        }
        // An nsqd from before negotiation.
        Answer::Response(_) => Identified::default(),
    };
    Ok(identified)
}

async fn authorize(wire: &mut Wire, config: &Config) -> Result<Authorized, ConnectError> {
    if config.auth_secret.is_empty() {
        return Err(ConnectError::AuthRequired);
    }
    let mut command = Vec::new();
    encode::auth(&mut command, config.auth_secret.reveal().as_bytes());
    wire.send(&command).await?;
    match wire.answer().await? {
        Answer::Error(text) => Err(ConnectError::Auth { text }),
        ref answer @ Answer::Response(ref body) => {
            serde_json::from_slice(body).map_err(|_| answer.unexpected("AUTH"))
        }
    }
}

/// nsqd's own defaults.
const DEFAULT_MAX_RDY_COUNT: u32 = 2500;
const DEFAULT_MSG_TIMEOUT_MILLIS: u64 = 60_000;
/// So that no sum of times overflows.
const LONGEST_MESSAGE_TIMEOUT: Duration = Duration::from_hours(24);
