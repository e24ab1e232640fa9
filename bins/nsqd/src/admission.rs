//! What this nsqd refuses because of its limits: connections, topics and channels.

use std::sync::atomic::{AtomicBool, Ordering};

use nsq_daemon::http::HttpLimits;
use nsq_daemon::http_limits;
use nsq_daemon::listen::Gates;
use nsq_daemon::options::LiveNumber;
use nsq_daemon::refusals::OPEN_FILES;

use crate::settings::NsqdOptions;

pub(crate) struct Admission {
    pub(crate) gates: Gates,
    max_topics: LiveNumber,
    max_channels: LiveNumber,
    /// What an earlier run left has been opened, however much it was.
    has_begun: AtomicBool,
}

impl Admission {
    pub(crate) fn new(options: &NsqdOptions) -> Admission {
        Admission {
            gates: Gates::new(
                &options.max_connections,
                &options.max_http_connections,
                &options.max_connections_per_address,
                &[MAX_TOPICS, MAX_CHANNELS, FIRST_COMMAND_TIMEOUT],
            ),
            max_topics: options.max_topics.clone(),
            max_channels: options.max_channels.clone(),
            has_begun: AtomicBool::new(false),
        }
    }

    /// From now on, what is made is made for someone who asked.
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
            None if !self.gates.files.has_room() => {
                let why = format!(
                    "too few file handles are left for more {what} (the system's limit of open files)"
                );
                (OPEN_FILES, why)
            }
            None => return Ok(()),
        };
        self.gates.refusals.note(limit, &why);
        Err(why)
    }

    pub(crate) fn http_limits(&self, options: &NsqdOptions) -> HttpLimits {
        http_limits!(self.gates, options)
    }
}

const MAX_TOPICS: &str = "max-topics";
const MAX_CHANNELS: &str = "max-channels";
pub(crate) const FIRST_COMMAND_TIMEOUT: &str = "first-command-timeout";
