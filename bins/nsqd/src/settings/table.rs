//! nsqd's options, one row each. The doc comment of a row is its help text.

use std::time::Duration;

use nsq_daemon::http::{
    DEFAULT_BODY_TIMEOUT, DEFAULT_HEADER_TIMEOUT, DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_HEADER_BYTES,
    DEFAULT_MAX_HEADERS,
};
use nsq_daemon::log_level::LiveLevel;
use nsq_daemon::logging::LogFormat;
use nsq_daemon::node_id::{default_node_id, hostname};
use nsq_daemon::options::{FloatList, LiveList, LiveNumber, StringList};

use super::byte_size::ByteSize;
use super::tls_words::{TlsMinVersion, TlsRequired};

nsq_daemon::options! {
    /// Every option of nsqd. Sizes are in bytes.
    #[derive(Debug)]
    pub struct NsqdOptions {
        /// print the version and exit
        "version" (no key) => version: bool = false,
        /// path of a TOML config file
        "config" (no key) => config: String = String::new(),
        /// do not serve: print every option that the config file can set, with its value and where the value comes from,
        /// and exit
        "print-config" (no key) => print_config: bool = false,
        /// do not serve: check the command line, the config file and the files they name, and exit; 0 if all is well
        "check-config" (no key) => check_config: bool = false,
        /// lowest level of log lines to print: debug, info, warn, error or fatal
        "log-level" => log_level: LiveLevel = LiveLevel::default(),
        /// prefix of every log line
        "log-prefix" => log_prefix: String = "[nsqd] ".to_owned(),
        /// format of the log lines: text, or json for one JSON object per line
        "log-format" => log_format: LogFormat = LogFormat::Text,
        /// deprecated, has no effect: use --log-level
        "verbose" (no key) => verbose: bool = false,

        /// number of this node in message ids, from 0 to 1023 (derived from the host name unless given)
        "node-id" ("id") => node_id: i64 = default_node_id(&hostname()).into(),
        /// deprecated, has no effect: use --node-id
        "worker-id" (no key) => worker_id: bool = false,

        /// address to listen on for HTTPS clients, host:port; used only with a certificate (--tls-cert)
        "https-address" => https_address: String = "0.0.0.0:4152".to_owned(),
        /// address to listen on for HTTP clients, host:port or the path of a unix socket; empty for none
        "http-address" => http_address: String = "0.0.0.0:4151".to_owned(),
        /// address to listen on for TCP clients, host:port or the path of a unix socket
        "tcp-address" => tcp_address: String = "0.0.0.0:4150".to_owned(),
        /// authorization server to ask, host:port or URL (may be given more than once)
        "auth-http-address" ("auth_http_addresses") => auth_http_addresses: StringList = StringList::default(),
        /// HTTP method of requests to the authorization server: get or post
        "auth-http-request-method" => auth_http_request_method: String = "get".to_owned(),
        /// address of this node that nsqlookupd gives to clients (the host name unless given)
        "broadcast-address" => broadcast_address: String = hostname(),
        /// TCP port of this node that nsqlookupd gives to clients (the port of --tcp-address unless given)
        "broadcast-tcp-port" => broadcast_tcp_port: u16 = 0,
        /// HTTP port of this node that nsqlookupd gives to clients (the port of --http-address unless given)
        "broadcast-http-port" => broadcast_http_port: u16 = 0,
        /// TCP address of an nsqlookupd to register with (may be given more than once)
        "lookupd-tcp-address" ("nsqlookupd_tcp_addresses") => nsqlookupd_tcp_addresses: LiveList = LiveList::default(),
        /// connect to nsqlookupd's TCP address only by TLS; nsqlookupd's certificate must be for the host in the address
        "lookupd-tls" => lookupd_tls: bool = false,
        /// path of the certificate authorities (PEM) that verify nsqlookupd's certificate; required with --lookupd-tls
        "lookupd-tls-root-ca-file" => lookupd_tls_root_ca_file: String = String::new(),
        /// path of the certificate (PEM) to show to nsqlookupd
        "lookupd-tls-cert" => lookupd_tls_cert: String = String::new(),
        /// path of that certificate's private key (PEM)
        "lookupd-tls-key" => lookupd_tls_key: String = String::new(),
        /// timeout for connecting to nsqlookupd or the authorization server by HTTP
        "http-client-connect-timeout" => http_client_connect_timeout: Duration = Duration::from_secs(2),
        /// timeout for a whole HTTP request to nsqlookupd or the authorization server
        "http-client-request-timeout" => http_client_request_timeout: Duration = Duration::from_secs(5),
        /// HTTP address, host:port or URL, of the nsqd that takes over the remaining messages when this one drains (on
        /// SIGUSR1, or by HTTP without another address)
        "drain-to" => drain_to: String = String::new(),
        /// region of this node, which has one or more zones; with --enable-experiment=topology-aware-consumption, consumers
        /// in the same region are preferred
        "topology-region" => topology_region: String = String::new(),
        /// zone of this node within its region; with the same experiment, consumers in the same zone come first. A cluster
        /// spreads the replicas of a message over zones
        "topology-zone" => topology_zone: String = String::new(),

        /// cluster address, host:port, of a node of the cluster; makes this nsqd a node of a replicated cluster. The nodes
        /// that form a new cluster all name the same nodes, themselves included; a node that joins later names any of them
        /// (may be given more than once)
        "cluster-peer" ("cluster_peers") => cluster_peers: StringList = StringList::default(),
        /// address to listen on for the other nodes of the cluster, host:port
        "cluster-address" => cluster_address: String = "0.0.0.0:4152".to_owned(),
        /// address, host:port, at which the other nodes reach this one (--broadcast-address with the port of
        /// --cluster-address unless given)
        "cluster-broadcast-address" => cluster_broadcast_address: String = String::new(),
        /// number of nodes that keep each message; a majority of them must have it before a publish is answered
        "replicas" => replicas: u16 = 3,
        /// how long a node may be away before its replicas are rebuilt on another node
        "cluster-replace-after" => cluster_replace_after: Duration = Duration::from_mins(5),
        /// how long a publish may wait for a majority of the replicas before it fails
        "cluster-publish-timeout" => cluster_publish_timeout: Duration = Duration::from_secs(5),
        /// most disk space that a replica's write-ahead log may take so that nodes that are behind can catch up
        "cluster-max-log-bytes" => cluster_max_log_bytes: ByteSize = ByteSize(1 << 30),
        /// most bytes per second that this node sends when it copies whole replicas to nodes that are new or far behind; it
        /// copies one replica at a time; 0 for no limit
        "cluster-transfer-rate" => cluster_transfer_rate: ByteSize = ByteSize(0),
        /// path of the file with the secret that all nodes of the cluster share, at least 16 bytes; required to listen on
        /// anything but the loopback interface, unless the nodes show certificates
        "cluster-secret-file" => cluster_secret_file: String = String::new(),
        /// path of the certificate (PEM) that this node shows to the others, for the host of --cluster-broadcast-address;
        /// replaces the secret, together with --cluster-tls-key and --cluster-tls-root-ca-file
        "cluster-tls-cert" => cluster_tls_cert: String = String::new(),
        /// path of that certificate's private key (PEM)
        "cluster-tls-key" => cluster_tls_key: String = String::new(),
        /// path of the certificate authorities (PEM) that verify the certificates of the other nodes
        "cluster-tls-root-ca-file" => cluster_tls_root_ca_file: String = String::new(),

        /// directory for messages and metadata; it must exist (the working directory unless given)
        "data-path" => data_path: String = String::new(),
        /// do not serve: read everything in --data-path without changing it, report what it holds and what is damaged, and
        /// exit; 0 if nothing is damaged, 1 if something is, 2 if it cannot be read
        "check" (no key) => check: bool = false,
        /// do not serve: write all unfinished messages as files for upstream's nsqd into this directory, which must be new
        /// or empty, and exit; --data-path stays unchanged
        "export-to" (no key) => export_to: String = String::new(),
        /// do not serve: after the majority of a cluster is lost for good, make its node in --data-path the only member of
        /// a new cluster, and exit. The value is the id of the old cluster; with any other value nsqd changes nothing and
        /// says what would be lost
        "cluster-recover" (no key) => cluster_recover: String = String::new(),
        /// number of messages that an ephemeral topic or channel keeps; of all others, which are on disk, statistics report
        /// the depth above this number as backend_depth
        "mem-queue-size" => mem_queue_size: i64 = 10_000,
        /// largest size of a log segment in bytes; above 64 MiB it is 64 MiB
        "max-bytes-per-file" => max_bytes_per_file: i64 = 100 * 1024 * 1024,
        /// most disk space in bytes for freed log segments that wait to be used again; 0 removes each at once. A segment
        /// that is not used for two minutes is removed in any case
        "max-free-segment-bytes" => max_free_segment_bytes: i64 = 256 * 1024 * 1024,
        /// number of messages after which a topic is synced to disk
        "sync-every" => sync_every: i64 = 2500,
        /// time after which a changed topic is synced to disk
        "sync-timeout" => sync_timeout: Duration = Duration::from_secs(2),
        /// answer a publish only after its messages are synced to disk
        "sync-publish" => sync_publish: bool = false,
        /// has no effect: timeouts are exact, nothing is scanned
        "queue-scan-worker-pool-max" => queue_scan_worker_pool_max: i64 = 4,
        /// has no effect: timeouts are exact, nothing is scanned
        "queue-scan-selection-count" => queue_scan_selection_count: i64 = 20,

        /// how long a client may hold a message before it is requeued, unless the client asks for another time
        "msg-timeout" => msg_timeout: Duration = Duration::from_mins(1),
        /// longest time that a client may hold a message, extensions included
        "max-msg-timeout" => max_msg_timeout: Duration = Duration::from_mins(15),
        /// largest message in bytes
        "max-msg-size" => max_msg_size: i64 = 1024 * 1024,
        /// longest delay of a requeued or deferred message
        "max-req-timeout" => max_req_timeout: Duration = Duration::from_hours(1),
        /// largest body of a command in bytes
        "max-body-size" => max_body_size: i64 = 5 * 1024 * 1024,

        /// longest time between heartbeats that a client may ask for
        "max-heartbeat-interval" => max_heartbeat_interval: Duration = Duration::from_mins(1),
        /// highest ready count (RDY) that a client may set
        "max-rdy-count" => max_rdy_count: i64 = 2500,
        /// largest output buffer in bytes that a client may ask for
        "max-output-buffer-size" => max_output_buffer_size: i64 = 64 * 1024,
        /// longest time between flushes of its output buffer that a client may ask for
        "max-output-buffer-timeout" => max_output_buffer_timeout: Duration = Duration::from_secs(30),
        /// shortest time between flushes of its output buffer that a client may ask for
        "min-output-buffer-timeout" => min_output_buffer_timeout: Duration = Duration::from_millis(25),
        /// longest time between flushes of a client's output buffer, unless the client asks for another time
        "output-buffer-timeout" => output_buffer_timeout: Duration = Duration::from_millis(250),
        /// most consumers of one channel; 0 for no limit
        "max-channel-consumers" => max_channel_consumers: i64 = 0,

        /// most TCP connections at the same time; with 0, only file handles limit them
        "max-connections" => max_connections: LiveNumber = LiveNumber::default(),
        /// most HTTP and HTTPS connections at the same time; with 0, only file handles limit them
        "max-http-connections" => max_http_connections: LiveNumber = LiveNumber::default(),
        /// most connections at the same time from one address (in IPv6, one /64 network), counted separately for TCP and
        /// HTTP; 0 for no limit
        "max-connections-per-address" => max_connections_per_address: LiveNumber = LiveNumber::default(),
        /// most topics; with 0, only file handles limit them
        "max-topics" => max_topics: LiveNumber = LiveNumber::default(),
        /// most channels of one topic; with 0, only file handles limit them
        "max-channels" => max_channels: LiveNumber = LiveNumber::default(),
        /// how long a new TCP connection may take to send its first command; 0 turns this limit off
        "first-command-timeout" => first_command_timeout: Duration = Duration::from_mins(1),
        /// how long the head of an HTTP request may take to arrive; 0 for no limit
        "http-header-timeout" => http_header_timeout: Duration = DEFAULT_HEADER_TIMEOUT,
        /// how long the body of an HTTP request may take to arrive; 0 for no limit
        "http-body-timeout" => http_body_timeout: Duration = DEFAULT_BODY_TIMEOUT,
        /// how long an HTTP connection may be idle between requests; 0 for no limit
        "http-idle-timeout" => http_idle_timeout: Duration = DEFAULT_IDLE_TIMEOUT,
        /// largest head of an HTTP request in bytes, at least 8192
        "http-max-header-bytes" => http_max_header_bytes: u32 = DEFAULT_MAX_HEADER_BYTES,
        /// most header fields of an HTTP request
        "http-max-headers" => http_max_headers: u16 = DEFAULT_MAX_HEADERS,

        /// address of the statsd that gets statistics by UDP, host:port
        "statsd-address" => statsd_address: String = String::new(),
        /// time between two pushes to statsd
        "statsd-interval" => statsd_interval: Duration = Duration::from_mins(1),
        /// send memory statistics to statsd as well
        "statsd-mem-stats" => statsd_mem_stats: bool = true,
        /// prefix of all names sent to statsd; %s stands for this node's broadcast address and HTTP port
        "statsd-prefix" => statsd_prefix: String = "nsq.%s".to_owned(),
        /// largest UDP packet in bytes sent to statsd
        "statsd-udp-packet-size" => statsd_udp_packet_size: i64 = 508,
        /// send no statistics of ephemeral topics and channels to statsd
        "statsd-exclude-ephemeral" => statsd_exclude_ephemeral: bool = false,

        /// most topics with series of their own at /metrics, the first by name; the totals include all topics
        "metrics-max-topics" => metrics_max_topics: i64 = 1000,
        /// most channels with series of their own at /metrics, 0 for none
        "metrics-max-channels" => metrics_max_channels: i64 = 2000,
        /// give ephemeral topics and channels no series of their own at /metrics; the totals include them
        "metrics-exclude-ephemeral" => metrics_exclude_ephemeral: bool = true,

        /// percentile, above 0 and up to 1, of the time from publish to finish to report (may be given more than once, or
        /// as a list: 1.0,0.99,0.95)
        "e2e-processing-latency-percentile" ("e2e_processing_latency_percentiles") =>
            e2e_processing_latency_percentiles: FloatList = FloatList::default(),
        /// how far back the percentiles of --e2e-processing-latency-percentile reach
        "e2e-processing-latency-window-time" => e2e_processing_latency_window_time: Duration = Duration::from_mins(10),

        /// path of the certificate (PEM), followed by the certificates that lead to its authority; read again on SIGHUP
        "tls-cert" => tls_cert: String = String::new(),
        /// path of that certificate's private key (PEM)
        "tls-key" => tls_key: String = String::new(),
        /// which certificate a client must show: require (any) or require-verify (one that verifies); both also require TLS
        "tls-client-auth-policy" => tls_client_auth_policy: String = String::new(),
        /// path of the certificate authorities (PEM) that verify client certificates (the system's unless given)
        "tls-root-ca-file" => tls_root_ca_file: String = String::new(),
        /// refuse clients without TLS: true, false, or tcp-https to still allow plain HTTP
        "tls-required" => tls_required: TlsRequired = TlsRequired::No,
        /// oldest TLS version to accept: tls1.2 or tls1.3; tls1.0 and tls1.1 mean tls1.2
        "tls-min-version" => tls_min_version: TlsMinVersion = TlsMinVersion::Tls10,

        /// let clients negotiate deflate compression
        "deflate" => deflate: bool = true,
        /// highest deflate level that a client may ask for, from 1 to 9; higher levels cost more CPU time
        "max-deflate-level" => max_deflate_level: i64 = 6,
        /// let clients negotiate snappy compression
        "snappy" => snappy: bool = true,

        /// answer /channel/peek and /topic/peek, which show messages and their bodies to everyone who can reach the HTTP
        /// port
        "enable-peek" => enable_peek: bool = true,

        /// experimental feature to switch on; the only one is topology-aware-consumption (may be given more than once)
        "enable-experiment" => enable_experiment: StringList = StringList::default(),
    }
}
