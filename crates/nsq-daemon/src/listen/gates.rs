//! The gates of one daemon, built from its options.

use std::sync::Arc;

use super::gate::{Bounds, Gate, PER_ADDRESS};
use crate::http::{BODY_TIMEOUT, HEADER_TIMEOUT, MAX_HEADER_BYTES};
use crate::limits::OpenFiles;
use crate::options::LiveNumber;
use crate::refusals::{OPEN_FILES, Refusals};

/// Who may come in by TCP and by HTTP, and what counts those who may not.
#[derive(Debug)]
pub struct Gates {
    /// The one for the TCP protocol, where there is one.
    pub tcp: Arc<Gate>,
    /// HTTP's, and HTTPS's too.
    pub http: Arc<Gate>,
    /// Of both, and of the daemon's other limits.
    pub refusals: Arc<Refusals>,
    /// What both leave to the daemon itself.
    pub files: OpenFiles,
}

impl Gates {
    /// Those of a daemon with these options. `/metrics` shows `other_limits`, named by their flags, from the beginning.
    pub fn new(
        max_connections: &LiveNumber,
        max_http_connections: &LiveNumber,
        max_connections_per_address: &LiveNumber,
        other_limits: &[&'static str],
    ) -> Self {
        let limits = [&[MAX_CONNECTIONS], &HTTP_LIMITS[..], other_limits].concat();
        Self::build(
            max_connections,
            max_http_connections,
            max_connections_per_address,
            &limits,
        )
    }

    /// Those of a daemon that speaks HTTP alone.
    pub fn of_http(
        max_http_connections: &LiveNumber,
        max_connections_per_address: &LiveNumber,
    ) -> Self {
        let none = LiveNumber::new(0);
        Self::build(
            &none,
            max_http_connections,
            max_connections_per_address,
            &HTTP_LIMITS,
        )
    }

    fn build(
        tcp: &LiveNumber,
        http: &LiveNumber,
        per_address: &LiveNumber,
        limits: &[&'static str],
    ) -> Self {
        let files = OpenFiles::of_this_process();
        let refusals = Arc::new(Refusals::of(limits));
        let gate = |flag, total: &LiveNumber, is_for_operators| {
            let bounds = Bounds {
                flag,
                total: total.clone(),
                per_address: per_address.clone(),
                is_for_operators,
            };
            Gate::new(bounds, files, Arc::clone(&refusals))
        };
        Self {
            tcp: gate(MAX_CONNECTIONS, tcp, false),
            http: gate(MAX_HTTP_CONNECTIONS, http, true),
            refusals,
            files,
        }
    }
}

/// The [`HttpLimits`](crate::http::HttpLimits) of a daemon with these [`Gates`], whose options have the fields of the flags
/// `--http-...`.
#[macro_export]
macro_rules! http_limits {
    ($gates:expr, $options:expr) => {
        $crate::http::HttpLimits {
            gate: ::std::sync::Arc::clone(&$gates.http),
            refusals: ::std::sync::Arc::clone(&$gates.refusals),
            header_timeout: $options.http_header_timeout,
            body_timeout: $options.http_body_timeout,
            idle_timeout: $options.http_idle_timeout,
            max_header_bytes: $options.http_max_header_bytes,
            max_headers: $options.http_max_headers,
        }
    };
}

const MAX_CONNECTIONS: &str = "max-connections";
const MAX_HTTP_CONNECTIONS: &str = "max-http-connections";

/// What every daemon refuses.
const HTTP_LIMITS: [&str; 6] = [
    MAX_HTTP_CONNECTIONS,
    PER_ADDRESS,
    OPEN_FILES,
    HEADER_TIMEOUT,
    BODY_TIMEOUT,
    MAX_HEADER_BYTES,
];
