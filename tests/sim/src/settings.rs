//! The settings of a simulated nsqd.

use std::path::Path;
use std::time::Duration;

use nsq_core::{SafeOnce, Settings};
use nsq_protocol::Limits;
use nsq_protocol::identify::{IdentifyLimits, ServerFeatures};
use nsq_server::Topology;

use crate::client::RARE_HEARTBEATS;
use crate::model::{MAX_MSG_TIMEOUT, MSG_TIMEOUT};

/// What the sessions have to know.
pub(crate) fn server_settings(limits: Limits) -> nsq_server::Settings {
    nsq_server::Settings {
        limits,
        identify_limits: IdentifyLimits {
            max_heartbeat_interval: RARE_HEARTBEATS,
            min_output_buffer_timeout: Duration::from_millis(25),
            max_output_buffer_timeout: Duration::from_secs(30),
            max_output_buffer_size: 64 << 10,
            max_msg_timeout: MAX_MSG_TIMEOUT,
            default_output_buffer_timeout: Duration::from_millis(250),
            default_msg_timeout: MSG_TIMEOUT,
        },
        features: ServerFeatures {
            version: "1.3.0".to_owned(),
            tls_available: false,
            deflate: false,
            snappy: false,
            max_deflate_level: 6,
            auth_required: false,
            topology_region: String::new(),
            topology_zone: String::new(),
        },
        tls_required: false,
        max_channel_consumers: 0,
        first_command_timeout: Duration::from_mins(1),
        topology: Topology::default(),
    }
}

/// What a seed does not change of a broker's settings.
pub(crate) fn settings(
    data_path: &Path,
    (first, max): (u32, u32),
    sync_every: u64,
    sync_publish: bool,
) -> Settings {
    Settings {
        data_path: data_path.to_path_buf(),
        node_id: 1,
        mem_queue_size: 10_000,
        max_msg_timeout: crate::model::MAX_MSG_TIMEOUT,
        max_req_timeout: crate::model::MAX_REQ_TIMEOUT,
        max_msg_size: 1 << 20,
        safe_once: if sync_publish {
            SafeOnce::Synced
        } else {
            SafeOnce::Appended
        },
        sync_every,
        max_free_segment_bytes: 256 << 20,
        log_options: nsq_queue::LogOptions {
            first_segment_bytes: first,
            max_segment_bytes: max,
        },
        percentiles: None,
        is_replicated: false,
    }
}
