//! What this nsqd refuses because of its limits: connections, topics and channels.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nsq_daemon::http::{BODY_TIMEOUT, HEADER_TIMEOUT, HttpLimits, MAX_HEADER_BYTES};
use nsq_daemon::limits::OpenFiles;
use nsq_daemon::listen::{Bounds, Gate, PER_ADDRESS};
use nsq_daemon::options::LiveNumber;
use nsq_daemon::refusals::{OPEN_FILES, Refusals};

use crate::settings::NsqdOptions;

pub(crate) struct Admission {
    pub(crate) tcp: Arc<Gate>,
    /// For HTTPS as well.
    pub(crate) http: Arc<Gate>,
    pub(crate) refusals: Arc<Refusals>,
    files: OpenFiles,
    max_topics: LiveNumber,
    max_channels: LiveNumber,
    /// What an earlier run left has been opened, however much it was.
    has_begun: AtomicBool,
}

impl Admission {
    pub(crate) fn new(options: &NsqdOptions) -> Admission {
        let files = OpenFiles::of_this_process();
        let refusals = Arc::new(Refusals::of(&LIMITS));
        let gate = |flag, total: &LiveNumber, is_for_operators| {
            let bounds = Bounds {
                flag,
                total: total.clone(),
                per_address: options.max_connections_per_address.clone(),
                is_for_operators,
            };
            Gate::new(bounds, files, Arc::clone(&refusals))
        };
        Admission {
            tcp: gate(MAX_CONNECTIONS, &options.max_connections, false),
            http: gate(MAX_HTTP_CONNECTIONS, &options.max_http_connections, true),
            refusals,
            files,
            max_topics: options.max_topics.clone(),
            max_channels: options.max_channels.clone(),
            has_begun: AtomicBool::new(false),
        }
    }

    /// From now on, what is made is made for somebody who asked.
    pub(crate) fn begin(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    pub(crate) fn may_make_topic(&self, count: usize) -> Result<(), String> {
        self.may_make(count, &self.max_topics, MAX_TOPICS, "topics")
    }

    pub(crate) fn may_make_channel(&self, count: usize) -> Result<(), String> {
        self.may_make(
            count,
            &self.max_channels,
            MAX_CHANNELS,
            "channels of a topic",
        )
    }

    fn may_make(
        &self,
        count: usize,
        max: &LiveNumber,
        flag: &'static str,
        what: &str,
    ) -> Result<(), String> {
        if !self.has_begun.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (limit, why) = match max.bound().filter(|max| count as u64 >= *max) {
            Some(max) => (flag, format!("no more than {max} {what} (--{flag})")),
            None if !self.files.has_room() => {
                let why = format!(
                    "too few file handles are left for more {what} (the system's limit of open files)"
                );
                (OPEN_FILES, why)
            }
            None => return Ok(()),
        };
        self.refusals.note(limit, &why);
        Err(why)
    }

    pub(crate) fn http_limits(&self, options: &NsqdOptions) -> HttpLimits {
        HttpLimits {
            gate: Arc::clone(&self.http),
            refusals: Arc::clone(&self.refusals),
            header_timeout: options.http_header_timeout,
            body_timeout: options.http_body_timeout,
            idle_timeout: options.http_idle_timeout,
            max_header_bytes: options.http_max_header_bytes,
            max_headers: options.http_max_headers,
        }
    }
}

const MAX_CONNECTIONS: &str = "max-connections";
const MAX_HTTP_CONNECTIONS: &str = "max-http-connections";
const MAX_TOPICS: &str = "max-topics";
const MAX_CHANNELS: &str = "max-channels";
pub(crate) const FIRST_COMMAND_TIMEOUT: &str = "first-command-timeout";

/// What `/metrics` shows from the beginning.
const LIMITS: [&str; 10] = [
    MAX_CONNECTIONS,
    MAX_HTTP_CONNECTIONS,
    PER_ADDRESS,
    OPEN_FILES,
    MAX_TOPICS,
    MAX_CHANNELS,
    FIRST_COMMAND_TIMEOUT,
    HEADER_TIMEOUT,
    BODY_TIMEOUT,
    MAX_HEADER_BYTES,
];
