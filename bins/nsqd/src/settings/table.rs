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
        /// do not serve: print every option that a config file can give, with its value and where that comes from, and exit
        "print-config" (no key) => print_config: bool = false,
        /// do not serve: check command line, config file and the files they name, and exit; 0 when all is well
        "check-config" (no key) => check_config: bool = false,
        /// least serious log lines to print: debug, info, warn, error or fatal
        "log-level" => log_level: LiveLevel = LiveLevel::default(),
        /// what every log line begins with
        "log-prefix" => log_prefix: String = "[nsqd] ".to_owned(),
        /// form of the log lines: text, or json for one object a line
        "log-format" => log_format: LogFormat = LogFormat::Text,
        /// deprecated, has no effect: use --log-level
        "verbose" (no key) => verbose: bool = false,

        /// this node's part of message ids, from 0 to 1023 (taken from the host name unless given)
        "node-id" ("id") => node_id: i64 = default_node_id(&hostname()).into(),
        /// deprecated, has no effect: use --node-id
        "worker-id" (no key) => worker_id: bool = false,

        /// address for HTTPS clients, host:port; used with a certificate only
        "https-address" => https_address: String = "0.0.0.0:4152".to_owned(),
        /// address for HTTP clients, host:port or the path of a unix socket; empty for none
        "http-address" => http_address: String = "0.0.0.0:4151".to_owned(),
        /// address for TCP clients, host:port or the path of a unix socket
        "tcp-address" => tcp_address: String = "0.0.0.0:4150".to_owned(),
        /// authorization server to ask, host:port or URL (may be given more than once)
        "auth-http-address" ("auth_http_addresses") => auth_http_addresses: StringList = StringList::default(),
        /// HTTP method of requests to the authorization server: get or post
        "auth-http-request-method" => auth_http_request_method: String = "get".to_owned(),
        /// address of this node that nsqlookupd gives to clients (the host name unless given)
        "broadcast-address" => broadcast_address: String = hostname(),
        /// TCP port of this node that nsqlookupd gives to clients (the one listened on unless given)
        "broadcast-tcp-port" => broadcast_tcp_port: u16 = 0,
        /// HTTP port of this node that nsqlookupd gives to clients (the one listened on unless given)
        "broadcast-http-port" => broadcast_http_port: u16 = 0,
        /// TCP address of an nsqlookupd to register with (may be given more than once)
        "lookupd-tcp-address" ("nsqlookupd_tcp_addresses") => nsqlookupd_tcp_addresses: LiveList = LiveList::default(),
        /// connect to nsqlookupd's TCP address by TLS, never plainly; its certificate must be for the host
        /// in the address
        "lookupd-tls" => lookupd_tls: bool = false,
        /// path of the certificate authorities in PEM form that nsqlookupd's certificate is verified with;
        /// needed with --lookupd-tls
        "lookupd-tls-root-ca-file" => lookupd_tls_root_ca_file: String = String::new(),
        /// path of a certificate in PEM form to show to nsqlookupd
        "lookupd-tls-cert" => lookupd_tls_cert: String = String::new(),
        /// path of that certificate's key in PEM form
        "lookupd-tls-key" => lookupd_tls_key: String = String::new(),
        /// longest time to connect to nsqlookupd or the authorization server by HTTP
        "http-client-connect-timeout" => http_client_connect_timeout: Duration = Duration::from_secs(2),
        /// longest time for a whole HTTP request to either
        "http-client-request-timeout" => http_client_request_timeout: Duration = Duration::from_secs(5),
        /// HTTP address, host:port or URL, of the nsqd that takes over what is left here when this one is told to drain, by
        /// SIGUSR1 or by HTTP without another address
        "drain-to" => drain_to: String = String::new(),
        /// region this node is in, of one or more zones; consumers nearby are preferred
        "topology-region" => topology_region: String = String::new(),
        /// zone this node is in, within its region; consumers nearby are preferred. In a cluster, the replicas of a message are
        /// spread over zones
        "topology-zone" => topology_zone: String = String::new(),

        /// cluster address, host:port, of a node of this cluster; makes this nsqd a node of a cluster, which keeps each message
        /// on several nodes. The nodes that found a cluster all name the same nodes, themselves included; a node that joins
        /// later names any of them (may be given more than once)
        "cluster-peer" ("cluster_peers") => cluster_peers: StringList = StringList::default(),
        /// address to listen on for the other nodes of the cluster, host:port
        "cluster-address" => cluster_address: String = "0.0.0.0:4152".to_owned(),
        /// address, host:port, by which the other nodes reach this one (--broadcast-address with the port of --cluster-address
        /// unless given)
        "cluster-broadcast-address" => cluster_broadcast_address: String = String::new(),
        /// how many nodes keep each message; a majority of them must have it before a publish is answered
        "replicas" => replicas: u16 = 3,
        /// how long a node of the cluster may be away until its replicas are built on another node
        "cluster-replace-after" => cluster_replace_after: Duration = Duration::from_mins(5),
        /// how long a publish may wait for a majority of the replicas until it fails
        "cluster-publish-timeout" => cluster_publish_timeout: Duration = Duration::from_secs(5),
        /// most bytes of disk that a replica's write-ahead log takes to let nodes that are behind catch up
        "cluster-max-log-bytes" => cluster_max_log_bytes: ByteSize = ByteSize(1 << 30),
        /// most bytes that this node sends in a second of whole replicas, to nodes that are new or far behind, one replica at a
        /// time; 0 for no limit
        "cluster-transfer-rate" => cluster_transfer_rate: ByteSize = ByteSize(0),
        /// path of the secret that all nodes of the cluster have, of at least 16 bytes; needed to listen on anything but the
        /// loopback interface, unless the nodes show certificates
        "cluster-secret-file" => cluster_secret_file: String = String::new(),
        /// path of the certificate in PEM form that this node shows to the others; it must be for the host of
        /// --cluster-broadcast-address. In place of a secret, together with the next two
        "cluster-tls-cert" => cluster_tls_cert: String = String::new(),
        /// path of that certificate's key in PEM form
        "cluster-tls-key" => cluster_tls_key: String = String::new(),
        /// path of the certificate authorities in PEM form that the certificates of the other nodes are verified with
        "cluster-tls-root-ca-file" => cluster_tls_root_ca_file: String = String::new(),

        /// directory for messages and metadata, which must exist (the working directory unless given)
        "data-path" => data_path: String = String::new(),
        /// do not serve: read everything in --data-path without changing it, say what there is and what is
        /// damaged, and exit; 0 when nothing is damaged, 1 when something is, 2 when it could not be read
        "check" (no key) => check: bool = false,
        /// do not serve: write all messages that are not finished into this directory, which must be new or
        /// empty, as files that upstream's nsqd starts on, and exit; --data-path stays as it is
        "export-to" (no key) => export_to: String = String::new(),
        /// do not serve: make the node of a cluster in --data-path the only member of a new cluster, since the majority of its own
        /// is lost for good, and exit. The value is the id of the cluster that is given up; any other value changes nothing and
        /// says what would be lost
        "cluster-recover" (no key) => cluster_recover: String = String::new(),
        /// messages an ephemeral topic or channel keeps; for all others, how much of the depth the
        /// statistics count as in memory before they call the rest backend_depth
        "mem-queue-size" => mem_queue_size: i64 = 10_000,
        /// size a log segment is not to exceed
        "max-bytes-per-file" => max_bytes_per_file: i64 = 100 * 1024 * 1024,
        /// most bytes of disk that freed log segments take until they are used again; 0 to remove each at once. What is not
        /// used for two minutes is removed in any case
        "max-free-segment-bytes" => max_free_segment_bytes: i64 = 256 * 1024 * 1024,
        /// messages after which a topic is synced to disk
        "sync-every" => sync_every: i64 = 2500,
        /// time after which a topic that changed is synced to disk
        "sync-timeout" => sync_timeout: Duration = Duration::from_secs(2),
        /// answer a publisher only when its messages are synced to disk
        "sync-publish" => sync_publish: bool = false,
        /// has no effect: timeouts are not scanned for, they are exact
        "queue-scan-worker-pool-max" => queue_scan_worker_pool_max: i64 = 4,
        /// has no effect: timeouts are not scanned for, they are exact
        "queue-scan-selection-count" => queue_scan_selection_count: i64 = 20,

        /// how long a client may hold a message before it is requeued, unless it asked otherwise
        "msg-timeout" => msg_timeout: Duration = Duration::from_mins(1),
        /// longest time a client may ask to hold a message, extensions included
        "max-msg-timeout" => max_msg_timeout: Duration = Duration::from_mins(15),
        /// largest message in bytes
        "max-msg-size" => max_msg_size: i64 = 1024 * 1024,
        /// longest delay of a requeued or deferred message
        "max-req-timeout" => max_req_timeout: Duration = Duration::from_hours(1),
        /// largest body of a command in bytes
        "max-body-size" => max_body_size: i64 = 5 * 1024 * 1024,

        /// longest time between heartbeats a client may ask for
        "max-heartbeat-interval" => max_heartbeat_interval: Duration = Duration::from_mins(1),
        /// highest ready count of a client
        "max-rdy-count" => max_rdy_count: i64 = 2500,
        /// largest output buffer in bytes a client may ask for
        "max-output-buffer-size" => max_output_buffer_size: i64 = 64 * 1024,
        /// longest time between flushes of its output buffer a client may ask for
        "max-output-buffer-timeout" => max_output_buffer_timeout: Duration = Duration::from_secs(30),
        /// shortest time between flushes of its output buffer a client may ask for
        "min-output-buffer-timeout" => min_output_buffer_timeout: Duration = Duration::from_millis(25),
        /// time between flushes of a client's output buffer, unless it asked otherwise
        "output-buffer-timeout" => output_buffer_timeout: Duration = Duration::from_millis(250),
        /// most consumers of one channel, 0 for no limit
        "max-channel-consumers" => max_channel_consumers: i64 = 0,

        /// most TCP connections at a time, 0 for as many as there are file handles
        "max-connections" => max_connections: LiveNumber = LiveNumber::default(),
        /// most HTTP connections at a time, HTTPS included, 0 for as many as there are file handles
        "max-http-connections" => max_http_connections: LiveNumber = LiveNumber::default(),
        /// most connections at a time from one address (one network of 64 bits in IPv6), for TCP and HTTP each, 0 for
        /// no limit
        "max-connections-per-address" => max_connections_per_address: LiveNumber = LiveNumber::default(),
        /// most topics, 0 for as many as there are file handles
        "max-topics" => max_topics: LiveNumber = LiveNumber::default(),
        /// most channels of one topic, 0 for as many as there are file handles
        "max-channels" => max_channels: LiveNumber = LiveNumber::default(),
        /// time a new TCP connection has for its first command, 0 for no limit of its own
        "first-command-timeout" => first_command_timeout: Duration = Duration::from_mins(1),
        /// time an HTTP request's head may take, 0 for no limit
        "http-header-timeout" => http_header_timeout: Duration = DEFAULT_HEADER_TIMEOUT,
        /// time an HTTP request's body may take, 0 for no limit
        "http-body-timeout" => http_body_timeout: Duration = DEFAULT_BODY_TIMEOUT,
        /// time an HTTP connection may be idle between requests, 0 for no limit
        "http-idle-timeout" => http_idle_timeout: Duration = DEFAULT_IDLE_TIMEOUT,
        /// largest head of an HTTP request in bytes, at least 8192
        "http-max-header-bytes" => http_max_header_bytes: u32 = DEFAULT_MAX_HEADER_BYTES,
        /// most headers of an HTTP request
        "http-max-headers" => http_max_headers: u16 = DEFAULT_MAX_HEADERS,

        /// statsd to send statistics to by UDP, host:port
        "statsd-address" => statsd_address: String = String::new(),
        /// time between sendings to statsd
        "statsd-interval" => statsd_interval: Duration = Duration::from_mins(1),
        /// send memory statistics to statsd too
        "statsd-mem-stats" => statsd_mem_stats: bool = true,
        /// what names sent to statsd begin with; %s stands for this node's broadcast address and HTTP port
        "statsd-prefix" => statsd_prefix: String = "nsq.%s".to_owned(),
        /// largest UDP packet in bytes sent to statsd
        "statsd-udp-packet-size" => statsd_udp_packet_size: i64 = 508,
        /// leave ephemeral topics and channels out of what is sent to statsd
        "statsd-exclude-ephemeral" => statsd_exclude_ephemeral: bool = false,

        /// most topics with series of their own at /metrics, the first by name; the totals are of all
        "metrics-max-topics" => metrics_max_topics: i64 = 1000,
        /// most channels with series of their own at /metrics, 0 for none
        "metrics-max-channels" => metrics_max_channels: i64 = 2000,
        /// leave ephemeral topics and channels out of the series at /metrics; the totals are of all
        "metrics-exclude-ephemeral" => metrics_exclude_ephemeral: bool = true,

        /// percentile of the time from publish to finish to keep, above 0 and up to 1 (may be given
        /// more than once, or several with commas between: 1.0,0.99,0.95)
        "e2e-processing-latency-percentile" ("e2e_processing_latency_percentiles") =>
            e2e_processing_latency_percentiles: FloatList = FloatList::default(),
        /// how far back those percentiles reach
        "e2e-processing-latency-window-time" => e2e_processing_latency_window_time: Duration = Duration::from_mins(10),

        /// path of the certificate in PEM form, followed by those that lead to its authority; read again on SIGHUP
        "tls-cert" => tls_cert: String = String::new(),
        /// path of the certificate's key in PEM form
        "tls-key" => tls_key: String = String::new(),
        /// what is asked of a client's certificate: require (any will do) or require-verify; either requires TLS
        "tls-client-auth-policy" => tls_client_auth_policy: String = String::new(),
        /// path of the certificate authorities that client certificates are verified with (the system's unless given)
        "tls-root-ca-file" => tls_root_ca_file: String = String::new(),
        /// refuse clients without TLS: true, false, or tcp-https to leave plain HTTP open
        "tls-required" => tls_required: TlsRequired = TlsRequired::No,
        /// oldest TLS version to speak: tls1.2 or tls1.3; tls1.0 and tls1.1 mean tls1.2
        "tls-min-version" => tls_min_version: TlsMinVersion = TlsMinVersion::Tls10,

        /// let clients negotiate deflate compression
        "deflate" => deflate: bool = true,
        /// highest deflate level a client may ask for, from 1 to 9; higher ones cost more processor time
        "max-deflate-level" => max_deflate_level: i64 = 6,
        /// let clients negotiate snappy compression
        "snappy" => snappy: bool = true,

        /// answer /channel/peek and /topic/peek, which show messages and their bodies to everyone who
        /// reaches the HTTP port
        "enable-peek" => enable_peek: bool = true,

        /// experimental feature to switch on (may be given more than once); there is one:
        /// topology-aware-consumption
        "enable-experiment" => enable_experiment: StringList = StringList::default(),
    }
}
